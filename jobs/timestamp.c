/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Own conversions, since strtod and printf follow a locale that any handler's library may set for
 * the whole process, and a comma in a number would spoil the job. Dates are turned into days by the
 * usual arithmetic on years that begin in March; leap seconds count as the second before. */
#include "jobs/timestamp.h"

#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* What is left of the text. */
struct cursor {
    const char *at, *end;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool next_is(const struct cursor *cursor, char c)
{
    return cursor->at < cursor->end && *cursor->at == c;
}

static bool accept(struct cursor *cursor, char c)
{
    bool there = next_is(cursor, c);
    cursor->at += there;
    return there;
}

/* ---- numbers ---------------------------------------------------------------------------- */

/* Digits onto a mantissa; those beyond 18 significant ones only count for the exponent. */
static bool take_mantissa(struct cursor *cursor, uint64_t *mantissa, int *dropped, int *count)
{
    const char *begin = cursor->at;
    while (cursor->at < cursor->end && is_digit(*cursor->at)) {
        if (*mantissa < UINT64_C(100000000000000000))
            *mantissa = *mantissa * 10 + (uint64_t)(*cursor->at - '0');
        else
            ++*dropped;
        cursor->at++;
        ++*count;
    }
    return cursor->at > begin;
}

static bool take_exponent(struct cursor *cursor, int *ret_exponent)
{
    bool negative = accept(cursor, '-');
    if (!negative)
        (void)accept(cursor, '+');
    const char *begin = cursor->at;
    int value = 0;
    for (; cursor->at < cursor->end && is_digit(*cursor->at); cursor->at++)
        if (value < 100000)
            value = value * 10 + (*cursor->at - '0');
    *ret_exponent = negative ? -value : value;
    return cursor->at > begin;
}

/* 10 to the power of 0 … 300. */
static double power_of_ten(int exponent)
{
    double result = 1, square = 10;
    for (; exponent > 0; exponent >>= 1, square *= square)
        if (exponent & 1)
            result *= square;
    return result;
}

static double scale(double value, int exponent)
{
    /* In steps, so that a long mantissa with a small exponent does not overflow on its way. */
    for (int step = 0; exponent != 0 && step < 3; step++) {
        int size = exponent < 0 ? -exponent : exponent;
        double power = power_of_ten(size < 300 ? size : 300);
        value = exponent < 0 ? value / power : value * power;
        exponent = size < 300 ? 0 : exponent < 0 ? exponent + 300 : exponent - 300;
    }
    return value;
}

bool ftl__number_parse(const char *text, size_t size, double *ret)
{
    struct cursor cursor = {text, text + size};
    uint64_t mantissa = 0;
    int dropped = 0, digits = 0, fraction = 0, fraction_dropped = 0, exponent = 0;
    bool negative = accept(&cursor, '-');
    if (!take_mantissa(&cursor, &mantissa, &dropped, &digits))
        return false;
    if (accept(&cursor, '.') && !take_mantissa(&cursor, &mantissa, &fraction_dropped, &fraction))
        return false;
    if ((next_is(&cursor, 'e') || next_is(&cursor, 'E'))) {
        cursor.at++;
        if (!take_exponent(&cursor, &exponent))
            return false;
    }
    if (cursor.at != cursor.end)
        return false;
    double value = mantissa == 0
                       ? 0
                       : scale((double)mantissa, exponent + dropped + fraction_dropped - fraction);
    if (!isfinite(value))
        return false;
    *ret = negative ? -value : value;
    return true;
}

/* ---- dates ------------------------------------------------------------------------------ */

/* Exactly `width` digits with a value from low to high. */
static bool take_field(struct cursor *cursor, int width, int low, int high, int *ret)
{
    int value = 0;
    if (cursor->end - cursor->at < width)
        return false;
    for (int i = 0; i < width; i++, cursor->at++) {
        if (!is_digit(*cursor->at))
            return false;
        value = value * 10 + (*cursor->at - '0');
    }
    *ret = value;
    return value >= low && value <= high;
}

static int64_t days_since_epoch(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year; /* the year that begins in March */
    int64_t month_from_march = (month + 9) % 12;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    return 365 * y + y / 4 - y / 100 + y / 400 + day_of_year - 719468;
}

static bool take_date(struct cursor *cursor, double *ret_seconds)
{
    static const int length[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;
    if (!take_field(cursor, 4, 1, 9999, &year) || !accept(cursor, '-') ||
        !take_field(cursor, 2, 1, 12, &month) || !accept(cursor, '-') ||
        !take_field(cursor, 2, 1, length[month - 1], &day))
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month == 2 && day == 29 && !leap)
        return false;
    *ret_seconds = (double)(days_since_epoch(year, month, day) * 86400);
    return true;
}

static bool take_clock(struct cursor *cursor, double *seconds)
{
    int hour, minute, second = 0;
    if (!take_field(cursor, 2, 0, 23, &hour) || !accept(cursor, ':') ||
        !take_field(cursor, 2, 0, 59, &minute))
        return false;
    if (accept(cursor, ':') && !take_field(cursor, 2, 0, 60, &second))
        return false;
    *seconds += hour * 3600 + minute * 60 + (second == 60 ? 59 : second);
    if (!accept(cursor, '.'))
        return true;
    double weight = 0.1;
    const char *begin = cursor->at;
    for (; cursor->at < cursor->end && is_digit(*cursor->at); cursor->at++, weight /= 10)
        *seconds += weight * (*cursor->at - '0');
    return cursor->at > begin;
}

/* Nothing, Z, UTC, or ±hh[:]mm to the end of the text. */
static bool take_zone(struct cursor *cursor, double *seconds)
{
    (void)accept(cursor, ' ');
    size_t left = (size_t)(cursor->end - cursor->at);
    if (left == 0 || (left == 1 && (*cursor->at == 'Z' || *cursor->at == 'z')) ||
        (left == 3 && memcmp(cursor->at, "UTC", 3) == 0))
        return true;
    int hours, minutes = 0;
    int sign = accept(cursor, '-') ? -1 : accept(cursor, '+') ? 1 : 0;
    if (sign == 0 || !take_field(cursor, 2, 0, 23, &hours))
        return false;
    (void)accept(cursor, ':');
    if (cursor->at < cursor->end && !take_field(cursor, 2, 0, 59, &minutes))
        return false;
    *seconds -= sign * (hours * 3600 + minutes * 60);
    return cursor->at == cursor->end;
}

bool ftl__timestamp_parse(const char *text, size_t size, double *ret_seconds)
{
    double value;
    if (ftl__number_parse(text, size, &value)) {
        *ret_seconds = value >= 1e11 ? value / 1000 : value;
        return true;
    }
    struct cursor cursor = {text, text + size};
    if (!take_date(&cursor, &value))
        return false;
    bool has_clock = accept(&cursor, 'T') || accept(&cursor, 't') || accept(&cursor, ' ');
    if (has_clock && (!take_clock(&cursor, &value) || !take_zone(&cursor, &value)))
        return false;
    if (cursor.at != cursor.end && !has_clock)
        return false;
    *ret_seconds = value;
    return true;
}

size_t ftl__timestamp_print(double seconds, char ret_text[FTL__TIMESTAMP_SIZE])
{
    if (!(fabs(seconds) <= 1e12)) /* also true of NaN */
        seconds = 0;
    int64_t micros = (int64_t)(seconds * 1e6 + (seconds < 0 ? -0.5 : 0.5));
    uint64_t size = micros < 0 ? -(uint64_t)micros : (uint64_t)micros;
    int length = snprintf(ret_text, FTL__TIMESTAMP_SIZE, "%s%" PRIu64 ".%06" PRIu64,
                          micros < 0 ? "-" : "", size / 1000000, size % 1000000);
    return (size_t)length;
}
