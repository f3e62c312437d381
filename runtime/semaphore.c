/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A count, and a queue of waiters under a lock. As long as nobody waits, taking and giving back is a
 * compare-and-swap of the count. When somebody has to wait, or after the close, the mark CROWDED in
 * the count sends everybody to the lock. Whoever comes while others wait queues behind them, even if
 * there is enough for it, so that one that asks for many is not overtaken for ever. Units that were
 * granted to a waiter which an abort or a deadline reached first go back. */
#include <fettle/semaphore.h>

#include <stdlib.h>

#include "runtime/tcb.h"
#include "runtime/wait.h"

enum { CROWDED = 1, UNIT = 2 };

struct ftl_semaphore {
    _Atomic int64_t units; /* UNIT for each available one, perhaps below zero after
                              ftl_semaphore_adjust(), and the mark; while that is set, it changes
                              under the lock only */
    struct ftl__lock lock; /* guards all below */
    bool closed;
    struct ftl__list waiters;
};

struct ftl_semaphore *ftl_semaphore_new(uint32_t permits)
{
    struct ftl_semaphore *semaphore = calloc(1, sizeof *semaphore);
    if (semaphore) {
        atomic_init(&semaphore->units, (int64_t)permits * UNIT);
        ftl__list_init(&semaphore->waiters);
    }
    return semaphore;
}

void ftl_semaphore_free(struct ftl_semaphore *semaphore)
{
    free(semaphore);
}

/* ---- as long as nobody waits ---- */

static int64_t available(int64_t units)
{
    return (units - (units & CROWDED)) / UNIT;
}

/* Any number of units, also below zero. False: there is a crowd. */
static bool give_to_nobody(struct ftl_semaphore *semaphore, int64_t count)
{
    int64_t units = atomic_load_explicit(&semaphore->units, memory_order_relaxed);
    do {
        if (units & CROWDED)
            return false;
        /* release: pairs with the acquire of whoever takes the units */
    } while (!atomic_compare_exchange_weak_explicit(&semaphore->units, &units, units + count * UNIT,
                                                    memory_order_release, memory_order_relaxed));
    return true;
}

/* False: there is a crowd, or there are not enough. */
static bool take_alone(struct ftl_semaphore *semaphore, uint32_t count)
{
    int64_t units = atomic_load_explicit(&semaphore->units, memory_order_relaxed);
    do {
        if ((units & CROWDED) || available(units) < count)
            return false;
        /* acquire: pairs with the release of those who gave them back */
    } while (!atomic_compare_exchange_weak_explicit(
        &semaphore->units, &units, units - (int64_t)count * UNIT, memory_order_acquire,
        memory_order_relaxed));
    return true;
}

/* ---- in a crowd: with the lock held ---- */

/* From here on the count is the lock's. */
static void crowd(struct ftl_semaphore *semaphore)
{
    /* acquire: pairs with the release of units given back before */
    atomic_fetch_or_explicit(&semaphore->units, CROWDED, memory_order_acquire);
}

static void disperse(struct ftl_semaphore *semaphore)
{
    /* release: whoever takes units next has what the lock has ordered before it */
    if (ftl__list_is_empty(&semaphore->waiters) && !semaphore->closed)
        atomic_fetch_and_explicit(&semaphore->units, ~(int64_t)CROWDED, memory_order_release);
}

static bool take_units(struct ftl_semaphore *semaphore, uint32_t count)
{
    int64_t units = atomic_load_explicit(&semaphore->units, memory_order_relaxed);
    if (available(units) < count)
        return false;
    atomic_store_explicit(&semaphore->units, units - (int64_t)count * UNIT, memory_order_relaxed);
    return true;
}

static void serve(struct ftl_semaphore *semaphore, struct ftl__wakes *wakes)
{
    while (!ftl__list_is_empty(&semaphore->waiters)) {
        struct ftl__waiter *waiter =
            ftl__container(semaphore->waiters.next, struct ftl__waiter, link);
        if (!take_units(semaphore, waiter->count))
            return;
        ftl__list_unlink(&waiter->link);
        ftl__waiter_grant(waiter, wakes);
    }
    disperse(semaphore);
}

/* 0: taken. FTL_EAGAIN: not now; it stays crowded only if others wait, or `waiter` is given, which
 * then waits. */
static int take(struct ftl_semaphore *semaphore, uint32_t count, struct ftl__waiter *waiter)
{
    if (semaphore->closed)
        return FTL_ECLOSED;
    crowd(semaphore);
    int rc = ftl__list_is_empty(&semaphore->waiters) && take_units(semaphore, count) ? 0
                                                                                      : FTL_EAGAIN;
    if (rc != 0 && waiter)
        ftl__list_push_back(&semaphore->waiters, &waiter->link);
    disperse(semaphore);
    return rc;
}

/* ---- permits ---- */

static void give(struct ftl_semaphore *semaphore, int64_t count)
{
    struct ftl__wakes wakes;
    if (give_to_nobody(semaphore, count))
        return;
    ftl__wakes_init(&wakes);
    ftl__lock_take(&semaphore->lock);
    crowd(semaphore);
    int64_t units = atomic_load_explicit(&semaphore->units, memory_order_relaxed);
    atomic_store_explicit(&semaphore->units, units + count * UNIT, memory_order_relaxed);
    serve(semaphore, &wakes);
    ftl__lock_drop(&semaphore->lock);
    ftl__wakes_submit(&wakes);
}

static void release_permit(void *arg)
{
    struct ftl_permit *permit = arg;
    struct ftl_semaphore *semaphore = permit->semaphore;
    uint32_t count = permit->count;
    permit->semaphore = NULL;
    permit->count = 0;
    give(semaphore, count);
}

static void hold(struct ftl_permit *permit, struct ftl_semaphore *semaphore, uint32_t count)
{
    permit->semaphore = semaphore;
    permit->count = count;
    ftl_defer_arm(&permit->defer, release_permit, permit);
}

int ftl_semaphore_try_acquire(struct ftl_semaphore *semaphore, uint32_t count,
                              struct ftl_permit *permit)
{
    int rc = 0;
    if (!take_alone(semaphore, count)) {
        ftl__lock_take(&semaphore->lock);
        rc = take(semaphore, count, NULL);
        ftl__lock_drop(&semaphore->lock);
    }
    if (rc == 0)
        hold(permit, semaphore, count);
    return rc;
}

/* After a wait that ended otherwise: true = the waiter had not been granted, and is out. */
static bool withdraw(struct ftl_semaphore *semaphore, struct ftl__waiter *waiter)
{
    struct ftl__wakes wakes;
    ftl__wakes_init(&wakes);
    ftl__lock_take(&semaphore->lock);
    bool standing = ftl__list_is_linked(&waiter->link);
    if (standing) {
        ftl__list_unlink(&waiter->link);
        serve(semaphore, &wakes); /* it may have stood in the way of smaller ones */
    }
    ftl__lock_drop(&semaphore->lock);
    ftl__wakes_submit(&wakes);
    return standing;
}

int ftl_semaphore_acquire(struct ftl_semaphore *semaphore, uint32_t count, int64_t deadline,
                          struct ftl_permit *permit)
{
    struct ftl__strand *strand = ftl__strand_current();
    struct ftl__waiter waiter;
    int rc = ftl__coop(strand);
    if (rc != 0)
        return rc;
    if (!take_alone(semaphore, count)) {
        ftl__waiter_init(&waiter, strand);
        waiter.count = count;
        ftl__lock_take(&semaphore->lock);
        rc = take(semaphore, count, &waiter);
        ftl__lock_drop(&semaphore->lock);
    }
    if (rc == FTL_EAGAIN) {
        rc = ftl__waiter_wait(&waiter, deadline);
        bool got = rc == 0 || !withdraw(semaphore, &waiter);
        bool closed = got && waiter.item; /* it was granted nothing but the news */
        if (got && !closed && rc != 0)
            give(semaphore, count);
        if (closed && rc != FTL_ECANCELED)
            return FTL_ECLOSED;
        if (rc != 0)
            return ftl__wait_result(strand, rc);
    }
    if (rc == 0)
        hold(permit, semaphore, count);
    return rc;
}

uint32_t ftl_semaphore_available(const struct ftl_semaphore *semaphore)
{
    int64_t units = atomic_load_explicit(&semaphore->units, memory_order_relaxed);
    return units < 0 ? 0 : (uint32_t)available(units);
}

void ftl_semaphore_adjust(struct ftl_semaphore *semaphore, int32_t delta)
{
    give(semaphore, delta);
}

void ftl_semaphore_close(struct ftl_semaphore *semaphore)
{
    struct ftl__wakes wakes;
    struct ftl__list *node;
    ftl__wakes_init(&wakes);
    ftl__lock_take(&semaphore->lock);
    semaphore->closed = true;
    crowd(semaphore); /* for ever */
    while ((node = ftl__list_pop_front(&semaphore->waiters)) != NULL) {
        struct ftl__waiter *waiter = ftl__container(node, struct ftl__waiter, link);
        waiter->item = semaphore;
        ftl__waiter_grant(waiter, &wakes);
    }
    ftl__lock_drop(&semaphore->lock);
    ftl__wakes_submit(&wakes);
}

void ftl_permit_release(struct ftl_permit *permit)
{
    ftl_defer_run(&permit->defer);
}

void ftl__permit_into_task(struct ftl_permit *permit, struct ftl_task *task)
{
    if (!permit->semaphore)
        return;
    ftl_defer_disarm(&permit->defer);
    task->permit_of = permit->semaphore;
    task->permit_count = permit->count;
    permit->semaphore = NULL;
    permit->count = 0;
}

void ftl__permit_of_task(struct ftl_task *task)
{
    struct ftl_semaphore *semaphore = task->permit_of;
    if (!semaphore)
        return;
    task->permit_of = NULL;
    give(semaphore, task->permit_count);
}

void ftl_permit_move(struct ftl_permit *permit, struct ftl_defer **held)
{
    struct ftl_defer *node = &permit->defer;
    if (!permit->semaphore)
        return;
    if (permit->scoped == ftl__permit_scoped(permit))
        ftl_panic("ftl_permit_move: this permit is one of FTL_PERMIT and ends with its block, not with "
                  "the task: hand it over by ftl_spawn_options.permit");
    ftl_defer_disarm(node);
    ftl__defer_push(held, node, release_permit, permit);
}
