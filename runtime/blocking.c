/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Threads are made on demand up to a bound, wait for the next task for some seconds, and go. Tasks
 * beyond the bound queue, first in, first out. A task is pinned to its thread at its first run as
 * any other is to its worker; the thread sleeps while its task waits. What such a task spawns goes
 * to the ordinary workers.
 *
 * No task is orphaned when a thread cannot be started: a spawn makes sure of a thread before there
 * is a task, and fails if there is none at all; while there is one, it takes what is queued.
 *
 * A worker's memory stays until the runtime ends, since who wakes a task may be late with its last
 * touch of the worker; it is used again by the next thread. A thread that leaves joins the one that
 * left before it, so that one is left to be joined at the end. */
#include "runtime/blocking.h"

#include <errno.h>
#include <stdio.h>

#include <fettle/time.h>

#include "runtime/worker.h"

void ftl__blocking_init(struct ftl__blocking *pool, const struct ftl_runtime_options *options)
{
    enum { MAX = 512 };
    pool->max = options->blocking_max > 0 ? options->blocking_max : MAX;
    pool->keep = options->blocking_keep > 0 ? options->blocking_keep : 10 * FTL_S;
}

/* With the lock held. */
static struct ftl_task *pop(struct ftl__blocking *pool)
{
    struct ftl_task *task = pool->first;
    if (!task)
        return NULL;
    pool->first = task->queue_next;
    if (!pool->first)
        pool->last = NULL;
    pool->queued--;
    return task;
}

/* With the lock held; the caller wakes after it has dropped it. */
static void change_signal(struct ftl__blocking *pool)
{
    /* relaxed: who sleeps on it looks again under the lock */
    atomic_fetch_add_explicit(&pool->signal, 1, memory_order_relaxed);
}

/* ---- a thread ---- */

/* With the lock held, which is dropped meanwhile. False: `deadline` has passed. */
static bool wait_idle(struct ftl__blocking *pool, int64_t deadline)
{
    uint32_t signal = atomic_load_explicit(&pool->signal, memory_order_relaxed);
    if (ftl_now() >= deadline)
        return false;
    pool->idle++;
    ftl__lock_drop(&pool->lock);
    ftl__futex_wait(&pool->signal, signal, deadline);
    ftl__lock_take(&pool->lock);
    pool->idle--;
    return true;
}

/* With the lock held. The next task; NULL: there has been none for long, or the pool stops. */
static struct ftl_task *next(struct ftl__blocking *pool)
{
    int64_t deadline = ftl_deadline(pool->keep);
    for (;;) {
        struct ftl_task *task = pop(pool);
        if (task || pool->stop)
            return task;
        if (!wait_idle(pool, deadline)) {
            if (pool->coming == 0)
                return NULL;
            deadline = ftl_deadline(pool->keep);
        }
    }
}

/* With the lock held: the thread is gone. True: it has to join *ret_before. */
static bool leave(struct ftl__blocking *pool, struct ftl__worker *worker, pthread_t *ret_before)
{
    bool join = pool->has_left;
    *ret_before = pool->left;
    pool->left = pthread_self();
    pool->has_left = true;
    worker->spare_next = pool->spare;
    pool->spare = worker;
    pool->leaving--;
    change_signal(pool);
    return join;
}

static void *thread_main(void *arg)
{
    struct ftl__worker *worker = arg;
    struct ftl__blocking *pool = &worker->runtime->blocking;
    struct ftl_task *task;
    pthread_t before;
    ftl__worker_enter(worker);
    ftl__lock_take(&pool->lock);
    pool->starting--;
    while ((task = next(pool)) != NULL) {
        ftl__lock_drop(&pool->lock);
        ftl__worker_serve(worker, task);
        ftl__lock_take(&pool->lock);
    }
    pool->threads--; /* in the same breath: nobody may count on it from here on */
    pool->leaving++;
    ftl__lock_drop(&pool->lock);
    ftl__worker_exit(worker);
    ftl__lock_take(&pool->lock);
    bool join = leave(pool, worker, &before);
    ftl__lock_drop(&pool->lock);
    ftl__futex_wake(&pool->signal, INT32_MAX);
    if (join)
        pthread_join(before, NULL);
    return NULL;
}

/* With the lock held throughout, so that nobody counts on a thread that does not come to be. 0 or an
 * errno value. */
static int start(struct ftl_runtime *runtime)
{
    struct ftl__blocking *pool = &runtime->blocking;
    struct ftl__worker *worker = pool->spare;
    char name[24];
    pthread_t thread;
    if (worker)
        pool->spare = worker->spare_next;
    else
        worker = ftl__worker_new(runtime, UINT32_MAX);
    if (!worker)
        return ENOMEM;
    snprintf(name, sizeof name, "%.10s/b%u", runtime->name, pool->threads);
    int error = ftl__thread_start(&thread, thread_main, worker, name);
    if (error == 0) {
        pool->threads++;
        pool->starting++;
    } else {
        worker->spare_next = pool->spare;
        pool->spare = worker;
    }
    return error;
}

/* ---- spawning ---- */

/* With the lock held. */
static int start_if_short(struct ftl_runtime *runtime)
{
    struct ftl__blocking *pool = &runtime->blocking;
    bool is_short = pool->queued + pool->coming > pool->idle + pool->starting;
    return is_short && pool->threads < pool->max ? start(runtime) : 0;
}

int ftl__blocking_prepare(struct ftl_runtime *runtime)
{
    struct ftl__blocking *pool = &runtime->blocking;
    ftl__lock_take(&pool->lock);
    pool->coming++;
    int error = start_if_short(runtime);
    bool none = pool->threads == 0;
    if (none)
        pool->coming--;
    ftl__lock_drop(&pool->lock);
    if (!none) {
        if (error != 0) /* the others may be waiting for this one: the monitor tries again */
            ftl__monitor_wake(&runtime->monitor);
        return 0;
    }
    errno = error;
    return FTL_ESYS;
}

void ftl__blocking_push(struct ftl_task *task)
{
    struct ftl__blocking *pool = &task->runtime->blocking;
    ftl__shadow_pass(ftl__task_turn(task));
    task->queue_next = NULL;
    ftl__lock_take(&pool->lock);
    if (pool->last)
        pool->last->queue_next = task;
    else
        pool->first = task;
    pool->last = task;
    pool->queued++;
    pool->coming--;
    change_signal(pool);
    ftl__lock_drop(&pool->lock);
    ftl__futex_wake(&pool->signal, 1);
}

void ftl__blocking_cancel(struct ftl_runtime *runtime)
{
    ftl__lock_take(&runtime->blocking.lock);
    runtime->blocking.coming--;
    ftl__lock_drop(&runtime->blocking.lock);
}

bool ftl__blocking_retry(struct ftl_runtime *runtime)
{
    ftl__lock_take(&runtime->blocking.lock);
    int error = start_if_short(runtime);
    ftl__lock_drop(&runtime->blocking.lock);
    return error != 0;
}

void ftl__blocking_set_max(struct ftl_runtime *runtime, uint32_t max)
{
    struct ftl__blocking *pool = &runtime->blocking;
    uint32_t before;
    int error;
    ftl__lock_take(&pool->lock);
    pool->max = max;
    do {
        before = pool->threads;
        error = start_if_short(runtime);
    } while (pool->threads > before);
    ftl__lock_drop(&pool->lock);
    if (error != 0)
        ftl__monitor_wake(&runtime->monitor);
}

/* ---- the end ---- */

void ftl__blocking_stop(struct ftl_runtime *runtime)
{
    struct ftl__blocking *pool = &runtime->blocking;
    ftl__lock_take(&pool->lock);
    pool->stop = true;
    change_signal(pool);
    ftl__futex_wake(&pool->signal, INT32_MAX);
    while (pool->threads + pool->leaving > 0) {
        uint32_t signal = atomic_load_explicit(&pool->signal, memory_order_relaxed);
        ftl__lock_drop(&pool->lock);
        ftl__futex_wait(&pool->signal, signal, FTL_FOREVER);
        ftl__lock_take(&pool->lock);
    }
    ftl__lock_drop(&pool->lock);
    if (pool->has_left)
        pthread_join(pool->left, NULL);
    while (pool->spare) {
        struct ftl__worker *worker = pool->spare;
        pool->spare = worker->spare_next;
        ftl__worker_delete(worker);
    }
}
