/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Where a ready task stands (which of them is next is chosen in worker.c):
 *   - the slot `lifo`: what was made ready last on this worker runs next, since its data are warm;
 *     at most three times in a row, so that two tasks waking each other do not starve the rest;
 *   - `queue`: tasks that any worker may run: not yet started, or migratable; others steal from it;
 *   - `pinned` (own) and `inbox` (from elsewhere): started tasks that stay on this worker;
 *   - `outbox`: while the cork is in, tasks of other runtimes, until they are handed over together;
 *   - the runtime's injection queue: what came from outside, or did not fit.
 *
 * A worker is not woken for a task that this one runs next; it is for what others could take.
 *
 * All is called on the worker's own thread, but for ftl__schedule(), which any thread may call. It
 * runs no task and never sleeps, but for the moment in which the monitor has the slot (monitor.c). */
#include "runtime/schedule.h"

#include "runtime/park.h"

enum { OUTBOX_MAX = 64 };

/* ---- standing ---- */

/* Where the ring is full (half of it goes along), or a thief is at work in it, to the injection
 * queue. */
void ftl__schedule_open(struct ftl__worker *worker, struct ftl_task *task)
{
    struct ftl_task *first = task, *last;
    if (ftl__queue_push(&worker->queue, task))
        return;
    uint32_t shed = ftl__queue_shed(&worker->queue, &first, &last);
    task->queue_next = NULL;
    if (shed > 0)
        last->queue_next = task;
    ftl__inject_push(&worker->runtime->inject, first, task, shed + 1);
}

/* The right to `lifo` and `outbox` against the monitor; the other half is in monitor.c. Plain
 * stores and loads: the monitor puts a barrier into every thread between its own two. */
static void take_hands(struct ftl__worker *worker)
{
    for (;;) {
        atomic_store_explicit(&worker->hands, true, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
        /* acquire: pairs with the release of the monitor that had seized them */
        if (!atomic_load_explicit(&worker->seized, memory_order_acquire))
            return;
        atomic_store_explicit(&worker->hands, false, memory_order_release);
        ftl__futex_wait(&worker->seized, 1, FTL_FOREVER);
    }
}

static void drop_hands(struct ftl__worker *worker)
{
    /* release: pairs with the acquire in the monitor's seize() */
    atomic_store_explicit(&worker->hands, false, memory_order_release);
}

/* The monitor takes nothing from an empty slot, so that only displacing needs the right to it. */
static void push_lifo(struct ftl__worker *worker, struct ftl_task *task)
{
    if (!ftl__lifo(worker)) {
        ftl__set_lifo(worker, task);
        return;
    }
    take_hands(worker);
    struct ftl_task *displaced = ftl__lifo(worker);
    ftl__set_lifo(worker, task);
    drop_hands(worker);
    if (displaced && ftl__schedule_behind(worker, displaced) && !worker->polling)
        ftl__runtime_notify(worker->runtime);
}

static void push_inbox(struct ftl__worker *worker, struct ftl_task *task)
{
    struct ftl_task *head = atomic_load_explicit(&worker->inbox, memory_order_relaxed);
    do {
        task->queue_next = head;
        /* release: publishes queue_next and the task to the owner's exchange */
    } while (!atomic_compare_exchange_weak_explicit(&worker->inbox, &head, task,
                                                    memory_order_release, memory_order_relaxed));
    ftl__worker_unpark(worker);
}

/* Hands over what is held back. With the hands taken, or from the scheduler. */
static void flush(struct ftl__worker *worker)
{
    struct ftl__outbox *outbox = &worker->outbox;
    if (!outbox->first)
        return;
    ftl__inject_push(&outbox->runtime->inject, outbox->first, outbox->last, outbox->count);
    ftl__runtime_notify(outbox->runtime);
    outbox->first = outbox->last = NULL;
    outbox->count = 0;
}

static void hold_back(struct ftl__worker *worker, struct ftl_task *task)
{
    struct ftl__outbox *outbox = &worker->outbox;
    take_hands(worker);
    if (outbox->count == OUTBOX_MAX || outbox->runtime != task->runtime)
        flush(worker);
    outbox->runtime = task->runtime;
    task->queue_next = NULL;
    if (outbox->last)
        outbox->last->queue_next = task;
    else
        outbox->first = task;
    outbox->last = task;
    outbox->count++;
    drop_hands(worker);
}

static void set_corked(struct ftl__worker *worker, bool yes)
{
    atomic_store_explicit(&worker->corked, yes, memory_order_relaxed); /* a hint to the monitor */
}

void ftl__worker_uncork(struct ftl__worker *worker)
{
    set_corked(worker, false);
    flush(worker);
}

FTL__UNSEEN void ftl_cork(void)
{
    struct ftl__worker *worker = ftl__worker_current();
    if (worker && worker->home) /* not one that may block for long with the cork in */
        set_corked(worker, true);
}

void ftl_uncork(void)
{
    struct ftl__worker *worker = ftl__worker_current();
    if (!worker)
        return;
    ftl__shadow_pause();
    take_hands(worker);
    ftl__worker_uncork(worker);
    drop_hands(worker);
    ftl__shadow_resume();
}

void ftl__schedule(struct ftl_task *task)
{
    struct ftl__worker *worker = ftl__worker_current();
    struct ftl_runtime *runtime = task->runtime;
    ftl__shadow_pass(ftl__task_turn(task));
    ftl__shadow_pause();
    if (task->worker && task->worker != worker) {
        push_inbox(task->worker, task);
    } else if (worker && worker->home == runtime) {
        push_lifo(worker, task);
    } else if (task->worker) {
        push_inbox(worker, task);
    } else if (worker && ftl__worker_is_corked(worker)) {
        hold_back(worker, task);
    } else {
        task->queue_next = NULL;
        ftl__inject_push(&runtime->inject, task, task, 1);
        ftl__runtime_notify(runtime);
    }
    ftl__shadow_resume();
}

/* The inbox is newest first. */
void ftl__schedule_inbox(struct ftl__worker *worker)
{
    if (!atomic_load_explicit(&worker->inbox, memory_order_relaxed))
        return;
    /* acquire: pairs with the release in push_inbox() */
    struct ftl_task *task = atomic_exchange_explicit(&worker->inbox, NULL, memory_order_acquire);
    struct ftl_task *ordered = NULL;
    while (task) {
        struct ftl_task *next = task->queue_next;
        task->queue_next = ordered;
        ordered = task;
        task = next;
    }
    while (ordered) {
        struct ftl_task *next = ordered->queue_next;
        ftl__local_push(&worker->pinned, ordered);
        ordered = next;
    }
}

struct ftl_task *ftl__schedule_injected(struct ftl__worker *worker)
{
    struct ftl_runtime *runtime = worker->runtime;
    uint32_t share = ftl__inject_len(&runtime->inject);
    if (share == 0 || !worker->member)
        return NULL;
    share = share / runtime->worker_count + 1;
    uint32_t room = FTL__QUEUE_SIZE / 2;
    struct ftl_task *task = ftl__inject_take(&runtime->inject, share < room ? share : room);
    if (!task)
        return NULL;
    struct ftl_task *rest = task->queue_next;
    if (!rest)
        return task;
    while (rest) {
        struct ftl_task *next = rest->queue_next;
        ftl__schedule_open(worker, rest);
        rest = next;
    }
    /* On their way they stood nowhere: a searcher may have seen nothing and gone to sleep. */
    if (!worker->searching)
        ftl__runtime_notify(runtime);
    return task;
}

/* ---- is there anything? ---- */

bool ftl__worker_has_work(const struct ftl__worker *worker)
{
    return ftl__lifo(worker) || worker->pinned.first || ftl__queue_len(&worker->queue) > 0 ||
           atomic_load_explicit(&worker->inbox, memory_order_relaxed);
}

bool ftl__runtime_has_work(const struct ftl_runtime *runtime)
{
    uint32_t n = ftl__worker_top(runtime);
    for (uint32_t i = 0; i < n; i++)
        if (ftl__queue_len(&runtime->workers[i]->queue) > 0)
            return true;
    return ftl__inject_len(&runtime->inject) > 0;
}
