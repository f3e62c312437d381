/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Taking the answer and handing out the jobs are two steps, so that the next round can be
 * on its way while the jobs of this one are looked at. Between them `asked` is what the dispatch
 * still has promised to this round.
 *
 * Every queue that is asked gets a SEQ of its own, used or not: a SEQ is never used twice. */
#include "daemon/round.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/complaint.h"

#define MAX_BYTES (8 << 20)
#define CALL_TIMEOUT (10 * FTL_S)

void ftl__round_init(struct ftl__round *round, const struct ftl__round_context *context)
{
    memset(round, 0, sizeof *round);
    round->context = context;
    round->ack.ledger = context->ledger;
    round->ack.link = context->link;
    round->ack.scripts = context->scripts;
    round->ack.keys = context->keys;
    round->ack.lease = context->lease;
    ftl__ack_init(&round->ack);
    ftl__invoke_init(&round->invoke);
}

void ftl__round_free(struct ftl__round *round)
{
    ftl__ack_free(&round->ack);
    ftl__invoke_free(&round->invoke);
    free(round->queues);
    free(round->order);
    ftl__reply_free(round->reply);
}

/* ---- asking -------------------------------------------------------------------------------- */

static int make_room(struct ftl__round *round, size_t count)
{
    struct ftl__round_queue *queues;
    struct ftl__queue **order;

    if (count <= round->queue_room)
        return 0;
    queues = realloc(round->queues, count * sizeof *queues);
    if (queues == NULL)
        return FTL_ENOMEM;
    round->queues = queues;
    order = realloc(round->order, count * sizeof(struct ftl__queue *));
    if (order == NULL)
        return FTL_ENOMEM;
    round->order = order;
    round->queue_room = count;
    return 0;
}

static void choose_queues(struct ftl__round *round, uint32_t jobs, bool *ret_held_back)
{
    const struct ftl__round_context *context = round->context;
    uint32_t park_room = ftl__dispatch_park_room(context->dispatch);
    int64_t now = ftl_now();

    ftl__queues_order(context->queues, round->order);
    round->queue_count = 0;
    for (size_t i = 0; i < context->queues->active; i++) {
        struct ftl__queue *queue = round->order[i];
        uint32_t room = ftl__queue_room(queue, now, park_room);
        if (room == 0) {
            *ret_held_back = true;
            continue;
        }
        round->queues[round->queue_count++] = (struct ftl__round_queue){
            .queue = queue,
            .seq = ftl__ledger_next_seq(context->ledger),
            .limit = room < jobs ? room : jobs,
            .bounded = room < jobs,
        };
    }
}

static void build(struct ftl__round *round, uint32_t jobs)
{
    const struct ftl__keys *keys = round->context->keys;
    struct ftl__key key;

    ftl__invoke_start(&round->invoke, FTL__SCRIPT_CLAIM);
    ftl__invoke_key(&round->invoke, &keys->token);
    ftl__invoke_key(&round->invoke, &keys->owners);
    ftl__key_batches(keys, round->id, &key);
    ftl__invoke_key(&round->invoke, &key);
    ftl__invoke_key(&round->invoke, &keys->paused);
    ftl__invoke_key(&round->invoke, &keys->recoveries);
    for (size_t i = 0; i < round->queue_count; i++) {
        ftl__invoke_key(&round->invoke, &round->queues[i].queue->key);
        ftl__invoke_key(&round->invoke, &round->queues[i].queue->front);
        ftl__key_batch(keys, round->id, round->queues[i].seq, &key);
        ftl__invoke_key(&round->invoke, &key);
    }
    ftl__invoke_key(&round->invoke, &keys->cancelled);
    ftl__invoke_text(&round->invoke, round->id);
    ftl__invoke_uint(&round->invoke, jobs);
    ftl__invoke_uint(&round->invoke, MAX_BYTES);
    for (size_t i = 0; i < round->queue_count; i++) {
        ftl__invoke_text(&round->invoke, round->queues[i].queue->name);
        ftl__invoke_uint(&round->invoke, round->queues[i].seq);
        ftl__invoke_uint(&round->invoke, round->queues[i].limit);
    }
    ftl__invoke_text(&round->invoke, round->context->cancels->generation);
}

static bool begin_claim(struct ftl__round *round, uint32_t jobs, bool *ret_held_back)
{
    const struct ftl__round_context *context = round->context;

    if (make_room(round, context->queues->active) != 0 ||
        ftl__dispatch_promise(context->dispatch, jobs) != 0)
        return false;
    choose_queues(round, jobs, ret_held_back);
    memcpy(round->id, context->ledger->id, sizeof round->id);
    if (round->queue_count > 0) {
        build(round, jobs);
        if (ftl__invoke_begin(&round->invoke, context->scripts, context->link, &round->call,
                              ftl_deadline(CALL_TIMEOUT)) == 0) {
            for (size_t i = 0; i < round->queue_count; i++)
                round->queues[i].queue->asked += round->queues[i].limit;
            round->asked = jobs;
            return true;
        }
    }
    ftl__dispatch_redeem(context->dispatch, jobs);
    return false;
}

bool ftl__round_begin(struct ftl__round *round, uint32_t jobs, bool *ret_held_back)
{
    ftl_assert(!round->acking && !round->claiming && round->reply == NULL);
    *ret_held_back = false;
    round->acking = ftl__ack_begin(&round->ack);
    round->claiming = jobs > 0 && begin_claim(round, jobs, ret_held_back);
    return round->acking || round->claiming;
}

bool ftl__round_is_pending(struct ftl__round *round, struct ftl_notify *wake,
                           int64_t *ret_deadline)
{
    struct ftl__call *last = round->claiming ? &round->call : &round->ack.call;

    last->landed = wake;
    *ret_deadline = last->deadline;
    return last->pending;
}

/* ---- the answer ------------------------------------------------------------------------------ */

static bool is_row(const struct ftl__round *round, const struct redisReply *row)
{
    return row->type == REDIS_REPLY_ARRAY && row->elements == 5 &&
           row->element[0]->type == REDIS_REPLY_INTEGER && row->element[0]->integer >= 0 &&
           (size_t)row->element[0]->integer <= round->queue_count &&
           row->element[1]->type == REDIS_REPLY_STRING &&
           row->element[2]->type == REDIS_REPLY_STRING &&
           row->element[3]->type == REDIS_REPLY_ARRAY &&
           row->element[4]->type == REDIS_REPLY_ARRAY;
}

/* The row behind those of the queues: what is cancelled, if that has changed. */
static bool has_marks(const struct redisReply *reply)
{
    return reply->elements > 1 && reply->element[reply->elements - 1]->element[0]->integer == 0;
}

/* How many elements there are before it. */
static size_t rows_end(const struct redisReply *reply)
{
    return reply->elements - has_marks(reply);
}

static bool is_claim(const struct ftl__round *round, const struct redisReply *reply)
{
    if (reply->elements < 1 || reply->element[0]->type != REDIS_REPLY_STRING)
        return false;
    for (size_t i = 1; i < reply->elements; i++) {
        const struct redisReply *row = reply->element[i];
        if (!is_row(round, row))
            return false;
        if (row->element[0]->integer == 0 &&
            (i + 1 < reply->elements || !ftl__marks_is_reply(row->element[1], row->element[3])))
            return false;
    }
    return true;
}

static struct ftl__round_queue *queue_of(struct ftl__round *round, const struct redisReply *row)
{
    return &round->queues[row->element[0]->integer - 1];
}

static void note_state(struct ftl__round_queue *queue, const struct redisReply *row)
{
    const char *state = row->element[2]->str;

    if (strcmp(state, "ok") == 0) {
        ftl__queue_went_well(queue->queue);
    } else if (strcmp(state, "paused") == 0) {
        queue->queue->paused = true;
    } else {
        ftl__queue_failed(queue->queue, ftl_now());
        ftl__complain("claim", queue->queue->name, state);
    }
}

/* Looks at the rows without handing anything out. */
static void take_stock(struct ftl__round *round, struct ftl__round_result *ret_result)
{
    const struct redisReply *reply = round->reply;

    *ret_result = (struct ftl__round_result){0};
    ftl__clock_set(round->context->clock, strtoll(reply->element[0]->str, NULL, 10));
    if (has_marks(reply)) {
        const struct redisReply *marks = reply->element[reply->elements - 1];
        ftl__marks_take(round->context->cancels, marks->element[1], marks->element[3]);
    }
    for (size_t i = 0; i < round->queue_count; i++)
        round->queues[i].queue->paused = false;
    for (size_t i = 1; i < rows_end(reply); i++) {
        const struct redisReply *row = reply->element[i], *jobs = row->element[3];
        struct ftl__round_queue *queue = queue_of(round, row);

        note_state(queue, row);
        ret_result->jobs += (uint32_t)jobs->elements;
        ret_result->more |= queue->bounded && jobs->elements == queue->limit;
        for (size_t j = 0; j < jobs->elements; j++)
            ret_result->bytes += jobs->element[j]->len;
    }
    ret_result->more |= ret_result->jobs >= round->asked || ret_result->bytes >= MAX_BYTES / 2;
}

static void release_queues(struct ftl__round *round)
{
    for (size_t i = 0; i < round->queue_count; i++)
        round->queues[i].queue->asked -= round->queues[i].limit;
}

/* From now on the queues' bounds keep room for what has come, not for what was asked. */
static void keep_room(struct ftl__round *round)
{
    release_queues(round);
    for (size_t i = 0; i < round->queue_count; i++)
        round->queues[i].limit = 0;
    for (size_t i = 1; i < rows_end(round->reply); i++) {
        const struct redisReply *row = round->reply->element[i];
        struct ftl__round_queue *queue = queue_of(round, row);
        queue->limit = (uint32_t)row->element[3]->elements;
        queue->queue->asked += queue->limit;
    }
}

static int await_claim(struct ftl__round *round)
{
    const struct ftl__round_context *context = round->context;
    struct redisReply *reply;
    int code = ftl__invoke_wait(&round->invoke, context->scripts, &round->call, &reply);

    if (code != 0)
        return code;
    code = ftl__reply_check(reply, REDIS_REPLY_ARRAY, "claim");
    if (code == 0 && !is_claim(round, reply)) {
        ftl__link_break(context->link, "malformed reply to claim");
        code = FTL_EPROTO;
    }
    if (code == FTL_EFENCED)
        ftl__lease_suspect(context->lease, round->id);
    if (code == 0)
        round->reply = reply;
    else
        ftl__reply_free(reply);
    return code;
}

int ftl__round_await(struct ftl__round *round, struct ftl__round_result *ret_result)
{
    int acked = round->acking ? ftl__ack_finish(&round->ack) : 0;
    int claimed = 0;

    *ret_result = (struct ftl__round_result){0};
    round->acking = false;
    if (round->claiming) {
        round->claiming = false;
        claimed = await_claim(round);
        if (claimed != 0) {
            release_queues(round);
            ftl__dispatch_redeem(round->context->dispatch, round->asked);
            round->asked = 0;
        } else {
            take_stock(round, ret_result);
            keep_room(round);
            ftl__dispatch_redeem(round->context->dispatch, round->asked - ret_result->jobs);
            round->asked = ret_result->jobs;
        }
    }
    return claimed != 0 ? claimed : acked;
}

/* ---- handing out ----------------------------------------------------------------------------- */

static int deliver_row(struct ftl__round *round, const struct redisReply *row, int64_t now)
{
    const struct ftl__round_context *context = round->context;
    const struct redisReply *jobs = row->element[3], *recoveries = row->element[4];
    struct ftl__round_queue *queue = queue_of(round, row);
    uint64_t token = strtoull(row->element[1]->str, NULL, 10);
    struct ftl__batch *batch;

    if (jobs->elements == 0)
        return 0;
    batch = ftl__ledger_add(context->ledger, queue->queue, queue->seq, token,
                            (uint32_t)jobs->elements, now);
    if (batch == NULL)
        return FTL_ENOMEM;
    for (size_t i = 0; i < jobs->elements; i++) {
        const struct redisReply *job = jobs->element[i];
        uint32_t recovered =
            i < recoveries->elements ? (uint32_t)recoveries->element[i]->integer : 0;

        queue->queue->asked--;
        queue->limit--;
        ftl__dispatch_redeem(context->dispatch, 1);
        round->asked--;
        ftl__dispatch_job(context->dispatch, batch, (uint32_t)i, job->str, job->len, recovered,
                          now);
    }
    round->put_back |= ftl__dispatch_pushed(context->dispatch, now);
    return 0;
}

/* Fenced since it was begun: whoever reaps the batches runs the jobs. */
static bool is_ours(const struct ftl__round *round)
{
    return strcmp(round->context->ledger->id, round->id) == 0;
}

int ftl__round_deliver(struct ftl__round *round)
{
    int64_t now = ftl_now();
    int code = 0;

    round->put_back = false;
    if (round->reply == NULL)
        return 0;
    ftl_cork();
    if (is_ours(round))
        for (size_t i = 1; i < rows_end(round->reply) && code == 0; i++)
            code = deliver_row(round, round->reply->element[i], now);
    ftl_uncork();
    release_queues(round);
    ftl__dispatch_redeem(round->context->dispatch, round->asked);
    round->asked = 0;
    ftl__reply_free(round->reply);
    round->reply = NULL;
    return code;
}
