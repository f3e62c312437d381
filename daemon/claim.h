/* SPDX-License-Identifier: MIT
 *
 * The pump: claims as many jobs as there is room for, acks in front of each claim, and waits in
 * BLMOVE when there is nothing to claim. One task on the control runtime. */
#ifndef FETTLE_DAEMON_CLAIM_H
#define FETTLE_DAEMON_CLAIM_H

#include "daemon/round.h"
#include "daemon/wait.h"

struct ftl__claim;
struct ftl__tick;

struct ftl__claim_options {
    struct ftl_runtime *runtime; /* control */
    struct ftl__round_context context;
    struct ftl__wait *wait; /* outlives the claim */
    uint32_t concurrency;

    void (*on_settled)(void *arg); /* is_settled() has become true after quiet(); must not wait */
    void *arg;
};

int ftl__claim_open(const struct ftl__claim_options *options, struct ftl__claim **ret_claim);
/* Ends the task; what is on its way is forgotten. Quiet it and wait until it is settled first for a
 * clean end. NULL-safe. */
void ftl__claim_close(struct ftl__claim *claim);

/* Something has changed: runs have ended, a batch is ready, we are registered. Never waits. */
void ftl__claim_wake(struct ftl__claim *claim);
/* There may be jobs to claim. */
void ftl__claim_hungry(struct ftl__claim *claim);
/* The connection is a new one: look for claims whose reply was lost, before the next. */
void ftl__claim_reconnected(struct ftl__claim *claim);
/* What a tick has told: whether there is work, and how many batches we hold. */
void ftl__claim_told(struct ftl__claim *claim, const struct ftl__tick *tick);
/* Claims no more; acks go on. */
void ftl__claim_quiet(struct ftl__claim *claim);
void ftl__claim_set_concurrency(struct ftl__claim *claim, uint32_t concurrency);

/* Has every claim been answered, and what it has brought been handed out? After one whose answer
 * was lost this is so when an audit has put back what it may have taken. */
bool ftl__claim_is_settled(const struct ftl__claim *claim);

/* Has its task come to an end by a fault of ours? It can only be closed then. */
bool ftl__claim_has_failed(struct ftl__claim *claim);

#endif
