/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * What a worker thread does: take a task, run it until it switches out, look after it, and when
 * there is nothing to take, search the others' queues, then sleep. Where tasks stand is in
 * schedule.c, how it sleeps in park.c.
 *
 * Every 61 tasks it looks outside first: at the injection queue, the timers and epoll. What stands in
 * `lifo` comes before the rest, but for every fourth time in a row; then come the tasks that are
 * pinned and those of the ring, in turns.
 *
 * Here is the scheduler's side of each switch; the task's is in strand.c. */
#include "runtime/worker.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/context.h"
#include "runtime/park.h"
#include "runtime/schedule.h"
#include "runtime/strands.h"

enum { OUTSIDE_EVERY = 61, LIFO_MAX = 3, BUDGET = 128 };

/* ---- choosing ---- */

static struct ftl_task *look_outside(struct ftl__worker *worker)
{
    if (ftl__worker_poll(worker, false))
        ftl__runtime_notify(worker->runtime);
    /* More than one would not fit and come back. */
    return worker->member ? ftl__inject_take(&worker->runtime->inject, 1) : NULL;
}

/* Every how many tasks the ring comes before what is pinned. What is started here stays here: while
 * somebody is on his way to take a half, little of it is. */
static uint32_t open_every(const struct ftl__worker *worker)
{
    return ftl__idle_is_searched(&worker->runtime->idle) ? 32 : 2;
}

static struct ftl_task *next_task(struct ftl__worker *worker)
{
    struct ftl_task *task = NULL, *behind = NULL;
    uint32_t tick = atomic_load_explicit(&worker->tick, memory_order_relaxed) + 1;
    atomic_store_explicit(&worker->tick, tick, memory_order_relaxed);
    if (tick % OUTSIDE_EVERY == 0 && (task = look_outside(worker)) != NULL)
        return task;
    ftl__schedule_inbox(worker);
    task = ftl__lifo(worker);
    if (task) {
        ftl__set_lifo(worker, NULL);
        if (worker->lifo_runs++ < LIFO_MAX)
            return task;
        if (ftl__schedule_behind(worker, task))
            behind = task;
    }
    worker->lifo_runs = 0;
    bool pinned_first = ++worker->turn % open_every(worker) != 0;
    task = pinned_first ? ftl__local_pop(&worker->pinned) : ftl__queue_pop(&worker->queue);
    if (!task)
        task = pinned_first ? ftl__queue_pop(&worker->queue) : ftl__local_pop(&worker->pinned);
    if (behind && task != behind)
        ftl__runtime_notify(worker->runtime); /* while it stood in `lifo` nobody was */
    return task ? task : ftl__schedule_injected(worker);
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
    return ftl__schedule_injected(worker);
}

/* ---- running ---- */

static void say_unguarded(struct ftl_runtime *runtime)
{
    if (atomic_exchange_explicit(&runtime->said_unguarded, true, memory_order_relaxed))
        return;
    struct ftl__worker *worker = ftl__worker_call_begin();
    runtime->on_unguarded(runtime->hook_arg);
    ftl__worker_call_end(worker);
}

static bool give_stack(struct ftl__worker *worker, struct ftl_task *task)
{
    struct ftl__strand *strand = &task->root;
    strand->stack = ftl__stack_take(&worker->runtime->stacks, &worker->stacks, task->stack_class);
    if (!strand->stack)
        return false;
    if (!task->migratable)
        ftl__task_pin(task, worker);
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
    struct ftl__worker *worker = ftl__worker_call_begin();
    if (task->arg_free)
        task->arg_free(task->arg);
    ftl__worker_call_end(worker);
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
        ftl__rescue_end(worker, stack);
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

/* The user's code is left, and the worker has said so: from here on the monitor keeps away. */
static void keep_monitor_away(struct ftl__worker *worker)
{
    atomic_signal_fence(memory_order_seq_cst); /* as in take_hands(), schedule.c */
    while (atomic_load_explicit(&worker->seized, memory_order_acquire))
        ftl__futex_wait(&worker->seized, 1, FTL_FOREVER);
}

static void leave_strand(struct ftl__worker *worker)
{
    atomic_store_explicit(&worker->strand, NULL, memory_order_relaxed);
    keep_monitor_away(worker);
}

struct ftl__worker *ftl__worker_call_begin(void)
{
    struct ftl__worker *worker = ftl__worker_current();
    if (!worker || ftl__worker_strand(worker) ||
        atomic_load_explicit(&worker->calling, memory_order_relaxed)) /* from another one */
        return NULL;
    /* release: as in resume() */
    atomic_store_explicit(&worker->calling, true, memory_order_release);
    return worker;
}

void ftl__worker_call_end(struct ftl__worker *worker)
{
    if (!worker)
        return;
    atomic_store_explicit(&worker->calling, false, memory_order_relaxed);
    keep_monitor_away(worker);
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
    if (ftl__worker_is_corked(worker)) /* by a task that did not get to uncork */
        ftl__worker_uncork(worker);
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

static bool rescue(struct ftl__worker *worker, struct ftl_task *task);

/* It has switched out: true = it is not at its end. */
INLINE bool look_after(struct ftl__worker *worker, struct ftl_task *task, enum ftl__switch why)
{
    switch (why) {
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
    case FTL__SWITCH_FAULT:
        return rescue(worker, task);
    }
    if (ftl__schedule_behind(worker, task))
        ftl__runtime_notify(worker->runtime);
    return true;
}

/* A strand of it has faulted: it goes on, to its end. */
__attribute__((noinline, cold)) static bool rescue(struct ftl__worker *worker,
                                                   struct ftl_task *task)
{
    enum ftl__switch why;
    do {
        ftl__rescue(worker);
        why = run_task(worker, task);
    } while (why == FTL__SWITCH_FAULT);
    bool alive = look_after(worker, task, why);
    ftl__rescue_provide(worker); /* last: the allocator may hang */
    return alive;
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
    return look_after(worker, task, run_task(worker, task));
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
    if (strand->stack->reserve_open)
        ftl__fault_lead_on(worker, strand);
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
                ftl__worker_sleep(worker);
            else
                ftl__worker_rest(worker);
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
    ftl__fault_enter(worker);
    ftl__shadow_thread(&worker->shadow);
}

void ftl__worker_exit(struct ftl__worker *worker)
{
    ftl__stack_cache_flush(&worker->runtime->stacks, &worker->stacks);
    ftl__fault_exit(worker);
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
        ftl__schedule_inbox(worker);
        task = ftl__local_pop(&worker->pinned);
        if (task)
            alive = run(worker, task);
        else
            ftl__worker_rest(worker);
    }
}
