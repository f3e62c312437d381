/* SPDX-License-Identifier: MIT
 *
 * The main of a unit test: UNIT_MAIN("job", add_cases) runs what add_cases(suite) adds, in TAP on
 * stdout. Works with CK_FORK=yes and no. */
#ifndef FETTLE_TESTS_UNIT_H
#define FETTLE_TESTS_UNIT_H

#include <check.h>
#include <stdint.h>
#include <stdlib.h>

/* A deadline's factor: above 1 where a sanitizer slows the program down. */
static inline int unit_slow(void)
{
    const char *slow = getenv("FTL_TEST_SLOW");
    int factor = slow ? atoi(slow) : 1;
    return factor < 1 ? 1 : factor;
}

/* What a promised time may be here, in ns: a machine that is slow, or has other work, gets more of
 * it, and a sanitizer's build promises nothing (an hour). */
static inline int64_t unit_limit(int64_t limit)
{
    double load = 0;
    if (unit_slow() > 1)
        return INT64_C(3600) * 1000 * 1000 * 1000;
    if (getloadavg(&load, 1) != 1)
        load = 0;
    return (int64_t)((double)limit * (2 + load));
}

/* A test that hangs fails, later than the minute that its waits have; Check's own limit is 4 s. */
static inline void unit_set_timeout(void)
{
    setenv("CK_DEFAULT_TIMEOUT", "240", 0);
}

/* A case of its own for each test function, so that the names in the report tell them apart. */
static inline void unit_case(Suite *suite, const char *name, const TTest *test)
{
    TCase *tcase = tcase_create(name);
    tcase_add_test(tcase, test);
    suite_add_tcase(suite, tcase);
}

#define UNIT_CASE(suite, test) unit_case((suite), #test, (test))

#define UNIT_MAIN(name, add_cases)                                                                 \
    int main(void)                                                                                 \
    {                                                                                              \
        unit_set_timeout();                                                                        \
        Suite *suite = suite_create(name);                                                         \
        add_cases(suite);                                                                          \
        SRunner *runner = srunner_create(suite);                                                   \
        srunner_set_tap(runner, "-");                                                              \
        srunner_run_all(runner, CK_SILENT);                                                        \
        int failed = srunner_ntests_failed(runner);                                                \
        srunner_free(runner);                                                                      \
        return failed == 0 ? 0 : 1;                                                                \
    }

#endif
