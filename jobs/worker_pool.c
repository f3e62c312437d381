/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Which run is in which process, and what is to be written to each, under one lock that is held for
 * a moment. Runs wait for a place at a fair semaphore whose permits are the places of all ready
 * processes; a process that goes takes its places along, also those that are out. So a run that has
 * a permit finds a place, but for the moment in which a process goes: then it asks again.
 *
 * While no process can be started, runs must not wait for ever: then there is one permit more, and
 * who comes in by it finds no process, and leaves with the reason.
 *
 * A run is put into a process by its own task and taken out by the task of the process, which alone
 * tells it the end; so that task may use a run that it has found as long as it does not wait.
 *
 * The pool is counted: by its handler, and by the tasks of its processes, which end their process
 * when the handler is gone. Nothing here waits, but for the runtime's start of a task. */
#include "jobs/worker_pool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/worker_message.h"
#include "jobs/worker_process.h"

#define DOWN_AFTER 3     /* useless lives in a row */
#define OUT_FIRST  4096  /* bytes */
#define OUT_KEPT   65536 /* that stay allocated */

#define ITEM(node) ftl__container(node, struct ftl__worker_item, link)

/* ---- the table -------------------------------------------------------------------------- */

static struct ftl__list *bucket(struct ftl__worker_process *process, uint64_t token)
{
    return &process->held[token & (FTL__WORKER_BUCKETS - 1)];
}

static struct ftl__worker_item *find(struct ftl__worker_process *process, uint64_t token)
{
    struct ftl__list *head = bucket(process, token);

    for (struct ftl__list *node = head->next; node != head; node = node->next) {
        if (ITEM(node)->run->token == token) {
            return ITEM(node);
        }
    }
    return NULL;
}

static struct ftl__worker_item *any(struct ftl__worker_process *process)
{
    for (size_t i = 0; i < FTL__WORKER_BUCKETS; i++) {
        if (!ftl__list_is_empty(&process->held[i])) {
            return ITEM(process->held[i].next);
        }
    }
    return NULL;
}

static struct ftl__worker_item *take(struct ftl__worker_process *process,
                                     struct ftl__worker_item *item)
{
    if (item != NULL) {
        ftl__list_unlink(&item->link);
        process->runs--;
    }
    return item;
}

struct ftl__worker_item *ftl__worker_pool_find(struct ftl__worker_process *process, uint64_t token)
{
    struct ftl__worker_item *item;

    ftl__lock_take(&process->pool->lock);
    item = find(process, token);
    ftl__lock_drop(&process->pool->lock);
    return item;
}

struct ftl__worker_item *ftl__worker_pool_take(struct ftl__worker_process *process, uint64_t token)
{
    struct ftl__worker_item *item;
    bool last;

    ftl__lock_take(&process->pool->lock);
    item = take(process, find(process, token));
    last = process->pool->stopping && process->runs == 0;
    ftl__lock_drop(&process->pool->lock);
    if (last) {
        ftl_notify_one(process->changed);
    }
    return item;
}

struct ftl__worker_item *ftl__worker_pool_take_any(struct ftl__worker_process *process)
{
    struct ftl__worker_item *item;

    ftl__lock_take(&process->pool->lock);
    item = take(process, any(process));
    ftl__lock_drop(&process->pool->lock);
    return item;
}

struct ftl__worker_item *ftl__worker_pool_only(struct ftl__worker_process *process)
{
    struct ftl__worker_item *item;

    ftl__lock_take(&process->pool->lock);
    item = process->runs == 1 ? any(process) : NULL;
    ftl__lock_drop(&process->pool->lock);
    return item;
}

void ftl__worker_pool_end(struct ftl__worker_item *item, enum ftl__worker_end end)
{
    item->end = end;
    ftl_oneshot_send(&item->over, NULL);
}

/* ---- what is written -------------------------------------------------------------------- */

int ftl__worker_pool_append(struct ftl__worker_process *process, const char *bytes, size_t size)
{
    size_t room = process->out_room > 0 ? process->out_room : OUT_FIRST;
    char *out = process->out;

    while (room - process->out_size < size) {
        room *= 2;
    }
    if (room > process->out_room) {
        out = realloc(process->out, room);
        if (out == NULL) {
            return FTL_ENOMEM;
        }
        process->out = out;
        process->out_room = room;
    }
    memcpy(out + process->out_size, bytes, size);
    process->out_size += size;
    return 0;
}

/* ---- a run ------------------------------------------------------------------------------ */

static uint32_t room(const struct ftl__worker_process *process)
{
    return process->places > process->runs ? process->places - process->runs : 0;
}

/* With most room, so that runs spread over the processes. */
static struct ftl__worker_process *choose(struct ftl__worker_pool *pool)
{
    struct ftl__worker_process *best = NULL;

    for (uint32_t i = 0; i < pool->count; i++) {
        struct ftl__worker_process *process = &pool->processes[i];

        if (room(process) > (best != NULL ? room(best) : 0)) {
            best = process;
        }
    }
    return best;
}

int ftl__worker_pool_submit(struct ftl__worker_pool *pool, struct ftl__worker_item *item,
                            const char *line, size_t size, char why[FTL__WORKER_REASON])
{
    struct ftl__worker_process *process;
    int rc = FTL_EAGAIN;

    ftl__lock_take(&pool->lock);
    process = choose(pool);
    if (process != NULL) {
        rc = ftl__worker_pool_append(process, line, size);
    } else if (pool->down) {
        memcpy(why, pool->why, sizeof(pool->why));
        rc = FTL_ENOENT;
    }
    if (rc == 0) {
        item->process = process;
        ftl__list_push_back(bucket(process, item->run->token), &item->link);
        process->runs++;
        process->begun++;
    }
    ftl__lock_drop(&pool->lock);
    if (rc == 0) {
        ftl_notify_one(process->outgoing);
    }
    return rc;
}

void ftl__worker_pool_cancel(struct ftl__worker_item *item, enum ftl__worker_cancel how)
{
    struct ftl__worker_process *process = item->process;
    char line[FTL__WORKER_CANCEL_MAX];
    size_t size = ftl__worker_message_cancel(item->run->token, line);

    if (!process->pool->insists) {
        how = FTL__WORKER_ASK;
    }
    ftl__lock_take(&process->pool->lock);
    /* Without memory it is not asked: it will be forced. Nothing is sent behind the answer. */
    while (ftl__list_is_linked(&item->link) && item->cancelled < how) {
        item->cancelled++;
        (void)ftl__worker_pool_append(process, line, size);
    }
    ftl__lock_drop(&process->pool->lock);
    ftl_notify_one(process->outgoing);
}

/* ---- the end of a process --------------------------------------------------------------- */

/* The lock is held. Returns how many permits go with it. */
static uint32_t close_places(struct ftl__worker_process *process)
{
    uint32_t places = process->places;

    process->places = 0;
    process->pool->ready -= places > 0;
    return places;
}

void ftl__worker_pool_close(struct ftl__worker_process *process)
{
    uint32_t places;

    ftl__lock_take(&process->pool->lock);
    places = close_places(process);
    ftl__lock_drop(&process->pool->lock);
    ftl_semaphore_adjust(process->pool->permits, -(int32_t)places);
}

/* The lock is held. */
static void set_fault(struct ftl__worker_process *process, uint64_t guilty, int64_t grace,
                      const char *text)
{
    if (!process->faulty) {
        process->faulty = true;
        process->guilty = guilty;
        process->grace = grace;
        (void)snprintf(process->fault, sizeof(process->fault), "%s", text);
    } else if (grace < process->grace) {
        process->grace = grace;
    }
}

void ftl__worker_pool_fault(struct ftl__worker_process *process, const char *format, ...)
{
    char text[FTL__WORKER_REASON];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ftl__lock_take(&process->pool->lock);
    set_fault(process, 0, process->pool->kill_after, text);
    ftl__lock_drop(&process->pool->lock);
    ftl__worker_pool_close(process);
    ftl_notify_one(process->changed);
}

/* One that is over by now has nothing to do with what its process does next. */
void ftl__worker_pool_force(struct ftl__worker_item *item, int64_t grace)
{
    struct ftl__worker_process *process = item->process;
    uint64_t token = item->run->token;
    char text[FTL__WORKER_REASON];
    uint32_t places = 0;

    (void)snprintf(text, sizeof(text), "run %llu did not end when it was cancelled",
                   (unsigned long long)token);
    ftl__lock_take(&process->pool->lock);
    if (ftl__list_is_linked(&item->link)) {
        set_fault(process, token, grace, text);
        places = close_places(process);
    }
    ftl__lock_drop(&process->pool->lock);
    ftl_semaphore_adjust(process->pool->permits, -(int32_t)places);
    ftl_notify_one(process->changed);
}

/* ---- its lives -------------------------------------------------------------------------- */

void ftl__worker_pool_open(struct ftl__worker_process *process, uint32_t places)
{
    struct ftl__worker_pool *pool = process->pool;
    bool was_down, open;

    ftl__lock_take(&pool->lock);
    open = !process->faulty;
    was_down = open && pool->down;
    if (open) {
        process->places = places;
        pool->ready++;
        pool->failures = 0;
        pool->down = false;
    }
    ftl__lock_drop(&pool->lock);
    if (open) {
        ftl_semaphore_adjust(pool->permits, (int32_t)places - was_down);
    }
}

void ftl__worker_pool_failed(struct ftl__worker_process *process, const char *why)
{
    struct ftl__worker_pool *pool = process->pool;
    bool goes_down;

    ftl__lock_take(&pool->lock);
    pool->failures++;
    (void)snprintf(pool->why, sizeof(pool->why), "%s", why);
    goes_down = !pool->down && pool->ready == 0 && pool->failures >= DOWN_AFTER;
    pool->down = pool->down || goes_down;
    ftl__lock_drop(&pool->lock);
    if (goes_down) {
        ftl_semaphore_adjust(pool->permits, 1);
        pool->host.on_worker(
            pool->host.arg,
            &(struct ftl__worker_event){.kind = FTL__WORKER_DOWN, .name = pool->name, .text = why});
    }
}

/* ---- life ------------------------------------------------------------------------------- */

static void free_pool(struct ftl__worker_pool *pool)
{
    for (uint32_t i = 0; i < pool->count; i++) {
        ftl_notify_free(pool->processes[i].changed);
        ftl_notify_free(pool->processes[i].outgoing);
        free(pool->processes[i].out);
    }
    ftl_semaphore_free(pool->permits);
    ftl_notify_free(pool->gone);
    ftl__invocation_fini(&pool->program);
    free(pool->name);
    free(pool);
}

static int init_process(struct ftl__worker_pool *pool, struct ftl__worker_process *process)
{
    process->pool = pool;
    process->changed = ftl_notify_new();
    process->outgoing = ftl_notify_new();
    for (size_t i = 0; i < FTL__WORKER_BUCKETS; i++) {
        ftl__list_init(&process->held[i]);
    }
    return process->changed != NULL && process->outgoing != NULL ? 0 : FTL_ENOMEM;
}

int ftl__worker_pool_new(const struct ftl__handler_settings *settings,
                         const struct ftl__worker_settings *worker, struct ftl__invocation *program,
                         struct ftl__worker_pool **ret_pool)
{
    uint32_t processes = worker->processes;
    struct ftl__worker_pool *pool =
        calloc(1, sizeof(*pool) + processes * sizeof(pool->processes[0]));
    int rc = 0;

    if (pool == NULL) {
        return FTL_ENOMEM;
    }
    pool->name = strdup(settings->pattern);
    pool->refs = 1;
    pool->count = processes;
    pool->limits = worker->limits;
    pool->alone = worker->alone;
    pool->insists = worker->insists;
    pool->kill_after = ftl__seconds(settings->kill_after);
    pool->start_timeout = ftl__seconds(worker->start_timeout);
    pool->permits = ftl_semaphore_new(0);
    pool->gone = ftl_notify_new();
    for (uint32_t i = 0; i < processes && rc == 0; i++) {
        rc = init_process(pool, &pool->processes[i]);
    }
    if (pool->name == NULL || pool->permits == NULL || pool->gone == NULL || rc != 0) {
        free_pool(pool);
        return FTL_ENOMEM;
    }
    pool->program = *program;
    *ret_pool = pool;
    return 0;
}

void ftl__worker_pool_unref(struct ftl__worker_pool *pool)
{
    /* Release: our uses come before the end; acquire (of the last one): the end after theirs. */
    if (atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) == 1) {
        free_pool(pool);
    }
}

static void process_gone(void *process)
{
    struct ftl__worker_pool *pool = ((struct ftl__worker_process *)process)->pool;

    ftl__lock_take(&pool->lock);
    pool->living--;
    ftl__lock_drop(&pool->lock);
    ftl_notify_one(pool->gone);
    ftl__worker_pool_unref(pool);
}

int ftl__worker_pool_start(struct ftl__worker_pool *pool, const struct ftl__handler_host *host)
{
    const struct ftl_spawn_options options = {
        .name = "worker", .arg_free = process_gone, .migratable = true};
    int rc = 0;

    pool->host = *host;
    for (uint32_t i = 0; i < pool->count && rc == 0; i++) {
        /* Relaxed: the handler has a reference meanwhile; the spawn passes this one on. */
        (void)atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
        ftl__lock_take(&pool->lock);
        pool->living++;
        ftl__lock_drop(&pool->lock);
        rc =
            ftl_spawn(host->runtime, ftl__worker_process_main, &pool->processes[i], &options, NULL);
        if (rc != 0) {
            process_gone(&pool->processes[i]);
        }
    }
    return rc;
}

void ftl__worker_pool_await(struct ftl__worker_pool *pool, int64_t deadline)
{
    uint32_t living;
    int rc = 0;

    do {
        ftl__lock_take(&pool->lock);
        living = pool->living;
        ftl__lock_drop(&pool->lock);
        if (living > 0) {
            rc = ftl_notify_wait(pool->gone, deadline);
        }
    } while (living > 0 && rc == 0);
}

void ftl__worker_pool_stop(struct ftl__worker_pool *pool, bool hurry)
{
    ftl__lock_take(&pool->lock);
    pool->stopping = true;
    pool->hurry = pool->hurry || hurry;
    ftl__lock_drop(&pool->lock);
    for (uint32_t i = 0; i < pool->count; i++) {
        ftl_notify_one(pool->processes[i].changed);
    }
}
