/* SPDX-License-Identifier: MIT
 *
 * Tasks seen from outside: spawn, join, detach, abort in each state, panic, defer, yield, dump. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <fettle/channel.h>

#include "tests/unit/task_fixture.h"

static _Atomic int freed; /* calls of a destructor */
static _Atomic int steps;

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

static void reset(void)
{
    atomic_store(&freed, 0);
    atomic_store(&steps, 0);
}

static void *identity(void *arg)
{
    return arg;
}

static void *sleep_long(void *arg)
{
    FTL_DEFER(count_step, NULL);
    ftl_sleep(1000 * FTL_S);
    return arg;
}

static struct ftl_task *spawn_with(ftl_task_fn fn, void *arg, bool migratable)
{
    const struct ftl_spawn_options options = {.arg_free = count_free,
                                              .value_free = count_free,
                                              .name = "under_test",
                                              .migratable = migratable};
    struct ftl_task *task;
    ck_assert_int_eq(ftl_spawn(fixture_runtime, fn, arg, &options, &task), 0);
    return task;
}

static struct ftl_outcome join(struct ftl_task *task)
{
    struct ftl_outcome outcome = {0};
    ck_assert_int_eq(ftl_task_join(task, ftl_deadline(20 * unit_slow() * FTL_S), &outcome), 0);
    return outcome;
}

START_TEST(the_joiner_gets_the_value_and_the_argument_is_freed_once)
{
    reset();
    struct ftl_outcome outcome = join(spawn_with(identity, &freed, false));
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED);
    ck_assert_ptr_eq(outcome.value, &freed);
    ck_assert_int_eq(atomic_load(&freed), 1); /* arg_free; the value is the joiner's */
}
END_TEST

static void *wait_for_freed(void *arg)
{
    while (atomic_load(&freed) < *(int *)arg)
        ftl_sleep(FTL_MS);
    return NULL;
}

START_TEST(a_detached_tasks_value_goes_to_its_destructor)
{
    int both = 2;
    reset();
    ftl_task_detach(spawn_with(identity, &freed, false));
    fixture_run(wait_for_freed, &both);
    ck_assert_int_eq(atomic_load(&freed), 2);
}
END_TEST

START_TEST(join_times_out_and_the_handle_remains)
{
    struct ftl_outcome outcome;
    struct ftl_task *task = spawn_with(sleep_long, NULL, false);
    ck_assert_int_eq(ftl_task_join(task, ftl_deadline(5 * FTL_MS), &outcome), FTL_ETIMEDOUT);
    ck_assert(!ftl_task_is_finished(task));
    ftl_abort(task, 0);
    outcome = join(task);
    ck_assert_int_eq(outcome.kind, FTL_CANCELLED);
}
END_TEST

static void *say_started(void *arg)
{
    ftl_oneshot_send(arg, NULL);
    return sleep_long(NULL);
}

/* A task that is certainly waiting. */
static struct ftl_task *waiting_task(bool migratable)
{
    struct ftl_oneshot started;
    void *nothing;
    ftl_oneshot_init(&started);
    struct ftl_task *task = spawn_with(say_started, &started, migratable);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    return task;
}

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

/* Both workers are kept busy, so that what is spawned meanwhile cannot start. */
static _Atomic int busy, release;

static void *burn(void *arg)
{
    atomic_fetch_add(&busy, 1);
    while (!atomic_load(&release))
        ;
    return arg;
}

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

static void *compute(void *arg)
{
    int64_t end = ftl_deadline(300 * FTL_MS), step = 0;
    while (step < end) {
        step = ftl_deadline(FTL_MS);
        while (ftl_now() < step)
            ;
        ftl_assert(ftl_checkpoint() == 0);
    }
    *(bool *)arg = true;
    return NULL;
}

static void *count_turns(void *arg)
{
    intptr_t turns = 0;
    while (!*(bool *)arg) {
        ftl_yield();
        turns++;
    }
    return (void *)turns;
}

START_TEST(checkpoints_share_the_worker_in_slices)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *runtime;
    struct ftl_task *counter, *computer;
    bool done = false; /* one worker: they take turns */
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, count_turns, &done, NULL, &counter), 0);
    ck_assert_int_eq(ftl_spawn(runtime, compute, &done, NULL, &computer), 0);
    ck_assert_int_eq(fixture_join(computer), FTL_COMPLETED);
    struct ftl_outcome outcome = join(counter);
    ck_assert_int_ge((intptr_t)outcome.value, 10); /* 300 ms by about 10 ms; 20 on a bad day */
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(10 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

static _Atomic int meeting;

static void *meet(void *arg)
{
    int64_t end = ftl_deadline(2 * FTL_S * unit_slow());
    for (atomic_fetch_add(&meeting, 1); atomic_load(&meeting) < 2;)
        ftl_assert(ftl_now() < end);
    return arg;
}

/* Neither gives its worker up before the other runs: each must get a worker of its own, at any moment. */
START_TEST(two_tasks_from_outside_run_on_two_workers)
{
    unsigned seed = (unsigned)getpid();
    printf("# seed %u\n", seed);
    for (int i = 0; i < 3000; i++) {
        atomic_store(&meeting, 0);
        struct ftl_task *before = fixture_spawn(identity, NULL);
        for (volatile int pause = rand_r(&seed) % 2000; pause > 0;)
            pause = pause - 1;
        struct ftl_task *tasks[2] = {fixture_spawn(meet, NULL), fixture_spawn(meet, NULL)};
        ck_assert_int_eq(fixture_join(before), FTL_COMPLETED);
        ck_assert_int_eq(fixture_join(tasks[0]), FTL_COMPLETED);
        ck_assert_int_eq(fixture_join(tasks[1]), FTL_COMPLETED);
    }
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

static void say_and_sleep(void *arg)
{
    ftl_oneshot_send(arg, NULL);
    ftl_assert(ftl_sleep(10 * FTL_MS) == 0);
    atomic_fetch_add(&steps, 1);
}

static void *leave_block(void *arg)
{
    {
        FTL_DEFER(say_and_sleep, arg);
    }
    ftl_sleep(1000 * FTL_S);
    atomic_fetch_add(&steps, 100);
    return NULL;
}

START_TEST(a_defer_that_runs_at_the_end_of_its_block_is_masked)
{
    struct ftl_oneshot started;
    void *nothing;
    reset();
    ftl_oneshot_init(&started);
    struct ftl_task *task = spawn_with(leave_block, &started, false);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    ftl_abort(task, 0);
    struct ftl_outcome outcome = join(task);
    ck_assert_int_eq(outcome.kind, FTL_CANCELLED);
    ck_assert_int_eq(atomic_load(&steps), 1);
}
END_TEST

static int order[8];
static int ordered;

static void note(void *arg)
{
    ftl_sleep(FTL_MS); /* a defer may wait, also in a panic or an abort */
    order[ordered++] = (int)(intptr_t)arg;
}

static void inner_with_defers(bool panics)
{
    FTL_DEFER(note, (void *)2);
    FTL_DEFER(note, (void *)3);
    if (panics)
        ftl_panic("planned %d", 42);
}

static void *outer_with_defers(void *arg)
{
    FTL_DEFER(note, (void *)1);
    inner_with_defers(arg != NULL);
    order[ordered++] = 9;
    return NULL;
}

START_TEST(defers_run_at_the_end_of_their_block_last_in_first_out)
{
    ordered = 0;
    fixture_run(outer_with_defers, NULL);
    const int expected[] = {3, 2, 9, 1};
    ck_assert_int_eq(ordered, 4);
    ck_assert_mem_eq(order, expected, sizeof expected);
}
END_TEST

START_TEST(a_panic_runs_the_open_defers_and_is_the_outcome)
{
    reset();
    ordered = 0;
    struct ftl_outcome outcome = join(spawn_with(outer_with_defers, &steps, false));
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    ck_assert_str_eq(outcome.panic->message, "planned 42");
    ck_assert_uint_ge(outcome.panic->frame_count, 2);
    const int expected[] = {3, 2, 1};
    ck_assert_int_eq(ordered, 3);
    ck_assert_mem_eq(order, expected, sizeof expected);
    ck_assert_int_eq(atomic_load(&freed), 1);
    char text[4096];
    ck_assert_uint_gt(ftl_panic_format(outcome.panic, text, sizeof text), 0);
    ck_assert_ptr_nonnull(strstr(text, "#0 0x"));
    ftl_outcome_clear(&outcome);
    ck_assert_ptr_null(outcome.panic);
}
END_TEST

static void panics(void *arg)
{
    (void)arg;
    ftl_panic("in a defer");
}

static void *panic_in_defer(void *arg)
{
    FTL_DEFER(note, (void *)1);
    FTL_DEFER(panics, NULL);
    if (arg)
        ftl_panic("the first");
    return &freed;
}

START_TEST(the_first_panic_is_kept_and_the_other_defers_still_run)
{
    reset();
    ordered = 0;
    struct ftl_outcome outcome = join(spawn_with(panic_in_defer, &steps, false));
    ck_assert_str_eq(outcome.panic->message, "the first");
    ck_assert_int_eq(ordered, 1);
    ftl_outcome_clear(&outcome);

    outcome = join(spawn_with(panic_in_defer, NULL, false));
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    ck_assert_str_eq(outcome.panic->message, "in a defer");
    ck_assert_int_eq(ordered, 2);
    ftl_outcome_clear(&outcome);
}
END_TEST

static void *abort_then_panic_in_defer(void *arg)
{
    FTL_DEFER(panics, NULL);
    return say_started(arg);
}

START_TEST(a_panic_while_an_abort_unwinds_makes_the_outcome_panicked)
{
    struct ftl_oneshot started;
    void *nothing;
    ftl_oneshot_init(&started);
    struct ftl_task *task = spawn_with(abort_then_panic_in_defer, &started, false);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    ftl_abort(task, 0);
    struct ftl_outcome outcome = join(task);
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    ck_assert_str_eq(outcome.panic->message, "in a defer");
    ftl_outcome_clear(&outcome);
}
END_TEST

static _Atomic int reported;

static void on_panic(void *arg, const char *name, const struct ftl_panic *panic)
{
    if (strcmp(name, "loose") == 0 && strcmp(panic->message, "unseen") == 0)
        atomic_fetch_add((_Atomic int *)arg, 1);
}

static void *panic_unseen(void *arg)
{
    (void)arg;
    ftl_panic("unseen");
}

START_TEST(a_detached_panic_is_reported_to_the_hook)
{
    const struct ftl_runtime_options options = {
        .workers = 1, .on_detached_panic = on_panic, .hook_arg = &reported};
    const struct ftl_spawn_options spawn = {.name = "loose"};
    struct ftl_runtime *runtime;
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, panic_unseen, NULL, &spawn, NULL), 0);
    while (atomic_load(&reported) == 0)
        sched_yield();
    ck_assert_int_eq(atomic_load(&reported), 1);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(10 * FTL_S)), 0);
    ftl_runtime_free(runtime);
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

/* One worker; a task whose operations are always ready must still let the other one run. */
static void *always_ready(void *arg)
{
    struct ftl_notify *notify = ftl_notify_new();
    _Atomic int *stop = arg;
    ftl_assert(notify);
    while (!atomic_load(stop)) {
        ftl_notify_one(notify);
        ftl_assert(ftl_notify_wait(notify, FTL_FOREVER) == 0);
    }
    ftl_notify_free(notify);
    return NULL;
}

static void *set_flag(void *arg)
{
    atomic_store((_Atomic int *)arg, 1);
    return NULL;
}

START_TEST(the_budget_makes_a_busy_task_yield)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *runtime;
    struct ftl_task *first, *second;
    _Atomic int stop = 0;
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, always_ready, &stop, NULL, &first), 0);
    ck_assert_int_eq(ftl_spawn(runtime, set_flag, &stop, NULL, &second), 0);
    join(second);
    join(first);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(10 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

static void *where_am_i(void *arg)
{
    (void)arg;
    pthread_t first = pthread_self();
    for (int i = 0; i < 200; i++) {
        ftl_yield();
        if (i % 50 == 0)
            ftl_sleep(FTL_MS);
        ftl_assert(pthread_equal(first, pthread_self()));
    }
    return NULL;
}

START_TEST(a_pinned_task_stays_on_its_worker)
{
    struct ftl_task *tasks[50];
    for (int i = 0; i < 50; i++)
        tasks[i] = fixture_spawn(where_am_i, NULL);
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
}
END_TEST

struct seen {
    int under_test, frames;
};

static void look(void *arg, const char *name, uint64_t id, void *const *frames, size_t count)
{
    struct seen *seen = arg;
    (void)id, (void)frames;
    if (name && strcmp(name, "under_test") == 0) {
        seen->under_test++;
        seen->frames += count >= 3;
    }
}

START_TEST(a_dump_shows_each_waiting_task_with_its_frames)
{
    struct ftl_task *tasks[10];
    for (int i = 0; i < 10; i++)
        tasks[i] = waiting_task(false);
    struct seen seen = {0};
    while (seen.frames < 10) { /* one may still be on its way into the wait */
        seen = (struct seen){0};
        ftl_runtime_dump(fixture_runtime, look, &seen);
        ck_assert_int_eq(seen.under_test, 10);
    }
    for (int i = 0; i < 10; i++) {
        ftl_abort(tasks[i], 0);
        struct ftl_outcome outcome = join(tasks[i]);
        ck_assert_int_eq(outcome.kind, FTL_CANCELLED);
    }
}
END_TEST

START_TEST(shutdown_aborts_what_is_left_and_refuses_new_tasks)
{
    struct ftl_runtime *runtime;
    struct ftl_task *tasks[100], *late;
    ck_assert_int_eq(ftl_runtime_start(NULL, &runtime), 0);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(ftl_spawn(runtime, sleep_long, NULL, NULL, &tasks[i]), 0);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(20 * FTL_S)), 0);
    ck_assert_int_eq(ftl_spawn(runtime, sleep_long, NULL, NULL, &late), FTL_ESHUTDOWN);
    for (int i = 0; i < 100; i++) {
        struct ftl_outcome outcome = join(tasks[i]);
        ck_assert_int_eq(outcome.kind, FTL_CANCELLED);
    }
    ftl_runtime_free(runtime);
}
END_TEST

START_TEST(shutdown_says_how_many_do_not_stop)
{
    struct ftl_runtime *runtime;
    ck_assert_int_eq(ftl_runtime_start(NULL, &runtime), 0);
    atomic_store(&busy, 0);
    atomic_store(&release, 0);
    ck_assert_int_eq(ftl_spawn(runtime, burn, NULL, NULL, NULL), 0);
    while (atomic_load(&busy) < 1)
        sched_yield();
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(20 * FTL_MS)), 1);
    atomic_store(&release, 1);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(20 * FTL_S)), 0);
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
    FIXTURE_CASE(suite, the_joiner_gets_the_value_and_the_argument_is_freed_once);
    FIXTURE_CASE(suite, a_detached_tasks_value_goes_to_its_destructor);
    FIXTURE_CASE(suite, join_times_out_and_the_handle_remains);
    FIXTURE_CASE(suite, abort_reaches_a_waiting_task_and_runs_its_defers);
    FIXTURE_CASE(suite, abort_of_a_task_that_never_started_ends_it_in_the_aborter);
    UNIT_CASE(suite, a_panic_of_a_destructor_in_the_aborter_leaves_nobody_waiting);
    FIXTURE_CASE(suite, abort_of_a_finished_task_changes_nothing);
    FIXTURE_CASE(suite, during_the_grace_waits_return_cancelled);
    FIXTURE_CASE(suite, two_tasks_from_outside_run_on_two_workers);
    FIXTURE_CASE(suite, abort_waits_for_the_end_of_a_mask);
    FIXTURE_CASE(suite, a_defer_that_runs_at_the_end_of_its_block_is_masked);
    FIXTURE_CASE(suite, defers_run_at_the_end_of_their_block_last_in_first_out);
    FIXTURE_CASE(suite, a_panic_runs_the_open_defers_and_is_the_outcome);
    FIXTURE_CASE(suite, the_first_panic_is_kept_and_the_other_defers_still_run);
    FIXTURE_CASE(suite, a_panic_while_an_abort_unwinds_makes_the_outcome_panicked);
    UNIT_CASE(suite, a_detached_panic_is_reported_to_the_hook);
    FIXTURE_CASE(suite, a_checkpoint_honours_an_abort);
    UNIT_CASE(suite, the_budget_makes_a_busy_task_yield);
    UNIT_CASE(suite, checkpoints_share_the_worker_in_slices);
    FIXTURE_CASE(suite, a_pinned_task_stays_on_its_worker);
    FIXTURE_CASE(suite, a_dump_shows_each_waiting_task_with_its_frames);
    UNIT_CASE(suite, shutdown_aborts_what_is_left_and_refuses_new_tasks);
    UNIT_CASE(suite, shutdown_says_how_many_do_not_stop);
    FIXTURE_CASE(suite, aborts_race_with_everything);
}

UNIT_MAIN("task", add_cases)
