/* SPDX-License-Identifier: MIT
 *
 * Walks through the places where jobs are, page by page. */
#ifndef FETTLE_CLI_WALK_H
#define FETTLE_CLI_WALK_H

#include "cli/redis.h"
#include "jobs/job.h"

#define FTL__CLI_JID_MAX 255 /* bytes of a jid that can be asked for */

/* A page: each `step`-th of the elements is a job. *ret_removed: how many of them the call has taken
 * away. 0 or an exit code, which ends the walk. */
typedef int (*ftl__page_fn)(void *arg, const redisReply *page, size_t step, size_t *ret_removed);

/* All members of a set that are there all the time, some perhaps twice; with a jid only those that
 * have it somewhere in them. */
int ftl__walk_set(struct ftl__redis *redis, const char *set, const char *jid, ftl__page_fn fn,
                  void *arg);

/* All jobs of a list that are there all the time, some perhaps twice; from that which came last. */
int ftl__walk_list(struct ftl__redis *redis, const char *key, ftl__page_fn fn, void *arg);

/* Scans what is there, whatever its size. */
bool ftl__walk_scan(const redisReply *bytes, struct ftl__job *ret_job);

#endif
