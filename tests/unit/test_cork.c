/* SPDX-License-Identifier: MIT
 *
 * Corked spawns onto another runtime: none is kept back for longer than said. */
#include <stdatomic.h>
#include <stdio.h>

#include <fettle/task_set.h>

#include "tests/unit/task_fixture.h"

static struct ftl_runtime *other; /* one worker, where the spawning task runs */
static _Atomic int ran;

static void *count_run(void *arg)
{
    atomic_fetch_add(&ran, 1);
    return arg;
}

static void spawn(int count)
{
    for (int i = 0; i < count; i++)
        ftl_assert(ftl_spawn(fixture_runtime, count_run, NULL, NULL, NULL) == 0);
}

/* Without waiting, as a task would by sleeping: that ends a cork. */
static void until(int expected)
{
    while (atomic_load(&ran) < expected)
        ;
}

static void *uncork(void *arg)
{
    (void)arg;
    ftl_cork();
    spawn(10);
    ftl_uncork();
    until(10);
    ftl_uncork(); /* not corked: nothing */
    spawn(1);
    until(11);
    return NULL;
}

static void *many(void *arg)
{
    (void)arg;
    ftl_cork();
    spawn(1000);
    until(1000 - 64); /* no more than 64 are held back */
    ftl_uncork();
    until(1000);
    return NULL;
}

static void *wait_instead(void *arg)
{
    (void)arg;
    ftl_cork();
    spawn(10);
    ftl_yield();
    until(10);
    spawn(1); /* the wait has ended the cork */
    until(11);
    return NULL;
}

static void *panic_instead(void *arg)
{
    (void)arg;
    ftl_cork();
    spawn(10);
    ftl_panic("corked");
}

static void *abort_held_back(void *arg)
{
    struct ftl_task *task;
    struct ftl_outcome outcome;
    (void)arg;
    ftl_cork();
    ftl_assert(ftl_spawn(fixture_runtime, count_run, NULL, NULL, &task) == 0);
    ftl_abort(task, 0);
    ftl_assert(ftl_task_join(task, FTL_FOREVER, &outcome) == 0);
    ftl_assert(outcome.kind == FTL_CANCELLED && atomic_load(&ran) == 0);
    return NULL;
}

static void run_case(ftl_task_fn fn, enum ftl_outcome_kind expected, int runs)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_task *task;
    atomic_store(&ran, 0);
    ck_assert_int_eq(ftl_runtime_start(&options, &other), 0);
    ck_assert_int_eq(ftl_spawn(other, fn, NULL, NULL, &task), 0);
    ck_assert_int_eq(fixture_join(task), expected);
    until(runs);
    ck_assert_uint_eq(ftl_runtime_shutdown(other, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(other);
}

START_TEST(uncork_hands_over)
{
    run_case(uncork, FTL_COMPLETED, 11);
}
END_TEST

START_TEST(no_more_than_64_are_held_back)
{
    run_case(many, FTL_COMPLETED, 1000);
}
END_TEST

START_TEST(a_wait_ends_the_cork)
{
    run_case(wait_instead, FTL_COMPLETED, 11);
}
END_TEST

START_TEST(the_end_of_the_task_ends_the_cork)
{
    run_case(panic_instead, FTL_PANICKED, 10);
}
END_TEST

START_TEST(one_that_is_held_back_can_be_aborted)
{
    run_case(abort_held_back, FTL_COMPLETED, 0);
}
END_TEST

START_TEST(a_foreign_thread_is_never_corked)
{
    atomic_store(&ran, 0);
    ftl_cork();
    spawn(10);
    until(10);
    ftl_uncork();
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, uncork_hands_over);
    FIXTURE_CASE(suite, no_more_than_64_are_held_back);
    FIXTURE_CASE(suite, a_wait_ends_the_cork);
    FIXTURE_CASE(suite, the_end_of_the_task_ends_the_cork);
    FIXTURE_CASE(suite, one_that_is_held_back_can_be_aborted);
    FIXTURE_CASE(suite, a_foreign_thread_is_never_corked);
}

UNIT_MAIN("cork", add_cases)
