/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The life of a strand, seen from its own stack: its first function, suspending, what abort means
 * to a wait, and the end. The other side of each switch is in worker.c.
 *
 * An abort never unwinds with longjmp or an unwinder: the wait that honours it runs the open defers
 * on top of the suspended frames, so that what these point to is still there, and then the stack is
 * given up. */
#include "runtime/strand.h"

#include <sched.h>
#include <time.h>

#include <fettle/time.h>

#include "runtime/fork.h"
#include "runtime/strands.h"
#include "runtime/worker.h"

FTL__UNSEEN struct ftl__strand *ftl__strand_current(void)
{
    struct ftl__worker *worker = ftl__worker_current();
    struct ftl__strand *strand = worker ? ftl__worker_strand(worker) : NULL;
    return strand ? strand : ftl__thread_strand();
}

static void run_defers(struct ftl__strand *strand)
{
    strand->mask++;
    ftl__defers_run(&strand->defers);
}

/* The last thing on a root's stack, but for the switch. A panic of arg_free comes back here with
 * arg_free gone. */
FTL__UNTRACKED static void end(struct ftl__strand *strand)
{
    struct ftl_task *task = strand->task;
    run_defers(strand);
    ftl__permit_of_task(task);
    void (*arg_free)(void *) = task->arg_free;
    task->arg_free = NULL;
    if (arg_free)
        arg_free(task->arg);
}

FTL__UNTRACKED void ftl__strand_unwind(struct ftl__strand *strand)
{
    if (strand == &strand->task->root) {
        end(strand);
    } else {
        run_defers(strand);
        ftl__branch_end(strand);
    }
    ftl__worker_switch_out(strand, FTL__SWITCH_END);
    __builtin_unreachable();
}

FTL__UNTRACKED void *ftl__strand_main(void *arg)
{
    struct ftl__strand *strand = arg;
    struct ftl_task *task = strand->task;
    struct ftl__worker *worker = ftl__worker_current();
    ftl__shadow_arrive(&strand->shadow, &worker->stack_low, &worker->stack_size);
    ftl__shadow_take(strand->stack);
    ftl__shadow_take(ftl__task_turn(task));
    task->value = task->fn(task->arg);
    ftl__fork_check();
    end(strand); /* only what was moved into the task is still armed */
    return ftl__worker_leave();
}

void ftl__strand_suspend(struct ftl__strand *strand)
{
    ftl__worker_switch_out(strand, FTL__SWITCH_WAIT);
}

static int64_t grace_end(const struct ftl__strand *strand)
{
    return atomic_load_explicit(&strand->task->abort_at, memory_order_relaxed);
}

static inline bool is_aborted(const struct ftl__strand *strand)
{
    const _Atomic uint64_t *state = &strand->task->state;
    bool asked = atomic_load_explicit(state, memory_order_relaxed) & FTL__CANCELLED;
    if ((!asked && !strand->aborted) || strand->mask > 0)
        return false;
    if (strand->aborted || strand->shielded)
        return strand->aborted;
    /* acquire: pairs with the release in ftl_abort(), so that abort_at is seen */
    if (!(atomic_load_explicit(state, memory_order_acquire) & FTL__CANCELLED))
        return false;
    return !strand->heeding || ftl_now() >= grace_end(strand);
}

int64_t ftl__strand_limit(const struct ftl__strand *strand, int64_t deadline)
{
    if (!strand->heeding || strand->shielded || strand->mask > 0)
        return deadline;
    int64_t end = grace_end(strand);
    return end < deadline ? end : deadline;
}

bool ftl__abort_pending(const struct ftl__strand *strand)
{
    return is_aborted(strand);
}

int ftl__wait_result(struct ftl__strand *strand, int rc)
{
    if (rc != FTL_ECANCELED)
        return rc;
    if (!strand->aborted && ftl_now() < grace_end(strand))
        return rc;
    strand->unwound = true;
    if (strand == &strand->task->root)
        strand->task->cancelled = true;
    ftl__strand_unwind(strand);
}

static inline int yield_only(struct ftl__strand *strand)
{
    if (is_aborted(strand))
        return FTL_ECANCELED;
    if (strand->place)
        ftl__place_wake(strand->place);
    ftl__worker_switch_out(strand, FTL__SWITCH_YIELD);
    return is_aborted(strand) ? FTL_ECANCELED : 0;
}

static inline int yield(struct ftl__strand *strand)
{
    int rc = yield_only(strand);
    return rc == 0 ? 0 : ftl__wait_result(strand, rc);
}

/* One operation less. True: that was the last one. */
FTL__UNSEEN static bool spend(struct ftl__worker *worker)
{
    return --worker->budget <= 0;
}

int ftl__coop_only(struct ftl__strand *strand)
{
    return strand->task && spend(ftl__worker_current()) ? yield_only(strand) : 0;
}

int ftl__coop(struct ftl__strand *strand)
{
    return ftl__wait_result(strand, ftl__coop_only(strand));
}

int ftl_yield(void)
{
    struct ftl__strand *strand = ftl__strand_current();
    if (!strand->task) {
        sched_yield();
        return 0;
    }
    return yield(strand);
}

/* To some milliseconds; a fifth of the price of the exact time. */
static int64_t coarse_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* cannot fail */
    return (int64_t)now.tv_sec * FTL_S + now.tv_nsec;
}

/* Whether the running task has had its slice, which begins with the first question. */
FTL__UNSEEN static bool slice_over(struct ftl__worker *worker, int64_t now)
{
    enum { SLICE_NS = 10000000 };
    if (worker->slice_end == 0)
        worker->slice_end = now + SLICE_NS;
    return now >= worker->slice_end;
}

int ftl_checkpoint(void)
{
    struct ftl__strand *strand = ftl__strand_current();
    if (!strand->task)
        return 0;
    if (ftl__abort_pending(strand))
        return ftl__wait_result(strand, FTL_ECANCELED);
    return slice_over(ftl__worker_current(), coarse_now()) ? yield(strand) : 0;
}

void ftl_heed(void)
{
    struct ftl__strand *strand = ftl__strand_current();
    /* relaxed: the wait that has told the caller has seen it */
    if (strand->task &&
        atomic_load_explicit(&strand->task->state, memory_order_relaxed) & FTL__CANCELLED)
        strand->heeding = true;
}

void ftl_mask(void)
{
    ftl__strand_current()->mask++;
}

void ftl_unmask(void)
{
    struct ftl__strand *strand = ftl__strand_current();
    ftl_assert(strand->mask > 0);
    strand->mask--;
}
