/* SPDX-License-Identifier: MIT
 *
 * Timers: a hierarchical wheel (Varghese and Lauck, 1987; 6 levels of 64 slots, 1 ms), one per
 * driver, under its own lock. Arming and cancelling are O(1). */
#ifndef FETTLE_RUNTIME_TIMER_H
#define FETTLE_RUNTIME_TIMER_H

#include "runtime/futex.h"
#include "runtime/list.h"
#include "runtime/wait.h"

enum { FTL__WHEEL_LEVELS = 6, FTL__WHEEL_SLOTS = 64 };

/* On the stack of whoever waits. */
struct ftl__timer {
    struct ftl__waiter waiter; /* granted when it fires */
    uint64_t when;             /* tick; guarded by the wheel's lock */
    uint8_t level, slot;
};

struct ftl__wheel {
    struct ftl__lock lock;    /* guards all below */
    int64_t origin;           /* ns of tick 0 */
    uint64_t elapsed;         /* all ticks up to here are processed */
    uint64_t sleeper_wakes;   /* the tick until which somebody sleeps in the driver; 0: nobody
                                 does */
    uint64_t alarm;           /* the tick for which a sleeper was woken last: whoever sleeps comes
                                 back then, whether the timer is still there or not */
    uint64_t occupied[FTL__WHEEL_LEVELS];
    struct ftl__list slots[FTL__WHEEL_LEVELS][FTL__WHEEL_SLOTS];
};

void ftl__wheel_init(struct ftl__wheel *wheel, int64_t now);

/* Arms the timer (its waiter is initialised) for `deadline` ns. True: whoever sleeps in the driver
 * sleeps too long now and must be woken. */
bool ftl__wheel_arm(struct ftl__wheel *wheel, struct ftl__timer *timer, int64_t deadline);
/* Takes it out if it has not fired; when it returns the wheel does not touch it any more. */
void ftl__wheel_cancel(struct ftl__wheel *wheel, struct ftl__timer *timer);

/* A timer of a task's strand, in the wheel of its runtime: in wait.c. */
void ftl__timer_arm(struct ftl__timer *timer, struct ftl__strand *strand, int64_t deadline);
/* Whether `deadline`, for which it was armed, has passed. */
bool ftl__timer_is_due(struct ftl__timer *timer, int64_t deadline);
void ftl__timer_cancel(struct ftl__timer *timer);

/* Grants all timers that are due. Returns the number. Nobody sleeps in the driver: this is its
 * holder's first act after a sleep. */
uint32_t ftl__wheel_advance(struct ftl__wheel *wheel, int64_t now, struct ftl__wakes *wakes);

/* Somebody is about to sleep in the driver: the ns at which it must be back (INT64_MAX: no
 * timer). */
int64_t ftl__wheel_sleep(struct ftl__wheel *wheel);

#endif
