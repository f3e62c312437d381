/* SPDX-License-Identifier: MIT
 *
 * Marks of what is cancelled, which the daemons look at. */
#ifndef FETTLE_CLI_MARK_H
#define FETTLE_CLI_MARK_H

#include <stdint.h>

#include "cli/redis.h"

/* Marks all jobs with these jids, or the run with that token if there are no jids, for a minute and
 * twice the longest lease: what a dead daemon holds comes back within that. 0: *ret_generation, which
 * is the time of the mark in µs; else an exit code. */
int ftl__mark(struct ftl__redis *redis, const char *const *jids, int count, uint64_t token,
              uint64_t *ret_generation);

/* Are there any marks? 0 or an exit code. */
int ftl__mark_any(struct ftl__redis *redis, bool *ret_any);

/* Takes the mark of a jid away, if there is one. */
int ftl__unmark(struct ftl__redis *redis, const char *jid);

#endif
