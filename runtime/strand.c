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

#include "runtime/worker.h"

struct ftl__strand *ftl__strand_current(void)
{
    struct ftl__worker *worker = ftl__worker_current();
    return worker && worker->strand ? worker->strand : ftl__thread_strand();
}

/* The last thing on the strand's stack, but for the switch. A panic of arg_free comes back here with
 * arg_free gone. */
FTL__UNTRACKED static void end(struct ftl__strand *strand)
{
    struct ftl_task *task = strand->task;
    strand->ending = true;
    strand->mask++;
    ftl__defers_run(&strand->defers);
    void (*arg_free)(void *) = task->arg_free;
    task->arg_free = NULL;
    if (arg_free)
        arg_free(task->arg);
}

FTL__UNTRACKED void ftl__strand_unwind(struct ftl__strand *strand)
{
    end(strand);
    ftl__worker_switch_out(strand, FTL__SWITCH_END);
    __builtin_unreachable();
}

FTL__UNTRACKED void *ftl__strand_main(void *arg)
{
    struct ftl__strand *strand = arg;
    struct ftl_task *task = strand->task;
    struct ftl__worker *worker = ftl__worker_current();
    ftl__shadow_arrive(&strand->shadow, &worker->stack_low, &worker->stack_size);
    task->value = task->fn(task->arg);
    end(strand); /* only what was moved into the task is still armed */
    return ftl__worker_leave();
}

void ftl__strand_suspend(struct ftl__strand *strand)
{
    ftl__worker_switch_out(strand, FTL__SWITCH_WAIT);
}

bool ftl__abort_pending(const struct ftl__strand *strand)
{
    /* acquire: pairs with the release in ftl_abort(), so that abort_at is seen */
    return strand->mask == 0 &&
           (atomic_load_explicit(&strand->task->state, memory_order_acquire) & FTL__CANCELLED);
}

int ftl__wait_result(struct ftl__strand *strand, int rc)
{
    if (rc != FTL_ECANCELED)
        return rc;
    if (ftl_now() < atomic_load_explicit(&strand->task->abort_at, memory_order_relaxed))
        return rc;
    strand->task->cancelled = true;
    ftl__strand_unwind(strand);
}

static int yield_only(struct ftl__strand *strand)
{
    if (ftl__abort_pending(strand))
        return FTL_ECANCELED;
    ftl__worker_switch_out(strand, FTL__SWITCH_YIELD);
    return ftl__abort_pending(strand) ? FTL_ECANCELED : 0;
}

static int yield(struct ftl__strand *strand)
{
    return ftl__wait_result(strand, yield_only(strand));
}

int ftl__coop_only(struct ftl__strand *strand)
{
    if (!strand->task || --ftl__worker_current()->budget > 0)
        return 0;
    return yield_only(strand);
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

int ftl_checkpoint(void)
{
    enum { SLICE_NS = 10000000 };
    struct ftl__strand *strand = ftl__strand_current();
    if (!strand->task)
        return 0;
    if (ftl__abort_pending(strand))
        return ftl__wait_result(strand, FTL_ECANCELED);
    struct ftl__worker *worker = ftl__worker_current();
    int64_t now = coarse_now();
    if (worker->slice_end == 0)
        worker->slice_end = now + SLICE_NS;
    if (now < worker->slice_end)
        return 0;
    return yield(strand);
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
