/* SPDX-License-Identifier: MIT
 *
 * The end of a runtime while there is still something going on, and several of them at a time. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include <fettle/channel.h>
#include <fettle/semaphore.h>
#include <fettle/task_set.h>

#include "tests/unit/task_fixture.h"

static _Atomic int accepted, refused, freed, steps;

static void count_free(void *arg)
{
    (void)arg;
    atomic_fetch_add(&freed, 1);
}

static void count_step(void *arg)
{
    (void)arg;
    atomic_fetch_add(&steps, 1);
}

static void *sleep_long(void *arg)
{
    ftl_sleep(1000 * FTL_S);
    return arg;
}

static const struct ftl_spawn_options counted = {.arg_free = count_free};

static struct ftl_runtime *begin(unsigned workers)
{
    const struct ftl_runtime_options options = {.workers = workers};
    struct ftl_runtime *runtime;
    atomic_store(&accepted, 0);
    atomic_store(&refused, 0);
    atomic_store(&freed, 0);
    atomic_store(&steps, 0);
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    return runtime;
}

static int64_t soon(void)
{
    return ftl_deadline(60 * unit_slow() * FTL_S);
}

static void finish(struct ftl_runtime *runtime)
{
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, soon()), 0);
    ftl_runtime_free(runtime);
}

/* ---- spawning while the door closes ---- */

static bool spawn_one(struct ftl_runtime *runtime)
{
    int rc = ftl_spawn(runtime, sleep_long, NULL, &counted, NULL);
    ftl_assert(rc == 0 || rc == FTL_ESHUTDOWN);
    atomic_fetch_add(rc == 0 ? &accepted : &refused, 1);
    return rc == 0;
}

static void *spawn_until_refused(void *runtime)
{
    while (spawn_one(runtime))
        ;
    return NULL;
}

static void *spawn_task_until_refused(void *arg)
{
    ftl_mask(); /* so that it sees the refusal */
    while (spawn_one(ftl_runtime_current()))
        ftl_yield();
    ftl_unmask();
    return arg;
}

/* Spawned by a task of the runtime, a foreign thread and a task of another runtime: what was
 * accepted ends, what was refused is untouched. */
START_TEST(a_spawn_during_the_shutdown_is_refused_or_ended)
{
    for (int i = 0; i < 30; i++) {
        struct ftl_runtime *runtime = begin(2), *second;
        struct ftl_task *task;
        pthread_t thread;
        ck_assert_int_eq(ftl_runtime_start(NULL, &second), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, spawn_until_refused, runtime), 0);
        ck_assert_int_eq(ftl_spawn(second, spawn_until_refused, runtime, NULL, &task), 0);
        ck_assert_int_eq(ftl_spawn(runtime, spawn_task_until_refused, NULL, NULL, NULL), 0);
        while (atomic_load(&accepted) < 100)
            sched_yield();
        ck_assert_uint_eq(ftl_runtime_shutdown(runtime, soon()), 0);
        pthread_join(thread, NULL);
        ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
        ck_assert_int_ge(atomic_load(&refused), 2); /* the third may have been aborted unstarted */
        ck_assert_int_eq(atomic_load(&freed), atomic_load(&accepted));
        finish(runtime);
        finish(second);
    }
}
END_TEST

static void expect_refusal(void *runtime)
{
    struct ftl_task_set *set = ftl_task_set_new();
    ftl_assert(set && ftl_spawn(runtime, sleep_long, NULL, &counted, NULL) == FTL_ESHUTDOWN);
    ftl_assert(ftl_task_set_spawn(set, runtime, sleep_long, NULL, &counted, NULL, NULL) ==
               FTL_ESHUTDOWN);
    ftl_assert(ftl_task_set_len(set) == 0);
    ftl_task_set_free(set);
    count_step(NULL);
}

static void *spawn_when_aborted(void *arg)
{
    FTL_DEFER(expect_refusal, ftl_runtime_current());
    ftl_oneshot_send(arg, NULL);
    ftl_sleep(1000 * FTL_S);
    return NULL;
}

START_TEST(a_cleanup_cannot_spawn_onto_what_shuts_down)
{
    struct ftl_runtime *runtime = begin(2);
    struct ftl_oneshot started;
    struct ftl_task *task;
    void *nothing;
    ftl_oneshot_init(&started);
    ck_assert_int_eq(ftl_spawn(runtime, spawn_when_aborted, &started, NULL, &task), 0);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, soon()), 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    ck_assert_int_eq(atomic_load(&steps), 1);
    ck_assert_int_eq(atomic_load(&freed), 0);
    finish(runtime);
}
END_TEST

/* ---- what it waits for ---- */

static struct ftl_oneshot go;

static void slow_cleanup(void *arg)
{
    void *nothing;
    (void)arg;
    ftl_assert(ftl_oneshot_recv(&go, FTL_FOREVER, &nothing) == 0); /* masked: it is not cut off */
    ftl_assert(ftl_yield() == 0);
    count_step(NULL);
}

static void *clean_up_slowly(void *arg)
{
    FTL_DEFER(slow_cleanup, NULL);
    ftl_oneshot_send(arg, NULL);
    ftl_sleep(1000 * FTL_S);
    return NULL;
}

START_TEST(a_shutdown_waits_for_cleanups)
{
    struct ftl_runtime *runtime = begin(1);
    struct ftl_oneshot started;
    void *nothing;
    ftl_oneshot_init(&started);
    ftl_oneshot_init(&go);
    ck_assert_int_eq(ftl_spawn(runtime, clean_up_slowly, &started, &counted, NULL), 0);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(5 * FTL_MS)), 1);
    ck_assert_int_eq(atomic_load(&steps), 0);
    ftl_oneshot_send(&go, NULL);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, soon()), 0);
    ck_assert_int_eq(atomic_load(&steps), 1);
    ck_assert_int_eq(atomic_load(&freed), 1);
    ftl_runtime_free(runtime);
}
END_TEST

static void *shut_down(void *runtime)
{
    return (void *)(intptr_t)ftl_runtime_shutdown(runtime, FTL_FOREVER);
}

START_TEST(a_task_of_another_runtime_may_shut_one_down)
{
    struct ftl_runtime *runtime = begin(2), *control;
    struct ftl_outcome outcome;
    struct ftl_task *task;
    ck_assert_int_eq(ftl_runtime_start(NULL, &control), 0);
    for (int i = 0; i < 1000; i++)
        ck_assert(spawn_one(runtime));
    ck_assert_int_eq(ftl_spawn(control, shut_down, runtime, NULL, &task), 0);
    ck_assert_int_eq(ftl_task_join(task, soon(), &outcome), 0);
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED);
    ck_assert_ptr_null(outcome.value); /* nothing is left */
    ck_assert_int_eq(atomic_load(&freed), 1000);
    ftl_runtime_free(runtime);
    finish(control);
}
END_TEST

START_TEST(an_aborted_shutdown_can_be_repeated)
{
    struct ftl_runtime *runtime = begin(1), *control;
    struct ftl_oneshot started;
    struct ftl_task *task;
    void *nothing;
    ftl_oneshot_init(&started);
    ftl_oneshot_init(&go);
    ck_assert_int_eq(ftl_runtime_start(NULL, &control), 0);
    ck_assert_int_eq(ftl_spawn(runtime, clean_up_slowly, &started, &counted, NULL), 0);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    ck_assert_int_eq(ftl_spawn(control, shut_down, runtime, NULL, &task), 0);
    while (ftl_spawn(runtime, sleep_long, NULL, &counted, NULL) == 0)
        sched_yield();
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    ftl_oneshot_send(&go, NULL);
    finish(runtime);
    ck_assert_int_eq(atomic_load(&steps), 1);
    finish(control);
}
END_TEST

/* ---- members and owners on different runtimes ---- */

static void *own_a_set(void *other)
{
    struct ftl_task_set *set = ftl_task_set_new();
    struct ftl_outcome outcome;
    FTL_DEFER((void (*)(void *))ftl_task_set_free, set);
    for (int i = 0; i < 100; i++)
        ftl_assert(ftl_task_set_spawn(set, other, sleep_long, NULL, &counted, NULL, NULL) == 0);
    count_step(NULL);
    ftl_task_set_join_next(set, FTL_FOREVER, &outcome, NULL);
    return NULL;
}

START_TEST(the_owner_of_a_set_may_go_before_its_members)
{
    for (int first = 0; first < 2; first++) {
        struct ftl_runtime *members = begin(2), *owners;
        ck_assert_int_eq(ftl_runtime_start(NULL, &owners), 0);
        ck_assert_int_eq(ftl_spawn(owners, own_a_set, members, NULL, NULL), 0);
        while (atomic_load(&steps) == 0)
            sched_yield();
        ck_assert_uint_eq(ftl_runtime_shutdown(first == 0 ? owners : members, soon()), 0);
        finish(owners); /* first: a set has handles to its members */
        finish(members);
        ck_assert_int_eq(atomic_load(&freed), 100);
    }
}
END_TEST

/* ---- many runtimes ---- */

enum { RUNTIMES = 8, LAPS = 50 };
static struct ftl_runtime *ring[RUNTIMES];

/* Each spawns the next one on the next runtime, and joins it. */
static void *pass_on(void *arg)
{
    intptr_t n = (intptr_t)arg;
    struct ftl_task *next;
    struct ftl_outcome outcome;
    ftl_assert(ftl_runtime_current() == ring[n % RUNTIMES]);
    if (n == 0)
        return (void *)1;
    ftl_assert(ftl_spawn(ring[(n - 1) % RUNTIMES], pass_on, (void *)(n - 1), NULL, &next) == 0);
    ftl_assert(ftl_task_join(next, FTL_FOREVER, &outcome) == 0);
    ftl_assert(outcome.kind == FTL_COMPLETED && ftl_runtime_current() == ring[n % RUNTIMES]);
    return (void *)((intptr_t)outcome.value + 1);
}

START_TEST(tasks_of_many_runtimes_join_each_other)
{
    struct ftl_task *tasks[4];
    struct ftl_runtime_stats stats;
    for (int i = 0; i < RUNTIMES; i++)
        ring[i] = begin(1);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(ftl_spawn(ring[0], pass_on, (void *)(intptr_t)(RUNTIMES * LAPS), NULL,
                                   &tasks[i]), 0);
    for (int i = 0; i < 4; i++) {
        struct ftl_outcome outcome;
        ck_assert_int_eq(ftl_task_join(tasks[i], soon(), &outcome), 0);
        ck_assert_int_eq(outcome.kind, FTL_COMPLETED);
        ck_assert_int_eq((intptr_t)outcome.value, RUNTIMES * LAPS + 1);
    }
    for (int i = 0; i < RUNTIMES; i++) {
        ftl_runtime_stats(ring[i], &stats);
        ck_assert_uint_eq(stats.spawned, (i == 0 ? LAPS + 1 : LAPS) * 4);
        finish(ring[i]);
    }
}
END_TEST

START_TEST(a_thread_is_on_no_runtime)
{
    ck_assert_ptr_null(ftl_runtime_current());
    ck_assert_ptr_null(ftl_task_current());
    ck_assert_int_eq(ftl_yield(), 0);
    ck_assert_int_eq(ftl_checkpoint(), 0);
    ftl_mask();
    ftl_unmask();
    ftl_cork();
    ftl_uncork();
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, a_spawn_during_the_shutdown_is_refused_or_ended);
    UNIT_CASE(suite, a_cleanup_cannot_spawn_onto_what_shuts_down);
    UNIT_CASE(suite, a_shutdown_waits_for_cleanups);
    UNIT_CASE(suite, a_task_of_another_runtime_may_shut_one_down);
    UNIT_CASE(suite, an_aborted_shutdown_can_be_repeated);
    UNIT_CASE(suite, the_owner_of_a_set_may_go_before_its_members);
    UNIT_CASE(suite, tasks_of_many_runtimes_join_each_other);
    UNIT_CASE(suite, a_thread_is_on_no_runtime);
}

UNIT_MAIN("shutdown", add_cases)
