/* SPDX-License-Identifier: MIT
 *
 * The fate of a slot that has ended: what its settle does in Redis. Control runtime only. */
#ifndef FETTLE_DAEMON_FATE_H
#define FETTLE_DAEMON_FATE_H

#include "daemon/slot.h"

enum ftl__action { FTL__ACTION_DONE, FTL__ACTION_ZADD, FTL__ACTION_PUSH };

struct ftl__operation {
    enum ftl__action action;
    const char *set;     /* "retry" or "dead", of ZADD */
    double score;
    const char *payload; /* borrowed from the slot; size 0: the entry's own bytes */
    size_t payload_size;
};

/* Decides, rewriting the job where that is due; the rewrite stays in slot->result until
 * ftl__fate_forget(). `now` is epoch seconds. FTL_ENOMEM: nothing was decided. */
int ftl__fate_decide(struct ftl__slot *slot, double now, double unroutable_ttl,
                     struct ftl__operation *ret_operation);

/* Does its operation leave the job in Redis? */
bool ftl__fate_stays(const struct ftl__slot *slot);

/* What was decided is dropped: it is decided anew. Not for FTL__END_AGAIN. */
void ftl__fate_forget(struct ftl__slot *slot);

#endif
