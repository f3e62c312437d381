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

/* One case: a process has one memory of them, and cases may share the process. */
START_TEST(each_once_a_minute_and_so_many)
{
    int64_t began = ftl_now();
    int first = told("claim WRONGTYPE of queue", 1000);
    int again = told("claim WRONGTYPE of queue", 1000);
    int more = told("a reason that is another one each time:", 100000);
    ck_assert_int_eq(first, 1000);
    if (ftl_now() - began < 50 * FTL_S) { /* else they were due again */
        ck_assert_int_eq(again, 0);
        ck_assert_int_eq(more, FTL__COMPLAINTS_MAX - 1000);
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, each_once_a_minute_and_so_many);
}

UNIT_MAIN("complaint", add_cases)
