/* SPDX-License-Identifier: MIT
 *
 * A round: one claim and the ack in front of it, sent together. Whoever begins it finishes it.
 * Control runtime only. */
#ifndef FETTLE_DAEMON_ROUND_H
#define FETTLE_DAEMON_ROUND_H

#include "daemon/ack.h"
#include "daemon/marks.h"
#include "daemon/dispatch.h"
#include "daemon/queues.h"

/* What rounds work with; all of it outlives them. */
struct ftl__round_context {
    struct ftl__link *link;
    struct ftl__scripts *scripts;
    const struct ftl__keys *keys;
    struct ftl__lease *lease;
    struct ftl__ledger *ledger;
    struct ftl__queues *queues;
    struct ftl__dispatch *dispatch;
    struct ftl__clock *clock;
    struct ftl__marks *cancels;
    struct ftl__settle *settle;
};

struct ftl__round_queue {
    struct ftl__queue *queue;
    uint64_t seq;
    uint32_t limit;
    bool bounded; /* `limit` is below what the claim takes at most */
};

struct ftl__round {
    const struct ftl__round_context *context;
    struct ftl__ack ack;
    bool acking, claiming;
    struct ftl__invoke invoke;
    struct ftl__call call;
    struct ftl__round_queue *queues;
    struct ftl__queue **order;
    size_t queue_count, queue_room;
    uint32_t asked; /* promised by the dispatch */
    char id[FTL__ID_MAX + 1]; /* under which the claim was made */
    struct redisReply *reply; /* between await() and deliver() */
    bool put_back;            /* of what was delivered last, some went back for want of room */
};

/* What came of a claim. */
struct ftl__round_result {
    uint32_t jobs;
    size_t bytes; /* of them */
    bool more; /* there may be jobs that it has not taken, for want of room in a bound or in all */
};

void ftl__round_init(struct ftl__round *round, const struct ftl__round_context *context);
void ftl__round_free(struct ftl__round *round); /* after the task that used it has ended */

/* Begins an ack of what is ready and, if `jobs` > 0, a claim of at most that many. True: something
 * is on its way. *ret_held_back: a queue could not be asked for want of room in a bound of its
 * own. */
bool ftl__round_begin(struct ftl__round *round, uint32_t jobs, bool *ret_held_back);

/* Has its last answer not come yet? Then `wake` is notified of it, and *ret_deadline is when
 * await() gives up. */
bool ftl__round_is_pending(struct ftl__round *round, struct ftl_notify *wake,
                           int64_t *ret_deadline);

/* Waits for the answers and settles with the ledger and the dispatch how much has come. 0, or why
 * it failed: FTL_ECONN, FTL_ETIMEDOUT (the claim may have been executed), FTL_EFENCED, FTL_EPROTO,
 * … */
int ftl__round_await(struct ftl__round *round, struct ftl__round_result *ret_result);

/* Hands the claimed jobs to the dispatch. FTL_ENOMEM, FTL_EPROTO: part of them stays in Redis as
 * this daemon's, to be found by the audit. */
int ftl__round_deliver(struct ftl__round *round);

#endif
