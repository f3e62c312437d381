/* SPDX-License-Identifier: MIT
 *
 * DESIGN: a ring of pointers to the callers' own storage, found again by sequence number, so that
 * giving a call up costs nothing and needs no list. A call that has landed is no longer referred
 * to. On control, as the link that owns it. */
#include "daemon/flight.h"

#include <stdlib.h>

#include "daemon/link.h"

static struct ftl__call **slot(struct ftl__flight *flight, uint64_t seq)
{
    return &flight->ring[seq & (flight->room - 1)];
}

void ftl__flight_free(struct ftl__flight *flight)
{
    free(flight->ring);
    *flight = (struct ftl__flight){0};
}

int ftl__flight_reserve(struct ftl__flight *flight)
{
    if (flight->next - flight->first < flight->room)
        return 0;
    size_t room = flight->room == 0 ? 64 : 2 * flight->room;
    struct ftl__call **ring = calloc(room, sizeof *ring);
    if (ring == NULL)
        return FTL_ENOMEM;
    for (uint64_t seq = flight->first; seq != flight->next; seq++)
        ring[seq & (room - 1)] = *slot(flight, seq);
    free(flight->ring);
    flight->ring = ring;
    flight->room = room;
    return 0;
}

void ftl__flight_push(struct ftl__flight *flight, struct ftl__call *call)
{
    ftl_assert(flight->next - flight->first < flight->room);
    call->pending = true;
    call->seq = flight->next++;
    *slot(flight, call->seq) = call;
}

void ftl__flight_drop(struct ftl__flight *flight, struct ftl__call *call)
{
    ftl_assert(call->pending && *slot(flight, call->seq) == call);
    *slot(flight, call->seq) = NULL;
    call->pending = false;
}

static void finish(struct ftl__call *call, int status, struct redisReply *reply)
{
    call->pending = false;
    call->status = status;
    call->reply = reply;
    ftl_oneshot_send(&call->done, NULL);
    if (call->landed != NULL)
        ftl_notify_one(call->landed);
}

int ftl__flight_land(struct ftl__flight *flight, struct redisReply *reply)
{
    if (flight->first == flight->next) {
        ftl__reply_free(reply);
        return FTL_EPROTO;
    }
    struct ftl__call *call = *slot(flight, flight->first);
    flight->first++;
    if (call != NULL)
        finish(call, 0, reply);
    else
        ftl__reply_free(reply);
    return 0;
}

void ftl__flight_fail(struct ftl__flight *flight, int status)
{
    for (; flight->first != flight->next; flight->first++) {
        struct ftl__call *call = *slot(flight, flight->first);
        if (call != NULL)
            finish(call, status, NULL);
    }
}
