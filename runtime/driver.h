/* SPDX-License-Identifier: MIT
 *
 * The driver of a runtime: epoll, the timer wheel, and the right to sleep in them, which one worker
 * has at a time. */
#ifndef FETTLE_RUNTIME_DRIVER_H
#define FETTLE_RUNTIME_DRIVER_H

#include <stdatomic.h>
#include <stdbool.h>

#include <fettle/io.h>

#include "runtime/timer.h"

struct ftl__driver {
    int epoll, event; /* event: an eventfd that wakes the sleeper */
    _Atomic bool taken; /* somebody polls; guards events and what poll() does with them */
    struct ftl__wheel wheel;
    struct ftl__lock lock; /* guards dead */
    struct ftl__list dead; /* closed ftl_fd, freed by the next poll */
};

/* FTL_ESYS. */
int ftl__driver_init(struct ftl__driver *driver);
void ftl__driver_destroy(struct ftl__driver *driver);

/* Takes / gives up the right to poll. */
bool ftl__driver_try_take(struct ftl__driver *driver);
void ftl__driver_give(struct ftl__driver *driver);

/* Holder only. Waits for events (not at all, or until the next timer), grants those who wait for
 * them and for timers; the caller submits. */
void ftl__driver_poll(struct ftl__driver *driver, bool sleep, struct ftl__wakes *wakes);

/* Wakes the sleeper. */
void ftl__driver_wake(struct ftl__driver *driver);

#endif
