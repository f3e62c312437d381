/* SPDX-License-Identifier: MIT
 *
 * DESIGN: each member is scanned once and rewritten by the rules of jobs/retry.h; the queues that
 * they name are collected, since a script is told all its keys. Members of one set mostly name few
 * queues, and the same ones in a row: the search begins with the last hit. */
#include "daemon/due.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "daemon/cancels.h"
#include "jobs/retry.h"

static int add_queue(struct ftl__due_list *list, const char *name, size_t *ret_index)
{
    if (list->queue_count == list->queue_room) {
        size_t room = list->queue_room == 0 ? 8 : 2 * list->queue_room;
        struct ftl__due_queue *queues = realloc(list->queues, room * sizeof *queues);
        if (queues == NULL)
            return FTL_ENOMEM;
        list->queues = queues;
        list->queue_room = room;
    }
    strcpy(list->queues[list->queue_count].name, name);
    *ret_index = list->queue_count++;
    return 0;
}

static int find_queue(struct ftl__due_list *list, const char *name, size_t hint, size_t *ret_index)
{
    for (size_t i = 0; i < list->queue_count; i++) {
        size_t at = (hint + i) % list->queue_count;
        if (strcmp(list->queues[at].name, name) == 0) {
            *ret_index = at;
            return 0;
        }
    }
    return add_queue(list, name, ret_index);
}

static int cancel(struct ftl__due *due, const struct ftl__job *job, double now)
{
    char queue[129];
    struct ftl__retry_input input = {.now = now, .random = due->old_size, .queue = queue};
    struct ftl__retry_result result;
    int size = ftl__job_string(job, FTL__QUEUE, queue, sizeof queue);
    if (size <= 0 || !ftl__queue_name_valid(queue, (size_t)size))
        strcpy(queue, "default");
    int status = ftl__retry_cancelled(job, 0, &input, &result);
    if (status != 0)
        return status;
    due->cancelled = true;
    due->bytes = result.bytes;
    due->size = result.size;
    return 0;
}

/* What becomes of one; only a lack of memory is an error. */
static int decide(struct ftl__due *due, const struct ftl__job_limits *limits,
                  const struct ftl__marks *cancels, double now, struct ftl__due_list *list,
                  size_t hint)
{
    struct ftl__job job;
    struct ftl__job_error error;
    char queue[129];
    if (ftl__job_scan(due->old, due->old_size, limits, &job, &error) != 0) {
        due->reason = error.reason;
        return 0;
    }
    due->jid = ftl__job_plain(&job, FTL__JID);
    due->class = ftl__job_plain(&job, FTL__CLASS);
    if (ftl__marks_any(cancels) && ftl__cancels_has(cancels, &job, 0, now))
        return cancel(due, &job, now);
    int status = ftl__retry_promoted(&job, now, &due->bytes, &due->size, queue);
    if (status == FTL_ENOMEM)
        return status;
    if (status != 0) {
        due->reason = "its queue has no valid name";
        return 0;
    }
    return find_queue(list, queue, hint, &due->queue);
}

int ftl__due_read(struct redisReply *const *pairs, size_t count,
                  const struct ftl__job_limits *limits, const struct ftl__marks *cancels,
                  double now, struct ftl__due_list *list)
{
    list->items = calloc(count, sizeof *list->items);
    if (list->items == NULL)
        return FTL_ENOMEM;
    size_t hint = 0;
    for (size_t i = 0; i < count; i++) {
        struct ftl__due *due = &list->items[list->count++];
        due->old = pairs[2 * i]->str;
        due->old_size = pairs[2 * i]->len;
        int status = decide(due, limits, cancels, now, list, hint);
        if (status != 0)
            return status;
        hint = due->queue;
    }
    return 0;
}

void ftl__due_clear(struct ftl__due_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].bytes);
    free(list->items);
    free(list->queues);
    *list = (struct ftl__due_list){0};
}

static void build_one(const struct ftl__due_list *list, const struct ftl__due *due,
                      struct ftl__invoke *invoke)
{
    ftl__invoke_bytes(invoke, due->old, due->old_size);
    if (due->reason != NULL || due->cancelled) {
        ftl__invoke_uint(invoke, 0);
        ftl__invoke_bytes(invoke, "", 0);
        ftl__invoke_bytes(invoke, due->bytes, due->cancelled ? due->size : 0);
        return;
    }
    const char *name = list->queues[due->queue].name;
    ftl__invoke_uint(invoke, due->queue + 1);
    ftl__invoke_bytes(invoke, name, strlen(name));
    ftl__invoke_bytes(invoke, due->bytes, due->size);
}

void ftl__due_build(const struct ftl__due_list *list, const struct ftl__keys *keys,
                    const struct ftl__key *set, struct ftl__invoke *invoke)
{
    ftl__invoke_start(invoke, FTL__SCRIPT_PROMOTE);
    ftl__invoke_key(invoke, set);
    ftl__invoke_key(invoke, &keys->queues);
    ftl__invoke_key(invoke, &keys->dead);
    for (size_t i = 0; i < list->queue_count; i++) {
        struct ftl__key queue;
        ftl__key_queue(keys, list->queues[i].name, &queue);
        ftl__invoke_key(invoke, &queue);
    }
    for (size_t i = 0; i < list->count; i++)
        if (!list->items[i].done)
            build_one(list, &list->items[i], invoke);
}
