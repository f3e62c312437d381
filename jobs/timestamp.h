/* SPDX-License-Identifier: MIT
 *
 * Points in time as other programs write them into jobs: epoch seconds, epoch milliseconds, or a
 * date. Pure, any thread, whatever the locale. */
#ifndef FETTLE_JOBS_TIMESTAMP_H
#define FETTLE_JOBS_TIMESTAMP_H

#include <stdbool.h>
#include <stddef.h>

/* A JSON number's value (within some 1e-15 of it). false: it is none. */
bool ftl__number_parse(const char *text, size_t size, double *ret);

/* Epoch seconds from a number (1e11 and more are milliseconds) or from a date and time of ISO 8601:
 * "2026-01-02", "2026-01-02T03:04:05.678Z", "2026-01-02 03:04:05 UTC", "...+01:00"; without a zone
 * it is UTC. false: neither, *ret untouched. */
bool ftl__timestamp_parse(const char *text, size_t size, double *ret_seconds);

#define FTL__TIMESTAMP_SIZE 40
/* "%.6f" of seconds, whatever the locale; returns the length. NaN and times beyond ±1e12 s, which
 * no clock shows, are written as 0.000000. */
size_t ftl__timestamp_print(double seconds, char ret_text[FTL__TIMESTAMP_SIZE]);

#endif
