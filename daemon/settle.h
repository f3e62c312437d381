/* SPDX-License-Identifier: MIT
 *
 * The settle: tells Redis how runs have ended. Successes wait for their batch and go with an ack of
 * the whole (daemon/ack.h); everything else, and a success whose batch is slow, goes by settle.lua,
 * many in one call. What cannot be told now (no link, an error) is kept and told later, under the
 * same tokens. One task on the control runtime. */
#ifndef FETTLE_DAEMON_SETTLE_H
#define FETTLE_DAEMON_SETTLE_H

#include "daemon/clock.h"
#include "daemon/lease.h"
#include "daemon/ledger.h"
#include "daemon/script.h"
#include "daemon/slot.h"

struct ftl__settle;

struct ftl__settle_options {
    struct ftl_runtime *runtime; /* control; all pointers outlive the settle */
    struct ftl__link *link;
    struct ftl__scripts *scripts;
    const struct ftl__keys *keys;
    struct ftl__lease *lease;
    struct ftl__ledger *ledger;
    struct ftl__slots *slots;
    const struct ftl__clock *clock;
    double unroutable_ttl;
    const _Atomic bool *tainted; /* memory may be damaged; NULL: it never is */

    void (*on_ready)(void *arg); /* a batch wants to be acked; must not wait */
    void *arg;
};

int ftl__settle_open(const struct ftl__settle_options *options, struct ftl__settle **ret_settle);
/* Ends the task; what is open is lost. NULL-safe. */
void ftl__settle_close(struct ftl__settle *settle);

/* For a reload. */
void ftl__settle_set_unroutable_ttl(struct ftl__settle *settle, double seconds);

/* A run that succeeded. The slot goes back to the pool at once. */
void ftl__settle_success(struct ftl__settle *settle, struct ftl__slot *slot);

/* Any other end. The slot is the settle's until Redis has it; returns go out in the order of the
 * calls. Failures have their story in slot->run.failure, the others give `class` and `message`
 * (static). */
void ftl__settle_end(struct ftl__settle *settle, struct ftl__slot *slot, enum ftl__end end,
                     const char *class, const char *message);

/* Ends that Redis has not confirmed, successes of batches excepted. */
/* The end of an entry that stands in Redis as before it: what was told then is told again. Takes a
 * slot of those that are reserved; owns `past`. */
void ftl__settle_again(struct ftl__settle *settle, struct ftl__batch *batch,
                       struct ftl__past *past);
/* Batches that were ready are held now. */
void ftl__settle_look(struct ftl__settle *settle);

size_t ftl__settle_open_ends(const struct ftl__settle *settle);

/* No success waits for its batch any longer from now on (drain). */
void ftl__settle_hurry(struct ftl__settle *settle);

/* Has its task come to an end by a fault of ours? It can only be closed then. */
bool ftl__settle_has_failed(struct ftl__settle *settle);

#endif
