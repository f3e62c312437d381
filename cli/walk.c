/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A set is walked with ZSCAN, which sees every member that is there all the time. A list
 * changes meanwhile at both ends: what is pushed to its left moves the rest away from us, so that
 * nothing is missed, and what is taken out by ourselves is taken off the place where we are. */
#include "cli/walk.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define PAGE_JOBS  1000
#define PAGE_BYTES (4 << 20)

bool ftl__walk_scan(const redisReply *bytes, struct ftl__job *ret_job)
{
    const struct ftl__job_limits limits = {.max_bytes = SIZE_MAX, .max_depth = 512};
    struct ftl__job_error error;
    return bytes->type == REDIS_REPLY_STRING &&
           ftl__job_scan(bytes->str, bytes->len, &limits, ret_job, &error) == 0;
}

/* A pattern that matches members with this text in them. */
static void make_pattern(const char *jid, char ret_pattern[2 * FTL__CLI_JID_MAX + 3])
{
    size_t used = 0;
    ret_pattern[used++] = '*';
    for (; jid != NULL && *jid != '\0'; jid++) {
        if (strchr("*?[]\\", *jid) != NULL)
            ret_pattern[used++] = '\\';
        ret_pattern[used++] = *jid;
    }
    if (jid != NULL)
        ret_pattern[used++] = '*';
    ret_pattern[used] = '\0';
}

int ftl__walk_set(struct ftl__redis *redis, const char *set, const char *jid, ftl__page_fn fn,
                  void *arg)
{
    char key[FTL__REDIS_KEY], pattern[2 * FTL__CLI_JID_MAX + 3], cursor[32] = "0";
    size_t removed;
    int rc = 0;
    make_pattern(jid, pattern);
    ftl__redis_key(redis, set, NULL, key);
    do {
        redisReply *page = ftl__redis_call_on(redis, key, REDIS_REPLY_ARRAY,
                                              "ZSCAN %s %s MATCH %s COUNT 100", key, cursor,
                                              pattern);
        if (page == NULL)
            return FTL__EXIT_FAILED;
        if (page->elements != 2 || page->element[0]->type != REDIS_REPLY_STRING ||
            page->element[1]->type != REDIS_REPLY_ARRAY ||
            (size_t)page->element[0]->len >= sizeof(cursor)) {
            rc = ftl__cli_failed("Redis gave an answer of the wrong type");
        } else {
            strcpy(cursor, page->element[0]->str);
            rc = fn(arg, page->element[1], 2, &removed);
        }
        freeReplyObject(page);
    } while (rc == 0 && strcmp(cursor, "0") != 0);
    return rc;
}

/* How many jobs of this kind make a page. */
static size_t page_jobs(const redisReply *page)
{
    size_t bytes = 1, jobs;
    for (size_t i = 0; i < page->elements; i++)
        bytes += page->element[i]->len;
    jobs = PAGE_BYTES / (bytes / page->elements + 1);
    return jobs < 1 ? 1 : jobs > PAGE_JOBS ? PAGE_JOBS : jobs;
}

int ftl__walk_list(struct ftl__redis *redis, const char *key, ftl__page_fn fn, void *arg)
{
    size_t at = 0, jobs = 10, got, removed;
    int rc;
    do {
        redisReply *page = ftl__redis_call_on(redis, key, REDIS_REPLY_ARRAY, "LRANGE %s %lu %lu",
                                              key, (unsigned long)at, (unsigned long)(at + jobs - 1));
        if (page == NULL)
            return FTL__EXIT_FAILED;
        removed = 0;
        got = page->elements;
        rc = got > 0 ? fn(arg, page, 1, &removed) : 0;
        at += got - (removed < got ? removed : got);
        jobs = got > 0 ? page_jobs(page) : jobs;
        freeReplyObject(page);
    } while (rc == 0 && got > 0);
    return rc;
}
