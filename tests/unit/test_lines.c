/* SPDX-License-Identifier: MIT
 *
 * jobs/lines: however the bytes come in, the same lines go out, within the limits. */
#include <stdio.h>
#include <string.h>

#include "jobs/lines.h"
#include "tests/unit/unit.h"

/* What came out: each line with its size, so that pieces and empty lines show. */
struct output {
    size_t count, bytes, longest;
    char last[FTL__LINE_MAX + 1];
    char joined[4096];
};

static struct ftl__lines lines;
static struct output output;

static void collect(void *arg, const char *line, size_t size)
{
    struct output *out = arg;

    out->count++;
    out->bytes += size;
    out->longest = size > out->longest ? size : out->longest;
    memcpy(out->last, line, size);
    out->last[size] = '\0';
    if (strlen(out->joined) + size + 2 < sizeof(out->joined))
        strcat(strcat(out->joined, out->last), "|");
}

static void reset(void)
{
    memset(&output, 0, sizeof(output));
    memset(&lines, 0, sizeof(lines));
    lines.emit = collect;
    lines.arg = &output;
}

static void feed(const char *text)
{
    ftl__lines_feed(&lines, text, strlen(text));
}

static void feed_many(char c, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ftl__lines_feed(&lines, &c, 1);
}

static const char *tail(void)
{
    static char text[FTL__TAIL_BYTES + 1];
    size_t size;
    const char *begin = ftl__lines_tail(&lines, &size);

    memcpy(text, begin, size);
    text[size] = '\0';
    return text;
}

START_TEST(lines_come_whole)
{
    reset();
    feed("one\ntw");
    ck_assert_uint_eq(output.count, 1);
    feed("o\n\nfour");
    ck_assert_str_eq(output.joined, "one|two||");
    ftl__lines_end(&lines);
    ftl__lines_end(&lines);
    ck_assert_str_eq(output.joined, "one|two||four|");
}
END_TEST

START_TEST(cuts_do_not_matter)
{
    static const char text[] = "a\nbc\n\ndef\nghij";
    for (size_t step = 1; step < sizeof(text); step++) {
        reset();
        for (size_t i = 0; i < sizeof(text) - 1; i += step) {
            size_t left = sizeof(text) - 1 - i;
            ftl__lines_feed(&lines, text + i, left < step ? left : step);
        }
        ftl__lines_end(&lines);
        ck_assert_str_eq(output.joined, "a|bc||def|ghij|");
    }
}
END_TEST

START_TEST(a_long_line_comes_in_pieces)
{
    static char big[3 * FTL__LINE_MAX + 5];
    reset();
    memset(big, 'x', sizeof(big));
    big[sizeof(big) - 1] = '\n';
    ftl__lines_feed(&lines, big, sizeof(big));
    ck_assert_uint_eq(output.count, 4);
    ck_assert_uint_eq(output.bytes, sizeof(big) - 1);
    ck_assert_uint_eq(output.longest, FTL__LINE_MAX);
}
END_TEST

START_TEST(a_line_that_fits_exactly_is_one)
{
    reset();
    feed_many('x', FTL__LINE_MAX);
    feed("\n");
    ck_assert_uint_eq(output.count, 1);
    ck_assert_uint_eq(output.longest, FTL__LINE_MAX);

    reset();
    feed_many('x', FTL__LINE_MAX);
    ftl__lines_end(&lines);
    ck_assert_uint_eq(output.count, 1);
}
END_TEST

START_TEST(output_is_bounded)
{
    static char line[1024];
    reset();
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (int i = 0; i < 1024; i++)
        ftl__lines_feed(&lines, line, sizeof(line));
    ck_assert_uint_eq(output.count, 1024); /* the limit to the byte */
    feed("too much\nand more\n");
    ck_assert_uint_eq(output.count, 1025);
    ck_assert_ptr_nonnull(strstr(output.last, "dropped"));
    ck_assert_ptr_nonnull(strstr(tail(), "too much\nand more"));
}
END_TEST

START_TEST(tail_keeps_the_last_lines)
{
    char line[32];
    reset();
    ck_assert_str_eq(tail(), "");
    feed("only\n");
    ck_assert_str_eq(tail(), "only");
    for (int i = 1; i <= 30; i++) {
        snprintf(line, sizeof(line), "line %d\n", i);
        feed(line);
    }
    ck_assert_int_eq(strncmp(tail(), "line 11\nline 12\n", 16), 0);
    ck_assert_str_eq(strrchr(tail(), '\n'), "\nline 30");
}
END_TEST

START_TEST(tail_is_bounded_and_begins_with_a_character)
{
    static char big[FTL__LINE_MAX];
    size_t size;
    reset();
    for (size_t i = 0; i < sizeof(big); i += 2)
        memcpy(big + i, "\xc3\xa9", 2);
    memcpy(big + sizeof(big) - 2, "zz", 2); /* 2047 bytes back from the end is inside a character */
    ftl__lines_feed(&lines, big, sizeof(big));
    ftl__lines_end(&lines);
    size = strlen(tail());
    ck_assert_uint_eq(size, FTL__TAIL_BYTES - 2);
    ck_assert_int_eq((unsigned char)tail()[0], 0xc3);
    ck_assert_int_eq(tail()[size - 1], 'z');
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, lines_come_whole);
    UNIT_CASE(suite, cuts_do_not_matter);
    UNIT_CASE(suite, a_long_line_comes_in_pieces);
    UNIT_CASE(suite, a_line_that_fits_exactly_is_one);
    UNIT_CASE(suite, output_is_bounded);
    UNIT_CASE(suite, tail_keeps_the_last_lines);
    UNIT_CASE(suite, tail_is_bounded_and_begins_with_a_character);
}

UNIT_MAIN("lines", add_cases)
