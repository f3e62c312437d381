/* SPDX-License-Identifier: MIT
 *
 * An ack: one call that tells Redis of many batches all of whose jobs are settled. Begun in front
 * of a claim, so that both travel together; whoever begins it finishes it. */
#ifndef FETTLE_DAEMON_ACK_H
#define FETTLE_DAEMON_ACK_H

#include "daemon/lease.h"
#include "daemon/ledger.h"
#include "daemon/script.h"

struct ftl__ack {
    struct ftl__ledger *ledger; /* all outlive the ack */
    struct ftl__link *link;
    struct ftl__scripts *scripts;
    const struct ftl__keys *keys;
    struct ftl__lease *lease;
    struct ftl__invoke invoke;
    struct ftl__call call;
    struct ftl__list batches; /* that this call is about */
    size_t count;
};

void ftl__ack_init(struct ftl__ack *ack);
void ftl__ack_free(struct ftl__ack *ack); /* gives back what it holds */

/* Takes what is ready and begins the call. True: a call is on its way, finish() it. */
bool ftl__ack_begin(struct ftl__ack *ack);
/* Waits for the answer. On an error the batches are ready again, and the code says why. */
int ftl__ack_finish(struct ftl__ack *ack);

#endif
