/* SPDX-License-Identifier: MIT
 *
 * The blocking pool: its tasks have a thread for themselves and are tasks all the same. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fettle/channel.h>
#include <fettle/semaphore.h>
#include <fettle/task_set.h>

#include "tests/unit/task_fixture.h"

static const struct ftl_spawn_options blocking = {.blocking = true};
static _Atomic int ran, inside;
static _Atomic bool released;

static void start(unsigned max, int64_t keep)
{
    const struct ftl_runtime_options options = {
        .name = "pool", .workers = 2, .blocking_max = max, .blocking_keep = keep};
    atomic_store(&ran, 0);
    atomic_store(&inside, 0);
    atomic_store(&released, false);
    ck_assert_int_eq(ftl_runtime_start(&options, &fixture_runtime), 0);
}

static struct ftl_runtime_stats stats(void)
{
    struct ftl_runtime_stats stats;
    ftl_runtime_stats(fixture_runtime, &stats);
    return stats;
}

static struct ftl_task *spawn(ftl_task_fn fn, void *arg)
{
    struct ftl_task *task;
    ck_assert_int_eq(ftl_spawn(fixture_runtime, fn, arg, &blocking, &task), 0);
    return task;
}

/* Waits for what is bound to happen. */
#define until(condition)                                                                           \
    for (int64_t end_ = ftl_deadline(60 * FTL_S); !(condition); usleep(200))                       \
    ck_assert_int_lt(ftl_now(), end_)

static void *count(void *arg)
{
    atomic_fetch_add(&ran, 1);
    return arg;
}

static void count_defer(void *arg)
{
    (void)count(arg);
}

/* Blocks its thread until released. */
static void *block(void *arg)
{
    atomic_fetch_add(&inside, 1);
    while (!atomic_load(&released))
        usleep(200);
    return count(arg);
}

START_TEST(blocked_threads_hinder_nobody)
{
    enum { TASKS = 20 };
    struct ftl_task *tasks[TASKS];
    start(0, 0);
    for (int i = 0; i < TASKS; i++)
        tasks[i] = spawn(block, NULL);
    until(atomic_load(&inside) == TASKS); /* all at once, with two workers */
    fixture_run(count, NULL);
    ck_assert_uint_eq(stats().blocking_threads, TASKS);
    ck_assert_uint_eq(stats().extra_used, 0);
    atomic_store(&released, true);
    for (int i = 0; i < TASKS; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    fixture_stop();
}
END_TEST

START_TEST(a_value_comes_back)
{
    struct ftl_outcome outcome;
    int value;
    start(0, 0);
    struct ftl_task *task = spawn(count, &value);
    ck_assert_int_eq(ftl_task_join(task, FTL_FOREVER, &outcome), 0);
    ck_assert_ptr_eq(outcome.value, &value);
    fixture_stop();
}
END_TEST

static int order[8];

static void *note(void *arg)
{
    order[atomic_fetch_add(&ran, 1)] = *(int *)arg;
    return NULL;
}

START_TEST(beyond_the_bound_they_queue_in_order)
{
    struct ftl_task *tasks[8];
    int number[8];
    start(1, 0);
    struct ftl_task *first = spawn(block, NULL);
    until(atomic_load(&inside) == 1);
    for (int i = 0; i < 7; i++) {
        number[i] = i;
        tasks[i] = spawn(note, &number[i]);
    }
    ck_assert_uint_eq(stats().blocking_threads, 1);
    ck_assert_uint_eq(stats().blocking_queued, 7);
    atomic_store(&released, true);
    ck_assert_int_eq(fixture_join(first), FTL_COMPLETED);
    for (int i = 0; i < 7; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    for (int i = 0; i < 7; i++)
        ck_assert_int_eq(order[i + 1], i); /* the blocker has counted first */
    fixture_stop();
}
END_TEST

START_TEST(the_bound_can_be_raised)
{
    struct ftl_task *tasks[4];
    start(1, 0);
    for (int i = 0; i < 4; i++)
        tasks[i] = spawn(block, NULL);
    until(atomic_load(&inside) == 1);
    ck_assert_uint_eq(stats().blocking_queued, 3);
    ftl_runtime_set_blocking_max(fixture_runtime, 3);
    until(atomic_load(&inside) == 3);
    ck_assert_uint_eq(stats().blocking_queued, 1);
    atomic_store(&released, true);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    fixture_stop();
}
END_TEST

static void *own_thread(void *arg)
{
    struct ftl_notify *notify = arg;
    pthread_t thread = pthread_self();
    struct ftl_task *child;
    struct ftl_outcome outcome;
    ftl_assert(ftl_sleep(FTL_MS) == 0);
    ftl_assert(ftl_yield() == 0);
    ftl_assert(ftl_spawn(ftl_runtime_current(), count, NULL, NULL, &child) == 0);
    ftl_assert(ftl_task_join(child, FTL_FOREVER, &outcome) == 0);
    ftl_notify_one(notify);
    ftl_assert(ftl_notify_wait(notify, ftl_deadline(60 * FTL_S)) == 0);
    ftl_assert(pthread_equal(thread, pthread_self()));
    return NULL;
}

START_TEST(waits_work_there)
{
    struct ftl_notify *notify = ftl_notify_new();
    start(0, 0);
    ck_assert_int_eq(fixture_join(spawn(own_thread, notify)), FTL_COMPLETED);
    ck_assert_int_eq(atomic_load(&ran), 1);
    fixture_stop();
    ftl_notify_free(notify);
}
END_TEST

static void *block_thread_while_child_runs(void *arg)
{
    struct ftl_task *child;
    ftl_assert(ftl_spawn(ftl_runtime_current(), count, NULL, NULL, &child) == 0);
    ftl_cork(); /* says nothing on such a thread */
    ftl_assert(ftl_spawn(arg, count, NULL, NULL, NULL) == 0);
    int64_t end = ftl_deadline(60 * FTL_S);
    while (atomic_load(&ran) < 2 && ftl_now() < end)
        usleep(200);
    ftl_assert(atomic_load(&ran) == 2);
    ftl_task_detach(child);
    return NULL;
}

START_TEST(what_it_spawns_runs_on_the_workers)
{
    struct ftl_runtime *other;
    start(0, 0);
    ck_assert_int_eq(ftl_runtime_start(NULL, &other), 0);
    ck_assert_int_eq(fixture_join(spawn(block_thread_while_child_runs, other)), FTL_COMPLETED);
    ck_assert_uint_eq(ftl_runtime_shutdown(other, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(other);
    fixture_stop();
}
END_TEST

static void *wait_forever(void *arg)
{
    FTL_DEFER(count_defer, NULL);
    atomic_fetch_add(&inside, 1);
    ftl_sleep_until(FTL_FOREVER);
    return arg;
}

static void *do_panic(void *arg)
{
    FTL_DEFER(count_defer, NULL);
    ftl_panic("on purpose: %p", arg);
}

START_TEST(abort_and_panic_run_the_defers_there)
{
    start(0, 0);
    struct ftl_task *task = spawn(wait_forever, NULL);
    until(atomic_load(&inside) == 1);
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    ck_assert_int_eq(fixture_join(spawn(do_panic, NULL)), FTL_PANICKED);
    ck_assert_int_eq(atomic_load(&ran), 2);
    fixture_stop();
}
END_TEST

static void count_free(void *arg)
{
    (void)arg;
    atomic_fetch_add(&inside, 1);
}

START_TEST(a_queued_one_is_aborted_unstarted)
{
    const struct ftl_spawn_options options = {.blocking = true, .arg_free = count_free};
    struct ftl_task *task;
    start(1, 0);
    struct ftl_task *first = spawn(block, NULL);
    until(atomic_load(&inside) == 1);
    ck_assert_int_eq(ftl_spawn(fixture_runtime, count, &task, &options, &task), 0);
    ftl_abort(task, 0);
    ck_assert_int_eq(atomic_load(&inside), 2); /* here, at once */
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    atomic_store(&released, true);
    ck_assert_int_eq(fixture_join(first), FTL_COMPLETED);
    ck_assert_int_eq(fixture_join(spawn(count, NULL)), FTL_COMPLETED);
    ck_assert_int_eq(atomic_load(&ran), 2);
    fixture_stop();
}
END_TEST

static void *join_blocking(void *arg)
{
    struct ftl_outcome outcome;
    atomic_fetch_add(&inside, 1);
    (void)ftl_task_join(arg, FTL_FOREVER, &outcome);
    return NULL;
}

START_TEST(who_joins_it_can_be_aborted_at_once)
{
    start(0, 0);
    struct ftl_task *task = spawn(block, NULL);
    struct ftl_task *joiner = fixture_spawn(join_blocking, task);
    until(atomic_load(&inside) == 2);
    ftl_abort(joiner, 0);
    ck_assert_int_eq(fixture_join(joiner), FTL_CANCELLED);
    atomic_store(&released, true);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    fixture_stop();
}
END_TEST

START_TEST(idle_threads_go_after_a_while)
{
    start(0, 20 * FTL_MS);
    for (int round = 0; round < 3; round++) {
        struct ftl_task *tasks[5];
        for (int i = 0; i < 5; i++)
            tasks[i] = spawn(count, NULL);
        for (int i = 0; i < 5; i++)
            ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
        until(stats().blocking_threads == 0);
    }
    fixture_stop();
}
END_TEST

START_TEST(an_idle_thread_is_used_again)
{
    start(0, 60 * FTL_S);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(fixture_join(spawn(count, NULL)), FTL_COMPLETED);
        until(stats().blocking_idle == 1);
    }
    ck_assert_uint_eq(stats().blocking_threads, 1);
    fixture_stop();
}
END_TEST

START_TEST(shutdown_says_who_blocks)
{
    start(1, 0);
    struct ftl_task *task = spawn(block, NULL), *queued = spawn(count, NULL);
    until(atomic_load(&inside) == 1);
    ck_assert_uint_eq(ftl_runtime_shutdown(fixture_runtime, ftl_deadline(20 * FTL_MS)), 1);
    ck_assert_int_eq(fixture_join(queued), FTL_CANCELLED);
    ck_assert_int_eq(ftl_spawn(fixture_runtime, count, NULL, &blocking, NULL), FTL_ESHUTDOWN);
    atomic_store(&released, true);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    fixture_stop();
}
END_TEST

/* No address space for another thread's stack, as one that may have no more threads. */
START_TEST(without_a_thread_the_spawn_fails_and_nothing_is_lost)
{
    struct rlimit unlimited, none;
    struct ftl_task *task = NULL;
    start(0, 0);
    if (unit_slow() > 1) { /* a sanitizer does not live with such a limit */
        fixture_stop();
        return;
    }
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &unlimited), 0);
    none = unlimited;
    none.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &none), 0);
    int rc = ftl_spawn(fixture_runtime, count, NULL, &blocking, &task), error = errno;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &unlimited), 0);
    ck_assert_int_eq(rc, FTL_ESYS);
    ck_assert_int_eq(error, EAGAIN);
    ck_assert_ptr_null(task);

    struct ftl_task *first = spawn(block, NULL); /* now there is one thread, and no second: */
    until(atomic_load(&inside) == 1);
    usleep(100000); /* the workers sleep, and so does the monitor by now */
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &none), 0);
    rc = ftl_spawn(fixture_runtime, count, NULL, &blocking, &task);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &unlimited), 0);
    ck_assert_int_eq(rc, 0);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED); /* the monitor has found it one since */
    atomic_store(&released, true);
    ck_assert_int_eq(fixture_join(first), FTL_COMPLETED);
    fixture_stop();
}
END_TEST

static void *spawn_many(void *arg)
{
    enum { TASKS = 200 };
    struct ftl_task_set *set = ftl_task_set_new();
    struct ftl_outcome outcome;
    ftl_assert(set);
    for (int i = 0; i < TASKS; i++)
        ftl_assert(ftl_task_set_spawn(set, fixture_runtime, count, NULL, &blocking, NULL, NULL) ==
                   0);
    for (int i = 0; i < TASKS; i++)
        ftl_assert(ftl_task_set_join_next(set, FTL_FOREVER, &outcome, NULL) == 0);
    ftl_task_set_free(set);
    return arg;
}

START_TEST(many_from_many_sides)
{
    struct ftl_task *tasks[10];
    start(8, FTL_MS); /* threads come and go all the time */
    for (int i = 0; i < 10; i++)
        tasks[i] = fixture_spawn(spawn_many, NULL);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    ck_assert_int_eq(atomic_load(&ran), 2000);
    ck_assert_uint_le(stats().blocking_threads, 8);
    fixture_stop();
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, blocked_threads_hinder_nobody);
    UNIT_CASE(suite, a_value_comes_back);
    UNIT_CASE(suite, beyond_the_bound_they_queue_in_order);
    UNIT_CASE(suite, the_bound_can_be_raised);
    UNIT_CASE(suite, waits_work_there);
    UNIT_CASE(suite, what_it_spawns_runs_on_the_workers);
    UNIT_CASE(suite, abort_and_panic_run_the_defers_there);
    UNIT_CASE(suite, a_queued_one_is_aborted_unstarted);
    UNIT_CASE(suite, who_joins_it_can_be_aborted_at_once);
    UNIT_CASE(suite, idle_threads_go_after_a_while);
    UNIT_CASE(suite, an_idle_thread_is_used_again);
    UNIT_CASE(suite, shutdown_says_who_blocks);
    UNIT_CASE(suite, without_a_thread_the_spawn_fails_and_nothing_is_lost);
    UNIT_CASE(suite, many_from_many_sides);
}

UNIT_MAIN("blocking", add_cases)
