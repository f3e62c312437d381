/* SPDX-License-Identifier: MIT
 *
 * DESIGN. `fettle stats`: one look at the queues, the sets and the processes, gathered into a JSON
 * value that is then either dumped or laid out as tables. The numbers are read one after the other,
 * so they do not belong to exactly one moment. What cannot be read (a key of another type, say) is
 * told and left out; the rest is shown all the same, and the exit code says that it is not all. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "cli/redis.h"
#include "cli/text.h"
#include "jobs/job.h"

static int no_memory(void)
{
    return ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
}

/* An integer reply's value; -1 where the call has failed. */
static long long integer(redisReply *reply)
{
    long long value = reply != NULL ? reply->integer : -1;
    freeReplyObject(reply);
    return value;
}

/* A counter kept as a string. */
static int read_counter(struct ftl__redis *redis, const char *name, json_t *into, const char *as)
{
    char key[FTL__REDIS_KEY];
    ftl__redis_key(redis, name, NULL, key);
    redisReply *reply = ftl__redis_call_on(redis, key, REDIS_REPLY_STRING, "GET %s", key);
    if (reply == NULL)
        return FTL__EXIT_FAILED;
    long long value = reply->str != NULL ? strtoll(reply->str, NULL, 10) : 0;
    freeReplyObject(reply);
    return json_object_set_new(into, as, json_integer(value)) == 0 ? 0 : no_memory();
}

static int read_set(struct ftl__redis *redis, const char *name, json_t *into)
{
    char key[FTL__REDIS_KEY];
    ftl__redis_key(redis, name, NULL, key);
    long long count =
        integer(ftl__redis_call_on(redis, key, REDIS_REPLY_INTEGER, "ZCARD %s", key));
    if (count < 0)
        return FTL__EXIT_FAILED;
    return json_object_set_new(into, name, json_integer(count)) == 0 ? 0 : no_memory();
}

/* ---- queues ------------------------------------------------------------------------------ */

static int by_text(const void *a, const void *b)
{
    const redisReply *one = *(redisReply *const *)a, *other = *(redisReply *const *)b;
    return strcmp(one->str != NULL ? one->str : "", other->str != NULL ? other->str : "");
}

/* Members of a set, sorted. */
static redisReply *members(struct ftl__redis *redis, const char *name)
{
    char key[FTL__REDIS_KEY];
    ftl__redis_key(redis, name, NULL, key);
    redisReply *reply = ftl__redis_call_on(redis, key, REDIS_REPLY_ARRAY, "SMEMBERS %s", key);
    if (reply != NULL && reply->elements > 1)
        qsort(reply->element, reply->elements, sizeof(*reply->element), by_text);
    return reply;
}

/* Since when the oldest job of a list waits; 0: there is none, or it does not say. */
static int oldest(struct ftl__redis *redis, const char *key, double *ret_since)
{
    const struct ftl__job_limits limits = {.max_bytes = SIZE_MAX, .max_depth = 512};
    struct ftl__job_error error;
    struct ftl__job job;
    redisReply *reply = ftl__redis_call_on(redis, key, REDIS_REPLY_STRING, "LINDEX %s -1", key);
    if (reply == NULL)
        return FTL__EXIT_FAILED;
    *ret_since = 0;
    if (reply->str != NULL && ftl__job_scan(reply->str, reply->len, &limits, &job, &error) == 0 &&
        !ftl__job_time(&job, FTL__ENQUEUED_AT, ret_since))
        ftl__job_time(&job, FTL__CREATED_AT, ret_since);
    freeReplyObject(reply);
    return 0;
}

/* One list of the two that a queue has: the queue itself, and the front before it. */
static int look_at(struct ftl__redis *redis, const char *part, const char *name, long long *length,
                   double *since)
{
    char key[FTL__REDIS_KEY];
    double begin;
    ftl__redis_key(redis, part, name, key);
    long long count = integer(ftl__redis_call_on(redis, key, REDIS_REPLY_INTEGER, "LLEN %s", key));
    if (count < 0 || oldest(redis, key, &begin) != 0)
        return FTL__EXIT_FAILED;
    *length += count;
    if (begin > 0 && (*since == 0 || begin < *since))
        *since = begin;
    return 0;
}

static int read_queue(struct ftl__redis *redis, const redisReply *name, double now, json_t *into)
{
    char key[FTL__REDIS_KEY];
    long long length = 0, paused;
    double since = 0;
    if (look_at(redis, "queue:", name->str, &length, &since) != 0 ||
        look_at(redis, "fettle:front:", name->str, &length, &since) != 0)
        return FTL__EXIT_FAILED;
    ftl__redis_key(redis, "paused", NULL, key);
    paused = integer(ftl__redis_call_on(redis, key, REDIS_REPLY_INTEGER, "SISMEMBER %s %b", key,
                                        name->str, (size_t)name->len));
    json_t *queue = json_pack("{s:o, s:I, s:f}", "name", ftl__text_json(name->str, name->len),
                              "length", (json_int_t)length, "latency",
                              since > 0 && now > since ? now - since : 0.0);
    if (queue == NULL || json_array_append_new(into, queue) != 0 ||
        (paused >= 0 && json_object_set_new(queue, "paused", json_boolean(paused != 0)) != 0))
        return no_memory();
    return paused >= 0 ? 0 : FTL__EXIT_FAILED;
}

static int read_queues(struct ftl__redis *redis, double now, json_t *into)
{
    json_t *queues = json_array();
    if (json_object_set_new(into, "queues", queues) != 0)
        return no_memory();
    redisReply *names = members(redis, "queues");
    int rc = names != NULL ? 0 : FTL__EXIT_FAILED;
    for (size_t i = 0; names != NULL && i < names->elements; i++)
        if (names->element[i]->type == REDIS_REPLY_STRING)
            rc |= read_queue(redis, names->element[i], now, queues);
    freeReplyObject(names);
    return rc;
}

/* ---- processes --------------------------------------------------------------------------- */

static long long field_integer(const redisReply *field)
{
    return field->type == REDIS_REPLY_STRING ? strtoll(field->str, NULL, 10) : 0;
}

static json_t *make_process(const redisReply *id, redisReply *const *field, double now)
{
    double beat = field[2]->type == REDIS_REPLY_STRING ? strtod(field[2]->str, NULL) : 0;
    bool quiet = field[3]->type == REDIS_REPLY_STRING && strcmp(field[3]->str, "true") == 0;
    return json_pack("{s:o, s:I, s:I, s:b, s:f, s:I}", "id", ftl__text_json(id->str, id->len),
                     "busy", (json_int_t)field_integer(field[0]), "concurrency",
                     (json_int_t)field_integer(field[1]), "quiet", (int)quiet, "beat_age",
                     beat > 0 && now > beat ? now - beat : 0.0, "rss_kb",
                     (json_int_t)field_integer(field[4]));
}

static int read_process(struct ftl__redis *redis, const redisReply *id, double now, json_t *into)
{
    redisReply *fields = ftl__redis_call_on(
        redis, id->str, REDIS_REPLY_ARRAY, "HMGET %s%b busy concurrency beat quiet rss",
        ftl__redis_settings(redis)->prefix, id->str, (size_t)id->len);
    if (fields == NULL)
        return FTL__EXIT_FAILED;
    int rc = 0;
    /* Without its record a process is gone: its name alone lingers in the set. */
    if (fields->elements == 5 && fields->element[0]->type == REDIS_REPLY_STRING) {
        json_t *process = make_process(id, fields->element, now);
        if (process == NULL || json_array_append_new(into, process) != 0)
            rc = no_memory();
    }
    freeReplyObject(fields);
    return rc;
}

static int read_processes(struct ftl__redis *redis, double now, json_t *into)
{
    json_t *processes = json_array();
    if (json_object_set_new(into, "processes", processes) != 0)
        return no_memory();
    redisReply *ids = members(redis, "processes");
    int rc = ids != NULL ? 0 : FTL__EXIT_FAILED;
    for (size_t i = 0; ids != NULL && i < ids->elements; i++)
        if (ids->element[i]->type == REDIS_REPLY_STRING)
            rc |= read_process(redis, ids->element[i], now, processes);
    freeReplyObject(ids);
    return rc;
}

/* ---- output ------------------------------------------------------------------------------ */

static void print_number(const json_t *object, const char *name, int width)
{
    const json_t *number = json_object_get(object, name);
    if (number != NULL)
        printf("%*lld", width, (long long)json_integer_value(number));
    else
        printf("%*s", width, "?"); /* could not be read */
}

/* The numbers that are single ones, in a line. */
static void print_totals(const json_t *stats)
{
    static const char *const names[] = {"processed", "failed", "retry", "schedule", "dead"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        printf("%s%s ", i > 0 ? "  " : "", names[i]);
        print_number(stats, names[i], 0);
    }
    putchar('\n');
}

static void print_name(const json_t *object, const char *name)
{
    const json_t *text = json_object_get(object, name);
    ftl__text_print(json_string_value(text), json_string_length(text), 40, 0);
}

static void print(const json_t *stats)
{
    size_t i;
    json_t *each;
    print_totals(stats);
    printf("\n%-40s %10s %12s\n", "QUEUE", "LENGTH", "LATENCY");
    json_array_foreach(json_object_get(stats, "queues"), i, each) {
        print_name(each, "name");
        putchar(' ');
        print_number(each, "length", 10);
        printf(" %11.1fs%s\n", json_real_value(json_object_get(each, "latency")),
               json_is_true(json_object_get(each, "paused")) ? "  paused" : "");
    }
    printf("\n%-40s %10s %12s\n", "PROCESS", "BUSY", "CONCURRENCY");
    json_array_foreach(json_object_get(stats, "processes"), i, each) {
        print_name(each, "id");
        putchar(' ');
        print_number(each, "busy", 10);
        putchar(' ');
        print_number(each, "concurrency", 12);
        puts(json_is_true(json_object_get(each, "quiet")) ? "  quiet" : "");
    }
}

static int gather(struct ftl__redis *redis, double now, json_t *stats)
{
    int rc = read_counter(redis, "stat:processed", stats, "processed");
    rc |= read_counter(redis, "stat:failed", stats, "failed");
    rc |= read_set(redis, "retry", stats);
    rc |= read_set(redis, "schedule", stats);
    rc |= read_set(redis, "dead", stats);
    rc |= read_queues(redis, now, stats);
    rc |= read_processes(redis, now, stats);
    return rc != 0 ? FTL__EXIT_FAILED : 0;
}

int ftl__cli_stats(const struct ftl__cli_options *options, struct ftl__redis *redis)
{
    double now;
    int rc = ftl__redis_now(redis, &now);
    if (rc != 0)
        return rc;
    json_t *stats = json_object();
    if (stats == NULL)
        return no_memory();
    rc = gather(redis, now, stats);
    if (options->json && !ftl__redis_is_lost(redis))
        return ftl__text_dump(stats) == 0 ? rc : no_memory();
    if (!ftl__redis_is_lost(redis))
        print(stats);
    json_decref(stats);
    return rc;
}
