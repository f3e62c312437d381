/* SPDX-License-Identifier: MIT
 *
 * DESIGN. An argument vector that grows: for retry and kill an EVAL of the promote script, for
 * cancel one of the cancel script (keys and operations are kept apart until they are sent, since
 * keys come first), for delete a ZREM. */
#include "cli/ops.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "cli/scripts.h"

struct words {
    char **text;
    size_t *size;
    size_t count, room;
};

struct ftl__ops {
    struct ftl__redis *redis;
    enum ftl__op_kind kind;
    struct words head; /* the command and its keys */
    struct words tail; /* the operations */
    size_t count;
};

static int no_memory(void)
{
    return ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
}

/* ---- words ------------------------------------------------------------------------------- */

static bool grow(struct words *words)
{
    size_t room = words->room > 0 ? 2 * words->room : 64;
    char **text = realloc(words->text, room * sizeof(*text));
    if (text == NULL)
        return false;
    words->text = text;
    size_t *size = realloc(words->size, room * sizeof(*size));
    if (size == NULL)
        return false;
    words->size = size;
    words->room = room;
    return true;
}

static int add(struct words *words, const char *text, size_t size)
{
    if (words->count == words->room && !grow(words))
        return no_memory();
    char *copy = malloc(size + 1);
    if (copy == NULL)
        return no_memory();
    memcpy(copy, text, size);
    copy[size] = '\0';
    words->text[words->count] = copy;
    words->size[words->count++] = size;
    return 0;
}

static int add_text(struct words *words, const char *text)
{
    return add(words, text, strlen(text));
}

static int add_key(struct ftl__ops *ops, const char *part, const char *more)
{
    char key[FTL__REDIS_KEY];
    return add_text(&ops->head, ftl__redis_key(ops->redis, part, more, key));
}

static void clear(struct words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->text[i]);
    free(words->text);
    free(words->size);
}

/* ---- operations -------------------------------------------------------------------------- */

#define KEY_COUNT 2 /* where EVAL has the number of its keys */
#define FIRST_KEYS 3

const char *ftl__ops_script(const char *name)
{
    for (const struct ftl__script_source *script = ftl__script_sources; script->name != NULL;
         script++)
        if (strcmp(script->name, name) == 0)
            return script->text;
    return "";
}

static int begin(struct ftl__ops *ops, const char *set)
{
    if (ops->kind == FTL__OP_DELETE)
        return add_text(&ops->head, "ZREM") != 0 ? FTL__EXIT_FAILED : add_key(ops, set, NULL);
    const char *script = ops->kind == FTL__OP_CANCEL ? "cancel" : "promote";
    if (add_text(&ops->head, "EVAL") != 0 || add_text(&ops->head, ftl__ops_script(script)) != 0 ||
        add_text(&ops->head, "") != 0 || add_key(ops, set, NULL) != 0 ||
        (ops->kind != FTL__OP_CANCEL && add_key(ops, "queues", NULL) != 0))
        return FTL__EXIT_FAILED;
    return add_key(ops, "dead", NULL);
}

int ftl__ops_new(struct ftl__redis *redis, const char *set, enum ftl__op_kind kind,
                 struct ftl__ops **ret_ops)
{
    *ret_ops = NULL; /* ftl__ops_free() follows in any case */
    struct ftl__ops *ops = calloc(1, sizeof(*ops));
    if (ops == NULL)
        return no_memory();
    ops->redis = redis;
    ops->kind = kind;
    *ret_ops = ops;
    return begin(ops, set);
}

/* A queue that was named before keeps its place. */
static int find_queue(struct ftl__ops *ops, const char *queue, size_t *ret_number)
{
    char key[FTL__REDIS_KEY];
    size_t first = KEY_COUNT + 1 + FIRST_KEYS;
    ftl__redis_key(ops->redis, "queue:", queue, key);
    for (size_t i = first; i < ops->head.count; i++)
        if (strcmp(ops->head.text[i], key) == 0) {
            *ret_number = i - first + 1;
            return 0;
        }
    *ret_number = ops->head.count - first + 1;
    return add_text(&ops->head, key);
}

int ftl__ops_add(struct ftl__ops *ops, const char *old, size_t old_size, const char *queue,
                 const char *new, size_t new_size)
{
    char text[24];
    size_t number = 0;
    ops->count++;
    if (add(&ops->tail, old, old_size) != 0)
        return FTL__EXIT_FAILED;
    if (ops->kind == FTL__OP_DELETE)
        return 0;
    if (queue != NULL && find_queue(ops, queue, &number) != 0)
        return FTL__EXIT_FAILED;
    snprintf(text, sizeof(text), "%zu", number);
    if (ops->kind == FTL__OP_CANCEL)
        return add(&ops->tail, new, new_size);
    if (add_text(&ops->tail, text) != 0 || add_text(&ops->tail, queue != NULL ? queue : "") != 0)
        return FTL__EXIT_FAILED;
    return add(&ops->tail, new != NULL ? new : "", new_size);
}

static redisReply *call(struct ftl__ops *ops)
{
    redisReply *reply = NULL;
    size_t count = ops->head.count + ops->tail.count;
    const char **argv = calloc(count, sizeof(*argv));
    size_t *sizes = calloc(count, sizeof(*sizes));
    for (size_t i = 0; argv != NULL && sizes != NULL && i < count; i++) {
        bool head = i < ops->head.count;
        const struct words *words = head ? &ops->head : &ops->tail;
        argv[i] = words->text[head ? i : i - ops->head.count];
        sizes[i] = words->size[head ? i : i - ops->head.count];
    }
    int type = ops->kind == FTL__OP_DELETE ? REDIS_REPLY_INTEGER : REDIS_REPLY_ARRAY;
    if (argv != NULL && sizes != NULL)
        reply = ftl__redis_call_argv(ops->redis, type, (int)count, argv, sizes);
    else
        no_memory();
    free(argv);
    free(sizes);
    return reply;
}

/* Each operation of the script has a reply of its own, which may be an error. */
static void count_replies(const redisReply *reply, long long *moved, long long *failed)
{
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *one = reply->element[i];
        if (one->type == REDIS_REPLY_INTEGER) {
            *moved += one->integer;
            continue;
        }
        if (one->type == REDIS_REPLY_ERROR)
            ftl__cli_failed("Redis: %s", one->str);
        ++*failed;
    }
}

static int set_key_count(struct ftl__ops *ops)
{
    char text[24];
    snprintf(text, sizeof(text), "%zu", ops->head.count - KEY_COUNT - 1);
    char *copy = strdup(text);
    if (copy == NULL)
        return no_memory();
    free(ops->head.text[KEY_COUNT]);
    ops->head.text[KEY_COUNT] = copy;
    ops->head.size[KEY_COUNT] = strlen(copy);
    return 0;
}

int ftl__ops_run(struct ftl__ops *ops, long long *moved, long long *failed)
{
    if (ops->count == 0)
        return 0;
    if (ops->kind != FTL__OP_DELETE && set_key_count(ops) != 0)
        return FTL__EXIT_FAILED;
    redisReply *reply = call(ops);
    if (reply == NULL)
        return FTL__EXIT_FAILED;
    if (reply->type == REDIS_REPLY_INTEGER)
        *moved += reply->integer;
    else
        count_replies(reply, moved, failed);
    freeReplyObject(reply);
    return 0;
}

void ftl__ops_free(struct ftl__ops *ops)
{
    if (ops == NULL)
        return;
    clear(&ops->head);
    clear(&ops->tail);
    free(ops);
}
