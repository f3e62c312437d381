/* SPDX-License-Identifier: MIT
 *
 * Runs a piece of a test as a task, on a runtime of its own. Inside it, ftl_assert() is the
 * assertion: a failed one is a panic, which fails the test on its own thread. */
#ifndef FETTLE_TESTS_TASK_FIXTURE_H
#define FETTLE_TESTS_TASK_FIXTURE_H

#include <signal.h>
#include <stdio.h>

#include <fettle/runtime.h>
#include <fettle/task.h>
#include <fettle/time.h>

#include "tests/unit/unit.h"

static struct ftl_runtime *fixture_runtime;

static inline void fixture_start(void)
{
    /* No extra ones: a test may keep both busy. */
    const struct ftl_runtime_options options = {.name = "test", .workers = 2, .extra_workers = -1};

    signal(SIGPIPE, SIG_IGN); /* as fettled does */
    ck_assert_int_eq(ftl_runtime_start(&options, &fixture_runtime), 0);
}

static inline void fixture_stop(void)
{
    ck_assert_uint_eq(ftl_runtime_shutdown(fixture_runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(fixture_runtime);
    fixture_runtime = NULL;
}

static inline struct ftl_task *fixture_spawn(ftl_task_fn fn, void *arg)
{
    struct ftl_task *task;

    ck_assert_int_eq(ftl_spawn(fixture_runtime, fn, arg, NULL, &task), 0);
    return task;
}

/* Joins and says how it ended; a panic's message goes to stderr, for whoever reads a failure. */
static inline enum ftl_outcome_kind fixture_join(struct ftl_task *task)
{
    struct ftl_outcome outcome;
    enum ftl_outcome_kind kind;

    ck_assert_int_eq(ftl_task_join(task, FTL_FOREVER, &outcome), 0);
    kind = outcome.kind;
    if (kind == FTL_PANICKED)
        fprintf(stderr, "# panic: %s\n", outcome.panic->message);
    ftl_outcome_clear(&outcome);
    return kind;
}

/* Runs fn(arg) in a task to its end; it must complete. */
static inline void fixture_run(ftl_task_fn fn, void *arg)
{
    ck_assert_int_eq(fixture_join(fixture_spawn(fn, arg)), FTL_COMPLETED);
}

/* A test with the fixture around it. */
static inline void fixture_case(Suite *suite, const char *name, const TTest *test)
{
    TCase *tcase = tcase_create(name);

    tcase_add_checked_fixture(tcase, fixture_start, fixture_stop);
    tcase_add_test(tcase, test);
    suite_add_tcase(suite, tcase);
}

#define FIXTURE_CASE(suite, test) fixture_case((suite), #test, (test))

#endif
