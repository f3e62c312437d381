/* SPDX-License-Identifier: MIT
 *
 * DESIGN. fettle:batches:ID has a field for each batch, SEQ → "TOKEN COUNT NAME". A SEQ that the
 * ledger does not have was claimed without our knowing; it is entered now, and each of its entries
 * put back by an ordinary settle: it runs again. But if it is known how all of it has ended, then
 * Redis has gone back in time (a failover, a backup): it is settled once more, as it was before.
 * The same goes for what has ended in a batch that we still work on, once for each connection, since
 * behind it may be another server: an ack of the rest would delete what has failed. Meanwhile the
 * caller keeps claims and acks away, so that the two can be compared. The other way round, a batch
 * of ours that Redis does not have, is for the settles to find: each of them is checked by its
 * script. */
#include "daemon/audit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/time.h>

#define CALL_TIMEOUT (10 * FTL_S)
#define MAX_BATCH 1000000

struct record {
    uint64_t seq, token;
    uint32_t count;
    struct ftl__queue *queue;
};

static bool parse_number(const char **text, char end, uint64_t *ret_number)
{
    char *rest;

    errno = 0;
    *ret_number = strtoull(*text, &rest, 10);
    if (errno != 0 || rest == *text || *rest != end)
        return false;
    *text = end == '\0' ? rest : rest + 1;
    return true;
}

static struct ftl__queue *find_queue(const struct ftl__queues *queues, const char *name)
{
    for (size_t i = 0; i < queues->count; i++)
        if (strcmp(queues->all[i]->name, name) == 0)
            return queues->all[i];
    return NULL;
}

static bool parse(const struct ftl__queues *queues, const char *seq, const char *value,
                  struct record *ret_record)
{
    uint64_t count;

    if (!parse_number(&seq, '\0', &ret_record->seq) ||
        !parse_number(&value, ' ', &ret_record->token) || !parse_number(&value, ' ', &count) ||
        count == 0 || count > MAX_BATCH)
        return false;
    ret_record->count = (uint32_t)count;
    ret_record->queue = find_queue(queues, value);
    return ret_record->queue != NULL;
}

/* So that nothing can fail half-way. */
static int reserve(const struct ftl__round_context *context, uint32_t slots)
{
    int code = ftl__dispatch_promise(context->dispatch, slots);

    if (code == 0)
        ftl__dispatch_redeem(context->dispatch, slots);
    return code;
}

static int return_batch(const struct ftl__round_context *context, const struct record *record)
{
    struct ftl__batch *batch;

    if (reserve(context, record->count) != 0)
        return FTL_ENOMEM;
    batch = ftl__ledger_add(context->ledger, record->queue, record->seq, record->token,
                            record->count, ftl_now());
    if (batch == NULL)
        return FTL_ENOMEM;
    batch->resent = true;
    for (uint32_t i = record->count; i-- > 0;)
        ftl__dispatch_return(context->dispatch, batch, i, "lost reply");
    return 0;
}

static void settle_others(const struct ftl__round_context *context, struct ftl__batch *batch)
{
    struct ftl__past *past;

    while ((past = ftl__ledger_reopen(context->ledger, batch)) != NULL)
        ftl__settle_again(context->settle, batch, past);
}

/* Redis has forgotten how these have ended: as if those that succeeded just had. */
static int settle_again(const struct ftl__round_context *context, const struct record *record)
{
    int64_t now = ftl_now();
    struct ftl__batch *batch;

    if (reserve(context, record->count) != 0)
        return FTL_ENOMEM;
    batch = ftl__ledger_add(context->ledger, record->queue, record->seq, record->token,
                            record->count, now);
    if (batch == NULL)
        return FTL_ENOMEM;
    batch->resent = true;
    settle_others(context, batch);
    for (uint32_t i = 0; i < record->count; i++)
        if (batch->entry[i] == FTL__ENTRY_LIVE)
            (void)ftl__ledger_done(context->ledger, batch, i, now);
    return 0;
}

/* Redis may have forgotten what has ended in this one. */
static int look_again(const struct ftl__round_context *context, struct ftl__batch *batch)
{
    if (batch->count[FTL__ENTRY_GONE] == 0)
        return 0;
    if (reserve(context, batch->others) != 0)
        return FTL_ENOMEM;
    batch->resent = true;
    settle_others(context, batch);
    ftl__settle_look(context->settle);
    return 0;
}

static int compare_one(const struct ftl__round_context *context, const struct record *record,
                       const struct ftl__ledger_index *index, bool anew)
{
    struct ftl__batch *batch = ftl__ledger_index_find(index, record->seq);

    if (batch != NULL)
        return anew ? look_again(context, batch) : 0;
    return ftl__ledger_knows(context->ledger, record->seq) ? settle_again(context, record)
                                                           : return_batch(context, record);
}

static int compare(const struct ftl__round_context *context, const struct redisReply *reply,
                   const struct ftl__ledger_index *index, bool anew)
{
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        const struct redisReply *seq = reply->element[i], *value = reply->element[i + 1];
        struct record record;

        if (seq->type != REDIS_REPLY_STRING || value->type != REDIS_REPLY_STRING ||
            !parse(context->queues, seq->str, value->str, &record))
            continue;
        int code = compare_one(context, &record, index, anew);
        if (code != 0)
            return code;
    }
    return 0;
}

static int compare_all(const struct ftl__round_context *context, const struct redisReply *reply,
                       bool anew)
{
    struct ftl__ledger_index index;
    int code = ftl__ledger_index(context->ledger, &index);

    if (code != 0)
        return code;
    code = compare(context, reply, &index, anew);
    ftl__ledger_index_free(&index);
    return code;
}

int ftl__audit(const struct ftl__round_context *context, bool anew)
{
    struct ftl__key key;
    const char *argv[] = {"HGETALL", key.text};
    size_t argvlen[] = {7, 0};
    const struct ftl__command command = {2, argv, argvlen};
    uint32_t epoch = context->ledger->epoch;
    struct redisReply *reply;
    int code;

    ftl__key_batches(context->keys, context->ledger->id, &key);
    argvlen[1] = key.size;
    code = ftl__link_call(context->link, &command, ftl_deadline(CALL_TIMEOUT), &reply);
    if (code != 0)
        return code;
    code = ftl__reply_check(reply, REDIS_REPLY_ARRAY, "HGETALL");
    /* Another registration has begun meanwhile: what was read is not ours any more. */
    if (code == 0 && context->ledger->id[0] != '\0' && context->ledger->epoch == epoch)
        code = compare_all(context, reply, anew);
    ftl__reply_free(reply);
    return code;
}
