/* SPDX-License-Identifier: MIT
 *
 * Where ready tasks stand. On the worker's own thread where nothing else is said. Inline is what a
 * yield passes: as calls these were a tenth of it. */
#ifndef FETTLE_RUNTIME_SCHEDULE_H
#define FETTLE_RUNTIME_SCHEDULE_H

#include "runtime/worker.h"

/* Makes a NOTIFIED task run: on the worker it is pinned to, else on this one if it is of the same
 * runtime, else through the injection queue. Any thread. */
void ftl__schedule(struct ftl_task *task);
/* Into the ring, where others can take it. */
void ftl__schedule_open(struct ftl__worker *worker, struct ftl_task *task);

static inline void ftl__local_push(struct ftl__local *local, struct ftl_task *task)
{
    task->queue_next = NULL;
    if (local->last)
        local->last->queue_next = task;
    else
        local->first = task;
    local->last = task;
}

static inline struct ftl_task *ftl__local_pop(struct ftl__local *local)
{
    struct ftl_task *task = local->first;
    if (task) {
        local->first = task->queue_next;
        if (!local->first)
            local->last = NULL;
    }
    return task;
}

static inline struct ftl_task *ftl__lifo(const struct ftl__worker *worker)
{
    /* acquire: pairs with ftl__set_lifo(), also between a task and the scheduler of its own thread,
     * which are two to ThreadSanitizer */
    return atomic_load_explicit(&worker->lifo, memory_order_acquire);
}

static inline void ftl__set_lifo(struct ftl__worker *worker, struct ftl_task *task)
{
    /* release: pairs with the acquire of a monitor that takes the task */
    atomic_store_explicit(&worker->lifo, task, memory_order_release);
}

/* Behind everything that is ready on this worker. True: another worker could take it. */
static inline bool ftl__schedule_behind(struct ftl__worker *worker, struct ftl_task *task)
{
    if (ftl__task_home(task)) {
        ftl__local_push(&worker->pinned, task);
        return false;
    }
    ftl__schedule_open(worker, task);
    return true;
}

/* Moves what is in the inbox to the end of `pinned`. */
void ftl__schedule_inbox(struct ftl__worker *worker);
/* This worker's share of what was injected: one to run at once, the rest is in its ring, which was
 * empty. NULL: nothing. */
struct ftl_task *ftl__schedule_injected(struct ftl__worker *worker);

/* True: something stands at this worker. */
bool ftl__worker_has_work(const struct ftl__worker *worker);
/* True: there is work that any worker may take. A hint. Any thread. */
bool ftl__runtime_has_work(const struct ftl_runtime *runtime);

/* Hands over what the cork has held back: from the scheduler, or with the hands taken. */
void ftl__worker_uncork(struct ftl__worker *worker);

static inline bool ftl__worker_is_corked(const struct ftl__worker *worker)
{
    return atomic_load_explicit(&worker->corked, memory_order_relaxed);
}

#endif
