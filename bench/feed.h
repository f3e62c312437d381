/* SPDX-License-Identifier: MIT
 *
 * Jobs for a queue named "default": as many as are wanted, or so many that always about as many
 * wait. Whatever goes wrong ends the bench. */
#ifndef FETTLE_BENCH_FEED_H
#define FETTLE_BENCH_FEED_H

#include "bench/private.h"

enum { FEED_PAYLOAD = 170,  /* bytes of a job */
       FEED_PRODUCERS = 8 }; /* connections of feed_hold() */

/* Makes the commands; `class` outlives them. */
void feed_prepare(const char *class);

/* Pushes `count` jobs. */
void feed_push(redisContext *context, long count);

/* How many jobs wait in the queue and at its front. */
long long feed_waiting(redisContext *context);

/* Pushes as many as were taken, so that about `depth` wait, until `count` have been pushed. Returns
 * how many were taken meanwhile; *ret_least: the least that were seen to wait in the queue
 * once it was full. */
long long feed_hold(redisContext *const producers[FEED_PRODUCERS], long long depth,
                    long long count, long long *ret_least);

#endif
