/* SPDX-License-Identifier: MIT
 *
 * Redis' clock as this daemon knows it: the last TIME that a reply brought, carried on by our
 * monotonic clock. Before the first reply it is the local clock. Control runtime only. */
#ifndef FETTLE_DAEMON_CLOCK_H
#define FETTLE_DAEMON_CLOCK_H

#include <stdint.h>
#include <time.h>

#include <fettle/time.h>

struct ftl__clock {
    int64_t offset_us; /* epoch µs minus monotonic µs */
};

static inline void ftl__clock_set(struct ftl__clock *clock, int64_t epoch_us)
{
    clock->offset_us = epoch_us - ftl_now() / 1000;
}

static inline void ftl__clock_init(struct ftl__clock *clock)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    ftl__clock_set(clock, (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

/* Epoch seconds of an instant of ftl_now(). */
static inline double ftl__clock_epoch(const struct ftl__clock *clock, int64_t monotonic)
{
    return (double)(clock->offset_us + monotonic / 1000) / 1e6;
}

#endif
