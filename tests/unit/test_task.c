/* SPDX-License-Identifier: MIT
 *
 * Tasks seen from outside: spawn, join, detach, yield, dump, shutdown of their runtime. */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <fettle/semaphore.h>

#include "tests/unit/counted.h"

START_TEST(the_joiner_gets_the_value_and_the_argument_is_freed_once)
{
    reset();
    struct ftl_outcome outcome = join(spawn_with(identity, &freed, false));
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED);
    ck_assert_ptr_eq(outcome.value, &freed);
    ck_assert_int_eq(atomic_load(&freed), 1); /* arg_free; the value is the joiner's */
}
END_TEST

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

struct joined {
    struct ftl_task *task;
    struct ftl_oneshot begun;
};

static void *join_it(void *arg)
{
    struct joined *joined = arg;
    struct ftl_outcome outcome;
    ftl_oneshot_send(&joined->begun, NULL);
    ftl_assert(ftl_task_join(joined->task, FTL_FOREVER, &outcome) == 0);
    return outcome.value;
}

static void *join_too(void *arg)
{
    struct ftl_outcome outcome;
    ftl_task_join(arg, FTL_FOREVER, &outcome);
    return NULL;
}

static void *wait_for_a_value(void *arg)
{
    void *value;
    ftl_assert(ftl_oneshot_recv(arg, FTL_FOREVER, &value) == 0);
    return value;
}

START_TEST(a_second_joiner_panics_and_the_first_has_the_outcome)
{
    const struct ftl_runtime_options options = {.serial = true};
    struct ftl_runtime *runtime;
    struct ftl_oneshot value;
    struct joined joined;
    struct ftl_task *first, *second, *other;
    void *nothing;
    ftl_oneshot_init(&value);
    ftl_oneshot_init(&joined.begun);
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, wait_for_a_value, &value, NULL, &joined.task), 0);
    other = ftl_task_ref(joined.task);
    ck_assert_int_eq(ftl_spawn(runtime, join_it, &joined, NULL, &first), 0);
    ck_assert_int_eq(ftl_oneshot_recv(&joined.begun, FTL_FOREVER, &nothing), 0);
    ck_assert_int_eq(ftl_spawn(runtime, join_too, other, NULL, &second), 0); /* its turn comes when
                                                                                the first waits */
    ck_assert_int_eq(fixture_join(second), FTL_PANICKED);
    ftl_oneshot_send(&value, &value);
    ck_assert_ptr_eq(join(first).value, &value);
    ftl_task_detach(other);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(10 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

/* Of this thread, ns: what the machine does otherwise does not count. */
static int64_t cpu_time(void)
{
    struct timespec now;
    ftl_assert(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return now.tv_sec * FTL_S + now.tv_nsec;
}

static void *compute(void *arg)
{
    int64_t end = cpu_time() + 300 * FTL_MS, step = 0;
    while (step < end) {
        step = cpu_time() + FTL_MS;
        while (cpu_time() < step)
            ;
        ftl_assert(ftl_checkpoint() == 0);
    }
    atomic_store((_Atomic bool *)arg, true);
    return NULL;
}

static void *count_turns(void *arg)
{
    intptr_t turns = 0;
    while (!atomic_load((_Atomic bool *)arg)) {
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
    _Atomic bool done = false; /* one worker: they take turns */
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, count_turns, &done, NULL, &counter), 0);
    ck_assert_int_eq(ftl_spawn(runtime, compute, &done, NULL, &computer), 0);
    ck_assert_int_eq(fixture_join(computer), FTL_COMPLETED);
    struct ftl_outcome outcome = join(counter);
    ck_assert_int_ge((intptr_t)outcome.value, 10); /* 300 ms by about 10 ms; 20 on a bad day */
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

static _Atomic int meeting;

static void *meet(void *arg)
{
    int64_t end = ftl_deadline(60 * FTL_S);
    for (atomic_fetch_add(&meeting, 1); atomic_load(&meeting) < 2; sched_yield())
        ftl_assert(ftl_now() < end);
    return arg;
}

/* Neither gives its worker up before the other runs: each must get a worker of its own, at any
 * moment. (The thread gives way: on a busy machine each round would else cost a time slice.) */
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
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

/* What the end of a task is made of, in the order of section "the end of a task". */
static struct ftl_semaphore *semaphore;
static _Atomic int at_defer, at_arg_free; /* steps so far, permits that are free */

static int look_at(_Atomic int *at)
{
    int seen = 10 * atomic_fetch_add(&steps, 1) + (int)ftl_semaphore_available(semaphore);
    ftl_assert(!ftl_task_is_finished(ftl_task_current()));
    atomic_store(at, seen);
    return seen;
}

static void look_in_defer(void *arg)
{
    (void)arg;
    look_at(&at_defer);
}

static void look_in_arg_free(void *arg)
{
    (void)arg;
    look_at(&at_arg_free);
}

/* It has a permit that was moved into it, and takes another one. */
static void *end_in_some_way(void *arg)
{
    FTL_PERMIT(permit);
    ftl_assert(ftl_semaphore_acquire(semaphore, 1, FTL_FOREVER, &permit) == 0);
    FTL_DEFER(look_in_defer, NULL);
    switch (*(int *)arg) {
    case FTL_PANICKED:
        ftl_panic("on purpose");
    case FTL_CANCELLED:
        ftl_abort(ftl_task_current(), 0);
        ftl_yield();
        return &steps;
    default:
        return NULL;
    }
}

START_TEST(the_end_of_a_task_goes_in_order)
{
    for (int kind = FTL_COMPLETED; kind <= FTL_CANCELLED; kind++) {
        struct ftl_permit moved = {0};
        struct ftl_defer *held = NULL;
        struct ftl_task *ending;
        reset();
        semaphore = ftl_semaphore_new(2);
        ck_assert_int_eq(ftl_semaphore_try_acquire(semaphore, 1, &moved), 0);
        ftl_permit_move(&moved, &held);
        const struct ftl_spawn_options options = {.arg_free = look_in_arg_free, .held = held};
        ck_assert_int_eq(ftl_spawn(fixture_runtime, end_in_some_way, &kind, &options, &ending), 0);
        struct ftl_outcome outcome = join(ending);
        ck_assert_int_eq(outcome.kind, kind);
        ck_assert_int_eq(atomic_load(&at_defer), 0);     /* first, with both permits held */
        ck_assert_int_eq(atomic_load(&at_arg_free), 12); /* then, with both free */
        ck_assert_int_eq(atomic_load(&steps), 2);
        ck_assert_uint_eq(ftl_semaphore_available(semaphore), 2);
        ftl_outcome_clear(&outcome);
        ftl_semaphore_free(semaphore);
    }
}
END_TEST

START_TEST(a_serial_runtime_has_one_worker)
{
    struct ftl_runtime_options options = {.serial = true, .workers = 2};
    struct ftl_runtime *runtime = NULL;
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), FTL_EINVAL);
    ck_assert_ptr_null(runtime);
    options.workers = 0;
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_uint_eq(ftl_runtime_workers(runtime), 1);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

START_TEST(the_stack_is_back_when_the_joiner_sees_the_end)
{
    const struct ftl_runtime_options options = {.workers = 1};
    const struct ftl_spawn_options large = {.stack_size = 8 << 20};
    struct ftl_runtime *runtime;
    struct ftl_runtime_stats first = {0}, last;
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    for (int i = 0; i < 200; i++) {
        struct ftl_task *task;
        ck_assert_int_eq(ftl_spawn(runtime, identity, NULL, &large, &task), 0);
        join(task);
        if (i == 0)
            ftl_runtime_stats(runtime, &first);
    }
    ftl_runtime_stats(runtime, &last);
    ck_assert_uint_gt(first.stacks_mapped, 0);
    ck_assert_uint_eq(last.stacks_mapped, first.stacks_mapped);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

/* Moved permits stay where they are as well. */
START_TEST(a_refused_spawn_has_taken_nothing)
{
    struct ftl_permit moved = {0};
    struct ftl_defer *held = NULL;
    struct ftl_task *task = NULL;
    reset();
    semaphore = ftl_semaphore_new(1);
    ck_assert_int_eq(ftl_semaphore_try_acquire(semaphore, 1, &moved), 0);
    ftl_permit_move(&moved, &held);
    const struct ftl_spawn_options options = {
        .arg_free = count_free, .stack_size = (8 << 20) + 1, .held = held};
    ck_assert_int_eq(ftl_spawn(fixture_runtime, identity, NULL, &options, &task), FTL_EINVAL);
    ck_assert_ptr_null(task);
    ck_assert_int_eq(atomic_load(&freed), 0);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 0);
    ftl_permit_release(&moved);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 1);
    ftl_semaphore_free(semaphore);
}
END_TEST

static void *outlived(void *arg)
{
    void *nothing;
    ftl_oneshot_recv(arg, FTL_FOREVER, &nothing);
    return NULL;
}

static void *spawn_and_leave(void *arg)
{
    const struct ftl_spawn_options options = {.arg_free = count_free};
    bool before = false;
    ftl_assert(ftl_spawn(ftl_runtime_current(), set_flag, &steps, NULL, NULL) == 0);
    before = atomic_load(&steps) == 0;
    ftl_assert(ftl_spawn(ftl_runtime_current(), outlived, arg, &options, NULL) == 0);
    return (void *)(intptr_t)before;
}

START_TEST(a_spawn_is_never_inline_and_a_task_outlives_its_creator)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *runtime;
    struct ftl_oneshot oneshot;
    struct ftl_task *creator;
    reset();
    ftl_oneshot_init(&oneshot);
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, spawn_and_leave, &oneshot, NULL, &creator), 0);
    ck_assert_ptr_nonnull(join(creator).value);
    while (atomic_load(&steps) == 0) /* it starts though nobody joins it */
        sched_yield();
    ck_assert_int_eq(atomic_load(&freed), 0);
    ftl_oneshot_send(&oneshot, NULL);
    while (atomic_load(&freed) == 0)
        sched_yield();
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

static void *where_am_i(void *arg)
{
    (void)arg;
    pid_t first = gettid(); /* pthread_self() is a constant to the compiler */
    for (int i = 0; i < 200; i++) {
        ftl_yield();
        if (i % 50 == 0)
            ftl_sleep(FTL_MS);
        ftl_assert(gettid() == first);
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

struct ready {
    struct ftl_semaphore *semaphore;
    _Atomic bool yields, waits, spins, stop;
};

static void *yield_till_stopped(void *arg)
{
    struct ready *ready = arg;
    atomic_store(&ready->yields, true);
    while (!atomic_load(&ready->stop))
        ftl_assert(ftl_yield() == 0);
    return NULL;
}

static void *wait_for_unit(void *arg)
{
    struct ready *ready = arg;
    FTL_PERMIT(permit);
    atomic_store(&ready->waits, true);
    ftl_assert(ftl_semaphore_acquire(ready->semaphore, 1, FTL_FOREVER, &permit) == 0);
    return NULL;
}

static void *keep_the_worker(void *arg)
{
    struct ready *ready = arg;
    while (!atomic_load(&ready->yields) || !atomic_load(&ready->waits))
        ftl_assert(ftl_yield() == 0);
    atomic_store(&ready->spins, true);
    while (!atomic_load(&ready->stop))
        sched_yield();
    return NULL;
}

/* They stand behind one that does not let them on: one has yielded, one has been woken. */
START_TEST(a_dump_shows_those_that_are_ready_with_their_frames)
{
    static const struct ftl_spawn_options named = {.name = "under_test"};
    const struct ftl_runtime_options one = {.workers = 1, .unmonitored = true};
    struct ready ready = {.semaphore = ftl_semaphore_new(0)};
    struct seen seen = {0};
    struct ftl_task *tasks[3];
    ck_assert_int_eq(ftl_runtime_start(&one, &fixture_runtime), 0);
    ck_assert_int_eq(
        ftl_spawn(fixture_runtime, yield_till_stopped, &ready, &named, &tasks[0]), 0);
    ck_assert_int_eq(ftl_spawn(fixture_runtime, wait_for_unit, &ready, &named, &tasks[1]), 0);
    ck_assert_int_eq(ftl_spawn(fixture_runtime, keep_the_worker, &ready, NULL, &tasks[2]), 0);
    while (!atomic_load(&ready.spins))
        sched_yield();
    ftl_semaphore_adjust(ready.semaphore, 1);
    ftl_runtime_dump(fixture_runtime, look, &seen);
    ck_assert_int_eq(seen.under_test, 2);
    ck_assert_int_eq(seen.frames, 2);

    atomic_store(&ready.stop, true); /* and they go on, if looked at or not */
    while (!ftl_task_is_finished(tasks[0]) || !ftl_task_is_finished(tasks[1]))
        ftl_runtime_dump(fixture_runtime, look, &seen);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    ftl_semaphore_free(ready.semaphore);
    fixture_stop();
}
END_TEST

/* Nobody is lost, or runs while it is looked at (a race, to a sanitizer), by two who dump at once. */
static void *dump_often(void *arg)
{
    struct seen *seen = arg;
    while (seen->frames < 100)
        ftl_runtime_dump(fixture_runtime, look, seen);
    return NULL;
}

START_TEST(dumps_stop_nobody_who_yields)
{
    static const struct ftl_spawn_options named = {.name = "under_test", .migratable = true};
    struct ready ready = {0};
    struct seen seen[2] = {0};
    struct ftl_task *tasks[10];
    pthread_t threads[2];
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(
            ftl_spawn(fixture_runtime, yield_till_stopped, &ready, &named, &tasks[i]), 0);
    while (!atomic_load(&ready.yields))
        sched_yield();
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, dump_often, &seen[i]), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    atomic_store(&ready.stop, true);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
}
END_TEST

START_TEST(shutdown_aborts_what_is_left_and_refuses_new_tasks)
{
    struct ftl_runtime *runtime;
    struct ftl_task *tasks[100], *late;
    ck_assert_int_eq(ftl_runtime_start(NULL, &runtime), 0);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(ftl_spawn(runtime, sleep_long, NULL, NULL, &tasks[i]), 0);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
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
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, the_joiner_gets_the_value_and_the_argument_is_freed_once);
    FIXTURE_CASE(suite, a_detached_tasks_value_goes_to_its_destructor);
    FIXTURE_CASE(suite, join_times_out_and_the_handle_remains);
    UNIT_CASE(suite, a_second_joiner_panics_and_the_first_has_the_outcome);
    FIXTURE_CASE(suite, two_tasks_from_outside_run_on_two_workers);
    UNIT_CASE(suite, the_budget_makes_a_busy_task_yield);
    UNIT_CASE(suite, checkpoints_share_the_worker_in_slices);
    FIXTURE_CASE(suite, the_end_of_a_task_goes_in_order);
    UNIT_CASE(suite, a_serial_runtime_has_one_worker);
    UNIT_CASE(suite, the_stack_is_back_when_the_joiner_sees_the_end);
    FIXTURE_CASE(suite, a_refused_spawn_has_taken_nothing);
    UNIT_CASE(suite, a_spawn_is_never_inline_and_a_task_outlives_its_creator);
    FIXTURE_CASE(suite, a_pinned_task_stays_on_its_worker);
    FIXTURE_CASE(suite, a_dump_shows_each_waiting_task_with_its_frames);
    UNIT_CASE(suite, a_dump_shows_those_that_are_ready_with_their_frames);
    FIXTURE_CASE(suite, dumps_stop_nobody_who_yields);
    UNIT_CASE(suite, shutdown_aborts_what_is_left_and_refuses_new_tasks);
    UNIT_CASE(suite, shutdown_says_how_many_do_not_stop);
}

UNIT_MAIN("task", add_cases)
