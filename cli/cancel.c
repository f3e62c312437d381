/* SPDX-License-Identifier: MIT
 *
 * DESIGN. `fettle cancel`. First a mark in Redis, which every daemon sees within a second, and every
 * claim and promotion at once. So from then on a job with this jid can only stay where it is or go on
 * to its run, and what is not in flight can be looked for at leisure: sets first, then queues, since
 * jobs go that way. What was in flight before the mark may have gone back or failed while we looked:
 * when it has ended, sets and queues are looked through once more. Daemons write the run's token into
 * the error of a job that they cancel, so that we know what came of each.
 *
 * Moves are single steps of a script, so a job is in one place whatever ends this program, and a
 * second run does what the first one left. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <fettle/error.h>
#include <fettle/time.h>

#include "cli/flights.h"
#include "cli/mark.h"
#include "cli/ops.h"
#include "cli/text.h"
#include "cli/walk.h"
#include "jobs/retry.h"
#include "jobs/run.h"

#define WAIT     (7 * FTL_S / 2) /* a second to be heard, one to end, half a one until KILL, and some */
#define PAUSE    (20 * FTL_MS)

enum place { RUNNING, QUEUED, SCHEDULED, RETRYING, PLACES };
static const char *const place_names[PLACES] = {"running", "queued", "scheduled", "retrying"};

struct cancel {
    struct ftl__redis *redis;
    const char *const *jids; /* NULL: by token */
    int jid_count;
    uint64_t token, generation;
    double now;
    struct ftl__flights flights;
    bool *found; /* one for each jid, or for the token */
    long long count[PLACES], failed, ending;
    enum place place;  /* what is being looked through */
    const char *list;  /* its key, without the prefix, if it is a list */
    const char *queue; /* and the queue that it belongs to */
};

/* ---- what is meant --------------------------------------------------------------------------- */

/* Its number among the jids, or -1. */
static int match_jid(const struct cancel *cancel, const struct ftl__job *job)
{
    char jid[FTL__JID_MAX + 8]; /* longer than what can be asked for */
    if (ftl__job_string(job, FTL__JID, jid, sizeof(jid)) < 0)
        return -1;
    for (int i = 0; i < cancel->jid_count; i++)
        if (strcmp(jid, cancel->jids[i]) == 0)
            return i;
    return -1;
}

static int match(void *arg, const struct ftl__job *job, uint64_t token)
{
    const struct cancel *cancel = arg;
    if (cancel->jids == NULL)
        return token == cancel->token ? 0 : -1;
    return match_jid(cancel, job);
}

/* ---- jobs that wait -------------------------------------------------------------------------- */

/* Each gets a time of its own, so that equal jobs stay apart. */
static int add(struct cancel *cancel, struct ftl__ops *ops, const redisReply *bytes,
               const struct ftl__job *job)
{
    char queue[FTL__QUEUE_MAX + 1] = "default";
    struct ftl__retry_input input = {.now = cancel->now, .queue = cancel->queue};
    struct ftl__retry_result result;
    if (cancel->queue == NULL) {
        int size = ftl__job_string(job, FTL__QUEUE, queue, sizeof(queue));
        if (size <= 0 || !ftl__queue_name_valid(queue, (size_t)size))
            strcpy(queue, "default");
        input.queue = queue;
    }
    cancel->now += 1e-6;
    if (ftl__retry_cancelled(job, 0, &input, &result) != 0)
        return ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
    int rc = ftl__ops_add(ops, bytes->str, bytes->len, NULL, result.bytes, result.size);
    free(result.bytes);
    return rc;
}

static int take_page(void *arg, const redisReply *page, size_t step, size_t *ret_removed)
{
    struct cancel *cancel = arg;
    struct ftl__job job;
    struct ftl__ops *ops;
    long long moved = 0;
    const char *key = cancel->list != NULL        ? cancel->list
                      : cancel->place == RETRYING ? "retry"
                                                  : "schedule";
    int rc = ftl__ops_new(cancel->redis, key,
                          cancel->list != NULL ? FTL__OP_CANCEL : FTL__OP_KILL, &ops);
    for (size_t i = 0; rc == 0 && i < page->elements; i += step) {
        int which = ftl__walk_scan(page->element[i], &job) ? match_jid(cancel, &job) : -1;
        if (which < 0)
            continue;
        cancel->found[which] = true;
        rc = add(cancel, ops, page->element[i], &job);
    }
    if (rc == 0)
        rc = ftl__ops_run(ops, &moved, &cancel->failed);
    ftl__ops_free(ops);
    cancel->count[cancel->place] += moved;
    *ret_removed = (size_t)moved;
    return rc;
}

static int look_through_set(struct cancel *cancel, const char *set, enum place place)
{
    cancel->place = place;
    cancel->list = cancel->queue = NULL;
    return ftl__walk_set(cancel->redis, set, cancel->jid_count == 1 ? cancel->jids[0] : NULL,
                         take_page, cancel);
}

static int look_through_list(struct cancel *cancel, const char *prefix, const char *name)
{
    char part[FTL__REDIS_KEY], key[FTL__REDIS_KEY];
    snprintf(part, sizeof(part), "%s%s", prefix, name);
    ftl__redis_key(cancel->redis, part, NULL, key);
    cancel->place = QUEUED;
    cancel->list = part;
    cancel->queue = name;
    return ftl__walk_list(cancel->redis, key, take_page, cancel);
}

/* Where a BLMOVE has put a job is looked at after the queue that it came from. */
static int look_through_queues(struct cancel *cancel)
{
    char key[FTL__REDIS_KEY];
    int rc = 0;
    ftl__redis_key(cancel->redis, "queues", NULL, key);
    redisReply *names = ftl__redis_call_on(cancel->redis, key, REDIS_REPLY_ARRAY, "SMEMBERS %s",
                                           key);
    if (names == NULL)
        return FTL__EXIT_FAILED;
    for (size_t i = 0; rc == 0 && i < names->elements; i++) {
        const redisReply *name = names->element[i];
        if (!ftl__queue_name_valid(name->str, name->len))
            continue;
        rc = look_through_list(cancel, "queue:", name->str);
        if (rc == 0)
            rc = look_through_list(cancel, "fettle:front:", name->str);
    }
    freeReplyObject(names);
    return rc;
}

static int look_through(struct cancel *cancel)
{
    int rc = look_through_set(cancel, "retry", RETRYING);
    if (rc == 0)
        rc = look_through_set(cancel, "schedule", SCHEDULED);
    return rc != 0 ? rc : look_through_queues(cancel);
}

/* ---- runs ------------------------------------------------------------------------------------ */

static int wait_for_flights(struct cancel *cancel)
{
    const struct timespec pause = {.tv_nsec = PAUSE};
    int64_t until = ftl_deadline(WAIT);
    size_t left = 0;
    int rc = ftl__flights_look(cancel->redis, &cancel->flights, &left);
    while (rc == 0 && left > 0 && ftl_now() < until) {
        (void)nanosleep(&pause, NULL);
        rc = ftl__flights_look(cancel->redis, &cancel->flights, &left);
    }
    cancel->ending = (long long)left;
    return rc;
}

/* The token in the error of a job that a daemon has cancelled, or 0. */
static uint64_t cancelled_token(const struct ftl__job *job)
{
    char text[128];
    const char *token;
    if (ftl__job_string(job, FTL__ERROR_CLASS, text, sizeof(text)) < 0 ||
        strcmp(text, "Cancelled") != 0 ||
        ftl__job_string(job, FTL__ERROR_MESSAGE, text, sizeof(text)) < 0)
        return 0;
    token = strstr(text, ", token ");
    return token != NULL ? strtoull(token + strlen(", token "), NULL, 10) : 0;
}

static struct ftl__flight *find_flight(const struct cancel *cancel, uint64_t token)
{
    for (size_t i = 0; i < cancel->flights.count; i++)
        if (cancel->flights.items[i].token == token)
            return &cancel->flights.items[i];
    return NULL;
}

/* What came to a claim after the mark has a later token. */
static void count_dead(struct cancel *cancel, const redisReply *member)
{
    struct ftl__job job;
    uint64_t token = ftl__walk_scan(member, &job) ? cancelled_token(&job) : 0;
    struct ftl__flight *flight = token != 0 ? find_flight(cancel, token) : NULL;
    int tag;
    if (token == 0)
        return;
    if (flight != NULL) {
        cancel->count[RUNNING] += !flight->counted; /* a member may be seen twice */
        flight->counted = cancel->found[flight->tag] = true;
    } else if (token >= cancel->generation && (tag = match_jid(cancel, &job)) >= 0) {
        cancel->count[QUEUED]++;
        cancel->found[tag] = true;
    }
}

/* What daemons have cancelled since the mark: the last ones of dead. */
static int count_all_dead(struct cancel *cancel)
{
    char key[FTL__REDIS_KEY];
    double since = (double)cancel->generation / 1e6 - 1; /* a daemon's clock is not that precise */
    bool more = true;
    ftl__redis_key(cancel->redis, "dead", NULL, key);
    for (size_t at = 0; more; at += 100) {
        redisReply *page = ftl__redis_call_on(cancel->redis, key, REDIS_REPLY_ARRAY,
                                              "ZREVRANGE %s %lu %lu WITHSCORES", key,
                                              (unsigned long)at, (unsigned long)(at + 99));
        if (page == NULL)
            return FTL__EXIT_FAILED;
        more = page->elements > 0;
        for (size_t i = 0; more && i + 1 < page->elements; i += 2) {
            more = strtod(page->element[i + 1]->str, NULL) >= since;
            if (more)
                count_dead(cancel, page->element[i]);
        }
        freeReplyObject(page);
    }
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int hunt(struct cancel *cancel)
{
    int rc = ftl__mark(cancel->redis, cancel->jids, cancel->jid_count, cancel->token,
                       &cancel->generation);
    if (rc == 0)
        rc = ftl__flights_find(cancel->redis, match, cancel, &cancel->flights);
    if (rc == 0 && cancel->jids != NULL)
        rc = look_through(cancel);
    if (rc == 0)
        rc = wait_for_flights(cancel);
    if (rc == 0 && cancel->jids != NULL && cancel->flights.count > 0)
        rc = look_through(cancel);
    return rc != 0 ? rc : count_all_dead(cancel);
}

static void print(const struct cancel *cancel, long long total)
{
    const char *before = ": ";
    printf("%lld cancelled", total);
    for (size_t i = 0; i < PLACES; i++) {
        if (cancel->count[i] == 0)
            continue;
        printf("%s%lld %s", before, cancel->count[i], place_names[i]);
        before = ", ";
    }
    if (cancel->ending > 0)
        printf("; %lld still ending", cancel->ending);
    putchar('\n');
}

static int print_json(const struct cancel *cancel, long long total)
{
    json_t *object = json_pack("{s:I, s:I}", "cancelled", (json_int_t)total, "ending",
                               (json_int_t)cancel->ending);
    for (size_t i = 0; object != NULL && i < PLACES; i++)
        if (json_object_set_new(object, place_names[i],
                                json_integer((json_int_t)cancel->count[i])) != 0) {
            json_decref(object);
            object = NULL;
        }
    return ftl__text_dump(object) == 0 ? 0 : ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
}

/* For what nothing was found, or only a run that has ended by itself. */
static int tell_missing(const struct cancel *cancel)
{
    int rc = 0;
    for (size_t i = 0; i < cancel->flights.count; i++)
        if (!cancel->flights.items[i].ended)
            cancel->found[cancel->flights.items[i].tag] = true;
    for (int i = 0; i < (cancel->jids != NULL ? cancel->jid_count : 1); i++) {
        if (cancel->found[i])
            continue;
        rc = FTL__EXIT_NOT_FOUND;
        if (cancel->jids != NULL)
            ftl__cli_failed("no job %s is waiting or running", cancel->jids[i]);
        else
            ftl__cli_failed("no run with the token %" PRIu64, cancel->token);
    }
    return rc;
}

static int report(const struct ftl__cli_options *options, const struct cancel *cancel)
{
    long long total = 0;
    int rc = 0;
    for (size_t i = 0; i < PLACES; i++)
        total += cancel->count[i];
    if (options->json)
        rc = print_json(cancel, total);
    else
        print(cancel, total);
    if (rc == 0)
        rc = tell_missing(cancel);
    return cancel->failed > 0 || cancel->ending > 0 ? FTL__EXIT_FAILED : rc;
}

static int read_token(const char *text, uint64_t *ret_token)
{
    if (*text == '\0' || strlen(text) > 19 || strspn(text, "0123456789") != strlen(text) ||
        (*ret_token = strtoull(text, NULL, 10)) == 0)
        return ftl__cli_misused("--token takes a number, not \"%s\"", text);
    return 0;
}

static int read_what(const struct ftl__cli_options *options, struct cancel *cancel)
{
    if ((options->count > 0) == (options->token != NULL))
        return ftl__cli_misused("give the jids, or --token");
    if (options->token != NULL)
        return read_token(options->token, &cancel->token);
    for (int i = 0; i < options->count; i++)
        if (options->args[i][0] == '\0' || strlen(options->args[i]) > FTL__JID_MAX)
            return ftl__cli_misused("a jid has 1 to %d bytes", FTL__JID_MAX);
    cancel->jids = options->args;
    cancel->jid_count = options->count;
    return 0;
}

int ftl__cli_cancel(const struct ftl__cli_options *options, struct ftl__redis *redis)
{
    struct cancel cancel = {.redis = redis};
    int rc = read_what(options, &cancel);
    if (rc == 0)
        rc = ftl__redis_now(redis, &cancel.now);
    if (rc != 0)
        return rc;
    cancel.found = calloc((size_t)options->count + 1, sizeof(*cancel.found));
    rc = cancel.found != NULL ? hunt(&cancel) : ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
    if (rc == 0)
        rc = report(options, &cancel);
    ftl__flights_clear(&cancel.flights);
    free(cancel.found);
    return rc;
}
