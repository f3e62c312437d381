/* SPDX-License-Identifier: MIT
 *
 * What the files of the dispatch share: its state. Nobody else looks into it. */
#ifndef FETTLE_DAEMON_DISPATCH_STATE_H
#define FETTLE_DAEMON_DISPATCH_STATE_H

#include <fettle/channel.h>
#include <fettle/task_set.h>

#include "daemon/dispatch.h"

struct ftl__dispatch {
    struct ftl__dispatch_options options;
    struct ftl__park park;
    struct ftl_task_set *set;
    struct ftl_task *joiner, *keeper;
    struct ftl_notify *spawned; /* wakes the joiner when the set was empty */
    struct ftl_notify *changed; /* wakes the keeper when it must look earlier */
    struct ftl_notify *idle;    /* wakes who waits for the last run */
    struct ftl__list running, cut_off, overflow;
    uint32_t promised;
    uint32_t in_flight;     /* slots in `running` */
    int64_t next_deadline;  /* no running run has an earlier one */
    int64_t keeper_until;   /* when the keeper looks next */
    int64_t average;        /* ns of a run, moving */
    bool quiet;             /* what is handed in goes back */
    bool aborting;          /* a shutdown cuts runs off */
    bool interrupted;       /* wait_idle() is to return */
    struct ftl__slot *suspect; /* waits until it is all that this daemon holds */
    bool alone;             /* it waits, or runs, or its end is not told yet: nothing else begins */
    bool wary;              /* the last claimed job was a suspect: the next ones come one by one */
    struct ftl__dispatch_stats stats;
};

/* How many more runs may begin, what is promised to claims taken off. */
uint32_t ftl__dispatch_room_left(const struct ftl__dispatch *dispatch);

/* ---- dispatch_start.c ------------------------------------------------------------------------ */

/* FTL_EAGAIN: a permit is missing. Others: the task could not be made. */
int ftl__dispatch_start(struct ftl__dispatch *dispatch, struct ftl__slot *slot, int64_t now);
void ftl__dispatch_start_or_park(struct ftl__dispatch *dispatch, struct ftl__slot *slot,
                                 int64_t now);
/* A suspect that has no child: it waits until it is alone, or goes back to its queue. */
void ftl__dispatch_start_alone(struct ftl__dispatch *dispatch, struct ftl__slot *slot, int64_t now);
/* Room came free: parked jobs are first in line, but what is promised to claims is not theirs. */
void ftl__dispatch_start_parked(struct ftl__dispatch *dispatch, int64_t now);
/* Back to its queue; the same for a list, to the fronts of their queues, in their old order; and for
 * what was parked at `before` or earlier. */
void ftl__dispatch_put_back(struct ftl__dispatch *dispatch, struct ftl__slot *slot,
                            const char *reason);
void ftl__dispatch_put_back_list(struct ftl__dispatch *dispatch, struct ftl__list *list,
                                 const char *reason);
void ftl__dispatch_put_back_parked(struct ftl__dispatch *dispatch, int64_t before);

/* ---- dispatch_end.c -------------------------------------------------------------------------- */

/* The joiner's task function. */
void *ftl__dispatch_join_main(void *dispatch);

#endif
