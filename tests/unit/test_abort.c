/* SPDX-License-Identifier: MIT
 *
 * Abort of tasks in each state: unstarted, waiting, computing, masked, finished. */
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/counted.h"

START_TEST(abort_reaches_a_waiting_task_and_runs_its_defers)
{
    for (int migratable = 0; migratable < 2; migratable++) {
        reset();
        struct ftl_task *task = waiting_task(migratable);
        ftl_abort(task, 0);
        ftl_abort(task, 0); /* many are one */
        struct ftl_outcome outcome = join(task);
        ck_assert_int_eq(outcome.kind, FTL_CANCELLED);
        ck_assert_int_eq(atomic_load(&steps), 1);
        ck_assert_int_eq(atomic_load(&freed), 1);
    }
}
END_TEST

START_TEST(abort_of_a_task_that_never_started_ends_it_in_the_aborter)
{
    reset();
    atomic_store(&busy, 0);
    atomic_store(&release, 0);
    struct ftl_task *burners[2] = {fixture_spawn(burn, NULL), fixture_spawn(burn, NULL)};
    while (atomic_load(&busy) < 2)
        sched_yield();
    struct ftl_task *task = spawn_with(sleep_long, NULL, false);
    ftl_abort(task, 0);
    ck_assert(ftl_task_is_finished(task));
    ck_assert_int_eq(atomic_load(&freed), 1);
    ck_assert_int_eq(atomic_load(&steps), 0); /* its body never ran */
    struct ftl_outcome outcome = join(task);
    ck_assert_int_eq(outcome.kind, FTL_CANCELLED);
    atomic_store(&release, 1);
    fixture_join(burners[0]);
    fixture_join(burners[1]);
}
END_TEST

static void panic_free(void *arg)
{
    ftl_panic("destructor of %p", arg);
}

static void *abort_at_once(void *arg)
{
    const struct ftl_spawn_options options = {.arg_free = panic_free};
    ftl_assert(ftl_spawn(ftl_runtime_current(), sleep_long, NULL, &options, arg) == 0);
    ftl_abort(*(struct ftl_task **)arg, 0); /* there is one worker: it cannot have started */
    return NULL;
}

START_TEST(a_panic_of_a_destructor_in_the_aborter_leaves_nobody_waiting)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *runtime;
    struct ftl_task *aborter, *aborted;
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, abort_at_once, &aborted, NULL, &aborter), 0);
    ck_assert_int_eq(fixture_join(aborter), FTL_PANICKED);
    struct ftl_outcome outcome = join(aborted);
    ck_assert_int_eq(outcome.kind, FTL_CANCELLED);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(10 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

START_TEST(abort_of_a_finished_task_changes_nothing)
{
    struct ftl_task *task = spawn_with(identity, &steps, false);
    while (!ftl_task_is_finished(task))
        sched_yield();
    ftl_abort(task, 0);
    struct ftl_outcome outcome = join(task);
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED);
    ck_assert_ptr_eq(outcome.value, &steps);
}
END_TEST

static void *cancelled_waits_return(void *arg)
{
    ftl_oneshot_send(arg, NULL);
    ftl_assert(ftl_sleep(1000 * FTL_S) == FTL_ECANCELED);
    ftl_assert(ftl_yield() == FTL_ECANCELED);
    atomic_fetch_add(&steps, 1);
    return &steps;
}

START_TEST(during_the_grace_waits_return_cancelled)
{
    struct ftl_oneshot started;
    void *nothing;
    reset();
    ftl_oneshot_init(&started);
    struct ftl_task *task = spawn_with(cancelled_waits_return, &started, false);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    ftl_abort(task, 1000 * FTL_S);
    struct ftl_outcome outcome = join(task);
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED); /* it came to its own end */
    ck_assert_ptr_eq(outcome.value, &steps);
    ck_assert_int_eq(atomic_load(&steps), 1);
}
END_TEST

static void *masked(void *arg)
{
    ftl_mask();
    ftl_oneshot_send(arg, NULL);
    ftl_assert(ftl_sleep(10 * FTL_MS) == 0);
    atomic_fetch_add(&steps, 1);
    ftl_unmask();
    ftl_sleep(1000 * FTL_S);
    atomic_fetch_add(&steps, 100);
    return NULL;
}

START_TEST(abort_waits_for_the_end_of_a_mask)
{
    struct ftl_oneshot started;
    void *nothing;
    reset();
    ftl_oneshot_init(&started);
    struct ftl_task *task = spawn_with(masked, &started, false);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    ftl_abort(task, 0);
    struct ftl_outcome outcome = join(task);
    ck_assert_int_eq(outcome.kind, FTL_CANCELLED);
    ck_assert_int_eq(atomic_load(&steps), 1);
}
END_TEST

static void *spin_with_checkpoints(void *arg)
{
    ftl_oneshot_send(arg, NULL);
    for (;;)
        ftl_checkpoint();
    return NULL;
}

START_TEST(a_checkpoint_honours_an_abort)
{
    struct ftl_oneshot started;
    void *nothing;
    ftl_oneshot_init(&started);
    struct ftl_task *task = spawn_with(spin_with_checkpoints, &started, false);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    ftl_abort(task, 0);
    struct ftl_outcome outcome = join(task);
    ck_assert_int_eq(outcome.kind, FTL_CANCELLED);
}
END_TEST

/* Spawns and aborts from several threads at once: every argument is freed exactly once. */
enum { STORM = 20000 };

static void *storm(void *arg)
{
    unsigned *seed = arg;
    for (int i = 0; i < STORM; i++) {
        const struct ftl_spawn_options options = {.arg_free = count_free};
        struct ftl_task *task;
        ck_assert_int_eq(ftl_spawn(fixture_runtime, i % 3 ? sleep_long : identity, NULL, &options,
                                   &task), 0);
        for (unsigned spin = rand_r(seed) % 300; spin > 0; spin--)
            __asm__ volatile("");
        ftl_abort(task, 0);
        if (i % 2)
            ftl_task_detach(task);
        else
            join(task);
    }
    return NULL;
}

START_TEST(aborts_race_with_everything)
{
    pthread_t threads[2];
    unsigned seeds[2] = {(unsigned)time(NULL), (unsigned)getpid()};
    printf("# seeds %u %u\n", seeds[0], seeds[1]);
    reset();
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, storm, &seeds[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    int all = 2 * STORM;
    fixture_run(wait_for_freed, &all);
    ck_assert_int_eq(atomic_load(&freed), all);
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, abort_reaches_a_waiting_task_and_runs_its_defers);
    FIXTURE_CASE(suite, abort_of_a_task_that_never_started_ends_it_in_the_aborter);
    UNIT_CASE(suite, a_panic_of_a_destructor_in_the_aborter_leaves_nobody_waiting);
    FIXTURE_CASE(suite, abort_of_a_finished_task_changes_nothing);
    FIXTURE_CASE(suite, during_the_grace_waits_return_cancelled);
    FIXTURE_CASE(suite, abort_waits_for_the_end_of_a_mask);
    FIXTURE_CASE(suite, a_checkpoint_honours_an_abort);
    FIXTURE_CASE(suite, aborts_race_with_everything);
}

UNIT_MAIN("abort", add_cases)
