/* SPDX-License-Identifier: MIT
 *
 * The ledger: what this daemon holds in Redis, batch by batch, and what each entry still needs to
 * be told. Pure bookkeeping: no Redis, no waiting, no clock of its own. Control runtime only.
 *
 * An entry goes one way (but back from OPEN to DONE when Redis has refused the operation, and from
 * GONE to LIVE or DONE when Redis may have forgotten it):
 *     LIVE → DONE → OPEN → GONE      a success that the rest of its batch has kept waiting
 *     LIVE → DONE, and gone with its whole batch by one ack
 *     LIVE → OPEN → GONE             anything but a success: settled on its own */
#ifndef FETTLE_DAEMON_LEDGER_H
#define FETTLE_DAEMON_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/history.h"
#include "daemon/keys.h"
#include "runtime/list.h"

struct ftl__queue;

#define FTL__LEDGER_PATIENCE (5 * INT64_C(1000000)) /* ns a success waits for its batch */

enum ftl__entry {
    FTL__ENTRY_LIVE, /* no outcome yet                                   */
    FTL__ENTRY_DONE, /* succeeded; Redis does not know                   */
    FTL__ENTRY_OPEN, /* an operation of its own is due or on its way     */
    FTL__ENTRY_GONE, /* settled in Redis                                 */
    FTL__ENTRY_COUNT
};

enum ftl__batch_place {
    FTL__BATCH_WORKING, /* in `working`: nothing to tell but what is open */
    FTL__BATCH_HELD,    /* in `held`: has entries DONE and entries LIVE   */
    FTL__BATCH_READY,   /* in `ready`: to be acked                        */
    FTL__BATCH_ACKING,  /* in a list of whoever sends the ack             */
};

struct ftl__batch {
    struct ftl__list link;
    enum ftl__batch_place place;
    struct ftl__queue *queue;
    uint64_t seq, token; /* token of entry 0 */
    uint32_t epoch;      /* the registration under which it was claimed */
    uint32_t size;
    uint32_t count[FTL__ENTRY_COUNT]; /* sums up to size */
    int64_t claimed_at;
    int64_t held_until;
    uint32_t others; /* entries GONE whose end was no success */
    bool resent;     /* an ack or a settle of it may have been executed without our knowing */
    bool doubtful;   /* Redis may have entries of it LIVE that are GONE here: never acked as a whole */
    uint32_t call, place_in_call, in_call; /* scratch of the settle that is being built */
    uint8_t entry[];
};

struct ftl__ledger {
    char id[FTL__ID_MAX + 1]; /* "" while not registered */
    uint32_t epoch;           /* raised by each registration */
    uint64_t next_seq;
    size_t batches;
    struct ftl__list working, held, ready;
    struct ftl__history history; /* of this registration */
    void (*on_less)(void *arg); /* an entry, or a batch, has gone; may be NULL */
    void *arg;
};

void ftl__ledger_init(struct ftl__ledger *ledger);
void ftl__ledger_free(struct ftl__ledger *ledger); /* all batches that are in its lists */

void ftl__ledger_registered(struct ftl__ledger *ledger, const char *id);
void ftl__ledger_fenced(struct ftl__ledger *ledger);
static inline bool ftl__ledger_owns(const struct ftl__ledger *ledger,
                                    const struct ftl__batch *batch)
{
    return ledger->id[0] != '\0' && batch->epoch == ledger->epoch;
}

/* Is there nothing but one entry of this batch? */
bool ftl__ledger_holds_one(const struct ftl__ledger *ledger, const struct ftl__batch *batch);

/* Entries that are not gone, those of batches that are being acked left out. */
uint64_t ftl__ledger_left(const struct ftl__ledger *ledger);

/* The SEQ of the next batch. */
uint64_t ftl__ledger_next_seq(struct ftl__ledger *ledger);
/* Was this a batch of which is known how each of its jobs has ended, as Redis has confirmed? One
 * that stands in Redis nevertheless was brought back, by a failover or from a backup. */
bool ftl__ledger_knows(const struct ftl__ledger *ledger, uint64_t seq);

/* A batch as the claim has brought it. NULL: out of memory. */
struct ftl__batch *ftl__ledger_add(struct ftl__ledger *ledger, struct ftl__queue *queue,
                                   uint64_t seq, uint64_t token, uint32_t size, int64_t now);
/* Redis has been told of all of it. Frees it. */
void ftl__ledger_acked(struct ftl__ledger *ledger, struct ftl__batch *batch);
/* Takes it out and frees it, whatever its state. */
void ftl__ledger_remove(struct ftl__ledger *ledger, struct ftl__batch *batch);

/* The batches of the present registration by their SEQ, at one moment: what is added later is not
 * there, and what is removed must not be asked for. */
struct ftl__ledger_index {
    struct ftl__ledger_index_item {
        uint64_t seq;
        struct ftl__batch *batch;
    } *items;
    size_t count;
};
int ftl__ledger_index(const struct ftl__ledger *ledger,
                      struct ftl__ledger_index *ret_index); /* FTL_ENOMEM */
void ftl__ledger_index_free(struct ftl__ledger_index *index);
/* NULL: there is none. */
struct ftl__batch *ftl__ledger_index_find(const struct ftl__ledger_index *index, uint64_t seq);

/* The edges. done: returns true if the batch has become ready to be acked. */
bool ftl__ledger_done(struct ftl__ledger *ledger, struct ftl__batch *batch, uint32_t index,
                      int64_t now);
void ftl__ledger_open(struct ftl__ledger *ledger, struct ftl__batch *batch, uint32_t index);
/* Redis has refused the operation of a success: it waits `patience` ns for its batch or another
 * try. */
void ftl__ledger_undo(struct ftl__ledger *ledger, struct ftl__batch *batch, uint32_t index,
                      int64_t now, int64_t patience);
/* An open entry is settled. `deleted`: if that was the last one, the batch has been deleted with
 * it. Frees the batch then, makes it ready if an ack is all that it needs, and returns true in that
 * case. */
bool ftl__ledger_gone(struct ftl__ledger *ledger, struct ftl__batch *batch, uint32_t index,
                      bool deleted);

/* An open entry is about to be gone, and not as a success: keeps its end, and takes the bytes of
 * `result`. */
void ftl__ledger_keep(struct ftl__ledger *ledger, struct ftl__batch *batch, uint32_t index,
                      bool returned, struct ftl__retry_result *result, int64_t now);
/* The same of an entry that others have: if it comes back, nobody knows what became of it. */
void ftl__ledger_lose(struct ftl__batch *batch);
/* One end that was kept, of a batch that Redis may have as it was before: its entry is LIVE again,
 * and the end the caller's. NULL: there is no other. Then the successes are DONE again; but if more
 * had failed, the batch is doubtful; and if all of such a one is GONE, it is removed, and left to the
 * next audit. */
struct ftl__past *ftl__ledger_reopen(struct ftl__ledger *ledger, struct ftl__batch *batch);

/* The first held batch whose patience is over, or NULL; when that of the first one is (INT64_MAX:
 * none is held). A batch whose DONE entries were all opened is held no more. */
struct ftl__batch *ftl__ledger_overdue(struct ftl__ledger *ledger, int64_t now);
int64_t ftl__ledger_held_until(const struct ftl__ledger *ledger);

/* Moves at most `max` ready batches to `list`, for an ack; and back again when it failed. */
size_t ftl__ledger_take_ready(struct ftl__ledger *ledger, struct ftl__list *list, size_t max);
void ftl__ledger_give_back(struct ftl__ledger *ledger, struct ftl__list *list);

#endif
