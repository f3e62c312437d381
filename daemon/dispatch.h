/* SPDX-License-Identifier: MIT
 *
 * The dispatch: from a claimed job to a run in the set of the jobs runtime, and from the end of
 * that run to the settle. Permits, parking and deadlines are its business; claims and Redis are
 * not. Tasks of the control runtime only. */
#ifndef FETTLE_DAEMON_DISPATCH_H
#define FETTLE_DAEMON_DISPATCH_H

#include "daemon/cancels.h"
#include "daemon/clock.h"
#include "daemon/park.h"
#include "daemon/settle.h"
#include "jobs/registry.h"

struct ftl__dispatch;
struct ftl__queue;

struct ftl__dispatch_options {
    struct ftl_runtime *control, *jobs; /* all pointers outlive the dispatch */
    struct ftl__settle *settle;
    struct ftl__slots *slots;
    const struct ftl__ledger *ledger;
    const struct ftl__clock *clock;
    const struct ftl__marks *cancels;
    struct ftl__registry *registry;
    uint32_t concurrency;
    size_t max_payload;

    /* A run has crashed in a task: panic->fault says how (runtime/runtime.h); or in a child process in
     * which its handler would not run it: panic is NULL, run->failure says how. Must not wait. */
    void (*on_fault)(void *arg, const struct ftl_run *run, const struct ftl_panic *panic);
    void (*on_free)(void *arg); /* runs have ended: there may be room for a claim; must not wait */
    void (*on_busy)(void *arg); /* runs have begun where there were none; must not wait */
    void *arg;
};

struct ftl__dispatch_stats {
    uint64_t processed, failed, returned; /* runs ended; badly; put back (shutdown and parked) */
};

int ftl__dispatch_open(const struct ftl__dispatch_options *options,
                       struct ftl__dispatch **ret_dispatch);
/* Ends the tasks. No run may be in flight: it would go on with a slot that is freed. NULL-safe. */
void ftl__dispatch_close(struct ftl__dispatch *dispatch);

/* For a reload: what begins later goes by these. The registry replaces the old one, which the
 * caller frees. FTL_ENOMEM: nothing has changed. */
int ftl__dispatch_configure(struct ftl__dispatch *dispatch, struct ftl__registry *registry,
                            uint32_t concurrency, size_t max_payload);

/* How many jobs a claim may take now, with what is promised to claims on their way taken off; and
 * how many may be parked. */
uint32_t ftl__dispatch_room(const struct ftl__dispatch *dispatch);
uint32_t ftl__dispatch_park_room(const struct ftl__dispatch *dispatch);
/* A claim for `count` jobs is on its way / has come back. Slots are there for them. FTL_ENOMEM. */
int ftl__dispatch_promise(struct ftl__dispatch *dispatch, uint32_t count);
void ftl__dispatch_redeem(struct ftl__dispatch *dispatch, uint32_t count);

/* A job as claimed, whose bytes are copied. Call pushed() when a whole row has been handed in: jobs
 * for which there was no room go back to their queue then, and it returns true. */
void ftl__dispatch_job(struct ftl__dispatch *dispatch, struct ftl__batch *batch, uint32_t index,
                       const char *bytes, size_t size, uint32_t recoveries, int64_t now);
bool ftl__dispatch_pushed(struct ftl__dispatch *dispatch, int64_t now);

/* An entry that this daemon holds without knowing its job (the reply was lost): back to its queue.
 * Begin with the newest. Slots have been promised. */
void ftl__dispatch_return(struct ftl__dispatch *dispatch, struct ftl__batch *batch, uint32_t index,
                          const char *reason);

/* Are runs short (a few ms on average), so that waiting for more of them to end pays? */
bool ftl__dispatch_is_brisk(const struct ftl__dispatch *dispatch);

/* ---- dispatch_cancel.c: what operators have cancelled --------------------------------------- */

/* Has an operator cancelled this job, or this run? */
bool ftl__dispatch_is_cancelled(const struct ftl__dispatch *dispatch, const struct ftl__slot *slot,
                                int64_t now);
/* There are other marks: runs that are marked are asked to end, and aborted FTL__CANCEL_GRACE later;
 * jobs that wait here are settled as cancelled. */
void ftl__dispatch_cancel(struct ftl__dispatch *dispatch);

#define FTL__CANCEL_GRACE FTL_S /* in which the waits of a run return FTL_ECANCELED */

/* ---- for quiet, drain and the roster ------------------------------------------------------ */

/* Something is settled: a job that is to run alone may be all that is left. */
void ftl__dispatch_nudge(struct ftl__dispatch *dispatch);

/* Runs in flight: tasks that have not been joined. */
uint32_t ftl__dispatch_running(const struct ftl__dispatch *dispatch);
/* Starts and parks nothing more of what is handed in: it goes back to its queue. What is parked may
 * still start. */
void ftl__dispatch_quiet(struct ftl__dispatch *dispatch);
/* Puts everything that is parked, or waits to run alone, back to its queue. */
void ftl__dispatch_unpark(struct ftl__dispatch *dispatch);
/* The registration is gone, and with it all jobs that are here: others run them. What is parked is
 * dropped; what runs is asked to end, and aborted FTL__CANCEL_GRACE later. */
void ftl__dispatch_fenced(struct ftl__dispatch *dispatch);
/* Aborts all runs. Those that really end cut off are kept until give_back(). */
void ftl__dispatch_abort(struct ftl__dispatch *dispatch);
/* Waits until no run is left. FTL_EAGAIN: interrupted; FTL_ETIMEDOUT, FTL_ECANCELED. */
int ftl__dispatch_wait_idle(struct ftl__dispatch *dispatch, int64_t deadline);
/* Ends that wait, or the next one. */
void ftl__dispatch_interrupt(struct ftl__dispatch *dispatch);
/* Puts the jobs of the runs that were cut off back to the fronts of their queues, in their old
 * order. */
void ftl__dispatch_give_back(struct ftl__dispatch *dispatch);

struct ftl__dispatch_stats ftl__dispatch_stats(const struct ftl__dispatch *dispatch);
/* The running slot whose run this is (or is not any more: then it is only compared), if it started
 * at `since` or earlier; NULL: there is none. */
struct ftl__slot *ftl__dispatch_find(struct ftl__dispatch *dispatch, const void *run,
                                     int64_t since);
/* Calls `each` for the running slots, the oldest first, while it returns true. */
void ftl__dispatch_each(struct ftl__dispatch *dispatch,
                        bool (*each)(void *arg, const struct ftl__slot *slot), void *arg);

/* Has its task come to an end by a fault of ours? It can only be closed then. */
bool ftl__dispatch_has_failed(struct ftl__dispatch *dispatch);

#endif
