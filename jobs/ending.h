/* SPDX-License-Identifier: MIT
 *
 * The end of a child process in words, as errors and the log tell it. */
#ifndef FETTLE_JOBS_ENDING_H
#define FETTLE_JOBS_ENDING_H

#include <fettle/process.h>

#include "jobs/run.h"

#define FTL__ENDING_MAX 64

/* "exit status 3", "killed by SIGSEGV (core dumped)". Returns the error class of such an end:
 * "ExitStatus" or "Signal", static. */
const char *ftl__ending(const struct ftl_exit *exit, char text[FTL__ENDING_MAX]);

/* Fails the run: `what` happened (at most 511 bytes of it count), then the last lines of stderr, if
 * there are any. Returns 1. */
int ftl__ending_fail(struct ftl_run *run, const char *error_class, const char *what,
                     const char *tail, size_t tail_size);

#endif
