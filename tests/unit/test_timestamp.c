/* SPDX-License-Identifier: MIT
 *
 * Numbers and dates as times, and times as text. */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/timestamp.h"
#include "tests/unit/unit.h"

static bool number(const char *text, double *ret)
{
    return ftl__number_parse(text, strlen(text), ret);
}

static void assert_time(const char *text, double expected)
{
    double value = 0;
    ck_assert_msg(ftl__timestamp_parse(text, strlen(text), &value), "%s", text);
    ck_assert_msg(fabs(value - expected) < 1e-6, "%s: %f", text, value);
}

static void assert_none(const char *text)
{
    double value = 7;
    ck_assert_msg(!ftl__timestamp_parse(text, strlen(text), &value), "%s", text);
    ck_assert(value == 7);
}

START_TEST(numbers_as_the_c_library_reads_them)
{
    static const char *const texts[] = {"0",
                                        "-0",
                                        "1",
                                        "-1.5",
                                        "1795196280.022185",
                                        "1e3",
                                        "1.25E-3",
                                        "12345678901234567890",
                                        "0.000000000000000000000000000001",
                                        "123456789012345678901234567890e-20",
                                        "1e300",
                                        "1e-300",
                                        "5e-324",
                                        "1.7e308",
                                        "0e99999",
                                        "100000000000000000000000"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        double value, expected = strtod(texts[i], NULL);
        ck_assert_msg(number(texts[i], &value), "%s", texts[i]);
        ck_assert_msg(fabs(value - expected) <= fabs(expected) * 1e-14, "%s: %g", texts[i], value);
    }
}
END_TEST

START_TEST(texts_that_are_no_numbers)
{
    static const char *const texts[] = {"",      "-",      ".5", "1.", "1e", "1e+",  "x",   "1x",
                                        "1e999", "-1e999", "1 ", " 1", "+1", "0x10", "inf", "nan"};
    double value = 7;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        ck_assert_msg(!number(texts[i], &value), "%s", texts[i]);
    ck_assert(value == 7);
}
END_TEST

START_TEST(seconds_and_milliseconds)
{
    assert_time("1795196280.25", 1795196280.25);
    assert_time("99999999999", 99999999999);
    assert_time("100000000000", 100000000);
    assert_time("1795196280250", 1795196280.25);
    assert_time("0", 0);
    assert_time("-5", -5);
}
END_TEST

START_TEST(dates)
{
    assert_time("1970-01-01", 0);
    assert_time("2026-11-20", 1795132800);
    assert_time("2026-11-20T17:38:00Z", 1795196280);
    assert_time("2026-11-20T17:38:00.25Z", 1795196280.25);
    assert_time("2026-11-20T17:38", 1795196280);
    assert_time("2026-11-20 17:38:00 UTC", 1795196280);
    assert_time("2026-11-20t17:38:00z", 1795196280);
    assert_time("2026-11-20T18:38:00+01:00", 1795196280);
    assert_time("2026-11-20T12:08:00-0530", 1795196280);
    assert_time("2026-11-20 19:38:00 +02", 1795196280);
    assert_time("2000-02-29T00:00:00Z", 951782400);
    assert_time("1969-12-31T23:59:59Z", -1);
    assert_time("0001-01-01", -62135596800.0);
    assert_time("9999-12-31T23:59:60Z", 253402300799.0);
}
END_TEST

START_TEST(texts_that_are_no_dates)
{
    static const char *const texts[] = {"",
                                        "now",
                                        "2026-11",
                                        "2026-11-20T",
                                        "2026-13-01",
                                        "2026-00-01",
                                        "2026-02-30",
                                        "2026-02-29",
                                        "1900-02-29",
                                        "2026-1-1",
                                        "26-11-20",
                                        "2026-11-20x",
                                        "2026-11-20T24:00",
                                        "2026-11-20T1:00",
                                        "2026-11-20T10:60",
                                        "2026-11-20T10:00:61",
                                        "2026-11-20T10:00:00.",
                                        "2026-11-20T10:00:00 CET",
                                        "2026-11-20T10:00:00+",
                                        "2026-11-20T10:00:00+1",
                                        "2026-11-20T10:00:00+01:0",
                                        "2026-11-20T10:00:00Zx"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_none(texts[i]);
}
END_TEST

static void assert_printed(double seconds, const char *expected)
{
    char text[FTL__TIMESTAMP_SIZE];
    ck_assert_uint_eq(ftl__timestamp_print(seconds, text), strlen(expected));
    ck_assert_str_eq(text, expected);
}

START_TEST(prints_six_digits)
{
    assert_printed(1795196280.0221856, "1795196280.022186");
    assert_printed(0, "0.000000");
    assert_printed(-1.5, "-1.500000");
    assert_printed(-0.0000001, "0.000000");
    assert_printed(59.9999999, "60.000000");
    assert_printed(1e12, "1000000000000.000000");
    assert_printed(1e13, "0.000000");
    assert_printed((double)NAN, "0.000000");
    assert_printed(-(double)INFINITY, "0.000000");
}
END_TEST

START_TEST(no_locale_gets_in)
{
    static const char *const locales[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8"};
    for (size_t i = 0; i < sizeof(locales) / sizeof(locales[0]); i++)
        if (setlocale(LC_ALL, locales[i]) != NULL)
            break; /* where none is installed the test proves little, and passes */
    double value;
    assert_printed(1.25, "1.250000");
    ck_assert(number("1.25", &value) && value == 1.25);
    (void)setlocale(LC_ALL, "C");
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, numbers_as_the_c_library_reads_them);
    UNIT_CASE(suite, texts_that_are_no_numbers);
    UNIT_CASE(suite, seconds_and_milliseconds);
    UNIT_CASE(suite, dates);
    UNIT_CASE(suite, texts_that_are_no_dates);
    UNIT_CASE(suite, prints_six_digits);
    UNIT_CASE(suite, no_locale_gets_in);
}

UNIT_MAIN("timestamp", add_cases)
