/* SPDX-License-Identifier: MIT
 *
 * Stalls: tasks of the jobs runtime that keep their worker, as its monitor sees them. */
#ifndef FETTLE_DAEMON_STALLS_H
#define FETTLE_DAEMON_STALLS_H

#include <pthread.h>

#include <fettle/runtime.h>

struct ftl__dispatch;
struct ftl_notify;

#define FTL__STALLS_KEPT 16 /* reports on their way; further ones are dropped */

struct ftl__stalls {
    pthread_mutex_t lock; /* guards the next three */
    struct ftl_notify *posted;
    unsigned count;
    struct {
        struct ftl_stall stall;
        int64_t began; /* ftl_now(): the task had its worker by then */
    } kept[FTL__STALLS_KEPT];
    struct ftl__dispatch *dispatch;
    struct ftl_task *task;
};

/* Before the runtimes start. FTL_ENOMEM. */
int ftl__stalls_init(struct ftl__stalls *stalls);
/* When no runtime is left. */
void ftl__stalls_fini(struct ftl__stalls *stalls);

/* The monitor's hook. Any thread, any time between the two above; what comes while nothing is open
 * is dropped. */
void ftl__stalls_post(struct ftl__stalls *stalls, const struct ftl_stall *stall);

/* Starts the task that tells of them and moves classes. The dispatch outlives it. */
int ftl__stalls_open(struct ftl__stalls *stalls, struct ftl_runtime *control,
                     struct ftl__dispatch *dispatch);
/* Nothing open: nothing. */
void ftl__stalls_close(struct ftl__stalls *stalls);

#endif
