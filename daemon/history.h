/* SPDX-License-Identifier: MIT
 *
 * What became of the batches that are gone, for as long as a failover may bring their entries back:
 * which of them are known to have ended, and every end in them that was no success, with what Redis
 * was told. So what comes back is told again, and not run. Control runtime only. */
#ifndef FETTLE_DAEMON_HISTORY_H
#define FETTLE_DAEMON_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "jobs/retry.h"
#include "runtime/list.h"

#define FTL__HISTORY_SEQS (1U << 20) /* back to which it is known what has ended */
#define FTL__HISTORY_BYTES ((size_t)16 << 20) /* of ends that were no success */
#define FTL__HISTORY_KEEP (60 * INT64_C(1000000000)) /* ns they are kept: two periods of audits */
#define FTL__HISTORY_BUCKETS 1024

/* An end that was no success. */
struct ftl__past {
    struct ftl__list link;
    struct ftl__past *next; /* in its bucket */
    uint64_t seq;
    uint32_t index;
    bool returned; /* to its queue; else `result` tells to which set */
    struct ftl__retry_result result; /* owns its bytes */
    int64_t settled_at;
};

struct ftl__history {
    struct ftl__list pasts; /* the oldest first */
    struct ftl__past *buckets[FTL__HISTORY_BUCKETS];
    size_t bytes;
    uint8_t known[FTL__HISTORY_SEQS / 8]; /* a bit for each SEQ; a page is touched when it is due */
};

void ftl__history_init(struct ftl__history *history);
void ftl__history_clear(struct ftl__history *history);

/* A SEQ has been given out: nothing is known of it. Those are given out in order, from 1. */
void ftl__history_begin(struct ftl__history *history, uint64_t seq);
/* Every entry of this batch has ended; `others` of them not as successes. It is known then, if all
 * those are still here. */
void ftl__history_end(struct ftl__history *history, uint64_t seq, uint32_t others);
/* Is it known how each entry of this batch has ended? Those of which nothing is kept have succeeded.
 * The caller sees to it that it is one of the last FTL__HISTORY_SEQS that were given out. */
bool ftl__history_knows(const struct ftl__history *history, uint64_t seq);

/* Keeps an end; of `result` it takes the bytes, and leaves the caller without any. What is too old
 * or too much goes. Without memory nothing is kept. */
void ftl__history_add(struct ftl__history *history, uint64_t seq, uint32_t index, bool returned,
                      struct ftl__retry_result *result, int64_t now);
/* One end of this batch, or NULL: it is the caller's now, also its bytes. */
struct ftl__past *ftl__history_take(struct ftl__history *history, uint64_t seq);
/* Forgets what is older than FTL__HISTORY_KEEP. */
void ftl__history_expire(struct ftl__history *history, int64_t now);

#endif
