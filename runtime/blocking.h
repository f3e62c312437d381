/* SPDX-License-Identifier: MIT
 *
 * The blocking pool of a runtime: threads for tasks that block. Each is a worker that runs one task
 * at a time, from its beginning to its end, and nothing else. */
#ifndef FETTLE_RUNTIME_BLOCKING_H
#define FETTLE_RUNTIME_BLOCKING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/futex.h"

struct ftl_runtime;
struct ftl_runtime_options;
struct ftl_task;
struct ftl__worker;

struct ftl__blocking {
    struct ftl__lock lock;         /* guards all below but `signal` and `left` */
    struct ftl_task *first, *last; /* queued, by queue_next */
    uint32_t queued;
    uint32_t coming;               /* spawns that have asked and not yet queued */
    uint32_t threads;              /* that serve, or are starting, or idle: */
    uint32_t starting, idle;
    uint32_t leaving;              /* on their way out: they serve nobody any more */
    uint32_t max;
    int64_t keep;                  /* ns that an idle thread waits for the next task */
    struct ftl__worker *spare;     /* of threads that have left; by spare_next */
    bool stop;
    bool has_left;                 /* a thread has left, and nobody has joined it: */
    pthread_t left;
    _Atomic uint32_t signal;       /* futex word: changes when there is something to look at */
};

void ftl__blocking_init(struct ftl__blocking *pool, const struct ftl_runtime_options *options);
/* Another bound; what is queued may have more threads then. Any thread. */
void ftl__blocking_set_max(struct ftl_runtime *runtime, uint32_t max);
/* Ends and joins all threads; no task is left. */
void ftl__blocking_stop(struct ftl_runtime *runtime);

/* A task is about to be queued: sees to it that there is a thread for it, a new one if no other is
 * idle and the bound allows. FTL_ESYS (errno tells): there is not one thread, and none could be
 * started. On success followed by ftl__blocking_push() or ftl__blocking_cancel(). Any thread. */
int ftl__blocking_prepare(struct ftl_runtime *runtime);
void ftl__blocking_push(struct ftl_task *task);
void ftl__blocking_cancel(struct ftl_runtime *runtime);

/* Tries again to start a thread if tasks are queued that could have one. True: they still could,
 * but there is none. Any thread. */
bool ftl__blocking_retry(struct ftl_runtime *runtime);

#endif
