/* SPDX-License-Identifier: MIT
 *
 * One call of settle.lua: what it tells, and its words. Part of settle, whose task owns it. */
#ifndef FETTLE_DAEMON_SETTLE_CALL_H
#define FETTLE_DAEMON_SETTLE_CALL_H

#include "daemon/fate.h"
#include "daemon/keys.h"
#include "daemon/ledger.h"
#include "daemon/script.h"

#define FTL__SETTLE_CALL_ENTRIES 400

struct ftl__settle_entry {
    struct ftl__batch *batch;
    uint32_t index;
    struct ftl__slot *slot; /* NULL: a success */
    struct ftl__operation operation;
    bool last; /* after this call no entry of the batch should be left */
};

struct ftl__settle_call {
    struct ftl__settle_entry entries[FTL__SETTLE_CALL_ENTRIES];
    uint32_t count;
    size_t bytes;
    uint32_t number; /* marks what has a place in this call already */
    uint32_t batches, queues;
};

/* Makes the invocation, and notes which entries are the last of their batches. */
void ftl__settle_call_build(struct ftl__settle_call *call, const struct ftl__keys *keys,
                            const char *id, struct ftl__invoke *invoke);

#endif
