/* SPDX-License-Identifier: MIT
 *
 * Mutexes: one at a time, in turn, given back however the holder ends. */
#include <pthread.h>

#include <fettle/channel.h>
#include <fettle/mutex.h>

#include "tests/unit/task_fixture.h"

static struct ftl_mutex *mutex;
static long counter; /* no atomic: the mutex guards it */

static void setup(void)
{
    fixture_start();
    mutex = ftl_mutex_new();
    ck_assert_ptr_nonnull(mutex);
    counter = 0;
}

static void teardown(void)
{
    ck_assert(!ftl_mutex_is_locked(mutex));
    ftl_mutex_free(mutex);
    fixture_stop();
}

enum { TURNS = 200 };

static void *count(void *arg)
{
    for (int i = 0; i < TURNS; i++) {
        FTL_PERMIT(held);
        ftl_assert(ftl_mutex_lock(mutex, FTL_FOREVER, &held) == 0);
        long seen = counter;
        if (i % 8 == 0)
            ftl_yield();
        counter = seen + 1;
    }
    return arg;
}

START_TEST(one_at_a_time_across_runtimes_and_threads)
{
    enum { EACH = 10, THREADS = 2 };
    struct ftl_runtime *other;
    struct ftl_task *tasks[2 * EACH];
    pthread_t threads[THREADS];
    ck_assert_int_eq(ftl_runtime_start(NULL, &other), 0);
    for (int i = 0; i < EACH; i++) {
        tasks[i] = fixture_spawn(count, NULL);
        ck_assert_int_eq(ftl_spawn(other, count, NULL, NULL, &tasks[EACH + i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 2 * EACH; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    ck_assert_int_eq(counter, (2 * EACH + THREADS) * TURNS);
    ck_assert_uint_eq(ftl_runtime_shutdown(other, FTL_FOREVER), 0);
    ftl_runtime_free(other);
}
END_TEST

static int order[8], served;

static void *take_turn(void *arg)
{
    FTL_PERMIT(held);
    ftl_assert(ftl_mutex_lock(mutex, FTL_FOREVER, &held) == 0);
    order[served++] = (int)(intptr_t)arg;
    return NULL;
}

/* One worker: who has yielded once has let the others come to wait. */
static void *stand_in_line(void *arg)
{
    struct ftl_task *tasks[8];
    FTL_PERMIT(held);
    FTL_PERMIT(mine);
    ftl_assert(ftl_mutex_lock(mutex, FTL_FOREVER, &held) == 0);
    for (int i = 0; i < 8; i++) {
        ftl_assert(ftl_spawn(ftl_runtime_current(), take_turn, (void *)(intptr_t)i, NULL,
                             &tasks[i]) == 0);
        ftl_yield();
    }
    ftl_mutex_unlock(&held);
    ftl_assert(ftl_mutex_try_lock(mutex, &mine) == FTL_EAGAIN); /* it went to who stood first */
    ftl_assert(ftl_mutex_lock(mutex, FTL_FOREVER, &mine) == 0);
    ftl_assert(served == 8); /* behind all of them */
    for (int i = 0; i < 8; i++) {
        struct ftl_outcome outcome;
        ftl_assert(order[i] == i);
        ftl_assert(ftl_task_join(tasks[i], FTL_FOREVER, &outcome) == 0);
    }
    return arg;
}

START_TEST(whoever_waits_longest_has_it_next)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    served = 0;
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, stand_in_line, NULL, NULL, &task), 0);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, FTL_FOREVER), 0);
    ftl_runtime_free(runtime);
}
END_TEST

static void *ask_while_it_is_held(void *arg)
{
    FTL_PERMIT(held);
    FTL_PERMIT(again);
    int64_t deadline;
    ftl_assert(!ftl_mutex_is_locked(mutex));
    ftl_assert(ftl_mutex_try_lock(mutex, &held) == 0);
    ftl_assert(ftl_mutex_is_locked(mutex));
    ftl_assert(ftl_mutex_try_lock(mutex, &again) == FTL_EAGAIN);
    deadline = ftl_deadline(5 * FTL_MS);
    ftl_assert(ftl_mutex_lock(mutex, deadline, &again) == FTL_ETIMEDOUT);
    ftl_assert(ftl_now() >= deadline);
    ftl_assert(ftl_mutex_lock(mutex, 1, &again) == FTL_ETIMEDOUT); /* long past */
    ftl_mutex_unlock(&again); /* holds nothing */
    ftl_assert(ftl_mutex_is_locked(mutex));
    ftl_mutex_unlock(&held);
    ftl_mutex_unlock(&held);
    ftl_assert(!ftl_mutex_is_locked(mutex));
    ftl_assert(ftl_mutex_lock(mutex, 1, &again) == 0); /* free: there is nothing to wait for */
    return arg;
}

START_TEST(a_held_one_is_refused_and_waited_for_no_longer_than_asked)
{
    fixture_run(ask_while_it_is_held, NULL);
    ask_while_it_is_held(NULL); /* a foreign thread */
}
END_TEST

struct holder {
    struct ftl_oneshot holds;
    bool panics;
};

static void *hold_and_end(void *arg)
{
    struct holder *holder = arg;
    FTL_PERMIT(held);
    ftl_assert(ftl_mutex_lock(mutex, FTL_FOREVER, &held) == 0);
    ftl_oneshot_send(&holder->holds, NULL);
    if (holder->panics)
        ftl_panic("expected");
    ftl_sleep_until(FTL_FOREVER);
    return NULL;
}

START_TEST(a_panic_or_an_abort_of_the_holder_gives_it_back)
{
    for (int panics = 0; panics <= 1; panics++) {
        struct holder holder = {.panics = panics};
        void *nothing;
        ftl_oneshot_init(&holder.holds);
        struct ftl_task *task = fixture_spawn(hold_and_end, &holder);
        ck_assert_int_eq(ftl_oneshot_recv(&holder.holds, FTL_FOREVER, &nothing), 0);
        struct ftl_task *waiter = fixture_spawn(count, NULL);
        if (!panics)
            ftl_abort(task, 0);
        ck_assert_int_eq(fixture_join(waiter), FTL_COMPLETED);
        ck_assert_int_eq(fixture_join(task), panics ? FTL_PANICKED : FTL_CANCELLED);
        ck_assert(!ftl_mutex_is_locked(mutex)); /* whoever has joined finds it free */
    }
}
END_TEST

START_TEST(an_abort_ends_a_wait_and_takes_nothing)
{
    FTL_PERMIT(held);
    ck_assert_int_eq(ftl_mutex_lock(mutex, FTL_FOREVER, &held), 0);
    struct ftl_task *first = fixture_spawn(count, NULL), *second = fixture_spawn(count, NULL);
    ftl_abort(first, 0);
    ck_assert_int_eq(fixture_join(first), FTL_CANCELLED);
    ck_assert_int_eq(counter, 0);
    ftl_mutex_unlock(&held);
    ck_assert_int_eq(fixture_join(second), FTL_COMPLETED);
    ck_assert_int_eq(counter, TURNS);
}
END_TEST

static void *end_at_once(void *arg)
{
    ftl_assert(ftl_mutex_is_locked(mutex));
    return arg;
}

START_TEST(a_hold_moves_into_a_task_and_ends_with_it)
{
    struct ftl_permit held = {0};
    struct ftl_defer *list = NULL;
    struct ftl_task *task;
    ck_assert_int_eq(ftl_mutex_lock(mutex, FTL_FOREVER, &held), 0);
    ftl_permit_move(&held, &list);
    const struct ftl_spawn_options options = {.held = list};
    ck_assert_int_eq(ftl_spawn(fixture_runtime, end_at_once, NULL, &options, &task), 0);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    ck_assert(!ftl_mutex_is_locked(mutex));
}
END_TEST

static void mutex_case(Suite *suite, const char *name, const TTest *test)
{
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test);
    suite_add_tcase(suite, tcase);
}

#define MUTEX_CASE(suite, test) mutex_case((suite), #test, (test))

static void add_cases(Suite *suite)
{
    MUTEX_CASE(suite, one_at_a_time_across_runtimes_and_threads);
    MUTEX_CASE(suite, whoever_waits_longest_has_it_next);
    MUTEX_CASE(suite, a_held_one_is_refused_and_waited_for_no_longer_than_asked);
    MUTEX_CASE(suite, a_panic_or_an_abort_of_the_holder_gives_it_back);
    MUTEX_CASE(suite, an_abort_ends_a_wait_and_takes_nothing);
    MUTEX_CASE(suite, a_hold_moves_into_a_task_and_ends_with_it);
}

UNIT_MAIN("mutex", add_cases)
