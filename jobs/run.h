/* SPDX-License-Identifier: MIT
 *
 * A run: one attempt at one job, and what came of it. The daemon makes it from a claim, hands it to the
 * jobs runtime as the argument of a task, and has it back when that task has ended. */
#ifndef FETTLE_JOBS_RUN_H
#define FETTLE_JOBS_RUN_H

#include <fettle/module.h>

#include "jobs/job.h"
#include "jobs/retry.h"

struct ftl__handler;

#define FTL__CLASS_MAX 255  /* bytes of a class name; longer: refused                       */
#define FTL__JID_MAX 127    /* bytes of a jid that are kept for logs and the environment    */
#define FTL__QUEUE_MAX 128

#define FTL__LATER_LEAST 0.001 /* seconds: "later, in 0 s"; failure.later = 0 is the normal rule */

enum ftl__verdict {
    FTL__VERDICT_NONE, /* the function has not returned: panicked or cancelled */
    FTL__VERDICT_DONE,
    FTL__VERDICT_FAILED, /* also never, later: see failure */
    FTL__VERDICT_MOVED,  /* not begun: its class goes elsewhere by now */
    FTL__VERDICT_REFUSED, /* not begun: FTL__PLACE_CHILD, and no child process can be started */
};

/* Where a run goes. */
enum ftl__place {
    FTL__PLACE_TASK,
    FTL__PLACE_POOL,  /* the blocking pool */
    FTL__PLACE_CHILD, /* a child process, though its handler would run it here */
};

enum ftl__stream { FTL__STREAM_LOG, FTL__STREAM_STDOUT, FTL__STREAM_STDERR };

/* Where lines that a run prints go. Called on any thread; must not wait; `line` has no newline. */
typedef void (*ftl__line_fn)(void *arg, const struct ftl_run *run, enum ftl__stream stream,
                             const char *line, size_t size);

struct ftl_run {
    /* What every run touches, whatever it does, is together at the front: these bytes go from one
     * processor to another and back. The verdict is written by the task, for the daemon. */
    struct ftl__handler *handler; /* one reference held */
    enum ftl__verdict verdict;
    enum ftl__place place; /* set by the daemon before the spawn */
    char class[FTL__CLASS_MAX + 1]; /* of the handler match: wrapped if present, else class */

    /* Set by the daemon before the spawn, read-only during the run. */
    char *bytes; /* the job's text, owned by the run */
    size_t size;
    struct ftl__job job; /* scan of bytes */
    char jid[FTL__JID_MAX + 1];
    const char *queue; /* outlives the run */
    uint64_t token;
    uint32_t attempt;
    int64_t deadline; /* monotonic; FTL_FOREVER without a timeout */
    double deadline_epoch; /* the same as epoch seconds, for FETTLE_DEADLINE; 0 = none */
    struct ftl_runtime *runtime;    /* the jobs runtime */
    ftl__line_fn on_line;
    void *on_line_arg;

    /* Written by the handler, read by the daemon after the task has ended. */
    struct ftl__failure failure; /* strings owned by `texts` */
    char *texts[2];              /* error class, error message */
    char **backtrace;            /* lines, each malloc'd */
    size_t backtrace_lines;
    bool lost;     /* the failure is the end of the process that it was in */
    _Atomic size_t logged; /* bytes, newlines included */
    json_t *args; /* cache of ftl_run_args() */
};

/* The task function of every run: calls the handler, sets the verdict. Returns the run. */
void *ftl__run_main(void *run);

/* Sets a failure (copies the text; message is cut at 10,000 bytes on a UTF-8 boundary). On lack of memory
 * the class is kept as static "OutOfMemory". Returns 1, for handlers to return. */
int ftl__run_failed(struct ftl_run *run, const char *error_class, const char *message, size_t size);

/* It was asked to end because its time was over, and has not succeeded: class "Timeout", with what
 * it has said besides. A run that wants to be run later keeps that. */
void ftl__run_timed_out(struct ftl_run *run);

/* Splits a text into the lines of the failure's backtrace; the run has failed, and has none yet. What
 * memory does not suffice for is left out: a backtrace is a help, not a record. */
void ftl__run_keep_backtrace(struct ftl_run *run, const char *text);

/* Takes a panic's message and backtrace as the failure: class "Panic", or that of a fault. */
void ftl__run_panicked(struct ftl_run *run, const struct ftl_panic *panic);

/* Frees what the run owns (bytes, texts, args, backtrace, handler reference), not the struct. */
void ftl__run_clear(struct ftl_run *run);

#endif
