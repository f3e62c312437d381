/* SPDX-License-Identifier: MIT
 *
 * DESIGN. `fettle list SET`: the members that are due next, or died last, one a line. A member that
 * is no job is shown as such. Nothing is changed. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <fettle/error.h>

#include "cli/redis.h"
#include "cli/text.h"
#include "jobs/job.h"

#define TEXT_MAX 2048 /* bytes of a member's value that are shown */
#define COLUMNS 80    /* of one field in a line */

static int read_limit(const char *text, unsigned long *ret_limit)
{
    *ret_limit = 25;
    if (text == NULL)
        return 0;
    if (*text == '\0' || strspn(text, "0123456789") != strlen(text) || strlen(text) > 6 ||
        (*ret_limit = strtoul(text, NULL, 10)) == 0)
        return ftl__cli_misused("--limit takes a number from 1 to 999999, not \"%s\"", text);
    return 0;
}

static int add_text(json_t *object, const char *name, const struct ftl__job *job,
                    enum ftl__member member)
{
    char text[TEXT_MAX];
    int size = ftl__job_string(job, member, text, sizeof(text));
    if (size < 0)
        return 0;
    return json_object_set_new(object, name, ftl__text_json(text, (size_t)size));
}

static json_t *describe(const char *bytes, size_t size, double score)
{
    const struct ftl__job_limits limits = {.max_bytes = SIZE_MAX, .max_depth = 512};
    struct ftl__job_error error;
    struct ftl__job job;
    int64_t count;
    bool valid = ftl__job_scan(bytes, size, &limits, &job, &error) == 0;
    json_t *object = json_pack("{s:f, s:b, s:I}", "score", score, "valid", (int)valid, "size",
                               (json_int_t)size);
    if (object == NULL || !valid)
        return object;
    int failed = add_text(object, "jid", &job, FTL__JID) |
                 add_text(object, "class", &job, FTL__CLASS) |
                 add_text(object, "queue", &job, FTL__QUEUE) |
                 add_text(object, "error_class", &job, FTL__ERROR_CLASS) |
                 add_text(object, "error_message", &job, FTL__ERROR_MESSAGE);
    if (ftl__job_integer(&job, FTL__RETRY_COUNT, &count))
        failed |= json_object_set_new(object, "retry_count", json_integer(count));
    if (failed == 0)
        return object;
    json_decref(object);
    return NULL;
}

static int fill(json_t *list, const redisReply *reply)
{
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        const redisReply *member = reply->element[i], *score = reply->element[i + 1];
        if (member->type != REDIS_REPLY_STRING || score->type != REDIS_REPLY_STRING)
            return ftl__cli_failed("Redis gave an answer of the wrong type");
        if (json_array_append_new(list, describe(member->str, member->len,
                                                 strtod(score->str, NULL))) != 0)
            return ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
    }
    return 0;
}

/* A field, and a blank before it. */
static void print_text(const json_t *object, const char *name, int width)
{
    const json_t *text = json_object_get(object, name);
    bool is_there = text != NULL && json_string_length(text) > 0;
    putchar(' ');
    if (is_there)
        ftl__text_print(json_string_value(text), json_string_length(text), width, COLUMNS);
    else
        ftl__text_print("-", 1, width, 0);
}

static void print_member(const json_t *object)
{
    char when[64] = "?";
    struct tm tm;
    double score = json_real_value(json_object_get(object, "score"));
    time_t seconds = score > -1e12 && score < 1e12 ? (time_t)score : 0;
    if (gmtime_r(&seconds, &tm) != NULL)
        strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
    printf("%s ", when);
    if (!json_is_true(json_object_get(object, "valid"))) {
        printf(" (no job: %lld bytes)\n",
               (long long)json_integer_value(json_object_get(object, "size")));
        return;
    }
    print_text(object, "jid", 24);
    print_text(object, "class", 20);
    print_text(object, "queue", 12);
    print_text(object, "error_class", 12);
    print_text(object, "error_message", 0);
    putchar('\n');
}

int ftl__cli_list(const struct ftl__cli_options *options, struct ftl__redis *redis)
{
    char key[FTL__REDIS_KEY];
    unsigned long limit;
    size_t i;
    json_t *list, *each;
    const char *set = ftl__cli_set(options->args[0]);
    int rc = read_limit(options->limit, &limit);
    if (set == NULL)
        rc = ftl__cli_misused("\"%s\" is none of retry, schedule, dead", options->args[0]);
    if (rc != 0)
        return rc;
    ftl__redis_key(redis, set, NULL, key);
    redisReply *reply = ftl__redis_call_on(redis, key, REDIS_REPLY_ARRAY,
                                           "%s %s 0 %lu WITHSCORES",
                                           strcmp(set, "dead") == 0 ? "ZREVRANGE" : "ZRANGE", key,
                                           limit - 1);
    if (reply == NULL)
        return FTL__EXIT_FAILED;
    list = json_array();
    rc = list != NULL ? fill(list, reply) : ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
    freeReplyObject(reply);
    if (rc == 0 && options->json)
        return ftl__text_dump(list) == 0 ? 0 : FTL__EXIT_FAILED;
    if (rc == 0)
        json_array_foreach(list, i, each)
            print_member(each);
    json_decref(list);
    return rc;
}
