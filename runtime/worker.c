/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * What a worker thread does: take a task, run it until it switches out, look after it, and when
 * there is nothing to take, search the others' queues, then sleep.
 *
 * Where a ready task stands:
 *   - the slot `lifo`: what was made ready last on this worker runs next, since its data are warm;
 *     at most three times in a row, so that two tasks waking each other do not starve the rest;
 *   - `queue`: tasks that any worker may run: not yet started, or migratable; others steal from it;
 *   - `pinned` (own) and `inbox` (from elsewhere): started tasks that stay on this worker;
 *   - the runtime's injection queue: what came from outside, or did not fit.
 * Every 61 tasks the worker looks outside first: at the injection queue, the timers and epoll.
 *
 * A worker is not woken for a task that this one runs next; it is for what others could take. */
#include "runtime/worker.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/time.h>

#include "runtime/context.h"
#include "runtime/strands.h"

enum { OUTSIDE_EVERY = 61, LIFO_MAX = 3, BUDGET = 128, OUTBOX_MAX = 64 };

/* ---- waking workers ---- */

void ftl__worker_unpark(struct ftl__worker *worker)
{
    /* seq_cst: what was made visible before is seen by the worker after it leaves its sleep, or it
     * sees NOTIFIED before it begins one. */
    switch (atomic_exchange(&worker->park, FTL__PARK_NOTIFIED)) {
    case FTL__PARK_FUTEX:
        ftl__futex_wake(&worker->park, 1);
        break;
    case FTL__PARK_DRIVER:
        ftl__driver_wake(&worker->runtime->driver);
        break;
    default:
        break;
    }
}

void ftl__runtime_notify(struct ftl_runtime *runtime)
{
    int index = ftl__idle_to_notify(&runtime->idle);
    if (index >= 0)
        ftl__worker_unpark(runtime->workers[index]);
}

/* ---- queues ---- */

static void local_push(struct ftl__local *local, struct ftl_task *task)
{
    task->queue_next = NULL;
    if (local->last)
        local->last->queue_next = task;
    else
        local->first = task;
    local->last = task;
}

static struct ftl_task *local_pop(struct ftl__local *local)
{
    struct ftl_task *task = local->first;
    if (task) {
        local->first = task->queue_next;
        if (!local->first)
            local->last = NULL;
    }
    return task;
}

/* To the injection queue where the ring is full (with half of the ring) or a thief is at work in
 * it. */
static void push_queue(struct ftl__worker *worker, struct ftl_task *task)
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

/* Behind everything that is ready on this worker. True: another worker could take it. */
static bool push_back(struct ftl__worker *worker, struct ftl_task *task)
{
    if (task->worker) {
        local_push(&worker->pinned, task);
        return false;
    }
    push_queue(worker, task);
    return true;
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

static struct ftl_task *lifo_of(const struct ftl__worker *worker)
{
    /* acquire: pairs with set_lifo(), also between a task and the scheduler of its own thread,
     * which are two to ThreadSanitizer */
    return atomic_load_explicit(&worker->lifo, memory_order_acquire);
}

static void set_lifo(struct ftl__worker *worker, struct ftl_task *task)
{
    /* release: pairs with the acquire of a monitor that takes the task */
    atomic_store_explicit(&worker->lifo, task, memory_order_release);
}

/* The monitor takes nothing from an empty slot, so that only displacing needs the right to it. */
static void push_lifo(struct ftl__worker *worker, struct ftl_task *task)
{
    if (!lifo_of(worker)) {
        set_lifo(worker, task);
        return;
    }
    take_hands(worker);
    struct ftl_task *displaced = lifo_of(worker);
    set_lifo(worker, task);
    drop_hands(worker);
    if (displaced && push_back(worker, displaced) && !worker->polling)
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

static bool corked(const struct ftl__worker *worker)
{
    return atomic_load_explicit(&worker->corked, memory_order_relaxed);
}

static void set_corked(struct ftl__worker *worker, bool yes)
{
    atomic_store_explicit(&worker->corked, yes, memory_order_relaxed); /* a hint to the monitor */
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
    set_corked(worker, false);
    flush(worker);
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
    } else if (worker && corked(worker)) {
        hold_back(worker, task);
    } else {
        task->queue_next = NULL;
        ftl__inject_push(&runtime->inject, task, task, 1);
        ftl__runtime_notify(runtime);
    }
    ftl__shadow_resume();
}

/* The inbox is newest first: turn it around onto the end of `pinned`. */
static void empty_inbox(struct ftl__worker *worker)
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
        local_push(&worker->pinned, ordered);
        ordered = next;
    }
}

/* This worker's share of what was injected; its own queue is empty. */
static struct ftl_task *take_injected(struct ftl__worker *worker)
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
        push_queue(worker, rest);
        rest = next;
    }
    /* On their way they stood nowhere: a searcher may have seen nothing and gone to sleep. */
    if (!worker->searching)
        ftl__runtime_notify(runtime);
    return task;
}

/* ---- the driver ---- */

/* Polls and makes ready what that brought. Only one worker at a time does; false: another has it.
 * Who leaves the driver to run tasks notifies: of those who sleep one comes to sleep in the driver
 * instead, so that a task which keeps its worker keeps no timer and no descriptor of the others. */
static bool poll_driver(struct ftl__worker *worker, bool sleep)
{
    struct ftl_runtime *runtime = worker->runtime;
    struct ftl__wakes wakes;
    if (!ftl__driver_try_take(&runtime->driver))
        return false;
    ftl__wakes_init(&wakes);
    uint32_t empty = FTL__PARK_EMPTY;
    if (sleep && !atomic_compare_exchange_strong(&worker->park, &empty, FTL__PARK_DRIVER))
        sleep = false; /* notified already */
    ftl__driver_poll(&runtime->driver, sleep, &wakes);
    ftl__driver_give(&runtime->driver);

    worker->polling = true; /* one notify for the whole batch */
    ftl__wakes_submit(&wakes);
    worker->polling = false;
    return true;
}

bool ftl__runtime_poll(struct ftl_runtime *runtime)
{
    struct ftl__wakes wakes;
    if (!ftl__driver_try_take(&runtime->driver))
        return false;
    ftl__wakes_init(&wakes);
    ftl__driver_poll(&runtime->driver, false, &wakes);
    ftl__driver_give(&runtime->driver);
    ftl__wakes_submit(&wakes);
    /* A worker that wanted to sleep in the driver meanwhile sleeps elsewhere. */
    ftl__runtime_notify(runtime);
    return true;
}

static void sleep_on_futex(struct ftl__worker *worker)
{
    uint32_t empty = FTL__PARK_EMPTY;
    if (atomic_compare_exchange_strong(&worker->park, &empty, FTL__PARK_FUTEX))
        while (atomic_load(&worker->park) == FTL__PARK_FUTEX)
            ftl__futex_wait(&worker->park, FTL__PARK_FUTEX, FTL_FOREVER);
}

/* True: it slept in the driver, which is free now. */
static bool park(struct ftl__worker *worker)
{
    ftl__count(&worker->stats.parked);
    bool drove = poll_driver(worker, true);
    if (!drove)
        sleep_on_futex(worker);
    /* seq_cst: a monitor that is going to sleep sees this worker awake, or this sees it asleep. */
    atomic_exchange(&worker->park, FTL__PARK_EMPTY);
    ftl__monitor_wake(&worker->runtime->monitor);
    return drove;
}

/* ---- choosing ---- */

static struct ftl_task *look_outside(struct ftl__worker *worker)
{
    if (poll_driver(worker, false))
        ftl__runtime_notify(worker->runtime);
    /* More than one would not fit and come back. */
    return worker->member ? ftl__inject_take(&worker->runtime->inject, 1) : NULL;
}

static struct ftl_task *next_task(struct ftl__worker *worker)
{
    struct ftl_task *task = NULL, *behind = NULL;
    uint32_t tick = atomic_load_explicit(&worker->tick, memory_order_relaxed) + 1;
    atomic_store_explicit(&worker->tick, tick, memory_order_relaxed);
    if (tick % OUTSIDE_EVERY == 0 && (task = look_outside(worker)) != NULL)
        return task;
    empty_inbox(worker);
    task = lifo_of(worker);
    if (task) {
        set_lifo(worker, NULL);
        if (worker->lifo_runs++ < LIFO_MAX)
            return task;
        if (push_back(worker, task))
            behind = task;
    }
    worker->lifo_runs = 0;
    bool pinned_first = ++worker->turn % 2;
    task = pinned_first ? local_pop(&worker->pinned) : ftl__queue_pop(&worker->queue);
    if (!task)
        task = pinned_first ? ftl__queue_pop(&worker->queue) : local_pop(&worker->pinned);
    if (behind && task != behind)
        ftl__runtime_notify(worker->runtime); /* while it stood in `lifo` nobody was */
    return task ? task : take_injected(worker);
}

static uint32_t next_random(struct ftl__worker *worker)
{
    uint32_t x = worker->random; /* xorshift32, Marsaglia 2003 */
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return worker->random = x;
}

static struct ftl_task *search(struct ftl__worker *worker)
{
    struct ftl_runtime *runtime = worker->runtime;
    if (!worker->searching && !ftl__idle_search(&runtime->idle))
        return NULL;
    worker->searching = true;
    uint32_t n = ftl__worker_top(runtime), start = next_random(worker) % n, moved = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct ftl__worker *victim = runtime->workers[(start + i) % n];
        if (victim == worker)
            continue;
        struct ftl_task *task = ftl__queue_steal(&victim->queue, &worker->queue, &moved);
        if (task) {
            uint64_t stolen = atomic_load_explicit(&worker->stats.stolen, memory_order_relaxed);
            atomic_store_explicit(&worker->stats.stolen, stolen + moved, memory_order_relaxed);
            return task;
        }
    }
    return take_injected(worker);
}

/* ---- sleeping ---- */

static bool has_work(const struct ftl__worker *worker)
{
    return lifo_of(worker) || worker->pinned.first || ftl__queue_len(&worker->queue) > 0 ||
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

/* Somebody asks it to do something else than sleep. */
static bool called_away(const struct ftl__worker *worker)
{
    /* acquire: pairs with ftl_runtime_free() */
    return atomic_load_explicit(&worker->runtime->stop, memory_order_acquire) ||
           !atomic_load_explicit(&worker->needed, memory_order_relaxed);
}

static void go_to_sleep(struct ftl__worker *worker)
{
    struct ftl_runtime *runtime = worker->runtime;
    bool look = ftl__idle_sleep(&runtime->idle, worker->index, worker->searching);
    worker->searching = false;
    if (look && ftl__runtime_has_work(runtime))
        ftl__runtime_notify(runtime);
    for (;;) {
        bool drove = park(worker);
        if (has_work(worker) || called_away(worker)) {
            /* Not among the sleepers any more: it was notified as well, as a searcher. */
            worker->searching = !ftl__idle_wake(&runtime->idle, worker->index);
            if (drove && !worker->searching)
                ftl__runtime_notify(runtime);
            return;
        }
        if (!ftl__idle_is_sleeping(&runtime->idle, worker->index)) {
            worker->searching = true;
            return;
        }
    }
}

/* ---- running ---- */

static void say_unguarded(struct ftl_runtime *runtime)
{
    if (!atomic_exchange_explicit(&runtime->said_unguarded, true, memory_order_relaxed))
        runtime->on_unguarded(runtime->hook_arg);
}

static bool give_stack(struct ftl__worker *worker, struct ftl_task *task)
{
    struct ftl__strand *strand = &task->root;
    strand->stack = ftl__stack_take(&worker->runtime->stacks, &worker->stacks, task->stack_class);
    if (!strand->stack)
        return false;
    if (!task->migratable)
        task->worker = worker;
    ftl__shadow_begin(&strand->shadow, &strand->stack->fiber);
    if (!strand->stack->guarded)
        say_unguarded(worker->runtime);
    return true;
}

/* There is no memory for its stack: it ends as if it had panicked at its first instruction. */
static void end_stackless(struct ftl_task *task)
{
    task->panic = ftl__panic_no_memory();
    ftl__defers_run(&task->root.defers);
    ftl__permit_of_task(task);
    if (task->arg_free)
        task->arg_free(task->arg);
    ftl__task_complete(task);
}

/* Of a strand that has ended; one of a branch lies on it. */
static void take_stack_back(struct ftl__worker *worker, struct ftl__strand *strand)
{
    struct ftl__stack *stack = strand->stack;
    ftl__shadow_take(ftl__task_turn(strand->task));
    strand->stack = NULL;
    ftl__shadow_end(stack->low, (size_t)(stack->top - stack->low));
    if (strand->unwound) { /* its calls have not returned: the fiber is spent */
        ftl__shadow_forget(stack->fiber);
        stack->fiber = NULL;
    }
    ftl__shadow_pass(stack);
    ftl__stack_give(&worker->runtime->stacks, &worker->stacks, stack);
}

/* What lay below the stack may be anybody's: nothing that is done from here on can be trusted. */
FTL_NORETURN static void overrun(const struct ftl_task *task)
{
    fprintf(stderr,
            "fettle: task %s (%ju) has overrun its stack of %zu KiB, which has no guard: memory is "
            "damaged\n",
            task->name ? task->name : "(unnamed)", (uintmax_t)task->id,
            ftl__stack_size(task->stack_class) >> 10);
    abort();
}

/* The running task is left: from here on the monitor keeps away from this worker. */
static void leave_strand(struct ftl__worker *worker)
{
    atomic_store_explicit(&worker->strand, NULL, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst); /* as in take_hands() */
    while (atomic_load_explicit(&worker->seized, memory_order_acquire))
        ftl__futex_wait(&worker->seized, 1, FTL_FOREVER);
}

/* Inlined: see context.h. */
#define INLINE static inline __attribute__((always_inline))

/* Waits while a dump looks at the task, which has just been taken. The other half is hold() in
 * runtime.c, which puts a barrier into every thread between its own two. */
INLINE void heed_dump(struct ftl_runtime *runtime, const struct ftl_task *task)
{
    atomic_signal_fence(memory_order_seq_cst);
    /* acquire: pairs with the release in let_go() */
    while (atomic_load_explicit(&runtime->dumped, memory_order_acquire) == task)
        sched_yield(); /* it is quick */
}

INLINE enum ftl__switch resume(struct ftl__worker *worker, struct ftl__strand *strand)
{
    const void *low;
    size_t size;
    /* Read first: between leave and arrive the sanitizers take this for the strand. */
    void *sp = strand->sp, *top = strand->stack->top;
    bool root = strand == &strand->task->root;
    /* release: a monitor that sees a task running sees what the scheduler did before */
    atomic_store_explicit(&worker->strand, strand, memory_order_release);
    ftl__shadow_leave(&worker->shadow, &strand->shadow, strand->stack->low,
                      (size_t)(strand->stack->top - strand->stack->low));
    if (sp)
        ftl__context_resume(&worker->sp, sp);
    else if (root)
        ftl__context_begin(&worker->sp, top, ftl__strand_main, strand);
    else /* the strand lies on top of its stack */
        ftl__context_begin(&worker->sp, strand, ftl__branch_main, strand);
    ftl__shadow_arrive(&worker->shadow, &low, &size);
    leave_strand(worker);
    if (!ftl__stack_intact(strand->stack))
        overrun(strand->task);
    if (corked(worker)) { /* by a task that did not get to uncork */
        set_corked(worker, false);
        flush(worker);
    }
    return worker->why;
}

/* The strands' own, looked at for them. */
INLINE bool has_branches(const struct ftl_task *task)
{
    ftl__shadow_pause();
    bool has = task->root.place != NULL;
    ftl__shadow_resume();
    return has;
}

INLINE struct ftl__strand *next_strand(const struct ftl_task *task)
{
    ftl__shadow_pause();
    struct ftl__strand *strand = ftl__strands_next(task->root.place->strands);
    if (strand && !strand->stack->guarded)
        say_unguarded(task->runtime);
    ftl__shadow_resume();
    return strand;
}

/* One strand after the other, until none is ready, one yields, or the root, alone again, switches
 * out. */
INLINE enum ftl__switch run_strands(struct ftl__worker *worker, struct ftl_task *task)
{
    do {
        struct ftl__strand *strand = next_strand(task);
        if (!strand)
            return FTL__SWITCH_WAIT;
        enum ftl__switch why = resume(worker, strand);
        if (why == FTL__SWITCH_END && strand != &task->root) {
            ftl__shadow_pause();
            take_stack_back(worker, strand);
            ftl__shadow_resume();
        } else if (why != FTL__SWITCH_WAIT) {
            return why;
        }
    } while (has_branches(task));
    return FTL__SWITCH_WAIT;
}

INLINE enum ftl__switch run_task(struct ftl__worker *worker, struct ftl_task *task)
{
    enum ftl__switch why = FTL__SWITCH_WAIT;
    if (!has_branches(task))
        why = resume(worker, &task->root);
    if (why == FTL__SWITCH_WAIT && has_branches(task))
        why = run_strands(worker, task);
    return why;
}

/* True: the task is not at its end. Inlined also since as a function it cost a tenth of a spawn. */
INLINE bool run(struct ftl__worker *worker, struct ftl_task *task)
{
    if (!ftl__task_begin(task))
        return false;
    heed_dump(worker->runtime, task);
    if (!task->root.stack && !give_stack(worker, task)) {
        end_stackless(task);
        return false;
    }
    worker->budget = BUDGET;
    worker->slice_end = 0;
    switch (run_task(worker, task)) {
    case FTL__SWITCH_WAIT:
        if (!ftl__task_idle(task))
            return true;
        break;
    case FTL__SWITCH_YIELD:
        /* release: a dump that sees it sees the suspended stack */
        atomic_store_explicit(&task->yielded, true, memory_order_release);
        break;
    case FTL__SWITCH_END:
        take_stack_back(worker, &task->root);
        ftl__task_complete(task);
        return false;
    }
    if (push_back(worker, task))
        ftl__runtime_notify(worker->runtime);
    return true;
}

FTL__UNTRACKED void ftl__worker_switch_out(struct ftl__strand *strand, enum ftl__switch why)
{
    struct ftl__worker *worker = ftl__worker_current();
    worker->why = why;
    ftl__shadow_pass(ftl__task_turn(strand->task));
    ftl__shadow_leave(why == FTL__SWITCH_END ? NULL : &strand->shadow, &worker->shadow,
                      worker->stack_low, worker->stack_size);
    ftl__context_switch(&strand->sp, worker->sp);
    worker = ftl__worker_current(); /* perhaps another one now */
    ftl__shadow_arrive(&strand->shadow, &worker->stack_low, &worker->stack_size);
    ftl__shadow_take(ftl__task_turn(strand->task));
}

FTL__UNTRACKED void *ftl__worker_leave(void)
{
    struct ftl__worker *worker = ftl__worker_current();
    worker->why = FTL__SWITCH_END;
    ftl__shadow_pass(ftl__task_turn(ftl__worker_strand(worker)->task));
    ftl__shadow_leave(NULL, &worker->shadow, worker->stack_low, worker->stack_size);
    return worker->sp;
}

/* ---- extra workers ---- */

static void join_in(struct ftl__worker *worker)
{
    struct ftl__monitor *monitor = &worker->runtime->monitor;
    ftl__idle_join(&worker->runtime->idle);
    worker->member = worker->searching = true;
    atomic_fetch_add_explicit(&monitor->extra_now, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&monitor->extra_used, 1, memory_order_relaxed);
}

/* Its queue goes to the others; what is pinned to it stays. */
static void retire(struct ftl__worker *worker)
{
    struct ftl_runtime *runtime = worker->runtime;
    struct ftl_task *task;
    bool left = false;
    while ((task = ftl__queue_pop(&worker->queue)) != NULL) {
        task->queue_next = NULL;
        ftl__inject_push(&runtime->inject, task, task, 1);
        left = true;
    }
    bool look = ftl__idle_leave(&runtime->idle, worker->searching);
    worker->member = worker->searching = false;
    atomic_fetch_sub_explicit(&runtime->monitor.extra_now, 1, memory_order_relaxed);
    if (left || (look && ftl__runtime_has_work(runtime)))
        ftl__runtime_notify(runtime);
}

/* Retired: it runs only what is pinned to it, and what that makes ready here. */
static void rest(struct ftl__worker *worker)
{
    sleep_on_futex(worker);
    atomic_exchange(&worker->park, FTL__PARK_EMPTY); /* as in park() */
    ftl__monitor_wake(&worker->runtime->monitor);
}

/* ---- the thread ---- */

/* The monitor wants the worker to take part, or not: true = that has changed. It unparks the worker
 * when it has changed its mind, so that nothing is missed in a sleep. */
static bool change(struct ftl__worker *worker)
{
    bool needed = atomic_load_explicit(&worker->needed, memory_order_relaxed);
    if (needed == worker->member)
        return false;
    if (needed)
        join_in(worker);
    else
        retire(worker);
    return true;
}

static void loop(struct ftl__worker *worker)
{
    struct ftl_runtime *runtime = worker->runtime;
    /* acquire: pairs with ftl_runtime_free() */
    while (!atomic_load_explicit(&runtime->stop, memory_order_acquire)) {
        struct ftl_task *task = next_task(worker);
        if (!task && worker->member)
            task = search(worker);
        if (change(worker) && !task)
            continue;
        if (!task) {
            if (worker->member)
                go_to_sleep(worker);
            else
                rest(worker);
            continue;
        }
        if (worker->searching) {
            worker->searching = false;
            if (ftl__idle_found(&runtime->idle))
                ftl__runtime_notify(runtime);
        }
        (void)run(worker, task);
    }
}

void ftl__worker_enter(struct ftl__worker *worker)
{
    ftl__worker_set_current(worker);
    ftl__sample_enter(worker);
    ftl__shadow_thread(&worker->shadow);
}

void ftl__worker_exit(struct ftl__worker *worker)
{
    ftl__stack_cache_flush(&worker->runtime->stacks, &worker->stacks);
    ftl__sample_exit(worker);
    ftl__worker_set_current(NULL);
}

void *ftl__worker_main(void *arg)
{
    struct ftl__worker *worker = arg;
    ftl__worker_enter(worker);
    loop(worker);
    ftl__worker_exit(worker);
    return NULL;
}

void ftl__worker_serve(struct ftl__worker *worker, struct ftl_task *task)
{
    bool alive = run(worker, task);
    while (alive) {
        empty_inbox(worker);
        task = local_pop(&worker->pinned);
        if (task) {
            alive = run(worker, task);
        } else {
            sleep_on_futex(worker);
            atomic_exchange(&worker->park, FTL__PARK_EMPTY);
        }
    }
}
