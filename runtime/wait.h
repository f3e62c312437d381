/* SPDX-License-Identifier: MIT
 *
 * Waiting and waking. A primitive keeps waiters, on the stacks of those who wait, in a list under
 * its lock. To wake one it unlinks it, grants it (under the lock), drops the lock and submits the
 * strand.
 *
 * Who may touch what: the state goes WAITING → GRANTING → GRANTED, written by the granter only. The
 * grant claims the strand (the right to schedule it) between the two stores, so that
 *   - the wake-up is not lost: whoever consumes it sees at least GRANTING;
 *   - a waiter that runs for another reason and sees GRANTED knows that the granter is done with
 *     its memory, unless the granter holds the claim; and then the waiter was not running. */
#ifndef FETTLE_RUNTIME_WAIT_H
#define FETTLE_RUNTIME_WAIT_H

#include <stdatomic.h>

#include "runtime/list.h"
#include "runtime/strand.h"

enum ftl__waiter_state { FTL__WAITING, FTL__GRANTING, FTL__GRANTED };

struct ftl__waiter {
    struct ftl__list link; /* the primitive's lock */
    struct ftl__strand *strand;
    _Atomic uint32_t state;
    uint32_t count; /* the primitive's: how much is wanted */
    void *item;     /* the primitive's: what was granted */
};

static inline void ftl__waiter_init(struct ftl__waiter *waiter, struct ftl__strand *strand)
{
    waiter->link.prev = waiter->link.next = NULL;
    waiter->strand = strand;
    atomic_init(&waiter->state, FTL__WAITING);
    waiter->count = 0;
    waiter->item = NULL;
}

/* Waits until granted: 0. FTL_ETIMEDOUT, FTL_ECANCELED: the caller takes its lock and unlinks the
 * waiter, or finds that it was granted meanwhile and deals with that. */
int ftl__waiter_wait(struct ftl__waiter *waiter, int64_t deadline);

/* Spins until a grant that is under way is finished; for primitives without a lock. */
void ftl__waiter_settle(struct ftl__waiter *waiter);

/* Strands claimed under a lock, to be submitted after it, in order. */
struct ftl__wakes {
    struct ftl__strand *first, **last;
};

static inline void ftl__wakes_init(struct ftl__wakes *wakes)
{
    wakes->first = NULL;
    wakes->last = &wakes->first;
}

/* Grants an unlinked waiter. The strand of a task is claimed and added to `wakes`, which the caller
 * submits after it has dropped its lock; a foreign thread is woken here. */
void ftl__waiter_grant(struct ftl__waiter *waiter, struct ftl__wakes *wakes);
void ftl__wakes_submit(struct ftl__wakes *wakes);

#endif
