/* SPDX-License-Identifier: MIT
 *
 * Rewrites: what an edit changes, and that nothing else does. The last test makes random jobs and
 * edits from a seed that it prints (UNIT_SEED repeats a run). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "jobs/job.h"
#include "tests/unit/oom.h"
#include "tests/unit/unit.h"

static const struct ftl__job_limits limits = {.max_bytes = 4 << 20, .max_depth = 64};

static struct ftl__job scan(const char *text, size_t size)
{
    struct ftl__job job;
    struct ftl__job_error error;
    int rc = ftl__job_scan(text, size, &limits, &job, &error);
    ck_assert_msg(rc == 0, "%.*s: %s at %zu", (int)size, text, rc == 0 ? "" : error.reason,
                  rc == 0 ? 0 : error.offset);
    return job;
}

/* Rewrites `text`, frees the edit, compares. */
static void assert_rewrite(struct ftl__edit *edit, const char *text, const char *expected)
{
    struct ftl__job job = scan(text, strlen(text));
    char *bytes;
    size_t size;
    ck_assert_int_eq(ftl__job_rewrite(&job, edit, &bytes, &size), 0);
    ck_assert_msg(size == strlen(expected) && memcmp(bytes, expected, size) == 0,
                  "%s: %.*s instead of %s", text, (int)size, bytes, expected);
    free(bytes);
    ftl__edit_free(edit);
}

static struct ftl__edit *edit_new(void)
{
    struct ftl__edit *edit = ftl__edit_new();
    ck_assert_ptr_nonnull(edit);
    return edit;
}

static struct ftl__edit *removing(enum ftl__member member)
{
    struct ftl__edit *edit = edit_new();
    ftl__edit_remove(edit, member);
    return edit;
}

static struct ftl__edit *setting(enum ftl__member member, int64_t value)
{
    struct ftl__edit *edit = edit_new();
    ftl__edit_integer(edit, member, value);
    return edit;
}

/* ---- the splice ------------------------------------------------------------------------- */

START_TEST(empty_edit_changes_nothing)
{
    static const char *const texts[] = {
        "{}", " {\n} ", "{\"class\":\"A\",\"args\":[12345678901234567890,1.10,\"\\u00e9\\/\"]}",
        "{ \"z\" : 1 ,\n\t\"class\" :\"A\" , \"z\":1.0e0 }\r\n", "{\"at\":1,\"at\":2,\"at\":3}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_rewrite(edit_new(), texts[i], texts[i]);
}
END_TEST

START_TEST(replaces_where_it_stands)
{
    assert_rewrite(setting(FTL__AT, 7), "{\"at\":1}", "{\"at\":7}");
    assert_rewrite(setting(FTL__AT, 7), "{ \"at\" :\n1 ,\"x\":2}", "{ \"at\" :\n7 ,\"x\":2}");
    assert_rewrite(setting(FTL__AT, 7), "{\"x\":1 , \"at\" : [1,2] ,\"y\":2}",
                   "{\"x\":1 , \"at\" : 7 ,\"y\":2}");
    assert_rewrite(setting(FTL__AT, 7), "{\"x\":1,\"at\":\"\"}\n", "{\"x\":1,\"at\":7}\n");
    assert_rewrite(setting(FTL__AT, 7), "{\"\\u0061t\":1}", "{\"\\u0061t\":7}");
    assert_rewrite(setting(FTL__AT, 7), "{\"args\":[{\"at\":1}],\"at\":1}",
                   "{\"args\":[{\"at\":1}],\"at\":7}");
}
END_TEST

START_TEST(replaces_the_last_of_a_repeated_member)
{
    assert_rewrite(setting(FTL__AT, 7), "{\"at\":1,\"x\":2,\"at\":3}",
                   "{\"at\":1,\"x\":2,\"at\":7}");
}
END_TEST

START_TEST(appends_what_is_new)
{
    assert_rewrite(setting(FTL__AT, 7), "{}", "{\"at\":7}");
    assert_rewrite(setting(FTL__AT, 7), " { \n} ", " {\"at\":7 \n} ");
    assert_rewrite(setting(FTL__AT, 7), "{\"x\":1}", "{\"x\":1,\"at\":7}");
    assert_rewrite(setting(FTL__AT, 7), "{\n  \"x\":1\n}\n", "{\n  \"x\":1,\"at\":7\n}\n");
}
END_TEST

START_TEST(removes_with_the_comma)
{
    assert_rewrite(removing(FTL__AT), "{\"at\":1}", "{}");
    assert_rewrite(removing(FTL__AT), "{ \"at\":1 }", "{  }");
    assert_rewrite(removing(FTL__AT), "{\"at\":1,\"x\":2}", "{\"x\":2}");
    assert_rewrite(removing(FTL__AT), "{ \"at\" : 1 , \"x\" : 2 }", "{ \"x\" : 2 }");
    assert_rewrite(removing(FTL__AT), "{\"x\":1,\"at\":2,\"y\":3}", "{\"x\":1,\"y\":3}");
    assert_rewrite(removing(FTL__AT), "{\"x\":1 ,\n\"at\":2 ,\n\"y\":3\n}",
                   "{\"x\":1 ,\n\"y\":3\n}");
    assert_rewrite(removing(FTL__AT), "{\"x\":1,\"at\":2}", "{\"x\":1}");
    assert_rewrite(removing(FTL__AT), "{\"x\":1\n,\"at\":2\n}", "{\"x\":1\n}");
    assert_rewrite(removing(FTL__AT), "{\"x\":1}", "{\"x\":1}");
    assert_rewrite(removing(FTL__AT), "{}", "{}");
}
END_TEST

START_TEST(removes_all_of_a_repeated_member)
{
    assert_rewrite(removing(FTL__AT), "{\"at\":1,\"at\":2}", "{}");
    assert_rewrite(removing(FTL__AT), "{\"at\":1,\"x\":0,\"a\\u0074\":2,\"y\":0,\"at\":3}",
                   "{\"x\":0,\"y\":0}");
}
END_TEST

START_TEST(removes_and_appends_together)
{
    struct ftl__edit *edit = removing(FTL__AT);
    ftl__edit_integer(edit, FTL__RETRY_COUNT, 0);
    assert_rewrite(edit, "{ \"at\":1 }", "{ \"retry_count\":0 }");
    edit = removing(FTL__AT);
    ftl__edit_integer(edit, FTL__RETRY_COUNT, 0);
    ftl__edit_integer(edit, FTL__RETRY, 1);
    assert_rewrite(edit, "{\"x\":1,\"retry\":true,\"at\":1}",
                   "{\"x\":1,\"retry\":1,\"retry_count\":0}");
}
END_TEST

START_TEST(the_last_change_wins)
{
    struct ftl__edit *edit = setting(FTL__AT, 1);
    ftl__edit_integer(edit, FTL__AT, 2);
    assert_rewrite(edit, "{}", "{\"at\":2}");
    edit = setting(FTL__AT, 1);
    ftl__edit_remove(edit, FTL__AT);
    assert_rewrite(edit, "{\"at\":0}", "{}");
    edit = removing(FTL__AT);
    ftl__edit_integer(edit, FTL__AT, 3);
    assert_rewrite(edit, "{\"at\":0}", "{\"at\":3}");
}
END_TEST

/* ---- values ----------------------------------------------------------------------------- */

static void assert_string(const char *text, size_t size, size_t max_chars, const char *expected)
{
    struct ftl__edit *edit = edit_new();
    ftl__edit_string(edit, FTL__JID, text, size, max_chars);
    char json[256];
    (void)snprintf(json, sizeof(json), "{\"jid\":%s}", expected);
    assert_rewrite(edit, "{}", json);
}

START_TEST(writes_strings)
{
    assert_string("", 0, 0, "\"\"");
    assert_string("a\"b\\c/\b\f\n\r\t\x01\x1f\x7f", 14, 0,
                  "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"");
    assert_string("a\0b", 3, 0, "\"a\\u0000b\"");
    assert_string("\xc3\xa9\xf0\x9f\x98\x80", 6, 0, "\"\xc3\xa9\xf0\x9f\x98\x80\"");
    assert_string("a\xff\xe2\x82z\xed\xa0\x80", 8, 0,
                  "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_string("abc", 3, 2, "\"ab\"");
    assert_string("\xc3\xa9\xc3\xa9\xc3\xa9", 6, 2, "\"\xc3\xa9\xc3\xa9\"");
}
END_TEST

START_TEST(writes_numbers_and_times)
{
    assert_rewrite(setting(FTL__AT, INT64_MIN), "{}", "{\"at\":-9223372036854775808}");
    struct ftl__edit *edit = edit_new();
    ftl__edit_time(edit, FTL__AT, 1795196280.0221856);
    assert_rewrite(edit, "{}", "{\"at\":1795196280.022186}");
    edit = edit_new();
    ftl__edit_time(edit, FTL__AT, 1795196280);
    assert_rewrite(edit, "{}", "{\"at\":1795196280.000000}");
    edit = edit_new();
    ftl__edit_time(edit, FTL__AT, 0.9999999);
    assert_rewrite(edit, "{}", "{\"at\":1.000000}");
}
END_TEST

#if OOM_POSSIBLE
START_TEST(reports_lack_of_memory)
{
    struct ftl__job job = scan("{\"at\":1}", 8);
    int failures = 0, rc = FTL_ENOMEM;
    for (int after = 0; rc != 0; after++, failures++) {
        char *bytes = NULL;
        size_t size;
        oom_after = after;
        struct ftl__edit *edit = ftl__edit_new();
        if (edit != NULL) {
            ftl__edit_string(edit, FTL__JID, "x", 1, 0);
            ftl__edit_integer(edit, FTL__AT, 2);
            rc = ftl__job_rewrite(&job, edit, &bytes, &size);
        }
        oom_after = -1;
        ck_assert(rc == 0 || (rc == FTL_ENOMEM && bytes == NULL));
        ftl__edit_free(edit);
        free(bytes);
    }
    ck_assert_int_eq(failures, 5); /* the edit, two texts, the result; then success */
}
END_TEST
#endif

/* ---- the property ----------------------------------------------------------------------- */

#define MAX_TEXT 4096

struct builder {
    char text[MAX_TEXT];
    size_t size;
};

static uint64_t state;

static uint32_t below(uint32_t limit)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(state >> 33) % limit;
}

static void add(struct builder *builder, const char *text)
{
    size_t size = strlen(text);
    ck_assert_uint_lt(builder->size + size, MAX_TEXT);
    memcpy(builder->text + builder->size, text, size + 1);
    builder->size += size;
}

static void add_blanks(struct builder *builder)
{
    static const char *const blanks[] = {"", "", "", " ", "\n", "\t", " \r\n  "};
    add(builder, blanks[below(sizeof(blanks) / sizeof(blanks[0]))]);
}

static void add_value(struct builder *builder, int depth)
{
    static const char *const values[] = {"null",
                                         "true",
                                         "false",
                                         "0",
                                         "-1",
                                         "12345678901234567890",
                                         "1.10",
                                         "-0.5E+3",
                                         "\"\"",
                                         "\"plain\"",
                                         "\"\\u0000\\\"\\\\\"",
                                         "\"\xf0\x9f\x98\x80 \\ud83d\"",
                                         "[]",
                                         "{ }",
                                         "1795196280.5",
                                         "\"}\"",
                                         "\",\\\"at\\\":1\"",
                                         "{\"at\":1,\"jid\":[]}"};
    uint32_t kind = depth < 4 ? below(5) : 0;
    if (kind < 3) {
        add(builder, values[below(sizeof(values) / sizeof(values[0]))]);
        return;
    }
    add(builder, kind == 3 ? "[" : "{");
    for (uint32_t i = 0, count = below(4); i < count; i++) {
        add(builder, i > 0 ? "," : "");
        add_blanks(builder);
        add(builder, kind == 3 ? "" : "\"class\":");
        add_value(builder, depth + 1);
        add_blanks(builder);
    }
    add(builder, kind == 3 ? "]" : "}");
}

static void add_name(struct builder *builder)
{
    static const char *const others[] = {
        "tags", "", "at2", "clas", "retry_counts", "\\u0061\\u0074", "x\\\"y", "\xc3\xa9"};
    add(builder, "\"");
    if (below(3) > 0)
        add(builder, ftl__member_name((enum ftl__member)below(FTL__MEMBER_COUNT)));
    else
        add(builder, others[below(sizeof(others) / sizeof(others[0]))]);
    add(builder, "\"");
}

static void build_job(struct builder *builder)
{
    builder->size = 0;
    add_blanks(builder);
    add(builder, "{");
    add_blanks(builder);
    for (uint32_t i = 0, count = below(9); i < count; i++) {
        add(builder, i > 0 ? "," : "");
        add_blanks(builder);
        add_name(builder);
        add_blanks(builder);
        add(builder, ":");
        add_blanks(builder);
        add_value(builder, 0);
        add_blanks(builder);
    }
    add(builder, "}");
    add_blanks(builder);
}

/* What the edit does to each member. */
enum change { NONE, SET, REMOVED };

static struct ftl__edit *random_edit(enum change changes[FTL__MEMBER_COUNT])
{
    struct ftl__edit *edit = edit_new();
    for (enum ftl__member member = 0; member < FTL__MEMBER_COUNT; member++) {
        changes[member] = below(4) == 0 ? SET : below(4) == 0 ? REMOVED : NONE;
        if (changes[member] == SET)
            ftl__edit_integer(edit, member, 1000 + (int64_t)member);
        else if (changes[member] == REMOVED)
            ftl__edit_remove(edit, member);
    }
    return edit;
}

/* The members that an edit leaves alone, in their order, name and value as they are written. */
static void collect_untouched(const struct ftl__job *job, const enum change *changes,
                              struct builder *ret)
{
    struct ftl__json_reader reader;
    struct ftl__json_member json;
    ret->size = 0;
    ck_assert_int_eq(ftl__json_open(&reader, job->bytes, job->size, UINT32_MAX), 0);
    while (ftl__json_next(&reader, &json) > 0) {
        enum ftl__member member = ftl__member_of(&json);
        bool known = member < FTL__MEMBER_COUNT;
        bool last = known && json.value == job->value[member].begin;
        if (known && (changes[member] == REMOVED || (changes[member] == SET && last)))
            continue;
        size_t size = (size_t)(json.end - json.begin);
        ck_assert_uint_lt(ret->size + size + 1, MAX_TEXT);
        memcpy(ret->text + ret->size, json.begin, size);
        ret->size += size;
        ret->text[ret->size++] = '\n';
    }
}

static void assert_edited(const struct ftl__job *before, const struct ftl__job *after,
                          const enum change *changes)
{
    for (enum ftl__member member = 0; member < FTL__MEMBER_COUNT; member++) {
        int64_t value = 0;
        if (changes[member] == SET)
            ck_assert(ftl__job_integer(after, member, &value) && value == 1000 + (int64_t)member);
        else if (changes[member] == REMOVED)
            ck_assert_int_eq(after->type[member], FTL__ABSENT);
        else
            ck_assert_int_eq(after->type[member], before->type[member]);
    }
}

static void check_one(void)
{
    static struct builder original, before, after;
    enum change changes[FTL__MEMBER_COUNT];
    char *bytes;
    size_t size;
    build_job(&original);
    struct ftl__job job = scan(original.text, original.size);
    struct ftl__edit *edit = random_edit(changes);
    ck_assert_int_eq(ftl__job_rewrite(&job, edit, &bytes, &size), 0);
    struct ftl__job rewritten = scan(bytes, size);
    assert_edited(&job, &rewritten, changes);
    collect_untouched(&job, changes, &before);
    collect_untouched(&rewritten, changes, &after);
    ck_assert_uint_eq(before.size, after.size);
    ck_assert_mem_eq(before.text, after.text, before.size);
    free(bytes);
    ftl__edit_free(edit);
}

START_TEST(rewrites_change_only_what_is_edited)
{
    const char *given = getenv("UNIT_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("# UNIT_SEED=%" PRIu64 "\n", seed);
    (void)fflush(stdout);
    state = seed;
    for (int i = 0; i < 20000 / unit_slow(); i++)
        check_one();
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, empty_edit_changes_nothing);
    UNIT_CASE(suite, replaces_where_it_stands);
    UNIT_CASE(suite, replaces_the_last_of_a_repeated_member);
    UNIT_CASE(suite, appends_what_is_new);
    UNIT_CASE(suite, removes_with_the_comma);
    UNIT_CASE(suite, removes_all_of_a_repeated_member);
    UNIT_CASE(suite, removes_and_appends_together);
    UNIT_CASE(suite, the_last_change_wins);
    UNIT_CASE(suite, writes_strings);
    UNIT_CASE(suite, writes_numbers_and_times);
#if OOM_POSSIBLE
    UNIT_CASE(suite, reports_lack_of_memory);
#endif
    UNIT_CASE(suite, rewrites_change_only_what_is_edited);
}

UNIT_MAIN("edit", add_cases)
