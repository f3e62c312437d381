/* SPDX-License-Identifier: MIT
 *
 * Task sets: completion order, abort, freeing in each state, members on other runtimes. */
#include <sched.h>
#include <stdatomic.h>

#include <fettle/channel.h>
#include <fettle/task_set.h>

#include "tests/unit/task_fixture.h"

static _Atomic int freed;

static void count_free(void *arg)
{
    (void)arg;
    atomic_fetch_add(&freed, 1);
}

static const struct ftl_spawn_options counted = {.arg_free = count_free};

static void *sleep_ms(void *arg)
{
    ftl_sleep((intptr_t)arg * FTL_MS);
    return arg;
}

static void *receive(void *arg)
{
    void *nothing;
    ftl_assert(ftl_oneshot_recv(arg, FTL_FOREVER, &nothing) == 0);
    return arg;
}

static void *in_completion_order(void *arg)
{
    static const int order[] = {1, 2, 0};
    struct ftl_oneshot gates[3];
    struct ftl_task *members[3];
    struct ftl_task_set *set = ftl_task_set_new();
    struct ftl_outcome outcome;
    void *tag;
    (void)arg;
    ftl_assert(set && ftl_task_set_join_next(set, FTL_FOREVER, &outcome, &tag) == FTL_EEMPTY);
    for (int i = 0; i < 3; i++) {
        ftl_oneshot_init(&gates[i]);
        ftl_assert(ftl_task_set_spawn(set, ftl_runtime_current(), receive, &gates[i], &counted,
                                      &gates[i], &members[i]) == 0);
    }
    ftl_assert(ftl_task_set_len(set) == 3);
    ftl_assert(ftl_task_set_try_join_next(set, &outcome, &tag) == FTL_EAGAIN);
    ftl_assert(ftl_task_set_join_next(set, ftl_deadline(FTL_MS), &outcome, &tag) == FTL_ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
        ftl_oneshot_send(&gates[order[i]], NULL);
        while (!ftl_task_is_finished(members[order[i]]))
            ftl_assert(ftl_yield() == 0);
    }
    for (int i = 0; i < 3; i++) {
        ftl_assert(ftl_task_set_join_next(set, FTL_FOREVER, &outcome, &tag) == 0);
        ftl_assert(outcome.kind == FTL_COMPLETED && tag == &gates[order[i]]);
        ftl_task_detach(members[order[i]]);
    }
    ftl_assert(ftl_task_set_len(set) == 0);
    ftl_task_set_free(set);
    return NULL;
}

/* On one worker: there nothing else runs between the end of a member and the set's knowing of it. */
START_TEST(outcomes_come_in_completion_order)
{
    const struct ftl_runtime_options options = {.workers = 1, .extra_workers = -1};
    struct ftl_runtime *one;
    struct ftl_task *task;
    atomic_store(&freed, 0);
    ck_assert_int_eq(ftl_runtime_start(&options, &one), 0);
    ck_assert_int_eq(ftl_spawn(one, in_completion_order, NULL, NULL, &task), 0);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    ck_assert_uint_eq(ftl_runtime_shutdown(one, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(one);
    ck_assert_int_eq(atomic_load(&freed), 3);
}
END_TEST

static void *wait_for_freed(void *arg)
{
    while (atomic_load(&freed) < (intptr_t)arg)
        ftl_sleep(FTL_MS);
    return NULL;
}

/* 300 members in all states at once: ended, running, waiting, queued. */
static struct ftl_task_set *mixed_set(void)
{
    struct ftl_task_set *set = ftl_task_set_new();
    ftl_assert(set);
    atomic_store(&freed, 0);
    for (intptr_t i = 0; i < 300; i++)
        ftl_assert(ftl_task_set_spawn(set, fixture_runtime, sleep_ms,
                                      (void *)(i % 3 ? (intptr_t)100000 : 0), &counted, NULL,
                                      NULL) == 0);
    return set;
}

static void *free_mixed(void *arg)
{
    (void)arg;
    ftl_task_set_free(mixed_set());
    return NULL;
}

START_TEST(freeing_a_set_aborts_what_is_left)
{
    for (int i = 0; i < 200; i++) {
        fixture_run(free_mixed, NULL);
        fixture_run(wait_for_freed, (void *)300);
    }
}
END_TEST

static void *shut_down_mixed(void *arg)
{
    (void)arg;
    struct ftl_task_set *set = mixed_set();
    ftl_assert(ftl_task_set_shutdown(set, FTL_FOREVER) == 0);
    ftl_assert(ftl_task_set_len(set) == 0);
    ftl_assert(atomic_load(&freed) == 300); /* when it returns they have ended */
    ftl_task_set_free(set);
    return NULL;
}

START_TEST(shutdown_waits_for_all)
{
    for (int i = 0; i < 20; i++)
        fixture_run(shut_down_mixed, NULL);
}
END_TEST

static void *abort_all(void *arg)
{
    int kinds[3] = {0};
    struct ftl_outcome outcome;
    struct ftl_task_set *set = mixed_set();
    (void)arg;
    ftl_task_set_abort_all(set, 0);
    for (int i = 0; i < 300; i++) {
        ftl_assert(ftl_task_set_join_next(set, FTL_FOREVER, &outcome, NULL) == 0);
        kinds[outcome.kind]++;
    }
    ftl_assert(kinds[FTL_CANCELLED] >= 200 && kinds[FTL_PANICKED] == 0);
    ftl_assert(ftl_task_set_join_next(set, FTL_FOREVER, &outcome, NULL) == FTL_EEMPTY);
    ftl_task_set_free(set);
    return NULL;
}

START_TEST(abort_all_yields_an_outcome_for_each)
{
    fixture_run(abort_all, NULL);
}
END_TEST

static void *detach(void *arg)
{
    (void)arg;
    struct ftl_task_set *set = ftl_task_set_new();
    atomic_store(&freed, 0);
    for (intptr_t i = 0; i < 30; i++)
        ftl_assert(ftl_task_set_spawn(set, fixture_runtime, sleep_ms, (void *)(i % 3 * 10), &counted,
                                      NULL, NULL) == 0);
    ftl_task_set_detach_all(set);
    ftl_assert(ftl_task_set_len(set) == 0);
    ftl_assert(ftl_task_set_spawn(set, fixture_runtime, sleep_ms, NULL, &counted, NULL, NULL) == 0);
    ftl_assert(ftl_task_set_shutdown(set, FTL_FOREVER) == 0);
    ftl_task_set_free(set);
    return NULL;
}

START_TEST(detached_members_run_on)
{
    fixture_run(detach, NULL);
    fixture_run(wait_for_freed, (void *)31);
}
END_TEST

/* The owner on one runtime, the members on another; ends race with waits. */
enum { MEMBERS = 30000 };

static void *identity(void *arg)
{
    return arg;
}

static void *own_across(void *other)
{
    struct ftl_task_set *set = ftl_task_set_new();
    struct ftl_outcome outcome;
    uint64_t sum = 0, expected = 0;
    intptr_t spawned = 0, taken = 0;
    while (taken < MEMBERS) {
        while (spawned < MEMBERS && spawned - taken < 64) {
            spawned++;
            expected += (uint64_t)spawned;
            ftl_assert(ftl_task_set_spawn(set, other, identity, (void *)spawned, NULL, NULL,
                                          NULL) == 0);
        }
        ftl_assert(ftl_task_set_join_next(set, FTL_FOREVER, &outcome, NULL) == 0);
        sum += (uint64_t)(uintptr_t)outcome.value;
        taken++;
    }
    ftl_assert(sum == expected);
    ftl_task_set_free(set);
    return NULL;
}

START_TEST(members_may_run_on_another_runtime)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *control;
    struct ftl_task *owner;
    ck_assert_int_eq(ftl_runtime_start(&options, &control), 0);
    ck_assert_int_eq(ftl_spawn(control, own_across, fixture_runtime, NULL, &owner), 0);
    ck_assert_int_eq(fixture_join(owner), FTL_COMPLETED);
    ck_assert_uint_eq(ftl_runtime_shutdown(control, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(control);
}
END_TEST

static void *abort_the_owner(void *arg)
{
    (void)arg;
    struct ftl_task_set *set = ftl_task_set_new();
    FTL_DEFER((void (*)(void *))ftl_task_set_free, set);
    struct ftl_outcome outcome;
    for (int i = 0; i < 10; i++)
        ftl_assert(ftl_task_set_spawn(set, fixture_runtime, sleep_ms, (void *)100000, &counted, NULL,
                                      NULL) == 0);
    ftl_oneshot_send(arg, NULL);
    ftl_task_set_join_next(set, FTL_FOREVER, &outcome, NULL);
    return NULL;
}

START_TEST(an_aborted_owner_frees_its_set_by_a_defer)
{
    struct ftl_oneshot started;
    void *nothing;
    atomic_store(&freed, 0);
    ftl_oneshot_init(&started);
    struct ftl_task *task = fixture_spawn(abort_the_owner, &started);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    fixture_run(wait_for_freed, (void *)10);
}
END_TEST

static void *abort_two(void *arg)
{
    struct ftl_oneshot gates[3];
    struct ftl_task_set *set = ftl_task_set_new();
    struct ftl_outcome outcome;
    void *tag;
    (void)arg;
    for (int i = 0; i < 3; i++) {
        ftl_oneshot_init(&gates[i]);
        ftl_assert(ftl_task_set_spawn(set, ftl_runtime_current(), receive, &gates[i], NULL,
                                      &gates[i % 2], NULL) == 0);
    }
    ftl_task_set_abort(set, &freed, 0); /* nobody's tag */
    ftl_assert(ftl_task_set_try_join_next(set, &outcome, &tag) == FTL_EAGAIN);
    ftl_task_set_abort(set, &gates[0], 0);
    for (int i = 0; i < 2; i++) {
        ftl_assert(ftl_task_set_join_next(set, FTL_FOREVER, &outcome, &tag) == 0);
        ftl_assert(outcome.kind == FTL_CANCELLED && tag == &gates[0]);
    }
    ftl_oneshot_send(&gates[1], NULL);
    ftl_assert(ftl_task_set_join_next(set, FTL_FOREVER, &outcome, &tag) == 0);
    ftl_assert(outcome.kind == FTL_COMPLETED && tag == &gates[1]);
    ftl_outcome_clear(&outcome);
    ftl_task_set_free(set);
    return NULL;
}

START_TEST(abort_by_tag_reaches_those_with_it)
{
    fixture_run(abort_two, NULL);
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, outcomes_come_in_completion_order);
    FIXTURE_CASE(suite, freeing_a_set_aborts_what_is_left);
    FIXTURE_CASE(suite, shutdown_waits_for_all);
    FIXTURE_CASE(suite, abort_all_yields_an_outcome_for_each);
    FIXTURE_CASE(suite, abort_by_tag_reaches_those_with_it);
    FIXTURE_CASE(suite, detached_members_run_on);
    FIXTURE_CASE(suite, members_may_run_on_another_runtime);
    FIXTURE_CASE(suite, an_aborted_owner_frees_its_set_by_a_defer);
}

UNIT_MAIN("task_set", add_cases)
