/* SPDX-License-Identifier: MIT
 *
 * An execution: one child process for one run, from its start until nothing of it is left. */
#ifndef FETTLE_JOBS_EXECUTION_H
#define FETTLE_JOBS_EXECUTION_H

#include <fettle/process.h>

#include "jobs/lines.h"
#include "jobs/run.h"

/* Borrowed until ftl__execute() has returned or its task has ended. */
struct ftl__execution_options {
    struct ftl_run *run; /* its runtime drives the child, its on_line gets the lines */
    const char *const *argv;
    const char *const *envp;
    const char *cwd;
    const struct ftl_process_limits *limits;
    const char *input; /* for stdin */
    size_t input_size;
    int64_t kill_after; /* ns between TERM and KILL when an abort with a grace has come */
    int64_t stop_after; /* the same for one without */
};

struct ftl__execution_result {
    struct ftl_exit exit;
    bool stopped;   /* it was asked to end, whatever `exit` says */
    int sys_errno;  /* of FTL_ESYS */
    size_t tail_size;
    char tail[FTL__TAIL_BYTES]; /* the last lines of stderr */
};

/* Runs the program to its end. From a task. When it returns, or when the task is aborted or panics
 * in it, the child is reaped and its process group has been killed. 0: *ret_result is filled,
 * however the child has ended. FTL_ESYS: it could not be started, sys_errno alone is set.
 * FTL_ENOMEM, FTL_ESHUTDOWN; FTL_ECANCELED: an abort with a grace came before the child started.
 * One that comes later has it stopped (TERM, and KILL after kill_after) within
 * kill_after + FTL__EXECUTION_WIND_UP; a grace that is over before that aborts. */
#define FTL__EXECUTION_WIND_UP (2 * FTL_S)
int ftl__execute(const struct ftl__execution_options *options,
                 struct ftl__execution_result *ret_result);

#endif
