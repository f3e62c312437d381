/* SPDX-License-Identifier: MIT
 *
 * Extra workers: they come when all workers are stuck and there is work, and go when one is free. */
#include <fettle/channel.h>

#include "tests/unit/stuck.h"

static void until_retired(void)
{
    int64_t deadline = ftl_deadline(60 * FTL_S);
    while (stats().extra_now > 0 && ftl_now() < deadline)
        usleep(1000);
    ck_assert_uint_eq(stats().extra_now, 0);
}

START_TEST(with_all_workers_stuck_an_extra_one_helps)
{
    const struct ftl_runtime_options options = {.workers = 2};
    struct ftl_task *spinners[2];
    start(&options);
    spin_on(2, spinners);
    int64_t begin = ftl_now();
    join(spawn(count, NULL));
    ck_assert_soon(begin, 200 * FTL_MS);
    ck_assert_uint_eq(stats().extra_now, 1);
    ck_assert_uint_eq(stats().extra_used, 1);
    atomic_store(&released, true);
    join(spinners[0]);
    join(spinners[1]);
    until_retired();
    stop();
}
END_TEST

START_TEST(timers_fire_while_all_workers_are_stuck)
{
    const struct ftl_runtime_options options = {.workers = 2};
    struct ftl_task *spinners[2];
    int64_t worst[2] = {0};
    start(&options);
    struct ftl_task *sleeper = spawn(sleep_often, &worst[0]); /* migrates nowhere: its worker is one of
                                                              the two, or the extra one */
    spin_on(2, spinners);
    struct ftl_task *second = spawn(sleep_often, &worst[1]);
    join(second);
    atomic_store(&released, true);
    join(sleeper);
    join(spinners[0]);
    join(spinners[1]);
    stop();
}
END_TEST

START_TEST(without_extra_workers_all_wait)
{
    const struct ftl_runtime_options options = {.workers = 1}; /* hence none */
    struct ftl_task *spinner;
    struct ftl_outcome outcome;
    start(&options);
    spin_on(1, &spinner);
    struct ftl_task *task = spawn(count, NULL);
    ck_assert_int_eq(ftl_task_join(task, ftl_deadline(50 * FTL_MS), &outcome), FTL_ETIMEDOUT);
    ck_assert_uint_eq(stats().extra_used, 0);
    atomic_store(&released, true);
    join(task);
    join(spinner);
    stop();
}
END_TEST

START_TEST(there_are_no_more_extra_workers_than_allowed)
{
    const struct ftl_runtime_options options = {.workers = 1, .extra_workers = 1};
    struct ftl_task *spinners[2];
    struct ftl_outcome outcome;
    start(&options);
    spin_on(2, spinners); /* the second one spins on the extra worker */
    struct ftl_task *task = spawn(count, NULL);
    ck_assert_int_eq(ftl_task_join(task, ftl_deadline(50 * FTL_MS), &outcome), FTL_ETIMEDOUT);
    ck_assert_uint_eq(stats().extra_now, 1);
    atomic_store(&released, true);
    join(task);
    join(spinners[0]);
    join(spinners[1]);
    until_retired();
    stop();
}
END_TEST

static void spin_in_a_destructor(void *value)
{
    spin(value);
}

static void *value(void *arg)
{
    return arg ? arg : &released;
}

/* Of a task that nobody joins: its scheduler calls the destructor, after the end of the task. */
START_TEST(a_destructor_that_does_not_return_is_seen)
{
    const struct ftl_runtime_options options = {.workers = 1,
                                                .extra_workers = 1,
                                                .stall_after = 20 * FTL_MS,
                                                .on_stall = on_stall};
    const struct ftl_spawn_options destructor = {.value_free = spin_in_a_destructor};
    atomic_store(&stall_count, 0);
    start(&options);
    ck_assert_int_eq(ftl_spawn(runtime, value, NULL, &destructor, NULL), 0);
    while (atomic_load(&spinning) < 1)
        usleep(100);
    join(spawn(count, NULL)); /* on the extra worker */
    int64_t deadline = ftl_deadline(60 * FTL_S);
    while (atomic_load(&stall_count) == 0 && ftl_now() < deadline)
        usleep(1000);
    ck_assert_int_eq(atomic_load(&stall_count), 1);
    ck_assert_ptr_null(stalls[0].task_name);
    stop();
}
END_TEST

static void *wait_on_one_thread(void *arg)
{
    struct ftl_notify *notify = arg;
    pthread_t thread = pthread_self();
    atomic_fetch_add(&ran, 1);
    ftl_assert(ftl_notify_wait(notify, FTL_FOREVER) == 0);
    ftl_assert(pthread_equal(thread, pthread_self()));
    /* What it makes ready there is not forgotten either. */
    struct ftl_task *child;
    struct ftl_outcome outcome;
    ftl_assert(ftl_spawn(runtime, count, NULL, NULL, &child) == 0);
    ftl_assert(ftl_task_join(child, FTL_FOREVER, &outcome) == 0);
    return NULL;
}

/* Several times: the same extra worker is used again. */
START_TEST(what_started_on_an_extra_worker_goes_on_there)
{
    enum { TIMES = 3 };
    const struct ftl_runtime_options options = {.workers = 2, .extra_workers = 1};
    struct ftl_task *spinners[2], *waiting[TIMES];
    struct ftl_notify *notify = ftl_notify_new();
    start(&options);
    ck_assert_ptr_nonnull(notify);
    for (int i = 0; i < TIMES; i++) {
        atomic_store(&released, false);
        atomic_store(&spinning, 0);
        spin_on(2, spinners);
        waiting[i] = spawn(wait_on_one_thread, notify);
        until_ran(i + 1);
        atomic_store(&released, true);
        join(spinners[0]);
        join(spinners[1]);
        until_retired();
    }
    ftl_notify_all(notify);
    for (int i = 0; i < TIMES; i++)
        join(waiting[i]);
    ck_assert_uint_eq(stats().extra_used, TIMES);
    stop();
    ftl_notify_free(notify);
}
END_TEST

static void *spin_20_ms(void *arg)
{
    int64_t until = ftl_deadline(20 * FTL_MS);
    while (ftl_now() < until)
        ;
    return count(arg);
}

/* Extra workers come and go while there is much to do. */
START_TEST(long_tasks_in_numbers)
{
    enum { TASKS = 60 };
    const struct ftl_runtime_options options = {.workers = 2};
    start(&options);
    for (int i = 0; i < TASKS; i++) {
        ftl_task_detach(spawn(spin_20_ms, NULL));
        ftl_task_detach(spawn(count, NULL));
    }
    until_ran(2 * TASKS);
    until_retired();
    stop();
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, with_all_workers_stuck_an_extra_one_helps);
    UNIT_CASE(suite, timers_fire_while_all_workers_are_stuck);
    UNIT_CASE(suite, without_extra_workers_all_wait);
    UNIT_CASE(suite, there_are_no_more_extra_workers_than_allowed);
    UNIT_CASE(suite, a_destructor_that_does_not_return_is_seen);
    UNIT_CASE(suite, what_started_on_an_extra_worker_goes_on_there);
    UNIT_CASE(suite, long_tasks_in_numbers);
}

UNIT_MAIN("extra", add_cases)
