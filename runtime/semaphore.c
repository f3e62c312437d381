/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A count and a queue of waiters under a lock. Whoever comes while others wait queues behind them,
 * even if there is enough for it, so that one that asks for many is not overtaken for ever. Units
 * that were granted to a waiter which an abort or a deadline reached first go back. */
#include <fettle/semaphore.h>

#include <stdlib.h>

#include "runtime/wait.h"

struct ftl_semaphore {
    struct ftl__lock lock; /* guards all below */
    int64_t available;     /* may be negative after ftl_semaphore_adjust() */
    bool closed;
    struct ftl__list waiters;
};

struct ftl_semaphore *ftl_semaphore_new(uint32_t permits)
{
    struct ftl_semaphore *semaphore = calloc(1, sizeof *semaphore);
    if (semaphore) {
        semaphore->available = permits;
        ftl__list_init(&semaphore->waiters);
    }
    return semaphore;
}

void ftl_semaphore_free(struct ftl_semaphore *semaphore)
{
    free(semaphore);
}

/* With the lock held. */
static void serve(struct ftl_semaphore *semaphore, struct ftl__wakes *wakes)
{
    while (!ftl__list_is_empty(&semaphore->waiters)) {
        struct ftl__waiter *waiter =
            ftl__container(semaphore->waiters.next, struct ftl__waiter, link);
        if (waiter->count > semaphore->available)
            return;
        semaphore->available -= waiter->count;
        ftl__list_unlink(&waiter->link);
        ftl__waiter_grant(waiter, wakes);
    }
}

static void give(struct ftl_semaphore *semaphore, int64_t count)
{
    struct ftl__wakes wakes;
    ftl__wakes_init(&wakes);
    ftl__lock_take(&semaphore->lock);
    semaphore->available += count;
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

/* With the lock held: 0 = taken. */
static int take(struct ftl_semaphore *semaphore, uint32_t count)
{
    if (semaphore->closed)
        return FTL_ECLOSED;
    if (!ftl__list_is_empty(&semaphore->waiters) || semaphore->available < count)
        return FTL_EAGAIN;
    semaphore->available -= count;
    return 0;
}

int ftl_semaphore_try_acquire(struct ftl_semaphore *semaphore, uint32_t count,
                              struct ftl_permit *permit)
{
    ftl__lock_take(&semaphore->lock);
    int rc = take(semaphore, count);
    ftl__lock_drop(&semaphore->lock);
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
    ftl__lock_take(&semaphore->lock);
    rc = take(semaphore, count);
    if (rc == FTL_EAGAIN) {
        ftl__waiter_init(&waiter, strand);
        waiter.count = count;
        ftl__list_push_back(&semaphore->waiters, &waiter.link);
    }
    ftl__lock_drop(&semaphore->lock);
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
    struct ftl_semaphore *mutable = (struct ftl_semaphore *)(uintptr_t)semaphore; /* for its lock */
    ftl__lock_take(&mutable->lock);
    int64_t available = semaphore->available;
    ftl__lock_drop(&mutable->lock);
    return available < 0 ? 0 : (uint32_t)available;
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

void ftl_permit_move(struct ftl_permit *permit, struct ftl_defer **held)
{
    struct ftl_defer *node = &permit->defer;
    if (!permit->semaphore)
        return;
    ftl_defer_disarm(node);
    ftl__defer_push(held, node, release_permit, permit);
}
