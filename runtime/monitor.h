/* SPDX-License-Identifier: MIT
 *
 * The monitor of a runtime: a thread that looks after workers whose task does not return to the
 * scheduler. */
#ifndef FETTLE_RUNTIME_MONITOR_H
#define FETTLE_RUNTIME_MONITOR_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/futex.h"
#include "runtime/sample.h"

struct ftl_runtime;
struct ftl_runtime_options;
struct ftl__worker;

/* What the monitor knows of a worker. Its thread only. */
struct ftl__watch {
    uint32_t tick; /* as last seen */
    int64_t since; /* ns: the worker has been in one task at least since then */
    bool reported;
};

enum ftl__monitor_state { FTL__MONITOR_AWAKE, FTL__MONITOR_ASLEEP, FTL__MONITOR_STOP };

struct ftl__monitor {
    _Atomic uint32_t state; /* enum ftl__monitor_state; futex word */
    bool running;           /* there is a thread; written before there is one */
    pthread_t thread;
    int64_t stall_after;    /* ns */
    struct ftl__sample sample;
    /* Figures. */
    _Atomic uint64_t stalls, extra_used;
    _Atomic uint32_t extra_now;
};

/* Starts the thread unless the options say that there is to be none. 0 or an errno value. */
int ftl__monitor_start(struct ftl_runtime *runtime, const struct ftl_runtime_options *options);
/* Joins it; `stop` of the runtime is set. No-op without one. */
void ftl__monitor_stop(struct ftl_runtime *runtime);

/* What the thread does in turn, here for the explorer of interleavings: one look at all workers, and
 * the sleep until a worker wakes or the runtime stops (no sleep if one is awake already). */
void ftl__monitor_look(struct ftl_runtime *runtime);
void ftl__monitor_sleep(struct ftl_runtime *runtime);

void ftl__monitor_wake_asleep(struct ftl__monitor *monitor);

/* By a worker that has left its sleep, by a sequentially consistent write; by a blocking spawn that
 * has found no thread, after it has dropped the pool's lock. */
static inline void ftl__monitor_wake(struct ftl__monitor *monitor)
{
    /* seq_cst: pairs with the store in ftl__monitor_sleep() */
    if (atomic_load(&monitor->state) == FTL__MONITOR_ASLEEP)
        ftl__monitor_wake_asleep(monitor);
}

#endif
