/* SPDX-License-Identifier: MIT
 *
 * DESIGN. `fettle enqueue`: makes a job and pushes it as any producer would. The arguments stand in
 * the job as they were typed, every digit; the scanner that the daemon uses says whether they are
 * JSON. The times are those of Redis' clock, by which the job will fall due. */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "cli/redis.h"
#include "cli/text.h"
#include "jobs/job.h"
#include "jobs/retry.h"
#include "jobs/run.h"
#include "jobs/timestamp.h"

#define MAX_DEPTH 512 /* the daemon takes no more either */

/* What is to be enqueued, checked. */
struct order {
    const char *class, *args, *queue, *retry; /* retry: JSON, or NULL */
    char jid[FTL__JID_MAX + 1];
    double now, at; /* epoch seconds; at = 0: at once */
};

/* `--retry`: what the job's member of that name may be. */
static bool valid_retry(const char *text)
{
    return text == NULL || strcmp(text, "true") == 0 || strcmp(text, "false") == 0 ||
           (*text != '\0' && strlen(text) <= 9 && strspn(text, "0123456789") == strlen(text) &&
            (text[0] != '0' || text[1] == '\0'));
}

static int read_when(const struct ftl__cli_options *options, struct order *order)
{
    char *end;
    if (options->in != NULL && options->at != NULL)
        return ftl__cli_misused("--in and --at exclude each other");
    if (options->in != NULL) {
        double seconds = strtod(options->in, &end);
        if (*options->in == '\0' || *end != '\0' || !isfinite(seconds) || seconds < 0 ||
            seconds > 1e10)
            return ftl__cli_misused("--in takes seconds, not \"%s\"", options->in);
        order->at = order->now + seconds;
    }
    if (options->at != NULL &&
        (!ftl__timestamp_parse(options->at, strlen(options->at), &order->at) || order->at < 0))
        return ftl__cli_misused("--at takes epoch seconds or a time like 2026-01-02T03:04:05Z, "
                                "not \"%s\"",
                                options->at);
    if (order->at <= order->now)
        order->at = 0;
    return 0;
}

static int read_jid(const char *jid, struct order *order)
{
    if (jid == NULL) {
        ftl__jid_random(order->jid);
        return 0;
    }
    if (jid[0] == '\0' || strlen(jid) > FTL__JID_MAX)
        return ftl__cli_misused("a jid has 1 to %d bytes", FTL__JID_MAX);
    if (!ftl__text_is_plain(jid))
        return ftl__cli_misused("a jid is UTF-8 without control characters");
    strcpy(order->jid, jid);
    return 0;
}

static int read_order(const struct ftl__cli_options *options, struct order *order)
{
    order->class = options->args[0];
    order->args = options->count > 1 ? options->args[1] : "[]";
    order->queue = options->queue != NULL ? options->queue : "default";
    order->retry = options->retry;
    if (order->class[0] == '\0' || strlen(order->class) > FTL__CLASS_MAX)
        return ftl__cli_misused("a class has 1 to %d bytes", FTL__CLASS_MAX);
    if (!ftl__text_is_utf8(order->class))
        return ftl__cli_misused("the class is not UTF-8");
    if (!ftl__queue_name_valid(order->queue, strlen(order->queue)))
        return ftl__cli_misused("\"%s\" is no queue name: [A-Za-z0-9_:.-], at most %d",
                                order->queue, FTL__QUEUE_MAX);
    if (!valid_retry(order->retry))
        return ftl__cli_misused("--retry takes true, false or a number, not \"%s\"", order->retry);
    return read_jid(options->jid, order);
}

/* The job's frame: members that are edited afterwards hold their places. */
static char *make_frame(const struct order *order, size_t *ret_args_at)
{
    static const char head[] = "{\"class\":\"\",\"args\":";
    char *frame;
    *ret_args_at = strlen(head);
    if (asprintf(&frame, "%s%s,\"jid\":\"\",\"queue\":\"\"%s%s}", head, order->args,
                 order->retry != NULL ? ",\"retry\":" : "",
                 order->retry != NULL ? order->retry : "") < 0)
        return NULL;
    return frame;
}

/* The arguments are an array, and nothing beside it: `[],"at":1` would be a member of its own. */
static int check_args(const struct ftl__job *job, const char *text, size_t at)
{
    static const char blanks[] = " \t\r\n";
    const struct ftl__slice args = job->value[FTL__ARGS];
    size_t begin = at + strspn(text, blanks), size = strlen(text);
    while (size > 0 && strchr(blanks, text[size - 1]) != NULL)
        size--;
    if (job->type[FTL__ARGS] == FTL__ARRAY && args.begin == job->bytes + begin &&
        args.begin + args.size == job->bytes + at + size)
        return 0;
    return ftl__cli_misused("the arguments must be one JSON array, as in '[\"world\", 1]'");
}

static int scan(const struct order *order, char *frame, size_t args_at, size_t max_payload,
                struct ftl__job *ret_job)
{
    const struct ftl__job_limits limits = {.max_bytes = max_payload, .max_depth = MAX_DEPTH};
    struct ftl__job_error error;
    size_t size = strlen(order->args), at;
    int rc = ftl__job_scan(frame, strlen(frame), &limits, ret_job, &error);
    if (rc == FTL_ELIMIT)
        return ftl__cli_misused("the job is beyond a limit (max_payload is %zu): %s", max_payload,
                                error.reason);
    if (rc != 0) {
        at = error.offset > args_at ? error.offset - args_at : 0; /* in what was typed */
        return ftl__cli_misused("the arguments are no JSON: %s at byte %zu", error.reason,
                                at < size ? at : size);
    }
    return check_args(ret_job, order->args, args_at);
}

static int rewrite(const struct ftl__job *job, const struct order *order, char **ret_bytes,
                   size_t *ret_size)
{
    struct ftl__edit *edit = ftl__edit_new();
    if (edit == NULL)
        return FTL_ENOMEM;
    ftl__edit_string(edit, FTL__CLASS, order->class, strlen(order->class), 0);
    ftl__edit_string(edit, FTL__JID, order->jid, strlen(order->jid), 0);
    ftl__edit_string(edit, FTL__QUEUE, order->queue, strlen(order->queue), 0);
    ftl__edit_time(edit, FTL__CREATED_AT, order->now);
    if (order->at == 0)
        ftl__edit_time(edit, FTL__ENQUEUED_AT, order->now);
    int rc = ftl__job_rewrite(job, edit, ret_bytes, ret_size);
    ftl__edit_free(edit);
    return rc;
}

/* Line breaks between tokens are blanks, too: dashboards cannot delete jobs that have them. */
static void join_lines(char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] == '\n' || bytes[i] == '\r')
            bytes[i] = ' '; /* inside strings JSON has none */
}

static int make_job(const struct order *order, size_t max_payload, char **ret_bytes,
                    size_t *ret_size)
{
    struct ftl__job job;
    size_t args_at;
    char *frame = make_frame(order, &args_at);
    if (frame == NULL)
        return ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
    int rc = scan(order, frame, args_at, max_payload, &job);
    if (rc == 0 && rewrite(&job, order, ret_bytes, ret_size) != 0)
        rc = ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
    free(frame);
    if (rc == 0 && *ret_size > max_payload) {
        free(*ret_bytes);
        rc = ftl__cli_misused("the job has %zu bytes, max_payload is %zu", *ret_size, max_payload);
    }
    if (rc == 0)
        join_lines(*ret_bytes, *ret_size);
    return rc;
}

/* ---- pushing ----------------------------------------------------------------------------- */

static int done(redisReply *reply)
{
    freeReplyObject(reply);
    return reply != NULL ? 0 : FTL__EXIT_FAILED;
}

static int schedule(struct ftl__redis *redis, const struct order *order, const char *bytes,
                    size_t size)
{
    char key[FTL__REDIS_KEY], score[FTL__TIMESTAMP_SIZE];
    ftl__timestamp_print(order->at, score);
    ftl__redis_key(redis, "schedule", NULL, key);
    return done(ftl__redis_call_on(redis, key, REDIS_REPLY_INTEGER, "ZADD %s %s %b", key, score,
                                   bytes, size));
}

static int push(struct ftl__redis *redis, const struct order *order, const char *bytes, size_t size)
{
    char key[FTL__REDIS_KEY];
    ftl__redis_key(redis, "queues", NULL, key);
    int rc = done(ftl__redis_call_on(redis, key, REDIS_REPLY_INTEGER, "SADD %s %s", key,
                                     order->queue));
    if (rc != 0)
        return rc;
    ftl__redis_key(redis, "queue:", order->queue, key);
    return done(ftl__redis_call_on(redis, key, REDIS_REPLY_INTEGER, "LPUSH %s %b", key, bytes,
                                   size));
}

static int report(const struct ftl__cli_options *options, const struct order *order)
{
    if (!options->json) {
        ftl__text_print(order->jid, strlen(order->jid), 0, 0);
        putchar('\n');
        return 0;
    }
    json_t *object = json_pack("{s:o, s:s}", "jid",
                               ftl__text_json(order->jid, strlen(order->jid)), "queue",
                               order->queue);
    if (object != NULL && order->at != 0)
        json_object_set_new(object, "at", json_real(order->at));
    return ftl__text_dump(object) == 0 ? 0 : FTL__EXIT_FAILED;
}

int ftl__cli_enqueue(const struct ftl__cli_options *options, struct ftl__redis *redis)
{
    struct order order = {.now = 0};
    char *bytes;
    size_t size;
    int rc = read_order(options, &order);
    if (rc == 0)
        rc = ftl__redis_now(redis, &order.now);
    if (rc == 0)
        rc = read_when(options, &order);
    if (rc == 0)
        rc = make_job(&order, ftl__redis_settings(redis)->max_payload, &bytes, &size);
    if (rc != 0)
        return rc;
    rc = order.at != 0 ? schedule(redis, &order, bytes, size) : push(redis, &order, bytes, size);
    free(bytes);
    return rc == 0 ? report(options, &order) : rc;
}
