/* SPDX-License-Identifier: MIT
 *
 * Calls in flight on a connection, in the order in which their replies will come. Part of the
 * link. */
#ifndef FETTLE_DAEMON_FLIGHT_H
#define FETTLE_DAEMON_FLIGHT_H

#include <stddef.h>
#include <stdint.h>

struct ftl__call;
struct redisReply;

/* Zeroed = empty. */
struct ftl__flight {
    struct ftl__call **ring; /* NULL entry: given up, its reply is to be dropped */
    size_t room;             /* a power of two, or 0 */
    uint64_t first, next;    /* sequence numbers: first = whose reply comes next */
};

void ftl__flight_free(struct ftl__flight *flight); /* the ring; it must be empty */

/* Makes room for one more, so that push() cannot fail. FTL_ENOMEM. */
int ftl__flight_reserve(struct ftl__flight *flight);
/* The call is `pending` from now on. */
void ftl__flight_push(struct ftl__flight *flight, struct ftl__call *call);
/* A pending call leaves a hole. */
void ftl__flight_drop(struct ftl__flight *flight, struct ftl__call *call);

/* Hands the next reply to its call, or drops it. FTL_EPROTO: no call was waiting for one. */
int ftl__flight_land(struct ftl__flight *flight, struct redisReply *reply);
/* All of them fail with `status`. */
void ftl__flight_fail(struct ftl__flight *flight, int status);

#endif
