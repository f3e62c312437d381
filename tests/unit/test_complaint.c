/* SPDX-License-Identifier: MIT
 *
 * Complaints: told once a minute each, and a bounded number a minute whatever is wrong. */
#include "daemon/complaint.h"

#include <stdio.h>

#include <fettle/time.h>

#include "tests/unit/unit.h"

static int told(const char *what, int count)
{
    int news = 0;
    for (int i = 0; i < count; i++) {
        char text[300];
        snprintf(text, sizeof text, "%s %d", what, i);
        news += ftl__complaint_is_news(text);
    }
    return news;
}

START_TEST(each_once_a_minute)
{
    int64_t began = ftl_now();
    int first = told("claim WRONGTYPE of queue", 1000);
    int again = told("claim WRONGTYPE of queue", 1000);
    ck_assert_int_eq(first, 1000);
    if (ftl_now() - began < 50 * FTL_S) /* else it was due again */
        ck_assert_int_eq(again, 0);
}
END_TEST

START_TEST(so_many_a_minute)
{
    int64_t began = ftl_now();
    int news = told("a reason that is another one each time:", 100000);
    if (ftl_now() - began < 50 * FTL_S)
        ck_assert_int_eq(news, FTL__COMPLAINTS_MAX);
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, each_once_a_minute);
    UNIT_CASE(suite, so_many_a_minute);
}

UNIT_MAIN("complaint", add_cases)
