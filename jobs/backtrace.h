/* SPDX-License-Identifier: MIT
 *
 * The form in which a job carries a backtrace: base64(zlib(JSON array of strings)), on one line.
 * Pure, any thread. */
#ifndef FETTLE_JOBS_BACKTRACE_H
#define FETTLE_JOBS_BACKTRACE_H

#include <stddef.h>

#include <fettle/error.h>

/* Bytes of JSON that are kept; lines that would go beyond it, and all after them, are left out. */
#define FTL__BACKTRACE_MAX 65536

/* The caller frees *ret_text (not NUL-terminated). FTL_ENOMEM. */
int ftl__backtrace_encode(const char *const *lines, size_t count, char **ret_text,
                          size_t *ret_size);

#endif
