/* SPDX-License-Identifier: MIT
 *
 * jobs/ending: how a child's end is worded, and which limit it names. */
#include "jobs/ending.h"

#include <signal.h>

#include <fettle/time.h>

#include "tests/unit/unit.h"

static const struct ftl_process_limits none;
static const struct ftl_process_limits some = {.memory = 1048576, .cpu_seconds = 2};

static void expect(struct ftl_exit exit, const struct ftl_process_limits *limits,
                   const char *error_class, const char *expected)
{
    char text[FTL__ENDING_MAX];
    ck_assert_str_eq(ftl__ending(&exit, limits, text), error_class);
    ck_assert_str_eq(text, expected);
}

START_TEST(codes_and_signals)
{
    expect((struct ftl_exit){.code = 3}, &none, "ExitStatus", "exit status 3");
    expect((struct ftl_exit){.code = -1, .signal = SIGSEGV}, &some, "Signal", "killed by SIGSEGV");
    expect((struct ftl_exit){.code = -1, .signal = SIGSEGV, .core_dumped = true}, &none, "Signal",
           "killed by SIGSEGV (core dumped)");
    expect((struct ftl_exit){.code = -1, .signal = 40}, &none, "Signal", "killed by signal 40");
}
END_TEST

START_TEST(the_limit_is_named)
{
    expect((struct ftl_exit){.code = -1, .signal = SIGXCPU}, &some, "Signal",
           "killed by SIGXCPU: cpu_seconds = 2 are used up");
    /* It was ignored. */
    expect((struct ftl_exit){.code = -1, .signal = SIGKILL, .cpu_time = 7 * FTL_S}, &some, "Signal",
           "killed by SIGKILL: cpu_seconds = 2 are used up");
    expect((struct ftl_exit){.code = -1, .signal = SIGKILL, .out_of_memory = true}, &some,
           "OutOfMemory", "killed by SIGKILL: memory = 1048576 is used up");
}
END_TEST

START_TEST(what_is_no_limit_is_not_named)
{
    expect((struct ftl_exit){.code = -1, .signal = SIGXCPU}, &none, "Signal", "killed by SIGXCPU");
    expect((struct ftl_exit){.code = -1, .signal = SIGKILL, .cpu_time = 3 * FTL_S}, &some, "Signal",
           "killed by SIGKILL");
    expect((struct ftl_exit){.code = 1, .cpu_time = 9 * FTL_S}, &some, "ExitStatus",
           "exit status 1");
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, codes_and_signals);
    UNIT_CASE(suite, the_limit_is_named);
    UNIT_CASE(suite, what_is_no_limit_is_not_named);
}

UNIT_MAIN("ending", add_cases)
