/* SPDX-License-Identifier: MIT
 *
 * A run of a job fails: what the rule makes of it, and what a test expects of that. */
#ifndef FETTLE_TESTS_REWRITTEN_H
#define FETTLE_TESTS_REWRITTEN_H

#include <stdlib.h>
#include <string.h>

#include "jobs/retry.h"
#include "tests/unit/unit.h"

#define NOW      1795196280.5
#define NOW_TEXT "1795196280.500000"
#define JID      "\"jid\":\"0123456789abcdef01234567\""

static const struct ftl__job_limits limits = {.max_bytes = 4 << 20, .max_depth = 64};

static struct ftl__retry_input input = {
    .now = NOW, .random = 1, .queue = "default", .unroutable_ttl = 3600};

static struct ftl__failure failure = {
    .error_class = "Failed", .error_message = "no luck", .message_size = 7};

static struct ftl__retry_result result;

static inline struct ftl__job scan(const char *text)
{
    struct ftl__job job;
    struct ftl__job_error error;
    ck_assert_int_eq(ftl__job_scan(text, strlen(text), &limits, &job, &error), 0);
    return job;
}

static inline void take_result(int rc)
{
    ck_assert_int_eq(rc, 0);
    if (result.bytes == NULL)
        return;
    /* A result is a job, and ends in a NUL here so that tests can print and compare it. */
    char *bytes = realloc(result.bytes, result.size + 1);
    ck_assert_ptr_nonnull(bytes);
    bytes[result.size] = '\0';
    result.bytes = bytes;
    (void)scan(bytes);
}

static inline void run_fails(const char *text)
{
    struct ftl__job job = scan(text);
    free(result.bytes);
    result.bytes = NULL;
    take_result(ftl__retry_failed(&job, &failure, &input, &result));
}

static inline void assert_has(const char *member)
{
    ck_assert_msg(strstr(result.bytes, member) != NULL, "%s in %s", member, result.bytes);
}

static inline void assert_has_not(const char *member)
{
    ck_assert_msg(strstr(result.bytes, member) == NULL, "%s in %s", member, result.bytes);
}

static inline void assert_fate(enum ftl__fate fate, const char *why)
{
    ck_assert_int_eq(result.fate, fate);
    ck_assert_str_eq(result.why, why);
    ck_assert_int_eq(result.bytes == NULL, fate == FTL__FATE_DROP);
    if (fate == FTL__FATE_DEAD)
        ck_assert(result.score == NOW);
}

static inline void assert_delay(double low, double high)
{
    double delay = result.score - NOW;
    ck_assert_msg(delay >= low && delay < high, "%f", delay);
}

#endif
