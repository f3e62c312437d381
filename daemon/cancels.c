/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A sorted array of names ("jid:…", "token:…") and the times at which they end, made anew
 * whenever there is another generation, and searched only while there are marks. The names are
 * copied in one piece behind the array. */
#include "daemon/cancels.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/run.h"

#define NAME_MAX_BYTES (sizeof "token:" + FTL__JID_MAX)

struct ftl__cancel_mark {
    const char *name;
    size_t size;
    double until; /* epoch seconds */
};

void ftl__cancels_init(struct ftl__cancels *cancels)
{
    *cancels = (struct ftl__cancels){.generation = "0"};
}

void ftl__cancels_free(struct ftl__cancels *cancels)
{
    free(cancels->marks);
    ftl__cancels_init(cancels);
}

static int compare(const void *a, const void *b)
{
    const struct ftl__cancel_mark *x = a, *y = b;
    size_t common = x->size < y->size ? x->size : y->size;
    int order = memcmp(x->name, y->name, common);

    return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

/* ---- taking them in ---------------------------------------------------------------------- */

bool ftl__cancels_is_reply(const struct redisReply *generation, const struct redisReply *fields)
{
    if (generation->type != REDIS_REPLY_STRING ||
        generation->len >= sizeof((struct ftl__cancels *)NULL)->generation ||
        fields->type != REDIS_REPLY_ARRAY || fields->elements % 2 != 0)
        return false;
    for (size_t i = 0; i < fields->elements; i++)
        if (fields->element[i]->type != REDIS_REPLY_STRING)
            return false;
    return true;
}

/* NULL: out of memory. */
static struct ftl__cancel_mark *copy(const struct redisReply *fields, size_t *ret_count)
{
    size_t count = fields->elements / 2, bytes = 0, kept = 0;
    struct ftl__cancel_mark *marks;
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
        marks[kept++] = (struct ftl__cancel_mark){
            names, name->len, strtod(fields->element[2 * i + 1]->str, NULL)};
        names += name->len;
    }
    qsort(marks, kept, sizeof *marks, compare);
    *ret_count = kept;
    return marks;
}

/* An answer may come after a younger one of another connection; "0": there are none any more. */
static bool is_news(const struct ftl__cancels *cancels, const char *generation)
{
    unsigned long long now = strtoull(generation, NULL, 10);

    return now == 0 ? cancels->count > 0 : now > strtoull(cancels->generation, NULL, 10);
}

void ftl__cancels_take(struct ftl__cancels *cancels, const struct redisReply *generation,
                       const struct redisReply *fields)
{
    size_t count;
    struct ftl__cancel_mark *marks;

    if (!is_news(cancels, generation->str))
        return;
    marks = copy(fields, &count);
    if (marks == NULL)
        return;
    free(cancels->marks);
    cancels->marks = marks;
    cancels->count = count;
    memcpy(cancels->generation, generation->str, generation->len + 1);
    if (count > 0 && cancels->on_change != NULL)
        cancels->on_change(cancels->arg);
}

/* ---- asking ------------------------------------------------------------------------------ */

static bool find(const struct ftl__cancels *cancels, const char *name, size_t size, double now)
{
    const struct ftl__cancel_mark key = {name, size, 0};
    const struct ftl__cancel_mark *mark =
        bsearch(&key, cancels->marks, cancels->count, sizeof key, compare);

    return mark != NULL && now < mark->until;
}

bool ftl__cancels_has(const struct ftl__cancels *cancels, const struct ftl__job *job,
                      uint64_t token, double now)
{
    static const char prefix[] = "jid:";
    char name[NAME_MAX_BYTES + 8] = "jid:"; /* longer than any mark, so that none is cut */
    int size = ftl__job_string(job, FTL__JID, name + sizeof prefix - 1,
                               sizeof name - (sizeof prefix - 1));

    if (size > 0 && find(cancels, name, sizeof prefix - 1 + (size_t)size, now))
        return true;
    size = snprintf(name, sizeof name, "token:%" PRIu64, token);
    return token != 0 && find(cancels, name, (size_t)size, now);
}
