/* SPDX-License-Identifier: MIT
 *
 * The retry rule: fate, score and text of jobs whose runs have failed. */
#include <stdio.h>

#include "tests/unit/rewritten.h"

/* ---- failures --------------------------------------------------------------------------- */

START_TEST(first_failure)
{
    run_fails("{\"class\":\"A\",\"args\":[12345678901234567890,1.10]," JID ",\"x\":{\"y\":1}}");
    assert_fate(FTL__FATE_RETRY, "retry");
    ck_assert_int_eq(result.retry_count, 0);
    ck_assert_str_eq(result.bytes,
                     "{\"class\":\"A\",\"args\":[12345678901234567890,1.10]," JID
                     ",\"x\":{\"y\":1},"
                     "\"queue\":\"default\",\"retry_count\":0,\"failed_at\":" NOW_TEXT ","
                     "\"error_class\":\"Failed\",\"error_message\":\"no luck\"}");
    assert_delay(15, 25);
}
END_TEST

START_TEST(later_failures)
{
    run_fails("{" JID ",\"retry_count\":0,\"failed_at\":1795190000.25,\"error_class\":\"Old\"}");
    assert_fate(FTL__FATE_RETRY, "retry");
    ck_assert_int_eq(result.retry_count, 1);
    assert_has("\"retry_count\":1,");
    assert_has("\"failed_at\":1795190000.25,");
    assert_has("\"retried_at\":" NOW_TEXT);
    assert_has("\"error_class\":\"Failed\"");
    assert_has_not("Old");
    assert_delay(16, 36);
    run_fails("{" JID ",\"retry_count\":23,\"failed_at\":1795190000.25}");
    assert_fate(FTL__FATE_RETRY, "retry");
    assert_delay(24.0 * 24 * 24 * 24 + 15, 24.0 * 24 * 24 * 24 + 15 + 250);
}
END_TEST

START_TEST(jitter_covers_its_range)
{
    double low = 1e9, high = 0;
    struct ftl__retry_input before = input;
    for (input.random = 0; input.random < 2000; input.random++) {
        run_fails("{" JID ",\"retry_count\":4,\"failed_at\":1795190000.5}");
        double jitter = result.score - NOW - 5 * 5 * 5 * 5 - 15;
        low = jitter < low ? jitter : low;
        high = jitter > high ? jitter : high;
    }
    input = before;
    ck_assert(low >= 0 && low < 1);
    ck_assert(high < 60 && high > 59);
}
END_TEST

START_TEST(runs_out_of_attempts)
{
    run_fails("{" JID ",\"retry_count\":24,\"failed_at\":1795190000.5}");
    assert_fate(FTL__FATE_DEAD, "exhausted");
    ck_assert_int_eq(result.retry_count, 25);
    assert_has("\"retry_count\":25");
    assert_has("\"retried_at\":" NOW_TEXT);
    run_fails("{" JID ",\"retry\":true,\"retry_count\":24,\"failed_at\":1795190000.5}");
    assert_fate(FTL__FATE_DEAD, "exhausted");
    run_fails("{" JID ",\"retry\":3,\"retry_count\":1,\"failed_at\":1795190000.5}");
    assert_fate(FTL__FATE_RETRY, "retry");
    run_fails("{" JID ",\"retry\":3,\"retry_count\":2,\"failed_at\":1795190000.5}");
    assert_fate(FTL__FATE_DEAD, "exhausted");
}
END_TEST

START_TEST(retry_of_zero_and_below)
{
    run_fails("{" JID ",\"retry\":0}");
    assert_fate(FTL__FATE_DEAD, "exhausted");
    assert_has("\"retry_count\":0");
    assert_has("\"failed_at\":" NOW_TEXT);
    run_fails("{" JID ",\"retry\":-1}");
    assert_fate(FTL__FATE_DEAD, "exhausted");
}
END_TEST

START_TEST(retry_of_other_types)
{
    static const char *const values[] = {"null", "\"true\"", "\"yes\"", "[]",
                                         "12345678901234567890"};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "{" JID ",\"retry\":%s,\"retry_count\":23}", values[i]);
        run_fails(text);
        assert_fate(FTL__FATE_RETRY, "retry");
        (void)snprintf(text, sizeof(text), "{" JID ",\"retry\":%s,\"retry_count\":24}", values[i]);
        run_fails(text);
        assert_fate(FTL__FATE_DEAD, "exhausted");
    }
}
END_TEST

START_TEST(retry_false_drops)
{
    run_fails("{" JID ",\"retry\":false}");
    assert_fate(FTL__FATE_DROP, "retry:false");
    run_fails("{" JID ",\"retry\":\"false\"}");
    assert_fate(FTL__FATE_DROP, "retry:false");
}
END_TEST

START_TEST(dead_false_drops_the_exhausted_only)
{
    run_fails("{" JID ",\"dead\":false}");
    assert_fate(FTL__FATE_RETRY, "retry");
    run_fails("{" JID ",\"dead\":false,\"retry\":0}");
    assert_fate(FTL__FATE_DROP, "dead:false");
    run_fails("{" JID ",\"dead\":true,\"retry\":0}");
    assert_fate(FTL__FATE_DEAD, "exhausted");
}
END_TEST

START_TEST(retry_for_replaces_the_limit)
{
    run_fails("{" JID ",\"retry_for\":3600}");
    assert_fate(FTL__FATE_RETRY, "retry");
    run_fails("{" JID
              ",\"retry_for\":3600,\"retry\":1,\"retry_count\":30,\"failed_at\":1795193000.5}");
    assert_fate(FTL__FATE_RETRY, "retry");
    run_fails("{" JID ",\"retry_for\":3600,\"retry_count\":1,\"failed_at\":1795192000.5}");
    assert_fate(FTL__FATE_DEAD, "exhausted");
    /* failed_at in milliseconds */
    run_fails("{" JID ",\"retry_for\":3600,\"retry_count\":1,\"failed_at\":1795193000500}");
    assert_fate(FTL__FATE_RETRY, "retry");
    run_fails("{" JID ",\"retry_for\":0}");
    assert_fate(FTL__FATE_DEAD, "exhausted");
}
END_TEST

START_TEST(never_again)
{
    failure.never = true;
    run_fails("{" JID ",\"retry_count\":2,\"failed_at\":1795193000.5}");
    assert_fate(FTL__FATE_DEAD, "never");
    assert_has("\"retry_count\":3");
    run_fails("{" JID ",\"dead\":false}");
    assert_fate(FTL__FATE_DROP, "dead:false");
    failure.never = false;
}
END_TEST

START_TEST(later_uses_up_no_attempt)
{
    failure.later = 42;
    run_fails("{" JID ",\"class\":\"A\",\"unroutable_at\":1795190000.5,\"queue\":\"other\"}");
    failure.later = 0;
    assert_fate(FTL__FATE_RETRY, "later");
    ck_assert(result.score == NOW + 42);
    ck_assert_int_eq(result.retry_count, -1);
    ck_assert_str_eq(result.bytes, "{" JID ",\"class\":\"A\",\"queue\":\"default\"}");
}
END_TEST

START_TEST(counts_that_make_no_sense)
{
    run_fails("{" JID ",\"retry_count\":\"3\"}");
    ck_assert_int_eq(result.retry_count, 0);
    assert_has("\"retry_count\":0");
    /* A dashboard takes 1 away when it puts a job back. */
    run_fails("{" JID ",\"retry_count\":-1,\"failed_at\":1795190000.5}");
    ck_assert_int_eq(result.retry_count, 0);
    assert_has("\"failed_at\":1795190000.5");
    run_fails("{" JID ",\"retry_count\":9223372036854775807,\"retry\":9223372036854775807}");
    assert_fate(FTL__FATE_RETRY, "retry");
    ck_assert_int_eq(result.retry_count, 1000000);
    assert_has("\"failed_at\":" NOW_TEXT);
}
END_TEST

START_TEST(retry_queue)
{
    run_fails("{" JID ",\"retry_queue\":\"slow\",\"queue\":\"fast\"}");
    assert_has("\"queue\":\"slow\"");
    assert_has("\"retry_queue\":\"slow\"");
    run_fails("{" JID ",\"retry_queue\":\"no such name\",\"queue\":\"fast\"}");
    assert_has("\"queue\":\"default\"");
    run_fails("{" JID ",\"retry_queue\":null}");
    assert_has("\"queue\":\"default\"");
}
END_TEST

START_TEST(gives_each_job_without_jid_one_of_its_own)
{
    static const char *const texts[] = {"{}", "{\"jid\":null}", "{\"jid\":\"\"}"};
    char seen[30][25];
    size_t count = 0;
    struct ftl__retry_input before = input;
    for (input.random = 0; input.random < 10; input.random++)
        for (size_t i = 0; i < 3; i++, count++) {
            run_fails(texts[i]);
            struct ftl__job job = scan(result.bytes);
            ck_assert_int_eq(ftl__job_string(&job, FTL__JID, seen[count], 25), 24);
            ck_assert_uint_eq(strspn(seen[count], "0123456789abcdef"), 24);
            for (size_t k = 0; k < count; k++)
                ck_assert_int_eq(strcmp(seen[k], seen[count]) == 0, k / 3 == count / 3);
        }
    input = before;
    run_fails("{\"jid\":7}");
    assert_has("\"jid\":7");
}
END_TEST

START_TEST(error_texts_are_valid_and_limited)
{
    static char message[20001];
    memset(message, '\x01', 20000); /* six bytes each, once written */
    failure.error_message = message;
    failure.message_size = 20000;
    run_fails("{" JID "}");
    struct ftl__job job = scan(result.bytes);
    ck_assert_uint_eq(job.value[FTL__ERROR_MESSAGE].size, 2 + 6 * 10000);
    failure.error_message = "a\0\xff\"\n";
    failure.message_size = 5;
    run_fails("{" JID "}");
    assert_has("\"error_message\":\"a\\u0000\xef\xbf\xbd\\\"\\n\"");
    failure.error_message = NULL;
    failure.message_size = 0;
    run_fails("{" JID "}");
    assert_has("\"error_message\":\"\"");
    failure.error_message = "no luck";
    failure.message_size = 7;
}
END_TEST

/* ---- what dashboards need --------------------------------------------------------------- */

START_TEST(repairs_times)
{
    run_fails("{" JID ",\"created_at\":\"2026-11-20T17:38:00Z\"}");
    assert_has("\"created_at\":1795196280.000000,");
    run_fails("{" JID ",\"created_at\":1795196280}");
    assert_has("\"created_at\":1795196280.000000,");
    run_fails("{" JID ",\"created_at\":1795196280022}");
    assert_has("\"created_at\":1795196280022,");
    run_fails("{" JID ",\"created_at\":1795196280.10}");
    assert_has("\"created_at\":1795196280.10,");
    run_fails("{" JID ",\"created_at\":\"yesterday\",\"enqueued_at\":\"1795196280\"}");
    assert_has_not("created_at");
    assert_has("\"enqueued_at\":1795196280.000000");
    run_fails("{" JID ",\"created_at\":null}");
    assert_has("\"created_at\":null");
}
END_TEST

START_TEST(times_go_with_counts)
{
    run_fails("{" JID ",\"retry_count\":3,\"failed_at\":\"2026-11-20 17:38:00 UTC\"}");
    assert_has("\"failed_at\":1795196280.000000");
    assert_has("\"retried_at\":" NOW_TEXT);
    run_fails("{" JID ",\"retry_count\":3,\"failed_at\":\"some day\"}");
    assert_has("\"failed_at\":" NOW_TEXT);
    run_fails("{" JID ",\"failed_at\":\"some day\",\"retried_at\":7}");
    assert_has("\"failed_at\":" NOW_TEXT);
    assert_has_not("retried_at");
    failure.later = 1; /* also where counts are not ours to change */
    run_fails("{" JID ",\"retry_count\":0}");
    assert_has("\"failed_at\":" NOW_TEXT);
    run_fails("{" JID ",\"retry_count\":1,\"failed_at\":1795190000.5}");
    assert_has("\"retried_at\":1795190000.500000");
    run_fails("{" JID ",\"retry_count\":\"many\"}");
    assert_has_not("retry_count");
    failure.later = 0;
}
END_TEST

/* ---- size -------------------------------------------------------------------------------- */

START_TEST(growth_is_bounded)
{
    static char text[20001];
    static const char *deep[2000];
    memset(text, '\x01', 20000);
    for (size_t i = 0; i < 2000; i++)
        deep[i] = text + i * 10;
    struct ftl__failure worst = {.error_class = text,
                                 .error_message = text,
                                 .message_size = 20000,
                                 .backtrace = deep,
                                 .backtrace_lines = 2000};
    const char *json = "{\"backtrace\":true}";
    struct ftl__job job = scan(json);
    free(result.bytes);
    take_result(ftl__retry_failed(&job, &worst, &input, &result));
    ck_assert_uint_le(result.size, strlen(json) + FTL__RETRY_GROWTH);
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, first_failure);
    UNIT_CASE(suite, later_failures);
    UNIT_CASE(suite, jitter_covers_its_range);
    UNIT_CASE(suite, runs_out_of_attempts);
    UNIT_CASE(suite, retry_of_zero_and_below);
    UNIT_CASE(suite, retry_of_other_types);
    UNIT_CASE(suite, retry_false_drops);
    UNIT_CASE(suite, dead_false_drops_the_exhausted_only);
    UNIT_CASE(suite, retry_for_replaces_the_limit);
    UNIT_CASE(suite, never_again);
    UNIT_CASE(suite, later_uses_up_no_attempt);
    UNIT_CASE(suite, counts_that_make_no_sense);
    UNIT_CASE(suite, retry_queue);
    UNIT_CASE(suite, gives_each_job_without_jid_one_of_its_own);
    UNIT_CASE(suite, error_texts_are_valid_and_limited);
    UNIT_CASE(suite, repairs_times);
    UNIT_CASE(suite, times_go_with_counts);
    UNIT_CASE(suite, growth_is_bounded);
}

UNIT_MAIN("retry", add_cases)
