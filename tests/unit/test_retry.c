/* SPDX-License-Identifier: MIT
 *
 * The retry rule: fate, score and text of jobs that have not succeeded. */
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "jobs/backtrace.h"
#include "jobs/retry.h"
#include "tests/unit/oom.h"
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

static struct ftl__job scan(const char *text)
{
    struct ftl__job job;
    struct ftl__job_error error;
    ck_assert_int_eq(ftl__job_scan(text, strlen(text), &limits, &job, &error), 0);
    return job;
}

static void take_result(int rc)
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

static void run_fails(const char *text)
{
    struct ftl__job job = scan(text);
    free(result.bytes);
    result.bytes = NULL;
    take_result(ftl__retry_failed(&job, &failure, &input, &result));
}

static void assert_has(const char *member)
{
    ck_assert_msg(strstr(result.bytes, member) != NULL, "%s in %s", member, result.bytes);
}

static void assert_has_not(const char *member)
{
    ck_assert_msg(strstr(result.bytes, member) == NULL, "%s in %s", member, result.bytes);
}

static void assert_fate(enum ftl__fate fate, const char *why)
{
    ck_assert_int_eq(result.fate, fate);
    ck_assert_str_eq(result.why, why);
    ck_assert_int_eq(result.bytes == NULL, fate == FTL__FATE_DROP);
    if (fate == FTL__FATE_DEAD)
        ck_assert(result.score == NOW);
}

static void assert_delay(double low, double high)
{
    double delay = result.score - NOW;
    ck_assert_msg(delay >= low && delay < high, "%f", delay);
}

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

/* ---- backtraces ------------------------------------------------------------------------- */

static const char *const lines[] = {"main.c:1 in \"a\"", "lib.c:22 in b\xff", "start"};

static size_t from_base64(const char *text, size_t size, unsigned char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t length = 0;
    uint32_t bits = 0, count = 0;
    for (size_t i = 0; i < size && text[i] != '='; i++) {
        const char *digit = strchr(digits, text[i]);
        ck_assert(digit != NULL && text[i] != '\0');
        bits = bits << 6 | (uint32_t)(digit - digits);
        count += 6;
        if (count >= 8)
            out[length++] = (unsigned char)(bits >> (count -= 8));
    }
    return length;
}

/* What a dashboard would show. */
static void unpack(const char *text, size_t size, char *ret_json, size_t json_size)
{
    static unsigned char packed[1 << 17];
    ck_assert_uint_eq(size % 4, 0);
    uLongf length = json_size - 1;
    size_t packed_size = from_base64(text, size, packed);
    ck_assert_int_eq(uncompress((Bytef *)ret_json, &length, packed, packed_size), Z_OK);
    ret_json[length] = '\0';
}

static void assert_backtrace(const char *expected)
{
    static char json[1 << 17];
    struct ftl__job job = scan(result.bytes);
    struct ftl__slice text = ftl__job_plain(&job, FTL__ERROR_BACKTRACE);
    ck_assert_int_eq(text.begin == NULL, expected == NULL);
    if (expected == NULL)
        return;
    unpack(text.begin, text.size, json, sizeof(json));
    ck_assert_str_eq(json, expected);
}

START_TEST(keeps_backtraces_as_asked)
{
    static const char all[] = "[\"main.c:1 in \\\"a\\\"\",\"lib.c:22 in b\xef\xbf\xbd\",\"start\"]";
    failure.backtrace = lines;
    failure.backtrace_lines = 3;
    run_fails("{" JID ",\"backtrace\":true}");
    assert_backtrace(all);
    run_fails("{" JID ",\"backtrace\":10}");
    assert_backtrace(all);
    run_fails("{" JID ",\"backtrace\":1}");
    assert_backtrace("[\"main.c:1 in \\\"a\\\"\"]");
    run_fails("{" JID ",\"backtrace\":0}");
    assert_backtrace(NULL);
    run_fails("{" JID ",\"backtrace\":false}");
    assert_backtrace(NULL);
    run_fails("{" JID ",\"error_backtrace\":\"eJwDAAAAAAE=\"}"); /* of an earlier failure */
    assert_has_not("error_backtrace");
    failure.backtrace = NULL;
    failure.backtrace_lines = 0;
    run_fails("{" JID ",\"backtrace\":true,\"error_backtrace\":\"eJwDAAAAAAE=\"}");
    assert_has_not("error_backtrace");
}
END_TEST

START_TEST(drops_backtraces_that_pages_fail_on)
{
    failure.later = 1;
    run_fails("{" JID ",\"error_backtrace\":\"eJwDAAAAAAE=\"}");
    assert_has("\"error_backtrace\":\"eJwDAAAAAAE=\"");
    run_fails("{" JID ",\"error_backtrace\":\"main.c:1\"}");
    assert_has_not("error_backtrace");
    run_fails("{" JID ",\"error_backtrace\":[\"main.c:1\"]}");
    assert_has_not("error_backtrace");
    run_fails("{" JID ",\"error_backtrace\":\"\"}");
    assert_has_not("error_backtrace");
    failure.later = 0;
}
END_TEST

START_TEST(backtraces_are_limited)
{
    enum { COUNT = 5000 };
    static const char *many[COUNT];
    static char json[1 << 17];
    for (size_t i = 0; i < COUNT; i++)
        many[i] = "a line of some thirty characters";
    char *text;
    size_t size;
    ck_assert_int_eq(ftl__backtrace_encode(many, COUNT, &text, &size), 0);
    unpack(text, size, json, sizeof(json));
    free(text);
    ck_assert_uint_le(strlen(json), FTL__BACKTRACE_MAX);
    ck_assert_uint_gt(strlen(json), FTL__BACKTRACE_MAX - 40);
    ck_assert_str_eq(json + strlen(json) - 2, "\"]");
    ck_assert_int_eq(ftl__backtrace_encode(many, 0, &text, &size), 0);
    unpack(text, size, json, sizeof(json));
    free(text);
    ck_assert_str_eq(json, "[]");
}
END_TEST

/* ---- other ends ------------------------------------------------------------------------- */

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

#if OOM_POSSIBLE
START_TEST(reports_lack_of_memory)
{
    failure.backtrace = lines;
    failure.backtrace_lines = 3;
    struct ftl__job job = scan("{\"backtrace\":true,\"retry_queue\":\"x\"}");
    int rc = FTL_ENOMEM, failures = 0;
    for (; rc != 0; failures++) {
        struct ftl__retry_result untouched = {.size = 77};
        oom_after = failures;
        rc = ftl__retry_failed(&job, &failure, &input, &untouched);
        oom_after = -1;
        ck_assert(rc == 0 || (rc == FTL_ENOMEM && untouched.size == 77));
        free(untouched.bytes);
    }
    ck_assert_int_gt(failures, 10);
    failure.backtrace = NULL;
    failure.backtrace_lines = 0;
}
END_TEST
#endif

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
    UNIT_CASE(suite, keeps_backtraces_as_asked);
    UNIT_CASE(suite, drops_backtraces_that_pages_fail_on);
    UNIT_CASE(suite, backtraces_are_limited);
    UNIT_CASE(suite, unroutable_waits_and_dies);
    UNIT_CASE(suite, a_failure_ends_unroutability);
    UNIT_CASE(suite, refused_jobs_die);
    UNIT_CASE(suite, growth_is_bounded);
    UNIT_CASE(suite, promotes_to_its_queue);
    UNIT_CASE(suite, does_not_promote_to_invalid_queues);
    UNIT_CASE(suite, queue_names);
#if OOM_POSSIBLE
    UNIT_CASE(suite, reports_lack_of_memory);
#endif
}

UNIT_MAIN("retry", add_cases)
