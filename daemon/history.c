/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A success costs nothing here: its batch's bit says that all that is not kept has
 * succeeded. Every other end is kept with what its settle has written, so that the same can be
 * written again. Whoever forgets an end takes the bit of its batch away: what comes back of a batch
 * that is not known goes back to its queue and runs again. That is what the bound in memory, the
 * bound in time and a want of memory come to.
 *
 * Everything runs on control; nothing here waits, logs or talks. */
#include "daemon/history.h"

#include <stdlib.h>
#include <string.h>

void ftl__history_init(struct ftl__history *history)
{
    ftl__list_init(&history->pasts);
    memset(history->buckets, 0, sizeof history->buckets);
    history->bytes = 0;
}

static size_t size_of(const struct ftl__past *past)
{
    return sizeof *past + past->result.size;
}

static struct ftl__past **bucket_of(struct ftl__history *history, uint64_t seq)
{
    return &history->buckets[seq % FTL__HISTORY_BUCKETS];
}

static void take_out(struct ftl__history *history, struct ftl__past *past)
{
    struct ftl__past **at = bucket_of(history, past->seq);

    while (*at != past)
        at = &(*at)->next;
    *at = past->next;
    ftl__list_unlink(&past->link);
    history->bytes -= size_of(past);
}

static void set_known(struct ftl__history *history, uint64_t seq, bool known)
{
    uint8_t bit = (uint8_t)(1U << seq % 8), *byte = &history->known[seq % FTL__HISTORY_SEQS / 8];

    *byte = known ? *byte | bit : *byte & (uint8_t)~bit;
}

static void forget_oldest(struct ftl__history *history)
{
    struct ftl__past *past = ftl__container(history->pasts.next, struct ftl__past, link);

    set_known(history, past->seq, false);
    take_out(history, past);
    free(past->result.bytes);
    free(past);
}

void ftl__history_clear(struct ftl__history *history)
{
    while (!ftl__list_is_empty(&history->pasts))
        forget_oldest(history);
}

void ftl__history_begin(struct ftl__history *history, uint64_t seq)
{
    set_known(history, seq, false);
}

static uint32_t count_of(struct ftl__history *history, uint64_t seq)
{
    uint32_t count = 0;

    for (const struct ftl__past *past = *bucket_of(history, seq); past != NULL; past = past->next)
        count += past->seq == seq;
    return count;
}

void ftl__history_end(struct ftl__history *history, uint64_t seq, uint32_t others)
{
    if (others == 0 || count_of(history, seq) == others)
        set_known(history, seq, true);
}

bool ftl__history_knows(const struct ftl__history *history, uint64_t seq)
{
    return (history->known[seq % FTL__HISTORY_SEQS / 8] >> seq % 8 & 1) != 0;
}

void ftl__history_add(struct ftl__history *history, uint64_t seq, uint32_t index, bool returned,
                      struct ftl__retry_result *result, int64_t now)
{
    struct ftl__past *past = malloc(sizeof *past), **bucket = bucket_of(history, seq);

    if (past == NULL)
        return;
    *past = (struct ftl__past){.next = *bucket,
                               .seq = seq,
                               .index = index,
                               .returned = returned,
                               .result = *result,
                               .settled_at = now};
    result->bytes = NULL;
    *bucket = past;
    ftl__list_push_back(&history->pasts, &past->link);
    history->bytes += size_of(past);
    while (history->bytes > FTL__HISTORY_BYTES)
        forget_oldest(history);
}

struct ftl__past *ftl__history_take(struct ftl__history *history, uint64_t seq)
{
    for (struct ftl__past *past = *bucket_of(history, seq); past != NULL; past = past->next)
        if (past->seq == seq) {
            take_out(history, past);
            return past;
        }
    return NULL;
}

void ftl__history_expire(struct ftl__history *history, int64_t now)
{
    while (!ftl__list_is_empty(&history->pasts) &&
           ftl__container(history->pasts.next, struct ftl__past, link)->settled_at +
                   FTL__HISTORY_KEEP <
               now)
        forget_oldest(history);
}
