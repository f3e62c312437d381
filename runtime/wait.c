/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The one loop in which everything waits, and the grant that ends it. Runs on the thread of whoever
 * waits or grants; owns nothing. See wait.h for the protocol. */
#include "runtime/wait.h"

#include <sched.h>

#include <fettle/time.h>

#include "runtime/schedule.h"
#include "runtime/strands.h"

void ftl__waiter_settle(struct ftl__waiter *waiter)
{
    /* acquire: pairs with the release in ftl__waiter_grant() */
    for (int i = 0; atomic_load_explicit(&waiter->state, memory_order_acquire) != FTL__GRANTED;
         i++) {
        if (i < FTL__SPINS)
            ftl__cpu_relax();
        else
            sched_yield();
    }
}

static bool granted(struct ftl__waiter *waiter)
{
    /* relaxed: ftl__waiter_settle() acquires */
    uint32_t state = atomic_load_explicit(&waiter->state, memory_order_relaxed);
    if (state == FTL__WAITING)
        return false;
    ftl__waiter_settle(waiter);
    return true;
}

static int wait_thread(struct ftl__waiter *waiter, int64_t deadline)
{
    while (!granted(waiter)) {
        if (deadline != FTL_FOREVER && ftl_now() >= deadline)
            return FTL_ETIMEDOUT;
        ftl__thread_park(waiter->strand, deadline);
    }
    return 0;
}

/* An abort comes before a grant: the primitive gives back what can be given back. */
static int wait_task(struct ftl__waiter *waiter)
{
    struct ftl__strand *strand = waiter->strand;
    for (;;) {
        if (ftl__abort_pending(strand))
            return FTL_ECANCELED;
        if (granted(waiter))
            return 0;
        ftl__strand_suspend(strand);
    }
}

void ftl__timer_arm(struct ftl__timer *timer, struct ftl__strand *strand, int64_t deadline)
{
    struct ftl__driver *driver = &strand->task->runtime->driver;
    ftl__waiter_init(&timer->waiter, strand);
    if (ftl__wheel_arm(&driver->wheel, timer, deadline))
        ftl__driver_wake(driver);
}

bool ftl__timer_is_due(struct ftl__timer *timer, int64_t deadline)
{
    if (!granted(&timer->waiter))
        return false;
    if (ftl_now() >= deadline)
        return true;
    ftl__timer_arm(timer, timer->waiter.strand, deadline); /* the wheel did not reach so far */
    return false;
}

void ftl__timer_cancel(struct ftl__timer *timer)
{
    ftl__wheel_cancel(&timer->waiter.strand->task->runtime->driver.wheel, timer);
}

static int wait_task_until(struct ftl__waiter *waiter, int64_t deadline)
{
    struct ftl__strand *strand = waiter->strand;
    struct ftl__timer timer;
    int rc = 0;
    if (granted(waiter))
        return 0;
    ftl__timer_arm(&timer, strand, deadline);
    for (;;) {
        if (ftl__abort_pending(strand)) {
            rc = FTL_ECANCELED;
            break;
        }
        if (granted(waiter))
            break;
        if (ftl__timer_is_due(&timer, deadline)) {
            /* The end of a grace is no deadline of the caller's (ftl__strand_limit()). */
            rc = ftl__abort_pending(strand) ? FTL_ECANCELED : FTL_ETIMEDOUT;
            break;
        }
        ftl__strand_suspend(strand);
    }
    ftl__timer_cancel(&timer);
    return rc;
}

int ftl__waiter_wait(struct ftl__waiter *waiter, int64_t deadline)
{
    if (!waiter->strand->task)
        return wait_thread(waiter, deadline);
    deadline = ftl__strand_limit(waiter->strand, deadline);
    if (deadline == FTL_FOREVER)
        return wait_task(waiter);
    return wait_task_until(waiter, deadline);
}

/* A thread is woken at once: it may leave, and wait anew, as soon as it sees the grant, so that it
 * cannot stand in a list until the lock is dropped. */
static void grant_thread(struct ftl__waiter *waiter)
{
    _Atomic uint32_t *parked = &waiter->strand->parked;
    /* release: pairs with the exchange in ftl__thread_park() */
    bool wake = atomic_exchange_explicit(parked, 1, memory_order_release) == 0;
    atomic_store_explicit(&waiter->state, FTL__GRANTED, memory_order_release);
    if (wake)
        ftl__futex_wake(parked, 1);
}

/* True: it was claimed, and is to be scheduled. */
static bool wake_strand(struct ftl__strand *strand)
{
    if (strand->place && ftl_task_current() == strand->task) { /* by a sibling */
        ftl__place_wake(strand->place);
        return false;
    }
    if (strand->place)
        ftl__place_post(strand->place);
    return ftl__task_notify(strand->task);
}

void ftl__waiter_grant(struct ftl__waiter *waiter, struct ftl__wakes *wakes)
{
    struct ftl__strand *strand = waiter->strand;
    atomic_store_explicit(&waiter->state, FTL__GRANTING, memory_order_relaxed);
    if (!strand->task) {
        grant_thread(waiter);
        return;
    }
    if (wake_strand(strand)) {
        strand->wake_next = NULL;
        *wakes->last = strand;
        wakes->last = &strand->wake_next;
    }
    /* release: pairs with the acquire in ftl__waiter_settle(). The last touch of the waiter. */
    atomic_store_explicit(&waiter->state, FTL__GRANTED, memory_order_release);
}

void ftl__wakes_submit(struct ftl__wakes *wakes)
{
    struct ftl__strand *strand = wakes->first;
    while (strand) {
        struct ftl__strand *next = strand->wake_next;
        ftl__schedule(strand->task);
        strand = next;
    }
    ftl__wakes_init(wakes);
}

void ftl__thread_park(struct ftl__strand *strand, int64_t deadline)
{
    /* acquire: pairs with the claim; whoever consumed the 1 sees the grant */
    if (atomic_exchange_explicit(&strand->parked, 0, memory_order_acquire) == 1)
        return;
    ftl__futex_wait(&strand->parked, 0, deadline);
}
