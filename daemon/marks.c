/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A sorted array of names ("jid:…", "token:…", "class:…") and the times at which they end,
 * made anew whenever there is another generation, and searched only while there are marks. The names
 * are copied in one piece behind the array. */
#include "daemon/marks.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

void ftl__marks_init(struct ftl__marks *marks)
{
    *marks = (struct ftl__marks){.generation = "0"};
}

void ftl__marks_free(struct ftl__marks *marks)
{
    free(marks->all);
    ftl__marks_init(marks);
}

static int compare(const void *a, const void *b)
{
    const struct ftl__mark *x = a, *y = b;
    size_t common = x->size < y->size ? x->size : y->size;
    int order = memcmp(x->name, y->name, common);

    return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

/* ---- taking them in ---------------------------------------------------------------------- */

bool ftl__marks_is_reply(const struct redisReply *generation, const struct redisReply *fields)
{
    if (generation->type != REDIS_REPLY_STRING ||
        generation->len > FTL__GENERATION_MAX ||
        fields->type != REDIS_REPLY_ARRAY || fields->elements % 2 != 0)
        return false;
    for (size_t i = 0; i < fields->elements; i++)
        if (fields->element[i]->type != REDIS_REPLY_STRING)
            return false;
    return true;
}

/* NULL: out of memory. */
static struct ftl__mark *copy(const struct redisReply *fields, size_t *ret_count)
{
    size_t count = fields->elements / 2, bytes = 0, kept = 0;
    struct ftl__mark *marks;
    char *names;

    for (size_t i = 0; i < count; i++)
        bytes += fields->element[2 * i]->len;
    marks = malloc(count * sizeof *marks + bytes + 1);
    if (marks == NULL)
        return NULL;
    names = (char *)&marks[count];
    for (size_t i = 0; i < count; i++) {
        const struct redisReply *name = fields->element[2 * i];
        if (memchr(name->str, ':', name->len) == NULL) /* the generation */
            continue;
        memcpy(names, name->str, name->len);
        marks[kept++] = (struct ftl__mark){
            names, name->len, strtod(fields->element[2 * i + 1]->str, NULL)};
        names += name->len;
    }
    qsort(marks, kept, sizeof *marks, compare);
    *ret_count = kept;
    return marks;
}

/* An answer may come after a younger one of another connection; "0": there are none any more. */
static bool is_news(const struct ftl__marks *marks, const char *generation)
{
    unsigned long long now = strtoull(generation, NULL, 10);

    return now == 0 ? marks->count > 0 : now > strtoull(marks->generation, NULL, 10);
}

static void replace(struct ftl__marks *marks, const struct redisReply *generation,
                    const struct redisReply *fields)
{
    size_t count;
    struct ftl__mark *fresh;

    fresh = copy(fields, &count);
    if (fresh == NULL)
        return;
    free(marks->all);
    marks->all = fresh;
    marks->count = count;
    memcpy(marks->generation, generation->str, generation->len + 1);
    if (marks->on_change != NULL)
        marks->on_change(marks->arg);
}

void ftl__marks_take(struct ftl__marks *marks, const struct redisReply *generation,
                     const struct redisReply *fields)
{
    if (is_news(marks, generation->str))
        replace(marks, generation, fields);
}

void ftl__marks_take_from(struct ftl__marks *marks, const char *known,
                          const struct redisReply *generation, const struct redisReply *fields)
{
    bool other = strcmp(generation->str, known) != 0;

    if (is_news(marks, generation->str) || (other && strcmp(marks->generation, known) == 0))
        replace(marks, generation, fields);
}

/* ---- asking ------------------------------------------------------------------------------ */

const struct ftl__mark *ftl__marks_find(const struct ftl__marks *marks, const char *name,
                                        size_t size)
{
    const struct ftl__mark key = {name, size, 0};

    return marks->count > 0 ? bsearch(&key, marks->all, marks->count, sizeof key, compare) : NULL;
}
