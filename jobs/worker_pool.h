/* SPDX-License-Identifier: MIT
 *
 * A pool of persistent worker processes: all that one handler has. Runs come in on any thread; each
 * process is looked after by a task of its own (worker_process.h). */
#ifndef FETTLE_JOBS_WORKER_POOL_H
#define FETTLE_JOBS_WORKER_POOL_H

#include <fettle/channel.h>
#include <fettle/semaphore.h>

#include "jobs/handler.h"
#include "jobs/invocation.h"
#include "runtime/futex.h"
#include "runtime/list.h"

#define FTL__WORKER_PLACES 1000 /* most runs at once in a process: "ready" */
#define FTL__WORKER_BUCKETS 64  /* a power of two */
#define FTL__WORKER_REASON 256  /* bytes of a sentence about a worker */
#define FTL__WORKER_INNOCENT 1.0 /* seconds until a run comes back that others had in their way */

struct ftl__worker_pool;
struct ftl__worker_process;

/* How the part of a run that is in a process ended. */
enum ftl__worker_end {
    FTL__WORKER_IS_OUT, /* not begun, or not over */
    FTL__WORKER_HAS_DONE,
    FTL__WORKER_HAS_FAILED, /* the run's failure is set; also when its process was lost */
    FTL__WORKER_HAS_CANCELLED,
};

/* One run in a process, in the frame of the run's task until `over` was received. */
struct ftl__worker_item {
    struct ftl__list link; /* in its process' table; the pool's lock */
    struct ftl_run *run;
    struct ftl__worker_process *process; /* NULL: not begun */
    unsigned cancelled; /* how often it was asked to end; by its own task, with the pool's lock */
    enum ftl__worker_end end;            /* by the process' task, before `over` is sent */
    struct ftl_oneshot over;
};

struct ftl__worker_process {
    struct ftl__worker_pool *pool;
    struct ftl_notify *changed;  /* wakes who looks after it */
    struct ftl_notify *outgoing; /* wakes who writes to it */

    /* The pool's lock guards the rest. */
    struct ftl__list held[FTL__WORKER_BUCKETS]; /* its runs, by token */
    uint32_t runs;                              /* how many */
    uint32_t places;                            /* how many it takes; 0: it is not ready */
    uint64_t begun;                             /* runs since it was started */
    char *out;                                  /* to be written to it */
    size_t out_size, out_room;
    bool faulty;      /* it is to be ended, for this reason: */
    uint64_t guilty;  /* the token of the run that did not heed its cancel; 0: the worker itself */
    int64_t grace;    /* ns between TERM and KILL then */
    char fault[FTL__WORKER_REASON];
};

struct ftl__worker_pool {
    struct ftl__handler_host host;
    char *name; /* in the log */
    struct ftl__invocation program;
    struct ftl_process_limits limits; /* of each process */
    int64_t kill_after, start_timeout;
    bool alone;   /* a process is for one run */
    bool insists; /* a second cancel means at once */
    _Atomic uint32_t refs; /* the handler's, and one of each process' task */
    struct ftl_semaphore *permits; /* as many as there are places in all, see `down` */
    struct ftl__lock lock;         /* guards the rest, and what the processes say */
    bool stopping, hurry;
    uint32_t living;         /* tasks of processes */
    struct ftl_notify *gone; /* one of them has ended */
    uint32_t ready;    /* processes that take runs */
    uint32_t failures; /* lives that came to nothing since one was ready */
    bool down;         /* that were too many: runs are refused, and one more permit lets them in */
    char why[FTL__WORKER_REASON];
    uint32_t count;
    struct ftl__worker_process processes[];
};

/* ---- for the handler -------------------------------------------------------------------- */

/* Takes `program` over on success. FTL_ENOMEM. */
int ftl__worker_pool_new(const struct ftl__handler_settings *settings,
                         const struct ftl__worker_settings *worker,
                         struct ftl__invocation *program, struct ftl__worker_pool **ret_pool);
int ftl__worker_pool_start(struct ftl__worker_pool *pool, const struct ftl__handler_host *host);
/* Its processes end when their runs have; in a hurry they get little time for it. */
void ftl__worker_pool_stop(struct ftl__worker_pool *pool, bool hurry);
/* Waits until all of them have ended. */
void ftl__worker_pool_await(struct ftl__worker_pool *pool, int64_t deadline);
void ftl__worker_pool_unref(struct ftl__worker_pool *pool);

/* Puts a run into the process with most room; the caller has one of the permits. Then `over` will
 * come. FTL_EAGAIN: there was none after all; FTL_ENOENT: no process can be started, `why` says it;
 * FTL_ENOMEM. */
int ftl__worker_pool_submit(struct ftl__worker_pool *pool, struct ftl__worker_item *item,
                            const char *line, size_t size, char why[FTL__WORKER_REASON]);
/* Tells its worker to cut it off, as often as `how` says, if it was not told so before; once, where
 * the pool does not insist. */
enum ftl__worker_cancel { FTL__WORKER_ASK = 1, FTL__WORKER_INSIST = 2 };
void ftl__worker_pool_cancel(struct ftl__worker_item *item, enum ftl__worker_cancel how);
/* Ends the process that it is in, since it did not heed that: TERM, and KILL `grace` ns later. */
void ftl__worker_pool_force(struct ftl__worker_item *item, int64_t grace);

/* ---- for the tasks of the processes ----------------------------------------------------- */

/* Appends to what is to be written. FTL_ENOMEM. The lock is held. */
int ftl__worker_pool_append(struct ftl__worker_process *process, const char *bytes, size_t size);
/* It is ready for so many runs / takes no more. */
void ftl__worker_pool_open(struct ftl__worker_process *process, uint32_t places);
void ftl__worker_pool_close(struct ftl__worker_process *process);
/* A life has ended without use. */
void ftl__worker_pool_failed(struct ftl__worker_process *process, const char *why);
/* The run of that token, in the table / taken out of it; NULL: it is not there. */
struct ftl__worker_item *ftl__worker_pool_find(struct ftl__worker_process *process,
                                               uint64_t token);
struct ftl__worker_item *ftl__worker_pool_take(struct ftl__worker_process *process,
                                               uint64_t token);
/* Any one of its runs, taken out / the only one. */
struct ftl__worker_item *ftl__worker_pool_take_any(struct ftl__worker_process *process);
struct ftl__worker_item *ftl__worker_pool_only(struct ftl__worker_process *process);
/* Tells a run that was taken out how it has ended. It is gone from here on. */
void ftl__worker_pool_end(struct ftl__worker_item *item, enum ftl__worker_end end);
/* The process is to be ended; the first reason stays. */
void ftl__worker_pool_fault(struct ftl__worker_process *process, const char *format, ...)
    FTL_PRINTF(2, 3);

#endif
