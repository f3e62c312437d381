/* SPDX-License-Identifier: MIT
 *
 * Jobs that nobody takes, jobs that are refused, and the way back to a queue. */
#include <stdio.h>

#include "tests/unit/rewritten.h"

static void unroutable(const char *text)
{
    struct ftl__job job = scan(text);
    free(result.bytes);
    result.bytes = NULL;
    take_result(ftl__retry_unroutable(&job, &input, &result));
}

START_TEST(unroutable_waits_and_dies)
{
    unroutable("{" JID ",\"retry\":false,\"retry_count\":2,\"failed_at\":1.5,\"retried_at\":2.5}");
    assert_fate(FTL__FATE_RETRY, "unroutable");
    assert_delay(15, 60);
    ck_assert_int_eq(result.retry_count, -1);
    ck_assert_str_eq(result.bytes,
                     "{" JID
                     ",\"retry\":false,\"retry_count\":2,\"failed_at\":1.5,\"retried_at\":2.5,"
                     "\"queue\":\"default\",\"unroutable_at\":" NOW_TEXT "}");
    unroutable("{" JID ",\"unroutable_at\":1795192681.5}"); /* 3,599 s ago */
    assert_fate(FTL__FATE_RETRY, "unroutable");
    assert_has("\"unroutable_at\":1795192681.500000");
    unroutable("{" JID ",\"unroutable_at\":1795192680.5}");
    assert_fate(FTL__FATE_DEAD, "unroutable_ttl");
    assert_has("\"error_class\":\"NoHandler\"");
    assert_has("\"error_message\":\"no handler has taken the job for 3600 s\"");
    assert_has_not("unroutable_at");
    assert_has_not("retry_count");
    unroutable("{" JID ",\"unroutable_at\":1795999999.5}"); /* a clock was wrong */
    assert_fate(FTL__FATE_RETRY, "unroutable");
    assert_has("\"unroutable_at\":" NOW_TEXT);
}
END_TEST

START_TEST(a_failure_ends_unroutability)
{
    run_fails("{" JID ",\"unroutable_at\":1795192680.5}");
    assert_has_not("unroutable_at");
}
END_TEST

START_TEST(refused_jobs_die)
{
    struct ftl__job job = scan("{" JID ",\"bid\":\"b\",\"retry\":false,\"dead\":false}");
    free(result.bytes);
    take_result(ftl__retry_refused(&job, "Unsupported", "bid", &input, &result));
    assert_fate(FTL__FATE_DEAD, "refused");
    ck_assert_str_eq(result.bytes, "{" JID ",\"bid\":\"b\",\"retry\":false,\"dead\":false,"
                                   "\"queue\":\"default\",\"failed_at\":" NOW_TEXT ","
                                   "\"error_class\":\"Unsupported\",\"error_message\":\"bid\"}");
}
END_TEST

START_TEST(cancelled_jobs_die)
{
    static const char text[] = "{" JID ",\"retry\":false,\"dead\":false,\"retry_count\":3}";
    struct ftl__job job = scan(text);
    free(result.bytes);
    take_result(ftl__retry_cancelled(&job, 77, &input, &result));
    assert_fate(FTL__FATE_DEAD, "cancelled");
    ck_assert_int_eq(result.retry_count, -1);
    assert_has("\"retry_count\":3");
    assert_has("\"error_class\":\"Cancelled\","
               "\"error_message\":\"cancelled by an operator, token 77\"");
    free(result.bytes);
    take_result(ftl__retry_cancelled(&job, 0, &input, &result));
    assert_has("\"error_message\":\"cancelled by an operator\"");
}
END_TEST

/* ---- promotion -------------------------------------------------------------------------- */

static int promote(const char *text, char queue[129])
{
    struct ftl__job job = scan(text);
    free(result.bytes);
    result.bytes = NULL;
    int rc = ftl__retry_promoted(&job, NOW, &result.bytes, &result.size, queue);
    if (rc == 0)
        take_result(0);
    return rc;
}

START_TEST(promotes_to_its_queue)
{
    char queue[129] = "untouched";
    ck_assert_int_eq(promote("{" JID ",\"at\":1,\"queue\":\"low\",\"enqueued_at\":2}", queue), 0);
    ck_assert_str_eq(queue, "low");
    ck_assert_str_eq(result.bytes, "{" JID ",\"queue\":\"low\",\"enqueued_at\":" NOW_TEXT "}");
    ck_assert_int_eq(promote("{" JID ",\"retry_count\":0,\"failed_at\":1.5}", queue), 0);
    ck_assert_str_eq(queue, "default");
    assert_has("\"retry_count\":0,\"failed_at\":1.5");
    ck_assert_int_eq(promote("{\"queue\":null}", queue), 0);
    ck_assert_str_eq(queue, "default");
    assert_has("\"jid\":\"");
}
END_TEST

START_TEST(does_not_promote_to_invalid_queues)
{
    char queue[129] = "untouched", text[256];
    ck_assert_int_eq(promote("{\"queue\":\"\"}", queue), FTL_EPROTO);
    ck_assert_int_eq(promote("{\"queue\":7}", queue), FTL_EPROTO);
    ck_assert_int_eq(promote("{\"queue\":\"a b\"}", queue), FTL_EPROTO);
    ck_assert_int_eq(promote("{\"queue\":\"sq|x\"}", queue), FTL_EPROTO);
    ck_assert_int_eq(promote("{\"queue\":\"a\\u0000\"}", queue), FTL_EPROTO);
    (void)snprintf(text, sizeof(text), "{\"queue\":\"%0129d\"}", 1);
    ck_assert_int_eq(promote(text, queue), FTL_EPROTO);
    ck_assert_str_eq(queue, "untouched");
    (void)snprintf(text, sizeof(text), "{\"queue\":\"%0128d\"}", 1);
    ck_assert_int_eq(promote(text, queue), 0);
    ck_assert_uint_eq(strlen(queue), 128);
}
END_TEST

START_TEST(queue_names)
{
    ck_assert(ftl__queue_name_valid("Az09_:.-", 8));
    ck_assert(!ftl__queue_name_valid("", 0));
    ck_assert(!ftl__queue_name_valid("a\0b", 3));
    ck_assert(!ftl__queue_name_valid("\xc3\xa9", 2));
    ck_assert(!ftl__queue_name_valid("sq|a", 4));
    ck_assert(ftl__queue_name_valid("sq", 2));
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, unroutable_waits_and_dies);
    UNIT_CASE(suite, a_failure_ends_unroutability);
    UNIT_CASE(suite, refused_jobs_die);
    UNIT_CASE(suite, cancelled_jobs_die);
    UNIT_CASE(suite, promotes_to_its_queue);
    UNIT_CASE(suite, does_not_promote_to_invalid_queues);
    UNIT_CASE(suite, queue_names);
}

UNIT_MAIN("ends", add_cases)
