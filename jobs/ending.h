/* SPDX-License-Identifier: MIT
 *
 * The end of a child process in words, as errors and the log tell it. */
#ifndef FETTLE_JOBS_ENDING_H
#define FETTLE_JOBS_ENDING_H

#include <fettle/process.h>

#include "jobs/run.h"

#define FTL__ENDING_MAX 128

/* "exit status 3", "killed by SIGSEGV (core dumped)", "killed by SIGXCPU: cpu_seconds = 2 are
 * used up". Returns the error class of such an end: "ExitStatus", "Signal" or "OutOfMemory",
 * static. `limits`: the child's. */
const char *ftl__ending(const struct ftl_exit *exit, const struct ftl_process_limits *limits,
                        char text[FTL__ENDING_MAX]);

/* Fails the run: `what` happened (at most 511 bytes of it count), then the last lines of stderr, if
 * there are any. Returns 1. */
int ftl__ending_fail(struct ftl_run *run, const char *error_class, const char *what,
                     const char *tail, size_t tail_size);

#endif
