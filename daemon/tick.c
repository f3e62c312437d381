/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The call goes over the link of the lease, so its reply is short: IDs, numbers, no job.
 * Who is told of something to do asks for it over a link of its own. The script beats whatever the
 * state of the other keys is; what it could not read looks like nothing, or like something to do,
 * and is then found out by who does it.
 *
 * The queues may be configured anew while the call is on its way; queue objects stay, so what was
 * asked is remembered by them. */
#include "daemon/tick.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/promote.h"
#include "daemon/roster.h"

enum place {
    TIME,
    OWNERS,
    BEATS,
    FENCED,
    BATCHES,
    NEXT,
    DEAD,
    OLDEST,
    RECORDED,
    SIGNALS,
    WORK,
    PAUSED,
    CANCELLED,
    FAULTED,
    PLACES
};

static const int types[PLACES] = {
    [TIME] = REDIS_REPLY_STRING,      [OWNERS] = REDIS_REPLY_ARRAY,  [BEATS] = REDIS_REPLY_ARRAY,
    [FENCED] = REDIS_REPLY_ARRAY,     [BATCHES] = REDIS_REPLY_INTEGER, [NEXT] = REDIS_REPLY_STRING,
    [DEAD] = REDIS_REPLY_INTEGER,     [OLDEST] = REDIS_REPLY_STRING, [RECORDED] = REDIS_REPLY_INTEGER,
    [SIGNALS] = REDIS_REPLY_ARRAY,    [WORK] = REDIS_REPLY_INTEGER,  [PAUSED] = REDIS_REPLY_ARRAY,
    [CANCELLED] = REDIS_REPLY_ARRAY,  [FAULTED] = REDIS_REPLY_ARRAY,
};

struct ftl__ticker {
    struct ftl__ticker_options options;
    struct ftl__invoke invoke;
    struct ftl__queue **asked;
    size_t asked_count, asked_room;
    char cancels[FTL__GENERATION_MAX + 1], faulted[FTL__GENERATION_MAX + 1]; /* known when asked */
};

int ftl__ticker_open(const struct ftl__ticker_options *options, struct ftl__ticker **ret_ticker)
{
    struct ftl__ticker *ticker = calloc(1, sizeof *ticker);

    if (ticker == NULL)
        return FTL_ENOMEM;
    ticker->options = *options;
    ftl__invoke_init(&ticker->invoke);
    *ret_ticker = ticker;
    return 0;
}

void ftl__ticker_close(struct ftl__ticker *ticker)
{
    if (ticker == NULL)
        return;
    ftl__invoke_free(&ticker->invoke);
    free(ticker->asked);
    free(ticker);
}

/* ---- asking -------------------------------------------------------------------------------- */

static int choose_queues(struct ftl__ticker *ticker)
{
    const struct ftl__queues *queues = ticker->options.queues;

    ticker->asked_count = 0;
    if (queues == NULL)
        return 0;
    if (queues->active > ticker->asked_room) {
        struct ftl__queue **asked =
            realloc(ticker->asked, queues->active * sizeof(struct ftl__queue *));
        if (asked == NULL)
            return FTL_ENOMEM;
        ticker->asked = asked;
        ticker->asked_room = queues->active;
    }
    for (size_t i = 0; i < queues->active; i++)
        ticker->asked[ticker->asked_count++] = queues->all[i];
    return 0;
}

static void add_keys(struct ftl__ticker *ticker, const char *id)
{
    const struct ftl__keys *keys = ticker->options.keys;
    struct ftl__invoke *invoke = &ticker->invoke;
    struct ftl__key key;

    ftl__invoke_key(invoke, &keys->owners);
    ftl__invoke_key(invoke, &keys->beat);
    ftl__invoke_key(invoke, &keys->fenced);
    ftl__key_batches(keys, id, &key);
    ftl__invoke_key(invoke, &key);
    ftl__invoke_key(invoke, &keys->promoter);
    ftl__invoke_key(invoke, &keys->retry);
    ftl__invoke_key(invoke, &keys->schedule);
    ftl__invoke_key(invoke, &keys->dead);
    ftl__invoke_key(invoke, &keys->processes);
    ftl__key_process(keys, id, "", &key);
    ftl__invoke_key(invoke, &key);
    ftl__key_process(keys, id, "-signals", &key);
    ftl__invoke_key(invoke, &key);
    ftl__invoke_key(invoke, &keys->paused);
    ftl__invoke_key(invoke, &keys->cancelled);
    ftl__invoke_key(invoke, &keys->faulted);
    for (size_t i = 0; i < ticker->asked_count; i++) {
        ftl__invoke_key(invoke, &ticker->asked[i]->key);
        ftl__invoke_key(invoke, &ticker->asked[i]->front);
    }
}

static void build(struct ftl__ticker *ticker, const char *id)
{
    struct ftl__invoke *invoke = &ticker->invoke;

    ftl__invoke_start(invoke, FTL__SCRIPT_TICK);
    add_keys(ticker, id);
    ftl__invoke_text(invoke, id);
    ftl__invoke_uint(invoke, FTL__PROMOTE_LOCK_MS);
    ftl__invoke_uint(invoke, FTL__ROSTER_EXPIRE);
    ftl__invoke_uint(invoke, FTL__ROSTER_SIGNALS);
    memcpy(ticker->cancels, ticker->options.cancels->generation, sizeof ticker->cancels);
    memcpy(ticker->faulted, ticker->options.faulted->generation, sizeof ticker->faulted);
    ftl__invoke_text(invoke, ticker->cancels);
    ftl__invoke_text(invoke, ticker->faulted);
    for (size_t i = 0; i < ticker->asked_count; i++)
        ftl__invoke_text(invoke, ticker->asked[i]->name);
}

/* ---- the answer ---------------------------------------------------------------------------- */

static bool are_strings(const struct redisReply *array)
{
    for (size_t i = 0; i < array->elements; i++)
        if (array->element[i]->type != REDIS_REPLY_STRING)
            return false;
    return true;
}

/* [] or [generation, [field, value…]]. */
static bool are_marks(const struct redisReply *marks)
{
    return marks->elements == 0 ||
           (marks->elements == 2 && ftl__marks_is_reply(marks->element[0], marks->element[1]));
}

static bool is_tick(const struct redisReply *reply)
{
    if (reply->elements != PLACES)
        return false;
    for (size_t i = 0; i < PLACES; i++)
        if (reply->element[i]->type != types[i])
            return false;
    return are_strings(reply->element[OWNERS]) && are_strings(reply->element[BEATS]) &&
           are_strings(reply->element[FENCED]) && are_strings(reply->element[SIGNALS]) &&
           are_marks(reply->element[CANCELLED]) && are_marks(reply->element[FAULTED]);
}

/* Places count from 1, in ascending order. True: one is paused no more. */
static bool note_paused(struct ftl__ticker *ticker, const struct redisReply *places)
{
    bool resumed = false;
    size_t next = 0;

    for (size_t i = 0; i < ticker->asked_count; i++) {
        bool paused = next < places->elements &&
                      places->element[next]->type == REDIS_REPLY_INTEGER &&
                      places->element[next]->integer == (long long)i + 1;
        next += paused;
        resumed |= ticker->asked[i]->paused && !paused;
        ticker->asked[i]->paused = paused;
    }
    return resumed;
}

static void take_marks(struct ftl__marks *marks, const char *known, const struct redisReply *reply)
{
    if (reply->elements > 0)
        ftl__marks_take_from(marks, known, reply->element[0], reply->element[1]);
}

static void read_tick(struct ftl__ticker *ticker, struct redisReply *reply, struct ftl__tick *tick)
{
    struct redisReply *const *at = reply->element;

    if (ticker->options.clock != NULL) /* first: marks are judged by it */
        ftl__clock_set(ticker->options.clock, strtoll(at[TIME]->str, NULL, 10));
    take_marks(ticker->options.cancels, ticker->cancels, at[CANCELLED]);
    take_marks(ticker->options.faulted, ticker->faulted, at[FAULTED]);
    *tick = (struct ftl__tick){
        .reply = reply,
        .now = strtod(at[TIME]->str, NULL) / 1e6,
        .owners = at[OWNERS],
        .beats = at[BEATS],
        .fenced = at[FENCED],
        .batches = (uint64_t)at[BATCHES]->integer,
        .promoter = at[NEXT]->len > 0,
        .next = strtod(at[NEXT]->str, NULL),
        .dead = (uint64_t)at[DEAD]->integer,
        .dead_oldest = strtod(at[OLDEST]->str, NULL),
        .recorded = at[RECORDED]->integer == 1,
        .signals = at[SIGNALS],
        .work = at[WORK]->integer == 1,
        .resumed = note_paused(ticker, at[PAUSED]),
    };
}

int ftl__ticker_ask(struct ftl__ticker *ticker, const char *id, int64_t deadline,
                    struct ftl__tick *ret_tick)
{
    struct redisReply *reply;
    int status = choose_queues(ticker);

    if (status != 0)
        return status;
    build(ticker, id);
    status = ftl__invoke_run(&ticker->invoke, ticker->options.scripts, ticker->options.link,
                             deadline, &reply);
    if (status != 0)
        return status;
    status = ftl__reply_check(reply, REDIS_REPLY_ARRAY, "tick");
    if (status == 0 && !is_tick(reply)) {
        ftl__link_break(ticker->options.link, "malformed reply to tick");
        status = FTL_EPROTO;
    }
    if (status == 0)
        read_tick(ticker, reply, ret_tick);
    else
        ftl__reply_free(reply);
    return status;
}

void ftl__tick_clear(struct ftl__tick *tick)
{
    ftl__reply_free(tick->reply);
    *tick = (struct ftl__tick){0};
}
