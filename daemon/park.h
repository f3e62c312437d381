/* SPDX-License-Identifier: MIT
 *
 * The bounds of handlers, and the jobs that wait for them: parked, outside their slots of the
 * process, at most `max` in this daemon. Pure bookkeeping; control runtime only. */
#ifndef FETTLE_DAEMON_PARK_H
#define FETTLE_DAEMON_PARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fettle/semaphore.h>

#include "daemon/slot.h"
#include "jobs/registry.h"

#define FTL__PARK_TIME (5 * INT64_C(1000000000)) /* ns; then a job goes back to its queue */

/* The bound of one handler. It outlives the handler's place in the configuration. */
struct ftl__bound {
    struct ftl__list link; /* in ftl__park.bounds */
    char *pattern;
    uint32_t concurrency;
    struct ftl_semaphore *semaphore;
    const struct ftl__handler *handler; /* whose it is now; NULL: of an earlier configuration */
    struct ftl__list parked;            /* slots, the oldest first */
};

#define FTL__SHELTER 4 /* suspects that run in children of their own at a time */

struct ftl__park {
    struct ftl__list bounds;
    struct ftl__bound *shelter; /* one of them, which is no handler's: that of suspects */
    uint32_t count, max;
};

void ftl__park_init(struct ftl__park *park, uint32_t max);
/* No permit of a bound may be out; parked slots are not looked at. */
void ftl__park_free(struct ftl__park *park);

/* Takes over the bounds of the registry's handlers; the n-th handler of a pattern keeps the bound
 * that the n-th one had. FTL_ENOMEM: nothing has changed for who asks. */
int ftl__park_configure(struct ftl__park *park, const struct ftl__registry *registry);
/* NULL: the handler has no bound. */
struct ftl__bound *ftl__park_bound(const struct ftl__park *park,
                                   const struct ftl__handler *handler);

/* How many more jobs may be parked. */
static inline uint32_t ftl__park_room(const struct ftl__park *park)
{
    return park->count < park->max ? park->max - park->count : 0;
}

/* Parks a slot behind the others of its bound (ftl__slot_bound()). There is room. */
void ftl__park_add(struct ftl__park *park, struct ftl__slot *slot, int64_t now);
void ftl__park_remove(struct ftl__park *park, struct ftl__slot *slot);
/* The oldest of a bound, or NULL. */
struct ftl__slot *ftl__park_first(const struct ftl__bound *bound);

/* When the first parked job has been parked too long; INT64_MAX: none is parked. */
int64_t ftl__park_until(const struct ftl__park *park);
/* Takes one that was parked at `before` or earlier (INT64_MAX: any); in no order across bounds.
 * NULL: none is left. */
struct ftl__slot *ftl__park_take(struct ftl__park *park, int64_t before);

#endif
