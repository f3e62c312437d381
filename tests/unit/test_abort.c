/* SPDX-License-Identifier: MIT
 *
 * Abort of tasks in each state: unstarted, waiting, computing, masked, finished. */
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <fettle/join.h>

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
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
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

static void *abort_oneself(void *arg)
{
    FTL_DEFER(count_step, NULL);
    ftl_abort(ftl_task_current(), *(int64_t *)arg);
    ftl_abort(ftl_task_current(), *(int64_t *)arg);
    ftl_assert(!ftl_task_is_finished(ftl_task_current())); /* nothing happens before the next wait */
    if (ftl_yield() == FTL_ECANCELED)
        return &steps;
    ftl_panic("an aborted task went on");
}

START_TEST(a_task_may_abort_itself)
{
    int64_t graces[] = {0, 1000 * FTL_S};
    reset();
    ck_assert_int_eq(join(spawn_with(abort_oneself, &graces[0], false)).kind, FTL_CANCELLED);
    ck_assert_int_eq(atomic_load(&steps), 1);
    ck_assert_ptr_eq(join(spawn_with(abort_oneself, &graces[1], false)).value, &steps);
    ck_assert_int_eq(atomic_load(&steps), 2);
    ck_assert_int_eq(atomic_load(&freed), 2);
}
END_TEST

static void *start_and_return(void *arg)
{
    ftl_oneshot_send(arg, NULL);
    while (!atomic_load(&release))
        sched_yield();
    return &steps;
}

static void *wait_again_and_again(void *arg)
{
    ftl_oneshot_send(arg, NULL);
    for (;;) {
        ftl_sleep(1000 * FTL_S);
        count_step(NULL);
    }
    return NULL;
}

static void *wait_notified(void *arg)
{
    void **both = arg;
    ftl_oneshot_send(both[0], NULL);
    ftl_notify_wait(both[1], FTL_FOREVER);
    ftl_panic("an aborted task went on");
}

START_TEST(what_completes_first_stays_completed)
{
    struct ftl_oneshot started;
    void *nothing;
    reset();
    ftl_oneshot_init(&started);
    atomic_store(&release, 0);
    struct ftl_task *task = spawn_with(start_and_return, &started, false);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    ftl_abort(task, 0);
    atomic_store(&release, 1);
    struct ftl_outcome outcome = join(task);
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED);
    ck_assert_ptr_eq(outcome.value, &steps);
}
END_TEST

static void *abort_it(void *task)
{
    ftl_abort(task, 0);
    return NULL;
}

START_TEST(an_abort_may_come_from_another_runtime)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *runtime;
    reset();
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    for (int waits = 0; waits < 2; waits++) {
        struct ftl_task *task = waits ? waiting_task(false) : spawn_with(sleep_long, NULL, false);
        struct ftl_task *aborter;
        ck_assert_int_eq(ftl_spawn(runtime, abort_it, task, NULL, &aborter), 0);
        ck_assert_int_eq(fixture_join(aborter), FTL_COMPLETED);
        ck_assert_int_eq(join(task).kind, FTL_CANCELLED);
        ck_assert_int_eq(atomic_load(&freed), waits + 1);
    }
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

static struct ftl_oneshot cleaning, cleaned;

static void clean_up(void *arg)
{
    void *nothing;
    ftl_oneshot_send(&cleaning, NULL);
    ftl_assert(ftl_oneshot_recv(&cleaned, FTL_FOREVER, &nothing) == 0);
    ftl_assert(ftl_sleep(FTL_MS) == 0);
    count_step(arg);
}

/* `arg`: it waits to be aborted. */
static void *clean_up_at_the_end(void *arg)
{
    FTL_DEFER(count_step, NULL);
    FTL_DEFER(clean_up, NULL);
    if (arg) {
        ftl_oneshot_send(arg, NULL);
        ftl_sleep(1000 * FTL_S);
    }
    return arg;
}

/* The cleanup of an abort, and that of a function that returns. */
START_TEST(an_abort_during_the_cleanup_does_not_cut_it_off)
{
    for (int aborted = 0; aborted < 2; aborted++) {
        struct ftl_oneshot started;
        void *nothing;
        reset();
        ftl_oneshot_init(&started);
        ftl_oneshot_init(&cleaning);
        ftl_oneshot_init(&cleaned);
        struct ftl_task *task = spawn_with(clean_up_at_the_end, aborted ? &started : NULL, false);
        if (aborted) {
            ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
            ftl_abort(task, 0);
        }
        ck_assert_int_eq(ftl_oneshot_recv(&cleaning, FTL_FOREVER, &nothing), 0);
        ftl_abort(task, 0);
        ftl_abort(task, FTL_S);
        ftl_oneshot_send(&cleaned, NULL);
        struct ftl_outcome outcome = join(task);
        ck_assert_int_eq(outcome.kind, aborted ? FTL_CANCELLED : FTL_COMPLETED);
        ck_assert_int_eq(atomic_load(&steps), 2);
        ck_assert_int_eq(atomic_load(&freed), 1);
    }
}
END_TEST

/* The first one would wait for its own end for long. */
START_TEST(the_earliest_end_of_grace_counts)
{
    struct ftl_oneshot started;
    void *nothing;
    reset();
    ftl_oneshot_init(&started);
    struct ftl_task *task = spawn_with(wait_again_and_again, &started, false);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    ftl_abort(task, 1000 * FTL_S);
    while (atomic_load(&steps) < 10) /* its waits return */
        sched_yield();
    ck_assert(!ftl_task_is_finished(task));
    ftl_abort(task, 0);
    ftl_abort(task, 1000 * FTL_S);
    ck_assert_int_eq(join(task).kind, FTL_CANCELLED);
}
END_TEST

START_TEST(after_the_grace_the_next_wait_does_not_return)
{
    struct ftl_oneshot started;
    void *nothing;
    reset();
    ftl_oneshot_init(&started);
    struct ftl_task *task = spawn_with(wait_again_and_again, &started, false);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    int64_t before = ftl_now();
    ftl_abort(task, 300 * FTL_MS);
    ck_assert_int_eq(join(task).kind, FTL_CANCELLED);
    ck_assert_int_ge(ftl_now(), before + 300 * FTL_MS);
    ck_assert_int_gt(atomic_load(&steps), 0);
}
END_TEST

/* ---- whoever has heard ---- */

static void hear(void *started)
{
    ftl_oneshot_send(started, NULL);
    ftl_assert(ftl_sleep(1000 * FTL_S) == FTL_ECANCELED);
    ftl_heed();
}

static int nap(void *arg)
{
    (void)arg;
    return ftl_sleep(FTL_MS);
}

static void *answer_in_time(void *arg)
{
    struct ftl_branch naps[2] = {{.fn = nap}, {.fn = nap}};
    ftl_heed(); /* of what? */
    hear(arg);
    ftl_assert(ftl_sleep(FTL_MS) == 0);
    ftl_assert(ftl_join(naps, 2) == 0 && naps[0].result == 0 && naps[1].result == 0);
    atomic_fetch_add(&steps, 1);
    return NULL;
}

static void *answer_too_long(void *arg)
{
    FTL_DEFER(count_step, NULL);
    hear(arg);
    ftl_sleep(1000 * FTL_S);
    atomic_fetch_add(&steps, 100);
    return NULL;
}

static void *answer_masked(void *arg)
{
    FTL_DEFER(count_step, NULL);
    hear(arg);
    ftl_mask();
    ftl_assert(ftl_sleep(50 * FTL_MS) == 0); /* longer than the grace */
    atomic_fetch_add(&steps, 1);
    ftl_unmask();
    ftl_sleep(0);
    atomic_fetch_add(&steps, 100);
    return NULL;
}

static struct ftl_task *answering(ftl_task_fn fn, int64_t grace)
{
    struct ftl_oneshot started;
    void *nothing;
    reset();
    ftl_oneshot_init(&started);
    struct ftl_task *task = spawn_with(fn, &started, false);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    ftl_abort(task, grace);
    return task;
}

START_TEST(whoever_has_heard_waits_again)
{
    ck_assert_int_eq(join(answering(answer_in_time, 1000 * FTL_S)).kind, FTL_COMPLETED);
    ck_assert_int_eq(atomic_load(&steps), 1);
}
END_TEST

START_TEST(whoever_has_heard_ends_with_the_grace)
{
    int64_t before = ftl_now();
    ck_assert_int_eq(join(answering(answer_too_long, 20 * FTL_MS)).kind, FTL_CANCELLED);
    ck_assert_int_ge(ftl_now(), before + 20 * FTL_MS);
    ck_assert_int_eq(atomic_load(&steps), 1);
    ck_assert_int_eq(join(answering(answer_masked, 20 * FTL_MS)).kind, FTL_CANCELLED);
    ck_assert_int_eq(atomic_load(&steps), 2);
}
END_TEST

START_TEST(whoever_has_heard_can_be_aborted_again)
{
    struct ftl_task *task = answering(answer_too_long, 1000 * FTL_S);
    ftl_abort(task, 0);
    ck_assert_int_eq(join(task).kind, FTL_CANCELLED);
    ck_assert_int_eq(atomic_load(&steps), 1);
}
END_TEST

static void *nested_masks(void *arg)
{
    ftl_mask();
    ftl_mask();
    ftl_abort(ftl_task_current(), 0);
    ftl_assert(ftl_yield() == 0);
    ftl_unmask();
    ftl_assert(ftl_yield() == 0 && ftl_checkpoint() == 0 && ftl_sleep(0) == 0);
    ftl_unmask();
    atomic_fetch_add(&steps, 1); /* the end of a mask is no wait */
    ftl_checkpoint();
    atomic_fetch_add(&steps, 100);
    return arg;
}

START_TEST(masks_nest)
{
    reset();
    ck_assert_int_eq(join(spawn_with(nested_masks, NULL, false)).kind, FTL_CANCELLED);
    ck_assert_int_eq(atomic_load(&steps), 1);
}
END_TEST

/* There is one worker: when the abort comes, the task has been woken and stands in a queue. */
static void *abort_a_queued_one(void *arg)
{
    struct ftl_oneshot started;
    struct ftl_notify *notify = ftl_notify_new();
    struct ftl_task *task;
    struct ftl_outcome outcome;
    ftl_oneshot_init(&started);
    void *const both[] = {&started, notify};
    ftl_assert(notify && ftl_spawn(ftl_runtime_current(), wait_notified, (void *)(uintptr_t)both,
                                   NULL, &task) == 0);
    ftl_assert(ftl_oneshot_recv(&started, FTL_FOREVER, &outcome.value) == 0);
    ftl_yield();
    ftl_notify_one(notify);
    ftl_abort(task, 0);
    ftl_assert(ftl_task_join(task, FTL_FOREVER, &outcome) == 0);
    ftl_assert(outcome.kind == FTL_CANCELLED);
    ftl_assert(ftl_notify_wait(notify, ftl_deadline(60 * FTL_S)) == 0); /* it was given back */
    ftl_notify_free(notify);
    return arg;
}

START_TEST(a_task_that_was_woken_and_not_yet_resumed_is_aborted)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, abort_a_queued_one, NULL, NULL, &task), 0);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
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
    FIXTURE_CASE(suite, a_task_may_abort_itself);
    FIXTURE_CASE(suite, what_completes_first_stays_completed);
    FIXTURE_CASE(suite, an_abort_may_come_from_another_runtime);
    FIXTURE_CASE(suite, an_abort_during_the_cleanup_does_not_cut_it_off);
    FIXTURE_CASE(suite, the_earliest_end_of_grace_counts);
    FIXTURE_CASE(suite, after_the_grace_the_next_wait_does_not_return);
    FIXTURE_CASE(suite, whoever_has_heard_waits_again);
    FIXTURE_CASE(suite, whoever_has_heard_ends_with_the_grace);
    FIXTURE_CASE(suite, whoever_has_heard_can_be_aborted_again);
    FIXTURE_CASE(suite, masks_nest);
    UNIT_CASE(suite, a_task_that_was_woken_and_not_yet_resumed_is_aborted);
    FIXTURE_CASE(suite, aborts_race_with_everything);
}

UNIT_MAIN("abort", add_cases)
