/* SPDX-License-Identifier: MIT
 *
 * The promoter: moves due members of `retry` and `schedule` to their queues, one daemon at a time,
 * and trims `dead` where that is configured. Sleeps until the next member is due, of which each
 * tick tells. One task on the control runtime. */
#ifndef FETTLE_DAEMON_PROMOTE_H
#define FETTLE_DAEMON_PROMOTE_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/marks.h"
#include "daemon/keys.h"
#include "daemon/lease.h"
#include "daemon/link.h"
#include "daemon/script.h"

#define FTL__PROMOTE_LOCK_MS 4000 /* several ticks */

struct ftl__promote;
struct ftl__tick;

struct ftl__promote_options {
    struct ftl_runtime *runtime; /* control */
    struct ftl__link *link;      /* all pointers outlive the promoter */
    struct ftl__scripts *scripts;
    const struct ftl__keys *keys;
    struct ftl__marks *cancels;
    const struct ftl__lease *lease; /* whose ID holds the promoter's lock; idle while it has none */
    uint64_t dead_max_jobs;         /* 0 = never trimmed */
    double dead_max_age;            /* seconds; 0 = never trimmed */
};

/* Since the start of the daemon. */
struct ftl__promote_stats {
    uint64_t promoted; /* to a queue                                  */
    uint64_t dead;     /* to dead, since they could not be promoted   */
    uint64_t dropped;  /* trimmed from dead                           */
    uint64_t cancelled; /* to dead, since an operator wants that      */
};

/* FTL_ENOMEM. */
int ftl__promote_open(const struct ftl__promote_options *options,
                      struct ftl__promote **ret_promote);
void ftl__promote_close(struct ftl__promote *promote); /* ends the task, waits for it; NULL-safe */

/* What a tick has told; never waits. */
void ftl__promote_told(struct ftl__promote *promote, const struct ftl__tick *tick);

/* For a reload. */
void ftl__promote_set_dead(struct ftl__promote *promote, uint64_t max_jobs, double max_age);

struct ftl__promote_stats ftl__promote_stats(const struct ftl__promote *promote);

#endif
