/* SPDX-License-Identifier: MIT
 *
 * Backtraces in jobs: how much is kept, packed as dashboards unpack it. */
#include <zlib.h>

#include "jobs/backtrace.h"
#include "tests/unit/oom.h"
#include "tests/unit/rewritten.h"

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
    UNIT_CASE(suite, keeps_backtraces_as_asked);
    UNIT_CASE(suite, drops_backtraces_that_pages_fail_on);
    UNIT_CASE(suite, backtraces_are_limited);
#if OOM_POSSIBLE
    UNIT_CASE(suite, reports_lack_of_memory);
#endif
}

UNIT_MAIN("backtrace", add_cases)
