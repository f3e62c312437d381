/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * While any worker is awake the monitor looks at all of them every 2 ms; when all have slept for a
 * while it sleeps too, until one of them wakes it. A worker whose counter of turns has not moved
 * between two looks, and which runs a task (or a destructor), is stuck. The monitor then makes reachable what only
 * this worker could reach: the task in `lifo`, and what is held back in a corked `outbox`. Its ring
 * is open to thieves as it is; what is pinned to it stays. At each look the monitor also polls
 * the driver if nobody sleeps in it, so that no timer and no descriptor waits for a stuck worker.
 *
 * If all workers have been stuck for 10 ms and there is work, it sends an extra one, and takes one
 * back as soon as a regular one is free. A retired one keeps its thread: what is pinned to it goes
 * on there.
 *
 * Taking from another thread's `lifo` without making that thread's own access dear: the monitor
 * sets `seized`, puts a barrier into every thread of the process (membarrier(2)), and then looks
 * whether the worker runs a task and is not at the slot. The worker says so by a plain store and
 * then looks at `seized`: one of the two sees the other. Where membarrier does not work, nothing is
 * taken.
 *
 * It holds no lock while it calls the hook, and runs no task. */
#include "runtime/monitor.h"

#include <linux/membarrier.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fettle/time.h>

#include "runtime/park.h"
#include "runtime/schedule.h"

enum { LINGER = 10 }; /* looks at sleeping workers before it sleeps too */
static const int64_t every = 2 * FTL_MS, help_after = 10 * FTL_MS;

/* ---- what a stuck worker has ---- */

static bool is_in_user_code(const struct ftl__worker *worker)
{
    return atomic_load_explicit(&worker->strand, memory_order_acquire) ||
           atomic_load_explicit(&worker->calling, memory_order_acquire);
}

static void release(struct ftl__worker *worker)
{
    /* release: pairs with the acquire in take_hands(), schedule.c, and keep_monitor_away(), worker.c */
    atomic_store_explicit(&worker->seized, 0, memory_order_release);
    ftl__futex_wake(&worker->seized, 1);
}

/* True: `lifo` and `outbox` are the caller's until it releases them. False: the worker is at them,
 * or is not in a task any more. */
static bool seize(struct ftl__worker *worker)
{
    if (!worker->runtime->barriers)
        return false;
    atomic_store_explicit(&worker->seized, 1, memory_order_relaxed);
    (void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    /* acquire: pairs with drop_hands() and with the store that says so in resume() or
     * ftl__worker_call_begin() */
    if (!atomic_load_explicit(&worker->hands, memory_order_acquire) && is_in_user_code(worker))
        return true;
    release(worker);
    return false;
}

static void take_lifo(struct ftl__worker *worker)
{
    /* acquire: pairs with ftl__set_lifo(); the worker may fill the slot at any time */
    struct ftl_task *task = atomic_exchange_explicit(&worker->lifo, NULL, memory_order_acquire);
    if (task)
        ftl__schedule(task); /* to the inbox of the worker it is pinned to, or to everybody */
}

static void take_outbox(struct ftl__worker *worker)
{
    struct ftl__outbox outbox = worker->outbox;
    worker->outbox = (struct ftl__outbox){0};
    if (!outbox.first)
        return;
    ftl__inject_push(&outbox.runtime->inject, outbox.first, outbox.last, outbox.count);
    ftl__runtime_notify(outbox.runtime);
}

static void relieve(struct ftl__worker *worker)
{
    bool has = atomic_load_explicit(&worker->lifo, memory_order_relaxed) ||
               atomic_load_explicit(&worker->corked, memory_order_relaxed);
    if (has && seize(worker)) {
        take_lifo(worker);
        take_outbox(worker);
        release(worker);
    }
    if (ftl__queue_len(&worker->queue) > 0)
        ftl__runtime_notify(worker->runtime);
}

/* Of a worker that cannot leave its task meanwhile: else the strand, which lies in the task's block
 * or on a stack, could be somebody else's by the time it is read. */
static void name_task(struct ftl__worker *worker, struct ftl_stall *stall)
{
    if (!seize(worker))
        return;
    const struct ftl__strand *strand = ftl__worker_strand(worker);
    if (strand) { /* else a destructor, after the end of its task */
        stall->task_name = strand->task->name;
        stall->task_id = strand->task->id;
        stall->task_arg = strand->task->arg;
    }
    release(worker);
}

static void report(struct ftl__worker *worker, int64_t duration)
{
    struct ftl_runtime *runtime = worker->runtime;
    struct ftl__monitor *monitor = &runtime->monitor;
    worker->watch.reported = true;
    atomic_fetch_add_explicit(&monitor->stalls, 1, memory_order_relaxed);
    if (!runtime->on_stall)
        return;
    const struct ftl_stall unknown = {.worker = worker->index, .duration = duration};
    struct ftl_stall stall = unknown;
    name_task(worker, &stall);
    ftl__sample_take(worker, &stall);
    /* A worker that has come back was in something else. */
    if (atomic_load_explicit(&worker->tick, memory_order_acquire) != worker->watch.tick)
        stall = unknown;
    runtime->on_stall(runtime->hook_arg, &stall);
}

/* ---- extra workers ---- */

static void set_needed(struct ftl__worker *worker, bool needed)
{
    atomic_store_explicit(&worker->needed, needed, memory_order_relaxed);
    ftl__worker_unpark(worker); /* publishes it */
}

static bool is_needed(const struct ftl__worker *worker)
{
    return atomic_load_explicit(&worker->needed, memory_order_relaxed);
}

/* True: it is asleep, hence in no task. */
static bool is_parked(struct ftl__worker *worker)
{
    /* seq_cst: pairs with the exchange that ends the sleep, before ftl__monitor_wake() */
    uint32_t park = atomic_load(&worker->park);
    return park == FTL__PARK_FUTEX || park == FTL__PARK_DRIVER;
}

static bool has_parked_extra(struct ftl_runtime *runtime, struct ftl__worker **ret_worker)
{
    for (uint32_t i = runtime->worker_count; i < ftl__worker_top(runtime); i++) {
        *ret_worker = runtime->workers[i];
        if (!is_needed(*ret_worker) && is_parked(*ret_worker))
            return true;
    }
    return false;
}

/* One more: published before its thread starts, which counts tasks from the first. Without memory or
 * threads the next look tries again. */
static void create_extra(struct ftl_runtime *runtime)
{
    uint32_t index = ftl__worker_top(runtime);
    char name[24];
    if (index == runtime->worker_max)
        return;
    if (!runtime->workers[index])
        runtime->workers[index] = ftl__worker_new(runtime, index);
    struct ftl__worker *worker = runtime->workers[index];
    if (!worker)
        return;
    /* release: pairs with ftl__worker_top() */
    atomic_store_explicit(&runtime->worker_top, index + 1, memory_order_release);
    snprintf(name, sizeof name, "%.10s/%u", runtime->name, index);
    if (ftl__thread_start(&worker->thread, ftl__worker_main, worker, name) != 0)
        atomic_store_explicit(&runtime->worker_top, index, memory_order_release);
    else
        set_needed(worker, true);
}

static void send_extra(struct ftl_runtime *runtime)
{
    struct ftl__worker *worker;
    if (has_parked_extra(runtime, &worker))
        set_needed(worker, true);
    else
        create_extra(runtime);
}

static void retire_extra(struct ftl_runtime *runtime)
{
    for (uint32_t i = runtime->worker_count; i < ftl__worker_top(runtime); i++) {
        if (is_needed(runtime->workers[i])) {
            set_needed(runtime->workers[i], false);
            return;
        }
    }
}

/* ---- looking ---- */

/* How long the worker has been in one task, in ns: 0 if it has come back since the last look. */
static int64_t stuck_for(struct ftl__worker *worker, int64_t now)
{
    struct ftl__watch *watch = &worker->watch;
    uint32_t tick = atomic_load_explicit(&worker->tick, memory_order_relaxed);
    if (tick == watch->tick && !is_parked(worker) && is_in_user_code(worker))
        return now - watch->since;
    *watch = (struct ftl__watch){.tick = tick, .since = now};
    return 0;
}

void ftl__monitor_look(struct ftl_runtime *runtime)
{
    struct ftl__monitor *monitor = &runtime->monitor;
    int64_t now = ftl_now();
    bool regular_free = false, all_stuck = true;
    (void)ftl__runtime_poll(runtime);
    for (uint32_t i = 0; i < ftl__worker_top(runtime); i++) {
        struct ftl__worker *worker = runtime->workers[i];
        int64_t stuck = stuck_for(worker, now);
        if (stuck > 0)
            relieve(worker);
        if (stuck >= monitor->stall_after && !worker->watch.reported)
            report(worker, stuck);
        if (i < runtime->worker_count && stuck == 0)
            regular_free = true;
        if (is_needed(worker) && stuck < help_after)
            all_stuck = false;
    }
    if (all_stuck && ftl__runtime_has_work(runtime))
        send_extra(runtime);
    else if (regular_free)
        retire_extra(runtime);
}

static bool all_parked(struct ftl_runtime *runtime)
{
    for (uint32_t i = 0; i < ftl__worker_top(runtime); i++)
        if (!is_parked(runtime->workers[i]))
            return false;
    return true;
}

void ftl__monitor_sleep(struct ftl_runtime *runtime)
{
    struct ftl__monitor *monitor = &runtime->monitor;
    uint32_t awake = FTL__MONITOR_AWAKE;
    /* seq_cst: pairs with the load in ftl__monitor_wake() */
    if (!atomic_compare_exchange_strong_explicit(&monitor->state, &awake, FTL__MONITOR_ASLEEP,
                                                 memory_order_seq_cst, memory_order_relaxed))
        return;
    /* Its lock orders it with the wake-up in ftl__blocking_prepare(). */
    if (!all_parked(runtime) || ftl__blocking_retry(runtime))
        ftl__monitor_wake(monitor);
    while (atomic_load_explicit(&monitor->state, memory_order_relaxed) == FTL__MONITOR_ASLEEP)
        ftl__futex_wait(&monitor->state, FTL__MONITOR_ASLEEP, FTL_FOREVER);
}

void ftl__monitor_wake_asleep(struct ftl__monitor *monitor)
{
    uint32_t asleep = FTL__MONITOR_ASLEEP;
    if (atomic_compare_exchange_strong_explicit(&monitor->state, &asleep, FTL__MONITOR_AWAKE,
                                                memory_order_relaxed, memory_order_relaxed))
        ftl__futex_wake(&monitor->state, 1);
}

static void *monitor_main(void *arg)
{
    struct ftl_runtime *runtime = arg;
    struct ftl__monitor *monitor = &runtime->monitor;
    int quiet = 0;
    /* relaxed: it is joined, and nothing comes with the word */
    while (atomic_load_explicit(&monitor->state, memory_order_relaxed) != FTL__MONITOR_STOP) {
        ftl__futex_wait(&monitor->state, FTL__MONITOR_AWAKE, ftl_deadline(every));
        bool wanting = ftl__blocking_retry(runtime);
        quiet = all_parked(runtime) && !wanting ? quiet + 1 : 0;
        if (quiet < LINGER) {
            ftl__monitor_look(runtime);
            continue;
        }
        ftl__monitor_sleep(runtime);
        quiet = 0;
    }
    return NULL;
}

/* ---- life ---- */

int ftl__monitor_start(struct ftl_runtime *runtime, const struct ftl_runtime_options *options)
{
    struct ftl__monitor *monitor = &runtime->monitor;
    char name[24];
    if (options->unmonitored)
        return 0;
    monitor->stall_after = options->stall_after > 0 ? options->stall_after : 100 * FTL_MS;
    snprintf(name, sizeof name, "%.10s/mon", runtime->name);
    int error = ftl__sample_install();
    if (error != 0)
        return error;
    error = ftl__thread_start(&monitor->thread, monitor_main, runtime, name);
    monitor->running = error == 0;
    return error;
}

void ftl__monitor_stop(struct ftl_runtime *runtime)
{
    struct ftl__monitor *monitor = &runtime->monitor;
    if (!monitor->running)
        return;
    atomic_store_explicit(&monitor->state, FTL__MONITOR_STOP, memory_order_relaxed);
    ftl__futex_wake(&monitor->state, 1);
    pthread_join(monitor->thread, NULL);
    monitor->running = false;
}
