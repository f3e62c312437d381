/* SPDX-License-Identifier: MIT
 *
 * Semaphores: bounds, fairness, close, and permits that come back however their holder ends. */
#include <sched.h>
#include <stdatomic.h>

#include <fettle/channel.h>
#include <fettle/semaphore.h>
#include <fettle/task_set.h>

#include "tests/unit/task_fixture.h"

static struct ftl_semaphore *semaphore;
static _Atomic int inside, most;

static void *enter_and_leave(void *arg)
{
    FTL_PERMIT(permit);
    (void)arg;
    for (int i = 0; i < 50; i++) {
        ftl_assert(ftl_semaphore_acquire(semaphore, 1, FTL_FOREVER, &permit) == 0);
        int now = atomic_fetch_add(&inside, 1) + 1, old = atomic_load(&most);
        while (now > old && !atomic_compare_exchange_weak(&most, &old, now))
            ;
        ftl_yield();
        atomic_fetch_sub(&inside, 1);
        ftl_permit_release(&permit);
    }
    return NULL;
}

START_TEST(never_more_than_the_bound_are_inside)
{
    struct ftl_task *tasks[100];
    semaphore = ftl_semaphore_new(7);
    atomic_store(&most, 0);
    for (int i = 0; i < 100; i++)
        tasks[i] = fixture_spawn(enter_and_leave, NULL);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    ck_assert_int_eq(atomic_load(&most), 7);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 7);
    ftl_semaphore_free(semaphore);
}
END_TEST

static void *hold_and_end(void *arg)
{
    FTL_PERMIT(permit);
    ftl_assert(ftl_semaphore_acquire(semaphore, 2, FTL_FOREVER, &permit) == 0);
    switch ((intptr_t)arg) {
    case 0:
        return NULL; /* the block ends */
    case 1:
        ftl_panic("with permits");
    default:
        ftl_sleep(1000 * FTL_S);
    }
    return NULL;
}

START_TEST(permits_come_back_however_the_holder_ends)
{
    semaphore = ftl_semaphore_new(2);
    for (intptr_t how = 0; how < 3; how++) {
        struct ftl_task *task = fixture_spawn(hold_and_end, (void *)how);
        if (how == 2) {
            while (ftl_semaphore_available(semaphore) != 0)
                sched_yield();
            ftl_abort(task, 0);
        }
        fixture_join(task);
        ck_assert_uint_eq(ftl_semaphore_available(semaphore), 2); /* the joiner finds them free */
    }
    ftl_semaphore_free(semaphore);
}
END_TEST

struct moved {
    struct ftl_permit permit;
    struct ftl_oneshot go;
};

static void *wait_for_go(void *arg)
{
    struct moved *moved = arg;
    void *nothing;
    ftl_oneshot_recv(&moved->go, FTL_FOREVER, &nothing);
    return NULL;
}

static void *move_into_task(void *arg)
{
    struct moved moved = {0};
    struct ftl_defer *held = NULL;
    struct ftl_task *task;
    struct ftl_outcome outcome;
    (void)arg;
    ftl_oneshot_init(&moved.go);
    ftl_assert(ftl_semaphore_acquire(semaphore, 1, FTL_FOREVER, &moved.permit) == 0);
    ftl_permit_move(&moved.permit, &held);
    struct ftl_spawn_options options = {.held = held};
    ftl_assert(ftl_spawn(fixture_runtime, wait_for_go, &moved, &options, &task) == 0);
    ftl_sleep(5 * FTL_MS);
    ftl_assert(ftl_semaphore_available(semaphore) == 0);
    ftl_oneshot_send(&moved.go, NULL);
    ftl_assert(ftl_task_join(task, FTL_FOREVER, &outcome) == 0);
    ftl_assert(ftl_semaphore_available(semaphore) == 1);

    /* The same for one that is aborted; perhaps before it started. */
    ftl_oneshot_init(&moved.go);
    held = NULL;
    ftl_assert(ftl_semaphore_try_acquire(semaphore, 1, &moved.permit) == 0);
    ftl_permit_move(&moved.permit, &held);
    options.held = held;
    ftl_assert(ftl_spawn(fixture_runtime, wait_for_go, &moved, &options, &task) == 0);
    ftl_abort(task, 0);
    ftl_assert(ftl_task_join(task, FTL_FOREVER, &outcome) == 0);
    ftl_assert(outcome.kind == FTL_CANCELLED);
    ftl_assert(ftl_semaphore_available(semaphore) == 1);
    return NULL;
}

START_TEST(a_permit_moves_into_a_task_and_ends_with_it)
{
    semaphore = ftl_semaphore_new(1);
    for (int i = 0; i < 50; i++)
        fixture_run(move_into_task, NULL);
    ftl_semaphore_free(semaphore);
}
END_TEST

static void *move_what_ends_with_its_block(void *arg)
{
    FTL_PERMIT(permit);
    struct ftl_defer *held = NULL;
    ftl_permit_move(&permit, &held); /* holds nothing: nothing happens */
    ftl_assert(ftl_semaphore_acquire(semaphore, 1, FTL_FOREVER, &permit) == 0);
    ftl_permit_move(&permit, &held);
    return arg;
}

START_TEST(a_permit_that_ends_with_its_block_does_not_move)
{
    struct ftl_outcome outcome;
    semaphore = ftl_semaphore_new(1);
    struct ftl_task *task = fixture_spawn(move_what_ends_with_its_block, NULL);
    ck_assert_int_eq(ftl_task_join(task, FTL_FOREVER, &outcome), 0);
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    ck_assert_ptr_nonnull(strstr(outcome.panic->message, "FTL_PERMIT"));
    ftl_outcome_clear(&outcome);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 1); /* it was still the block's */
    ftl_semaphore_free(semaphore);
}
END_TEST

/* How a task with a permit of two units ends; the permit stood in a frame that is gone by then. */
enum way { RETURNS, PANICS, IS_ABORTED, WAYS };

static void *end_that_way(void *arg)
{
    const enum way *way = arg;
    ftl_assert(ftl_semaphore_available(semaphore) == 1);
    if (*way == PANICS)
        ftl_panic("on purpose");
    while (*way == IS_ABORTED)
        ftl_sleep(FTL_S);
    return NULL;
}

static void nothing_is_left(void *arg)
{
    (void)arg;
    ftl_assert(ftl_semaphore_available(semaphore) == 3); /* arg_free comes after the permit */
}

static struct ftl_task *spawn_with_permit(enum way *way)
{
    struct ftl_permit permit = {0};
    struct ftl_task *task;
    ftl_assert(ftl_semaphore_acquire(semaphore, 2, FTL_FOREVER, &permit) == 0);
    struct ftl_spawn_options options = {
        .arg_free = nothing_is_left, .permit = &permit, .stack_size = (8 << 20) + 1};
    ftl_assert(ftl_spawn(fixture_runtime, end_that_way, way, &options, &task) == FTL_EINVAL);
    ftl_assert(permit.count == 2 && ftl_semaphore_available(semaphore) == 1);
    options.stack_size = 0;
    ftl_assert(ftl_spawn(fixture_runtime, end_that_way, way, &options, &task) == 0);
    ftl_assert(permit.count == 0);
    ftl_permit_release(&permit);
    return task;
}

static void *spawn_with_permits(void *arg)
{
    (void)arg;
    for (enum way way = RETURNS; way < WAYS; way++) {
        struct ftl_task *task = spawn_with_permit(&way);
        struct ftl_outcome outcome;
        if (way == IS_ABORTED)
            ftl_abort(task, 0); /* sometimes before it started */
        ftl_assert(ftl_task_join(task, FTL_FOREVER, &outcome) == 0);
        ftl_assert(ftl_semaphore_available(semaphore) == 3);
        ftl_assert((int)outcome.kind == (int)way); /* in the same order */
        ftl_outcome_clear(&outcome);
    }
    return NULL;
}

START_TEST(a_permit_goes_into_a_spawn_and_needs_no_storage)
{
    semaphore = ftl_semaphore_new(3);
    for (int i = 0; i < 50; i++)
        fixture_run(spawn_with_permits, NULL);
    ftl_semaphore_free(semaphore);
}
END_TEST

static _Atomic int deferred;

static void count_deferred(void *arg)
{
    (void)arg;
    atomic_fetch_add(&deferred, 1);
}

/* As after a spawn that failed. */
static void *take_a_move_back(void *arg)
{
    FTL_DEFER(count_deferred, NULL);
    struct ftl_permit permits[3] = {0};
    struct ftl_defer *held = NULL;
    (void)arg;
    for (int i = 0; i < 3; i++) {
        ftl_assert(ftl_semaphore_try_acquire(semaphore, 1, &permits[i]) == 0);
        ftl_permit_move(&permits[i], &held);
    }
    for (int i = 0; i < 3; i++)
        ftl_permit_release(&permits[(i + 1) % 3]);
    ftl_assert(held == NULL);
    ftl_assert(ftl_semaphore_available(semaphore) == 3);
    ftl_panic("with a defer of its own");
}

START_TEST(a_move_that_is_taken_back_leaves_the_callers_defers_alone)
{
    semaphore = ftl_semaphore_new(3);
    atomic_store(&deferred, 0);
    ck_assert_int_eq(fixture_join(fixture_spawn(take_a_move_back, NULL)), FTL_PANICKED);
    ck_assert_int_eq(atomic_load(&deferred), 1);
    ftl_semaphore_free(semaphore);
}
END_TEST

static void *release_and_panic(void *arg)
{
    FTL_DEFER(count_deferred, NULL);
    ftl_permit_release(arg);
    ftl_panic("with a defer of its own");
}

START_TEST(a_permit_of_a_foreign_thread_may_be_released_by_a_task)
{
    struct ftl_permit permit = {0};
    semaphore = ftl_semaphore_new(1);
    atomic_store(&deferred, 0);
    ck_assert_int_eq(ftl_semaphore_try_acquire(semaphore, 1, &permit), 0);
    ck_assert_int_eq(fixture_join(fixture_spawn(release_and_panic, &permit)), FTL_PANICKED);
    ck_assert_int_eq(atomic_load(&deferred), 1);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 1);
    ftl_semaphore_free(semaphore);
}
END_TEST

static bool went_on;

static void *acquire_and_go_on(void *arg)
{
    FTL_PERMIT(permit);
    ftl_assert(ftl_semaphore_acquire(semaphore, 1, *(int64_t *)arg, &permit) == 0);
    went_on = true;
    return NULL;
}

/* There is one worker: what is waited for comes after the abort, and before the task runs again. */
static void *abort_then_release(void *arg)
{
    FTL_PERMIT(permit);
    struct ftl_task *task;
    struct ftl_outcome outcome;
    ftl_assert(ftl_semaphore_try_acquire(semaphore, 1, &permit) == 0);
    ftl_assert(ftl_spawn(ftl_runtime_current(), acquire_and_go_on, arg, NULL, &task) == 0);
    ftl_sleep(3 * FTL_MS); /* it waits */
    ftl_abort(task, 0);
    ftl_permit_release(&permit);
    ftl_assert(ftl_task_join(task, FTL_FOREVER, &outcome) == 0);
    ftl_assert(outcome.kind == FTL_CANCELLED);
    return NULL;
}

START_TEST(an_aborted_waiter_does_not_go_on_with_what_it_was_granted)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *runtime;
    int64_t deadlines[2] = {FTL_FOREVER, ftl_deadline(1000 * FTL_S)};
    semaphore = ftl_semaphore_new(1);
    went_on = false;
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    for (int i = 0; i < 2; i++) {
        struct ftl_task *task;
        ck_assert_int_eq(ftl_spawn(runtime, abort_then_release, &deadlines[i], NULL, &task), 0);
        ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
        ck_assert(!went_on);
        ck_assert_uint_eq(ftl_semaphore_available(semaphore), 1);
    }
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
    ftl_semaphore_free(semaphore);
}
END_TEST

static int came[3], order[3], ordered;
static _Atomic int queued;

static void *take_in_turn(void *arg)
{
    FTL_PERMIT(permit);
    came[atomic_fetch_add(&queued, 1)] = (int)(intptr_t)arg;
    ftl_assert(ftl_semaphore_acquire(semaphore, (uint32_t)(intptr_t)arg, FTL_FOREVER, &permit) == 0);
    order[ordered++] = (int)(intptr_t)arg;
    ftl_yield();
    return NULL;
}

static void *fair(void *arg)
{
    FTL_PERMIT(all);
    FTL_PERMIT(one);
    struct ftl_outcome outcome;
    struct ftl_task_set *set = ftl_task_set_new();
    (void)arg;
    ftl_assert(ftl_semaphore_try_acquire(semaphore, 3, &all) == 0);
    for (intptr_t count = 3; count >= 1; count--)
        ftl_assert(ftl_task_set_spawn(set, ftl_runtime_current(), take_in_turn, (void *)count, NULL, NULL,
                                      NULL) == 0);
    while (atomic_load(&queued) < 3)
        ftl_yield();
    ftl_permit_release(&all);
    /* Others wait: nobody overtakes, even where there would be enough. */
    ftl_assert(ftl_semaphore_try_acquire(semaphore, 1, &one) == FTL_EAGAIN);
    for (int i = 0; i < 3; i++)
        ftl_assert(ftl_task_set_join_next(set, FTL_FOREVER, &outcome, NULL) == 0);
    ftl_task_set_free(set);
    return NULL;
}

START_TEST(whoever_waits_longest_is_served_first)
{
    const struct ftl_runtime_options options = {.workers = 1}; /* so that they queue in order */
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    semaphore = ftl_semaphore_new(3);
    ordered = 0;
    atomic_store(&queued, 0);
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, fair, NULL, NULL, &task), 0);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    ck_assert_int_eq(ordered, 3);
    ck_assert_mem_eq(order, came, sizeof order);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 3);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
    ftl_semaphore_free(semaphore);
}
END_TEST

static void *expect_closed(void *arg)
{
    FTL_PERMIT(permit);
    (void)arg;
    atomic_fetch_add(&queued, 1);
    ftl_assert(ftl_semaphore_acquire(semaphore, 1, FTL_FOREVER, &permit) == FTL_ECLOSED);
    ftl_assert(ftl_semaphore_try_acquire(semaphore, 1, &permit) == FTL_ECLOSED);
    return NULL;
}

START_TEST(close_wakes_the_waiters_with_an_error)
{
    struct ftl_task *tasks[10];
    semaphore = ftl_semaphore_new(0);
    atomic_store(&queued, 0);
    for (int i = 0; i < 10; i++)
        tasks[i] = fixture_spawn(expect_closed, NULL);
    while (atomic_load(&queued) < 10)
        sched_yield();
    ftl_semaphore_close(semaphore);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    ftl_semaphore_free(semaphore);
}
END_TEST

/* There is one worker: the close comes after the abort, and before the task runs again. */
static void *abort_then_close(void *arg)
{
    struct ftl_task *task;
    struct ftl_outcome outcome;
    ftl_assert(ftl_spawn(ftl_runtime_current(), acquire_and_go_on, arg, NULL, &task) == 0);
    ftl_sleep(3 * FTL_MS); /* it waits */
    ftl_abort(task, 0);
    ftl_semaphore_close(semaphore);
    ftl_assert(ftl_task_join(task, FTL_FOREVER, &outcome) == 0);
    ftl_assert(outcome.kind == FTL_CANCELLED);
    return NULL;
}

START_TEST(an_abort_comes_before_the_news_of_a_close)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    int64_t deadline = FTL_FOREVER;
    semaphore = ftl_semaphore_new(0);
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, abort_then_close, &deadline, NULL, &task), 0);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
    ftl_semaphore_free(semaphore);
}
END_TEST

START_TEST(permits_that_are_out_come_back_to_a_closed_semaphore)
{
    FTL_PERMIT(held);
    FTL_PERMIT(refused);
    semaphore = ftl_semaphore_new(2);
    ck_assert_int_eq(ftl_semaphore_acquire(semaphore, 2, FTL_FOREVER, &held), 0);
    ftl_semaphore_close(semaphore);
    ftl_semaphore_close(semaphore);
    ftl_permit_release(&held);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 2);
    ck_assert_int_eq(ftl_semaphore_acquire(semaphore, 1, FTL_FOREVER, &refused), FTL_ECLOSED);
    ck_assert_int_eq(ftl_semaphore_try_acquire(semaphore, 1, &refused), FTL_ECLOSED);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 2);
    ftl_semaphore_free(semaphore);
}
END_TEST

static _Atomic bool got_all;

static void *take_one_again_and_again(void *arg)
{
    while (!atomic_load(&got_all)) {
        FTL_PERMIT(permit);
        ftl_assert(ftl_semaphore_acquire(semaphore, 1, FTL_FOREVER, &permit) == 0);
        ftl_yield();
    }
    return arg;
}

static void *take_all(void *arg)
{
    FTL_PERMIT(permit);
    for (int i = 0; i < 20; i++) {
        ftl_assert(ftl_semaphore_acquire(semaphore, 4, FTL_FOREVER, &permit) == 0);
        ftl_permit_release(&permit);
        ftl_yield();
    }
    atomic_store(&got_all, true);
    return arg;
}

/* There are always some who ask for one; were they let past, there would never be four. */
START_TEST(many_units_are_had_against_a_stream_of_single_ones)
{
    enum { SMALL = 12 };
    struct ftl_task *tasks[SMALL + 1];
    semaphore = ftl_semaphore_new(4);
    atomic_store(&got_all, false);
    for (int i = 0; i < SMALL; i++)
        tasks[i] = fixture_spawn(take_one_again_and_again, NULL);
    tasks[SMALL] = fixture_spawn(take_all, NULL);
    for (int i = 0; i <= SMALL; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 4);
    ftl_semaphore_free(semaphore);
}
END_TEST

static void *hold_or_wait(void *arg)
{
    FTL_PERMIT(permit);
    ftl_assert(ftl_semaphore_acquire(semaphore, 1, FTL_FOREVER, &permit) == 0);
    atomic_fetch_add(&queued, 1);
    ftl_sleep(1000 * FTL_S);
    return arg;
}

static void *free_a_set_of_holders(void *arg)
{
    FTL_PERMIT(all);
    struct ftl_task_set *set = ftl_task_set_new();
    for (int i = 0; i < 50; i++) /* 10 hold, 40 wait, or have not started */
        ftl_assert(ftl_task_set_spawn(set, fixture_runtime, hold_or_wait, arg, NULL, NULL,
                                      NULL) == 0);
    while (atomic_load(&queued) < 10)
        ftl_yield();
    ftl_task_set_free(set);
    ftl_assert(ftl_semaphore_acquire(semaphore, 10, FTL_FOREVER, &all) == 0);
    return arg;
}

START_TEST(a_set_that_is_freed_gives_the_permits_of_its_members_back)
{
    semaphore = ftl_semaphore_new(10);
    for (int i = 0; i < 20; i++) {
        atomic_store(&queued, 0);
        fixture_run(free_a_set_of_holders, NULL);
        ck_assert_uint_eq(ftl_semaphore_available(semaphore), 10);
    }
    ck_assert_uint_eq(ftl_runtime_shutdown(fixture_runtime, ftl_deadline(60 * FTL_S)), 0);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 10);
    ftl_semaphore_free(semaphore);
}
END_TEST

static void *wait_with_deadline(void *arg)
{
    FTL_PERMIT(permit);
    int rc = ftl_semaphore_acquire(semaphore, 1, ftl_deadline((intptr_t)arg * FTL_MS / 10), &permit);
    ftl_assert(rc == 0 || rc == FTL_ETIMEDOUT);
    return NULL;
}

/* Grants race with deadlines and aborts: no unit is lost or made. */
START_TEST(no_unit_is_lost_when_waits_end_early)
{
    enum { ROUNDS = 300 };
    semaphore = ftl_semaphore_new(2);
    for (int i = 0; i < ROUNDS; i++) {
        struct ftl_task *tasks[20];
        for (intptr_t j = 0; j < 20; j++)
            tasks[j] = fixture_spawn(j % 2 ? wait_with_deadline : enter_and_leave, (void *)(j % 5));
        for (int j = 0; j < 20; j += 3)
            ftl_abort(tasks[j], 0);
        for (int j = 0; j < 20; j++)
            ck_assert_int_ne(fixture_join(tasks[j]), FTL_PANICKED);
        atomic_store(&inside, 0); /* aborts in the middle leave it as it was */
        ck_assert_uint_eq(ftl_semaphore_available(semaphore), 2);
    }
    ftl_semaphore_free(semaphore);
}
END_TEST

START_TEST(the_total_can_be_changed_while_permits_are_out)
{
    FTL_PERMIT(permit);
    semaphore = ftl_semaphore_new(2);
    ck_assert_int_eq(ftl_semaphore_try_acquire(semaphore, 2, &permit), 0); /* a foreign thread */
    ftl_semaphore_adjust(semaphore, -1);
    ftl_permit_release(&permit);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 1);
    ftl_semaphore_adjust(semaphore, 3);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 4);
    ftl_semaphore_free(semaphore);
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, never_more_than_the_bound_are_inside);
    FIXTURE_CASE(suite, permits_come_back_however_the_holder_ends);
    FIXTURE_CASE(suite, a_permit_moves_into_a_task_and_ends_with_it);
    FIXTURE_CASE(suite, a_permit_that_ends_with_its_block_does_not_move);
    FIXTURE_CASE(suite, a_permit_goes_into_a_spawn_and_needs_no_storage);
    FIXTURE_CASE(suite, a_move_that_is_taken_back_leaves_the_callers_defers_alone);
    FIXTURE_CASE(suite, a_permit_of_a_foreign_thread_may_be_released_by_a_task);
    UNIT_CASE(suite, an_aborted_waiter_does_not_go_on_with_what_it_was_granted);
    UNIT_CASE(suite, whoever_waits_longest_is_served_first);
    FIXTURE_CASE(suite, close_wakes_the_waiters_with_an_error);
    UNIT_CASE(suite, an_abort_comes_before_the_news_of_a_close);
    UNIT_CASE(suite, permits_that_are_out_come_back_to_a_closed_semaphore);
    FIXTURE_CASE(suite, many_units_are_had_against_a_stream_of_single_ones);
    FIXTURE_CASE(suite, a_set_that_is_freed_gives_the_permits_of_its_members_back);
    FIXTURE_CASE(suite, no_unit_is_lost_when_waits_end_early);
    UNIT_CASE(suite, the_total_can_be_changed_while_permits_are_out);
}

UNIT_MAIN("semaphore", add_cases)
