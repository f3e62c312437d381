/* SPDX-License-Identifier: MIT
 *
 * Which workers sleep, which search, and whom to wake. The protocol is that of Tokio
 * (runtime/scheduler/multi_thread/idle.rs) and of Go (proc.go, "Worker thread parking/unparking"):
 *
 *   who adds work:   make it visible; change the word; if nobody searches and somebody sleeps, wake
 *   one who stops:       go to sleep; change the word; if nobody searches, look at all queues once
 *   more
 *
 * so that for any two of them at least one sees the other. (In both models only a searcher looks
 * again. One that was not admitted to the search could fall asleep just after the last searcher had
 * found work and nobody to wake for the rest of it.) One is woken at a time, as a searcher: when it
 * finds work it wakes the next. */
#ifndef FETTLE_RUNTIME_IDLE_H
#define FETTLE_RUNTIME_IDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <fettle/runtime.h>

#include "runtime/futex.h"

struct ftl__idle {
    _Alignas(128) _Atomic uint32_t state; /* searching in the low half, awake in the high half */
    _Atomic uint32_t workers;             /* that take part; written under the lock */
    struct ftl__lock lock;                /* guards sleepers */
    uint32_t sleeping;
    uint16_t sleepers[2 * FTL_WORKERS_MAX]; /* the regular ones and the extra ones */
};

void ftl__idle_init(struct ftl__idle *idle, uint32_t workers);

/* Work was made visible: the index of the worker to unpark (now awake and searching), or -1. */
int ftl__idle_to_notify(struct ftl__idle *idle);

/* The worker goes to sleep. True: nobody searches now, and it must look at all queues once more. */
bool ftl__idle_sleep(struct ftl__idle *idle, uint32_t worker, bool searching);
/* It was woken by something else than a notify: true = it was still among the sleepers and is awake
 * now. */
bool ftl__idle_wake(struct ftl__idle *idle, uint32_t worker);
bool ftl__idle_is_sleeping(struct ftl__idle *idle, uint32_t worker);

/* Does somebody search, or wake up to? A hint. */
static inline bool ftl__idle_is_searched(const struct ftl__idle *idle)
{
    return (uint16_t)atomic_load_explicit(&idle->state, memory_order_relaxed) > 0;
}
/* True: it may search (at most half of the workers do). */
bool ftl__idle_search(struct ftl__idle *idle);
/* It found work: true = it was the last searcher, another should be woken. */
bool ftl__idle_found(struct ftl__idle *idle);

/* An extra worker begins to take part, awake and searching / takes no part any more. True: nobody
 * searches now, and it must look at all queues once more. */
void ftl__idle_join(struct ftl__idle *idle);
bool ftl__idle_leave(struct ftl__idle *idle, bool searching);

#endif
