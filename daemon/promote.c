/* SPDX-License-Identifier: MIT
 *
 * DESIGN: one task on control. A tick (tick.c) renews the lock fettle:promoter, or takes it when it
 * is free, and tells the one who holds it when the next member is due; he sleeps until then. Then
 * he asks Redis for the due members of `retry`, then of `schedule`; only the holder of the lock gets
 * any, and asking renews it, too. The members are rewritten here (due.c) and moved by one script,
 * which moves each only if it is still there: two promoters at once would do no harm. Redis' clock
 * decides what is due and how long to sleep. A member that is added and due before the next tick is
 * late by the time until then.
 *
 * Members of all daemons' queues pass here, whatever max_payload theirs or ours is: the only limits
 * are those of a call and of the scanner. What is too large to be run, its claim decides.
 *
 * What Redis refuses to move stays where it is, is told, and is tried again after the next tick. */
#include "daemon/promote.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/time.h>

#include "daemon/due.h"
#include "daemon/log.h"
#include "daemon/part.h"
#include "daemon/tick.h"
#include "jobs/retry.h"

#define CALL_TIMEOUT    (5 * FTL_S)
#define RELEASE_TIMEOUT (200 * FTL_MS)
#define CLOSE_GRACE     FTL_S
#define LIMIT           500 /* members per call */
#define MAX_BYTES       (4 << 20)
#define TRIM_LIMIT      100
#define FIRST_DUE       3 /* in the reply */
#define LONGEST         1e9 /* seconds that can be slept */

/* A member is sent twice in one call, as it was and as it is to be. */
static const struct ftl__job_limits widest = {
    .max_bytes = FTL__LINK_MAX_OUT / 2 - FTL__RETRY_GROWTH,
    .max_depth = FTL__JSON_DEPTH_CEILING,
};

struct ftl__promote {
    struct ftl__promote_options options;
    bool closing;
    char id[FTL__ID_MAX + 1]; /* under which we have held the lock, last; "": never */
    int64_t due_at; /* when to look, on our clock; FTL_FOREVER: not before a tick says so */
    double now;     /* Redis' clock at the last tick, epoch seconds */
    bool trim_due;
    struct ftl__promote_stats stats;
    struct ftl_task *task;
    struct ftl_notify *wake;
    struct ftl__invoke invoke;
};

/* What a look at a set has found out. */
struct look {
    bool held;   /* we hold the lock */
    bool stuck;  /* something could not be moved: not again at once */
    double now;  /* Redis' clock, epoch seconds */
    double next; /* score of the next member; INFINITY: none */
    size_t moved;
};

static int run(struct ftl__promote *promote, const char *what, struct redisReply **ret_reply)
{
    struct redisReply *reply;
    int status = ftl__invoke_run(&promote->invoke, promote->options.scripts, promote->options.link,
                                 ftl_deadline(CALL_TIMEOUT), &reply);
    if (status != 0)
        return status;
    status = ftl__reply_check(reply, REDIS_REPLY_ARRAY, what);
    if (status != 0)
        ftl__reply_free(reply);
    else
        *ret_reply = reply;
    return status;
}

/* ---- one set ---------------------------------------------------------------------------- */

static void note_id(struct ftl__promote *promote)
{
    snprintf(promote->id, sizeof promote->id, "%s", ftl__lease_id(promote->options.lease));
}

static int ask_due(struct ftl__promote *promote, const struct ftl__key *set,
                   struct redisReply **ret_reply)
{
    struct ftl__invoke *invoke = &promote->invoke;
    note_id(promote);
    if (promote->id[0] == '\0')
        return FTL_EFENCED;
    ftl__invoke_start(invoke, FTL__SCRIPT_DUE);
    ftl__invoke_key(invoke, &promote->options.keys->promoter);
    ftl__invoke_key(invoke, set);
    ftl__invoke_key(invoke, &promote->options.keys->cancelled);
    ftl__invoke_text(invoke, promote->id);
    ftl__invoke_uint(invoke, FTL__PROMOTE_LOCK_MS);
    ftl__invoke_uint(invoke, LIMIT);
    ftl__invoke_uint(invoke, MAX_BYTES);
    ftl__invoke_text(invoke, promote->options.cancels->generation);
    return run(promote, "due", ret_reply);
}

/* [] or [generation, [field, value…]]. */
static int take_marks(struct ftl__promote *promote, const struct redisReply *marks)
{
    if (marks->type != REDIS_REPLY_ARRAY)
        return FTL_EPROTO;
    if (marks->elements == 0)
        return 0;
    if (marks->elements != 2 || !ftl__marks_is_reply(marks->element[0], marks->element[1]))
        return FTL_EPROTO;
    ftl__marks_take(promote->options.cancels, marks->element[0], marks->element[1]);
    return 0;
}

/* [TIME µs, next score or "", marks, RAW, SCORE, …] or []. */
static int parse_look(struct ftl__promote *promote, const struct redisReply *reply,
                      struct look *look)
{
    *look = (struct look){.next = INFINITY};
    if (reply->elements == 0)
        return 0;
    if (reply->elements < FIRST_DUE || (reply->elements - FIRST_DUE) % 2 != 0)
        return FTL_EPROTO;
    for (size_t i = 0; i < reply->elements; i++)
        if (i != FIRST_DUE - 1 && reply->element[i]->type != REDIS_REPLY_STRING)
            return FTL_EPROTO;
    if (take_marks(promote, reply->element[FIRST_DUE - 1]) != 0)
        return FTL_EPROTO;
    look->held = true;
    look->now = strtod(reply->element[0]->str, NULL) / 1e6;
    if (reply->element[1]->len > 0)
        look->next = strtod(reply->element[1]->str, NULL);
    return 0;
}

static void tell_failed(const char *set, const struct ftl__due *due, const char *reason)
{
    ftl__log(FTL__EV_PROMOTE_FAILED, FTL__STR("set", set),
             FTL__BYTES("jid", due->jid.begin, due->jid.size),
             FTL__BYTES("class", due->class.begin, due->class.size), FTL__STR("reason", reason));
}

static void count_moved(struct ftl__promote *promote, const char *set, const struct ftl__due *due)
{
    if (due->cancelled) {
        promote->stats.cancelled++;
        ftl__log(FTL__EV_JOB_CANCELLED, FTL__BYTES("jid", due->jid.begin, due->jid.size),
                 FTL__BYTES("class", due->class.begin, due->class.size));
        return;
    }
    if (due->reason == NULL) {
        promote->stats.promoted++;
        return;
    }
    promote->stats.dead++;
    tell_failed(set, due, due->reason);
}

/* 1 = moved, 0 = somebody else has, or an error. A queue of a wrong type would hold up all that is
 * due behind it: what is for it is for dead now. */
static void take_result(struct ftl__promote *promote, const char *set, struct ftl__due *due,
                        const struct redisReply *result, struct look *look)
{
    due->done = true;
    if (result->type == REDIS_REPLY_INTEGER && result->integer == 1) {
        look->moved++;
        count_moved(promote, set, due);
    } else if (ftl__reply_is_error(result, "BADTYPE") && due->reason == NULL &&
               !due->cancelled) {
        due->done = false;
        due->reason = "the key of its queue is no list";
    } else if (result->type == REDIS_REPLY_ERROR) {
        look->stuck = true;
        tell_failed(set, due, result->str);
    }
}

/* Returns how many are to be tried again. */
static size_t take_results(struct ftl__promote *promote, const char *set,
                           struct ftl__due_list *list, const struct redisReply *reply,
                           struct look *look)
{
    size_t at = 0, left = 0;
    for (size_t i = 0; i < list->count && at < reply->elements; i++) {
        struct ftl__due *due = &list->items[i];
        if (due->done)
            continue;
        take_result(promote, set, due, reply->element[at++], look);
        left += !due->done;
    }
    return left;
}

static int move(struct ftl__promote *promote, const char *name, const struct ftl__key *set,
                struct ftl__due_list *list, struct look *look)
{
    size_t left = list->count;
    while (left > 0) {
        struct redisReply *reply;
        ftl__due_build(list, promote->options.keys, set, &promote->invoke);
        int status = run(promote, "promote", &reply);
        if (status != 0)
            return status;
        left = take_results(promote, name, list, reply, look);
        ftl__reply_free(reply);
    }
    return 0;
}

static int promote_some(struct ftl__promote *promote, const char *name, const struct ftl__key *set,
                        struct look *look)
{
    struct redisReply *reply;
    struct ftl__due_list list = {0};
    int status = ask_due(promote, set, &reply);
    if (status != 0)
        return status;
    status = parse_look(promote, reply, look);
    if (status == 0 && reply->elements > FIRST_DUE)
        status = ftl__due_read(reply->element + FIRST_DUE, (reply->elements - FIRST_DUE) / 2,
                               &widest, promote->options.cancels, look->now, &list);
    if (status == 0 && list.count > 0)
        status = move(promote, name, set, &list, look);
    ftl__due_clear(&list);
    ftl__reply_free(reply);
    return status;
}

/* All that is due in a set. `*look` is of the last round. */
static int promote_set(struct ftl__promote *promote, const char *name, const struct ftl__key *set,
                       struct look *look)
{
    int status;
    do
        status = promote_some(promote, name, set, look);
    while (status == 0 && !promote->closing && look->held && !look->stuck && look->moved > 0 &&
           look->next <= look->now);
    return status;
}

/* ---- dead ------------------------------------------------------------------------------- */

static void tell_trimmed(const struct redisReply *member)
{
    struct ftl__job job;
    struct ftl__job_error error;
    struct ftl__slice jid = {0}, class = {0}, queue = {0};
    if (ftl__job_scan(member->str, member->len, &widest, &job, &error) == 0) {
        jid = ftl__job_plain(&job, FTL__JID);
        class = ftl__job_plain(&job, FTL__CLASS);
        queue = ftl__job_plain(&job, FTL__QUEUE);
    }
    ftl__log(FTL__EV_JOB_DROPPED, FTL__BYTES("jid", jid.begin, jid.size),
             FTL__BYTES("class", class.begin, class.size),
             FTL__BYTES("queue", queue.begin, queue.size), FTL__STR("reason", "trimmed"));
}

static int trim_some(struct ftl__promote *promote, double now, size_t *ret_count)
{
    struct ftl__invoke *invoke = &promote->invoke;
    struct redisReply *reply;
    ftl__invoke_start(invoke, FTL__SCRIPT_TRIM);
    ftl__invoke_key(invoke, &promote->options.keys->dead);
    ftl__invoke_uint(invoke, promote->options.dead_max_jobs);
    ftl__invoke_time(invoke, promote->options.dead_max_age);
    ftl__invoke_time(invoke, now);
    ftl__invoke_uint(invoke, TRIM_LIMIT);
    int status = run(promote, "trim", &reply);
    if (status != 0)
        return status;
    for (size_t i = 0; i < reply->elements; i++)
        tell_trimmed(reply->element[i]);
    promote->stats.dropped += reply->elements;
    *ret_count = reply->elements;
    ftl__reply_free(reply);
    return 0;
}

static int trim_dead(struct ftl__promote *promote, double now)
{
    size_t count = TRIM_LIMIT;
    int status = 0;
    while (status == 0 && count == TRIM_LIMIT && !promote->closing)
        status = trim_some(promote, now, &count);
    return status;
}

/* Is there something beyond the bounds? */
static bool exceeds(const struct ftl__promote_options *options, const struct ftl__tick *tick)
{
    return (options->dead_max_jobs > 0 && tick->dead > options->dead_max_jobs) ||
           (options->dead_max_age > 0 && tick->dead_oldest < tick->now - options->dead_max_age);
}

/* ---- the task --------------------------------------------------------------------------- */

/* When a score is reached, given Redis' clock now. */
static int64_t reached(double next, double now)
{
    double seconds = next - now;
    if (!(seconds < LONGEST))
        return FTL_FOREVER;
    return ftl_deadline(seconds > 0 ? (int64_t)(seconds * (double)FTL_S) + FTL_MS : 0);
}

static bool is_lost(int status)
{
    return status == FTL_ECONN || status == FTL_ETIMEDOUT;
}

/* Both sets, and the score of the next member. */
static int promote_sets(struct ftl__promote *promote, struct look *ret_next)
{
    const struct ftl__keys *keys = promote->options.keys;
    struct look retry = {.next = INFINITY}, schedule = {.next = INFINITY};
    int status = promote_set(promote, "retry", &keys->retry, &retry);
    if (status == 0 && !retry.held)
        return FTL_EAGAIN;
    if (status != 0 && status != FTL_EPROTO && status != FTL_ELIMIT)
        /* A key of a wrong type, or a member that is larger than a call may be, is no reason to stop. */
        return status;
    int second = promote_set(promote, "schedule", &keys->schedule, &schedule);
    if (second != 0)
        return second;
    if (status != 0 || !schedule.held || retry.stuck || schedule.stuck)
        return FTL_EAGAIN;
    /* The clock of the later look: what has passed since the first one counts. */
    *ret_next = schedule;
    ret_next->next = retry.next < schedule.next ? retry.next : schedule.next;
    return 0;
}

/* What went wrong, or is stuck, is tried again when a tick still calls it due; what was cut off, as
 * soon as there is a connection. */
static void look_at_sets(struct ftl__promote *promote)
{
    struct look next;
    promote->due_at = FTL_FOREVER;
    if (ftl__lease_id(promote->options.lease)[0] == '\0')
        return;
    int status = promote_sets(promote, &next);
    if (status == 0)
        promote->due_at = reached(next.next, next.now);
    else if (is_lost(status))
        promote->due_at = ftl_now();
}

static void turn(struct ftl__promote *promote)
{
    if (promote->trim_due)
        promote->trim_due = is_lost(trim_dead(promote, promote->now));
    if (promote->due_at <= ftl_now())
        look_at_sets(promote);
}

static void *keep_promoting(void *arg)
{
    struct ftl__promote *promote = arg;
    while (!promote->closing) {
        if (ftl__link_wait_up(promote->options.link, FTL_FOREVER) != 0)
            continue;
        turn(promote);
        if (!promote->closing && !promote->trim_due)
            (void)ftl_notify_wait(promote->wake, promote->due_at);
    }
    return NULL;
}

void ftl__promote_told(struct ftl__promote *promote, const struct ftl__tick *tick)
{
    if (tick->promoter)
        note_id(promote);
    promote->now = tick->now;
    promote->due_at = tick->promoter ? reached(tick->next, tick->now) : FTL_FOREVER;
    promote->trim_due = tick->promoter && exceeds(&promote->options, tick);
    ftl_notify_one(promote->wake);
}

static void free_promote(struct ftl__promote *promote)
{
    ftl_notify_free(promote->wake);
    ftl__invoke_free(&promote->invoke);
    free(promote);
}

int ftl__promote_open(const struct ftl__promote_options *options, struct ftl__promote **ret_promote)
{
    struct ftl__promote *promote = calloc(1, sizeof *promote);
    if (promote == NULL)
        return FTL_ENOMEM;
    promote->options = *options;
    promote->due_at = FTL_FOREVER;
    ftl__invoke_init(&promote->invoke);
    promote->wake = ftl_notify_new();
    int status = promote->wake == NULL ? FTL_ENOMEM
                                       : ftl__part_start(options->runtime, keep_promoting, promote,
                                                         "promote", &promote->task);
    if (status != 0) {
        free_promote(promote);
        return status;
    }
    *ret_promote = promote;
    return 0;
}

/* Others need not wait until the lock expires. That it may be theirs by now is no harm: the worst
 * is two promoters for a moment. */
static void release_lock(struct ftl__promote *promote)
{
    const struct ftl__key *key = &promote->options.keys->promoter;
    struct redisReply *reply;
    int64_t deadline = ftl_deadline(RELEASE_TIMEOUT);
    if (promote->id[0] == '\0')
        return;
    if (ftl__link_callf(promote->options.link, deadline, &reply, "GET %b", key->text, key->size) !=
        0)
        return;
    bool ours = reply->type == REDIS_REPLY_STRING && strcmp(reply->str, promote->id) == 0;
    ftl__reply_free(reply);
    if (ours && ftl__link_callf(promote->options.link, deadline, &reply, "DEL %b", key->text,
                                key->size) == 0)
        ftl__reply_free(reply);
}

void ftl__promote_close(struct ftl__promote *promote)
{
    if (promote == NULL)
        return;
    promote->closing = true;
    ftl__part_stop(&promote->task, CLOSE_GRACE);
    release_lock(promote);
    free_promote(promote);
}

void ftl__promote_set_dead(struct ftl__promote *promote, uint64_t max_jobs, double max_age)
{
    promote->options.dead_max_jobs = max_jobs;
    promote->options.dead_max_age = max_age;
}

struct ftl__promote_stats ftl__promote_stats(const struct ftl__promote *promote)
{
    return promote->stats;
}
