/* SPDX-License-Identifier: MIT
 *
 * The scan of a job and the reading of its members. */
#include <stdio.h>
#include <string.h>

#include "jobs/job.h"
#include "tests/unit/unit.h"

static const struct ftl__job_limits limits = {.max_bytes = 4 << 20, .max_depth = 64};

static struct ftl__job job;
static struct ftl__job_error error;

/* In memory of its own exact size, so that a sanitizer sees a byte read too far. */
static int scan_bytes(const char *text, size_t size)
{
    static char *copy;
    free(copy);
    copy = malloc(size > 0 ? size : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text, size);
    return ftl__job_scan(copy, size, &limits, &job, &error);
}

static int scan(const char *text)
{
    return scan_bytes(text, strlen(text));
}

static void assert_value(enum ftl__member member, enum ftl__json_type type, const char *text)
{
    ck_assert_int_eq(job.type[member], type);
    ck_assert_uint_eq(job.value[member].size, strlen(text));
    ck_assert_mem_eq(job.value[member].begin, text, strlen(text));
}

static void assert_refused(const char *text, const char *reason, size_t offset)
{
    memset(&job, 0x5a, sizeof(job));
    ck_assert_int_eq(scan(text), FTL_EPROTO);
    ck_assert_str_eq(error.reason, reason);
    ck_assert_uint_eq(error.offset, offset);
    for (size_t i = 0; i < FTL__MEMBER_COUNT; i++)
        ck_assert_int_eq(job.type[i], FTL__ABSENT);
}

/* ---- the scan --------------------------------------------------------------------------- */

START_TEST(finds_every_member)
{
#define X(id, name)                                                                                \
    ck_assert_int_eq(scan("{\"x\":1,\"" name "\":\"v\",\"y\":2}"), 0);                             \
    assert_value(FTL__##id, FTL__STRING, "\"v\"");                                                 \
    ck_assert_str_eq(ftl__member_name(FTL__##id), name);                                           \
    ck_assert_int_eq(scan("{\"" name "x\":1,\"x" name "\":1}"), 0);                                \
    ck_assert_int_eq(job.type[FTL__##id], FTL__ABSENT);
    FTL__MEMBER_MAP(X)
#undef X
}
END_TEST

START_TEST(keeps_the_text_of_values)
{
    ck_assert_int_eq(scan("{\"class\":\"A\\u0042\",\"args\":[12345678901234567890,1.10,{}],"
                          "\"jid\":null,\"retry\":false,\"dead\":true,\"at\":-1.5e+3,"
                          "\"queue\":{\"a\":[1,2]}}"),
                     0);
    assert_value(FTL__CLASS, FTL__STRING, "\"A\\u0042\"");
    assert_value(FTL__ARGS, FTL__ARRAY, "[12345678901234567890,1.10,{}]");
    assert_value(FTL__JID, FTL__NULL, "null");
    assert_value(FTL__RETRY, FTL__FALSE, "false");
    assert_value(FTL__DEAD, FTL__TRUE, "true");
    assert_value(FTL__AT, FTL__NUMBER, "-1.5e+3");
    assert_value(FTL__QUEUE, FTL__OBJECT, "{\"a\":[1,2]}");
}
END_TEST

START_TEST(takes_args_of_any_type)
{
    ck_assert_int_eq(scan("{\"args\":\"[1,2]\"}"), 0);
    assert_value(FTL__ARGS, FTL__STRING, "\"[1,2]\"");
    ck_assert_int_eq(scan("{\"args\":{\"a\":1}}"), 0);
    assert_value(FTL__ARGS, FTL__OBJECT, "{\"a\":1}");
    ck_assert_int_eq(scan("{\"args\":7}"), 0);
    assert_value(FTL__ARGS, FTL__NUMBER, "7");
}
END_TEST

START_TEST(takes_pretty_print)
{
    ck_assert_int_eq(
        scan(" \r\n{\n\t\"class\" : \"A\" ,\n  \"args\":\t[ 1 , { \"class\" : 2 } ]\n}\n"), 0);
    assert_value(FTL__CLASS, FTL__STRING, "\"A\"");
    assert_value(FTL__ARGS, FTL__ARRAY, "[ 1 , { \"class\" : 2 } ]");
}
END_TEST

START_TEST(last_of_a_repeated_member_counts)
{
    ck_assert_int_eq(scan("{\"class\":\"A\",\"class\":7,\"class\":\"C\"}"), 0);
    assert_value(FTL__CLASS, FTL__STRING, "\"C\"");
}
END_TEST

START_TEST(reads_escaped_names)
{
    ck_assert_int_eq(
        scan("{\"cl\\u0061ss\":\"A\",\"\\u0072\\u0065\\u0074\\u0072\\u0079_"
             "\\u0063\\u006f\\u0075\\u006e\\u0074\":3,\"jid\\u0000\":1,\"bid\\\"\":1}"),
        0);
    assert_value(FTL__CLASS, FTL__STRING, "\"A\"");
    assert_value(FTL__RETRY_COUNT, FTL__NUMBER, "3");
    ck_assert_int_eq(job.type[FTL__JID], FTL__ABSENT);
    ck_assert_int_eq(job.type[FTL__BID], FTL__ABSENT);
}
END_TEST

START_TEST(takes_empty_object_and_names)
{
    ck_assert_int_eq(scan("{}"), 0);
    ck_assert_int_eq(scan("{ \n }"), 0);
    ck_assert_int_eq(scan("{\"\":1,\"\\u0000\":2}"), 0);
}
END_TEST

START_TEST(refuses_what_is_no_object)
{
    assert_refused("", "empty", 0);
    assert_refused(" \n", "empty", 2);
    assert_refused("hello", "not a JSON object", 0);
    assert_refused("[1]", "not a JSON object", 0);
    assert_refused("\"{}\"", "not a JSON object", 0);
    assert_refused("null", "not a JSON object", 0);
    assert_refused("\xef\xbb\xbf{}", "not a JSON object", 0);
}
END_TEST

START_TEST(refuses_broken_objects)
{
    assert_refused("{", "the text ends too early", 1);
    assert_refused("{\"a\"", "the text ends too early", 4);
    assert_refused("{\"a\":", "the text ends too early", 5);
    assert_refused("{\"a\":1", "the text ends too early", 6);
    assert_refused("{\"a\":1,", "the text ends too early", 7);
    assert_refused("{\"a\":[1,{\"b\":2}", "the text ends too early", 15);
    assert_refused("{,}", "unexpected byte", 1);
    assert_refused("{a:1}", "unexpected byte", 1);
    assert_refused("{'a':1}", "unexpected byte", 1);
    assert_refused("{\"a\" 1}", "unexpected byte", 5);
    assert_refused("{\"a\":1,}", "unexpected byte", 7);
    assert_refused("{\"a\":1 \"b\":2}", "unexpected byte", 7);
    assert_refused("{\"a\":[1,]}", "unexpected byte", 8);
    assert_refused("{\"a\":[,1]}", "unexpected byte", 6);
    assert_refused("{\"a\":[1}]", "unexpected byte", 7);
    assert_refused("{\"a\":{\"b\":1]}", "unexpected byte", 11);
    assert_refused("{\"a\":{\"b\"}}", "unexpected byte", 9);
    assert_refused("{\"a\":{1:2}}", "unexpected byte", 6);
    assert_refused("{} x", "bytes after the object", 3);
    assert_refused("{}{}", "bytes after the object", 2);
    assert_refused("{\"a\":/**/1}", "unexpected byte", 5);
}
END_TEST

START_TEST(refuses_wrong_words_and_numbers)
{
    static const char *const values[] = {
        "True", "nul", "nulll", "+1",  "01",       "-",         "1.",  ".5", "1e",       "1e+",
        "0x1",  "-01", "1.e1",  "NaN", "Infinity", "-Infinity", "1_0", "00", "undefined"};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "{\"a\":%s}", values[i]);
        ck_assert_msg(scan(text) == FTL_EPROTO, "%s", text);
        (void)snprintf(text, sizeof(text), "{\"a\":[%s]}", values[i]);
        ck_assert_msg(scan(text) == FTL_EPROTO, "%s", text);
    }
}
END_TEST

START_TEST(takes_all_numbers)
{
    static const char *const values[] = {
        "0", "-0", "0.0", "-0.5e-10", "1E5", "1e+5", "10", "12345678901234567890123", "1.10"};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "{\"at\":%s}", values[i]);
        ck_assert_msg(scan(text) == 0, "%s", text);
        assert_value(FTL__AT, FTL__NUMBER, values[i]);
    }
}
END_TEST

START_TEST(refuses_bad_strings)
{
    assert_refused("{\"a\":\"x", "unterminated string", 7);
    assert_refused("{\"a\":\"x\\", "invalid escape in a string", 7);
    assert_refused("{\"a\":\"\\x\"}", "invalid escape in a string", 6);
    assert_refused("{\"a\":\"\\u12g4\"}", "invalid \\u escape in a string", 6);
    assert_refused("{\"a\":\"\\u12", "invalid \\u escape in a string", 6);
    assert_refused("{\"a\":\"0123456789\n\"}", "control character in a string", 16);
    assert_refused("{\"a\tb\":1}", "control character in a string", 3);
}
END_TEST

START_TEST(refuses_raw_nul)
{
    ck_assert_int_eq(scan_bytes("{\"a\":\"x\0y\"}", 11), FTL_EPROTO);
    ck_assert_str_eq(error.reason, "control character in a string");
    ck_assert_int_eq(scan_bytes("{\"a\":1\0}", 8), FTL_EPROTO);
    ck_assert_str_eq(error.reason, "unexpected byte");
    ck_assert_int_eq(scan_bytes("{\"a\":1}\0", 8), FTL_EPROTO);
    ck_assert_str_eq(error.reason, "bytes after the object");
    ck_assert_int_eq(scan_bytes("\0", 1), FTL_EPROTO);
}
END_TEST

START_TEST(validates_utf8)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"\xc3\xa9", true},
        {"\xe2\x82\xac", true},
        {"\xf0\x9f\x98\x80", true},
        {"\xef\xbf\xbf", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\xed\x9f\xbf", true},
        {"\xee\x80\x80", true},
        {"\x7f", true},
        {"\x80", false},
        {"\xff", false},
        {"\xc0\x80", false},
        {"\xc1\xbf", false},
        {"\xc3", false},
        {"\xc3(", false},
        {"\xe0\x9f\xbf", false},
        {"\xed\xa0\x80", false},
        {"\xe2\x82", false},
        {"\xe2\x82(", false},
        {"\xf0\x8f\xbf\xbf", false},
        {"\xf4\x90\x80\x80", false},
        {"\xf5\x80\x80\x80", false},
        {"\xf0\x9f\x98", false},
        {"\xf0\x9f\x98(", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int before = 0; before < 18; before++) { /* at each place of a word */
            char text[64];
            (void)snprintf(text, sizeof(text), "{\"a\":\"%.*s%s\"}", before, "xxxxxxxxxxxxxxxxxx",
                           cases[i].text);
            ck_assert_msg(scan(text) == (cases[i].valid ? 0 : FTL_EPROTO), "case %zu", i);
        }
}
END_TEST

START_TEST(finds_special_bytes_at_every_place)
{
    for (size_t size = 0; size < 40; size++) {
        char text[80];
        (void)snprintf(text, sizeof(text), "{\"class\":\"%.*s\",\"at\":1}", (int)size,
                       "0123456789012345678901234567890123456789");
        ck_assert_int_eq(scan(text), 0);
        ck_assert_uint_eq(job.value[FTL__CLASS].size, size + 2);
        for (size_t i = 0; i < size; i++) { /* one control character among plain ones */
            text[10 + i] = '\x1f';
            ck_assert_int_eq(scan(text), FTL_EPROTO);
            ck_assert_uint_eq(error.offset, 10 + i);
            text[10 + i] = '!';
        }
    }
}
END_TEST

/* {"args":[[…]]} with that many levels in all, objects and arrays in turn. */
static char *nested(uint32_t depth)
{
    char *text = calloc(depth, 8);
    ck_assert_ptr_nonnull(text);
    for (uint32_t i = 0; i < depth; i++)
        strcat(text + (i > 0 ? strlen(text) : 0), i % 2 == 0 ? "{\"a\":" : "[");
    size_t size = strlen(text);
    text[size++] = '1';
    for (uint32_t i = depth; i-- > 0;)
        text[size++] = i % 2 == 0 ? '}' : ']';
    return text;
}

static int scan_nested(uint32_t depth, uint32_t max_depth)
{
    struct ftl__job_limits deep = {.max_bytes = 4 << 20, .max_depth = max_depth};
    char *text = nested(depth);
    int rc = ftl__job_scan(text, strlen(text), &deep, &job, &error);
    free(text);
    return rc;
}

START_TEST(limits_depth)
{
    ck_assert_int_eq(scan_nested(1, 1), 0);
    ck_assert_int_eq(scan_nested(2, 1), FTL_ELIMIT);
    ck_assert_int_eq(scan_nested(1, 0), FTL_ELIMIT);
    ck_assert_int_eq(scan_nested(64, 64), 0);
    ck_assert_int_eq(scan_nested(65, 64), FTL_ELIMIT);
    ck_assert_str_eq(error.reason, "nested too deeply");
    ck_assert_int_eq(scan_nested(10000, 64), FTL_ELIMIT);
    ck_assert_int_eq(scan_nested(10000, 10000), 0);
    ck_assert_int_eq(scan_nested(FTL__JSON_DEPTH_CEILING, UINT32_MAX), 0);
    ck_assert_int_eq(scan_nested(FTL__JSON_DEPTH_CEILING + 1, UINT32_MAX), FTL_ELIMIT);
}
END_TEST

START_TEST(limits_size)
{
    size_t size = 2 << 20;
    struct ftl__job_limits small = {.max_bytes = 1 << 20, .max_depth = 64};
    char *text = malloc(size);
    ck_assert_ptr_nonnull(text);
    memset(text, ' ', size);
    memcpy(text, "{\"class\":\"A\",\"args\":[\"", 22);
    memset(text + 22, 'x', size - 25);
    memcpy(text + size - 3, "\"]}", 3);
    ck_assert_int_eq(ftl__job_scan(text, size, &small, &job, &error), FTL_ELIMIT);
    ck_assert_str_eq(error.reason, "too large");
    small.max_bytes = size;
    ck_assert_int_eq(ftl__job_scan(text, size, &small, &job, &error), 0);
    ck_assert_uint_eq(job.value[FTL__ARGS].size, size - 21);
    free(text);
}
END_TEST

/* ---- values ----------------------------------------------------------------------------- */

static void assert_decoded(const char *json, const char *expected, size_t size)
{
    char text[128], decoded[64];
    (void)snprintf(text, sizeof(text), "{\"class\":\"%s\"}", json);
    ck_assert_int_eq(scan(text), 0);
    ck_assert_int_eq(ftl__job_string(&job, FTL__CLASS, decoded, sizeof(decoded)), (int)size);
    ck_assert_mem_eq(decoded, expected, size + 1);
}

START_TEST(decodes_strings)
{
    assert_decoded("", "", 0);
    assert_decoded("plain", "plain", 5);
    assert_decoded("\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t", 8);
    assert_decoded("\\u0041\\u00e9\\u20AC", "A\xc3\xa9\xe2\x82\xac", 6);
    assert_decoded("a\\u0000b", "a\0b", 3);
    assert_decoded("\\ud83d\\ude00", "\xf0\x9f\x98\x80", 4);
    assert_decoded("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", 4);
    assert_decoded("\\ud83dx", "\xef\xbf\xbdx", 4);
    assert_decoded("\\ude00", "\xef\xbf\xbd", 3);
    assert_decoded("\\ud83d\\udbff", "\xef\xbf\xbd\xef\xbf\xbd", 6);
    assert_decoded("\\ud83d\\u0041",
                   "\xef\xbf\xbd"
                   "A",
                   4);
    assert_decoded("\\ud83d\\ud83d\\ude00", "\xef\xbf\xbd\xf0\x9f\x98\x80", 7);
}
END_TEST

START_TEST(cuts_decoded_strings_between_characters)
{
    char buf[8];
    ck_assert_int_eq(scan("{\"class\":\"abc\xe2\x82\xac"
                          "d\",\"jid\":\"\\ud83d\\ude00\"}"),
                     0);
    ck_assert_int_eq(ftl__job_string(&job, FTL__CLASS, buf, 8), 7);
    ck_assert_int_eq(ftl__job_string(&job, FTL__CLASS, buf, 7), 6);
    ck_assert_str_eq(buf, "abc\xe2\x82\xac");
    ck_assert_int_eq(ftl__job_string(&job, FTL__CLASS, buf, 6), 3);
    ck_assert_str_eq(buf, "abc");
    ck_assert_int_eq(ftl__job_string(&job, FTL__CLASS, buf, 1), 0);
    ck_assert_str_eq(buf, "");
    ck_assert_int_eq(ftl__job_string(&job, FTL__JID, buf, 4), 0);
    ck_assert_int_eq(ftl__job_string(&job, FTL__QUEUE, buf, 8), FTL_ENOENT);
}
END_TEST

START_TEST(gives_plain_strings_only)
{
    ck_assert_int_eq(scan("{\"class\":\"A::B\",\"jid\":\"a\\n\",\"at\":1}"), 0);
    struct ftl__slice plain = ftl__job_plain(&job, FTL__CLASS);
    ck_assert_uint_eq(plain.size, 4);
    ck_assert_mem_eq(plain.begin, "A::B", 4);
    ck_assert_ptr_null(ftl__job_plain(&job, FTL__JID).begin);
    ck_assert_ptr_null(ftl__job_plain(&job, FTL__AT).begin);
    ck_assert_ptr_null(ftl__job_plain(&job, FTL__QUEUE).begin);
}
END_TEST

static bool integer(const char *value, int64_t *ret)
{
    char text[96];
    (void)snprintf(text, sizeof(text), "{\"retry\":%s}", value);
    ck_assert_int_eq(scan(text), 0);
    return ftl__job_integer(&job, FTL__RETRY, ret);
}

START_TEST(reads_integers)
{
    int64_t value = 0;
    ck_assert(integer("25", &value) && value == 25);
    ck_assert(integer("-1", &value) && value == -1);
    ck_assert(integer("0", &value) && value == 0);
    ck_assert(integer("9223372036854775807", &value) && value == INT64_MAX);
    ck_assert(integer("-9223372036854775808", &value) && value == INT64_MIN);
    ck_assert(integer("5.0", &value) && value == 5);
    ck_assert(integer("25e-1", &value) == false);
    ck_assert(integer("2.5e1", &value) && value == 25);
    value = 7;
    static const char *const others[] = {"9223372036854775808",
                                         "-9223372036854775809",
                                         "12345678901234567890",
                                         "1.5",
                                         "1e30",
                                         "1e999",
                                         "\"5\"",
                                         "null",
                                         "true",
                                         "[1]"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        ck_assert_msg(!integer(others[i], &value) && value == 7, "%s", others[i]);
}
END_TEST

static bool time_of(const char *value, double *ret)
{
    char text[96];
    (void)snprintf(text, sizeof(text), "{\"at\":%s}", value);
    ck_assert_int_eq(scan(text), 0);
    return ftl__job_time(&job, FTL__AT, ret);
}

START_TEST(reads_times)
{
    double value = 0;
    ck_assert(time_of("1795196280.0221856", &value) && value == 1795196280.0221856);
    ck_assert(time_of("1795196280", &value) && value == 1795196280);
    ck_assert(time_of("1795196810740", &value) && value == 1795196810.740);
    ck_assert(time_of("\"1795196280.5\"", &value) && value == 1795196280.5);
    ck_assert(time_of("\"2026-11-20T19:05:53Z\"", &value) && value == 1795201553);
    value = 7;
    ck_assert(!time_of("\"soon\"", &value) && !time_of("null", &value) && !time_of("[1]", &value));
    ck_assert(value == 7);
}
END_TEST

/* ---- other forms ------------------------------------------------------------------------ */

START_TEST(makes_one_line)
{
    char *line;
    size_t size;
    ck_assert_int_eq(scan("{\r\n \"class\":\n\"A\\nB\"\n}\n"), 0);
    ck_assert_int_eq(ftl__job_one_line(&job, &line, &size), 0);
    ck_assert_uint_eq(size, job.size + 1);
    ck_assert_mem_eq(line, "{   \"class\": \"A\\nB\" } \n", size);
    free(line);
}
END_TEST

START_TEST(makes_random_jids)
{
    char one[25], other[25];
    ftl__jid_random(one);
    ftl__jid_random(other);
    ck_assert_uint_eq(strlen(one), 24);
    ck_assert_uint_eq(strspn(one, "0123456789abcdef"), 24);
    ck_assert_str_ne(one, other);
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, finds_every_member);
    UNIT_CASE(suite, keeps_the_text_of_values);
    UNIT_CASE(suite, takes_args_of_any_type);
    UNIT_CASE(suite, takes_pretty_print);
    UNIT_CASE(suite, last_of_a_repeated_member_counts);
    UNIT_CASE(suite, reads_escaped_names);
    UNIT_CASE(suite, takes_empty_object_and_names);
    UNIT_CASE(suite, refuses_what_is_no_object);
    UNIT_CASE(suite, refuses_broken_objects);
    UNIT_CASE(suite, refuses_wrong_words_and_numbers);
    UNIT_CASE(suite, takes_all_numbers);
    UNIT_CASE(suite, refuses_bad_strings);
    UNIT_CASE(suite, refuses_raw_nul);
    UNIT_CASE(suite, validates_utf8);
    UNIT_CASE(suite, finds_special_bytes_at_every_place);
    UNIT_CASE(suite, limits_depth);
    UNIT_CASE(suite, limits_size);
    UNIT_CASE(suite, decodes_strings);
    UNIT_CASE(suite, cuts_decoded_strings_between_characters);
    UNIT_CASE(suite, gives_plain_strings_only);
    UNIT_CASE(suite, reads_integers);
    UNIT_CASE(suite, reads_times);
    UNIT_CASE(suite, makes_one_line);
    UNIT_CASE(suite, makes_random_jids);
}

UNIT_MAIN("job", add_cases)
