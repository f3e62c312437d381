/* SPDX-License-Identifier: MIT
 *
 * Branches that are cut off: by a sibling that wins, by a deadline, by the abort of their task. */
#include <sched.h>

#include <fettle/join.h>
#include <fettle/semaphore.h>

#include "tests/unit/branch.h"

static int return_at_once(void *arg)
{
    return *(int *)arg;
}

static int yield_and_return(void *arg)
{
    ftl_assert(ftl_yield() == 0);
    return *(int *)arg;
}

static int wait_for_ever(void *arg)
{
    (void)arg;
    ftl_sleep(1000 * FTL_S);
    ftl_panic("it waits no longer");
}

/* ---- select ---- */

static void *one_wins(void *arg)
{
    struct trace *trace = arg;
    struct stay stays[2] = {{.trace = trace, .id = 1}, {.trace = trace, .id = 1}};
    int result = 7;
    struct ftl_branch branches[3] = {{.fn = stay_for_ever, .arg = &stays[0]},
                                     {.fn = yield_and_return, .arg = &result},
                                     {.fn = stay_for_ever, .arg = &stays[1]}};
    for (int i = 1; i <= 10; i++) {
        size_t winner = 9;
        ftl_assert(ftl_select(branches, 3, &winner) == 0);
        ftl_assert(winner == 1 && branches[1].returned && branches[1].result == 7);
        ftl_assert(!branches[0].returned && branches[0].result == FTL_ECANCELED);
        ftl_assert(trace->count == 2 * i); /* both defers have run, and waited */
    }
    return NULL;
}

START_TEST(the_first_to_return_wins_and_the_others_have_run_their_defers)
{
    struct trace trace = {0};
    fixture_run(one_wins, &trace);
}
END_TEST

/* Two selects take turns: of both each branch comes first about as often. */
static void *selects_in_turns(void *arg)
{
    enum { CALLS = 3000 };
    int wins[2][3] = {{0}}, result = 0;
    struct ftl_branch branches[3];
    (void)arg;
    for (int i = 0; i < 3; i++)
        branches[i] = (struct ftl_branch){.fn = return_at_once, .arg = &result};
    for (int i = 0; i < CALLS; i++) {
        for (size_t count = 2; count <= 3; count++) {
            size_t winner = 9;
            ftl_assert(ftl_select(branches, count, &winner) == 0);
            wins[count - 2][winner]++;
        }
    }
    for (int i = 0; i < 2; i++)
        ftl_assert(wins[0][i] > CALLS / 2 - CALLS / 20);
    for (int i = 0; i < 3; i++)
        ftl_assert(wins[1][i] > CALLS / 3 - CALLS / 20);
    return NULL;
}

START_TEST(the_branch_that_begins_rotates)
{
    fixture_run(selects_in_turns, NULL);
}
END_TEST

struct grant {
    struct ftl_semaphore *semaphore;
    struct ftl_channel *channel;
    struct ftl_permit permit;
    bool got;
};

static int take_permit(void *arg)
{
    struct grant *grant = arg;
    int rc = ftl_semaphore_acquire(grant->semaphore, 1, FTL_FOREVER, &grant->permit);
    grant->got = true;
    return rc;
}

static int take_message(void *arg)
{
    struct grant *grant = arg;
    void *message;
    int rc = ftl_channel_recv(grant->channel, FTL_FOREVER, &message);
    grant->got = true;
    return rc;
}

static int give_both(void *arg)
{
    struct grant *grant = arg;
    if (ftl_semaphore_available(grant->semaphore) == 0)
        ftl_semaphore_adjust(grant->semaphore, 1);
    return ftl_channel_try_send(grant->channel, grant);
}

/* The winner gives to a loser that waits, and wins before the loser runs again. */
static void *losers_are_granted(void *arg)
{
    struct grant grant = {.semaphore = ftl_semaphore_new(0), .channel = ftl_channel_new(4, NULL)};
    (void)arg;
    for (int i = 0; i < 20; i++) {
        struct ftl_branch branches[3] = {{.fn = take_permit, .arg = &grant},
                                         {.fn = take_message, .arg = &grant},
                                         {.fn = give_both, .arg = &grant}};
        size_t winner = 9;
        void *message;
        ftl_assert(ftl_select(branches, 3, &winner) == 0);
        if (winner == 2) {
            ftl_assert(!grant.got);
            ftl_assert(ftl_semaphore_available(grant.semaphore) == 1);
            ftl_assert(ftl_channel_try_recv(grant.channel, &message) == 0 && message == &grant);
        }
        ftl_permit_release(&grant.permit);
        while (ftl_channel_try_recv(grant.channel, &message) == 0)
            ;
        if (ftl_semaphore_available(grant.semaphore) == 1)
            ftl_semaphore_adjust(grant.semaphore, -1);
        grant.got = false;
    }
    ftl_semaphore_free(grant.semaphore);
    ftl_channel_unref(grant.channel);
    return NULL;
}

START_TEST(a_loser_gives_back_the_permit_and_the_message_that_it_was_granted)
{
    fixture_run(losers_are_granted, NULL);
}
END_TEST

static int finish_masked(void *arg)
{
    ftl_mask();
    ftl_assert(ftl_sleep(10 * FTL_MS) == 0);
    ftl_unmask();
    return *(int *)arg;
}

static void *loser_returns(void *arg)
{
    int results[2] = {1, 2};
    struct ftl_branch branches[2] = {{.fn = finish_masked, .arg = &results[0]},
                                     {.fn = yield_and_return, .arg = &results[1]}};
    size_t winner = 9;
    (void)arg;
    ftl_assert(ftl_select(branches, 2, &winner) == 0 && winner == 1);
    ftl_assert(branches[0].returned && branches[0].result == 1);
    return NULL;
}

START_TEST(a_loser_in_a_masked_section_ends_it_first)
{
    fixture_run(loser_returns, NULL);
}
END_TEST

/* ---- timeout ---- */

static void *times_out(void *arg)
{
    struct trace *trace = arg;
    struct stay stay = {.trace = trace, .id = 1};
    int result = 9, quick = 5;
    int64_t deadline = ftl_deadline(5 * FTL_MS);
    ftl_assert(ftl_timeout(stay_for_ever, &stay, deadline, &result) == FTL_ETIMEDOUT);
    ftl_assert(ftl_now() >= deadline && result == 9 && trace->count == 1);
    ftl_assert(ftl_timeout(yield_and_return, &quick, ftl_deadline(60 * FTL_S), &result) == 0);
    ftl_assert(result == 5);
    result = 9;
    ftl_assert(ftl_timeout(return_at_once, &quick, 0, &result) == 0 && result == 5);
    ftl_assert(ftl_timeout(wait_for_ever, NULL, 0, &result) == FTL_ETIMEDOUT);
    ftl_assert(ftl_timeout(yield_and_return, &quick, FTL_FOREVER, &result) == 0);
    return NULL;
}

START_TEST(a_timeout_cuts_off_at_the_deadline_and_not_before)
{
    struct trace trace = {0};
    fixture_run(times_out, &trace);
}
END_TEST

struct limit {
    int64_t inner, outer;
    int inner_rc;
};

static int wait_within(void *arg)
{
    struct limit *limit = arg;
    int result;
    limit->inner_rc = ftl_timeout(wait_for_ever, NULL, ftl_deadline(limit->inner), &result);
    return limit->inner_rc;
}

static void *nests_timeouts(void *arg)
{
    struct limit inner = {2 * FTL_MS, 1000 * FTL_S, 0}, outer = {1000 * FTL_S, 2 * FTL_MS, 0};
    int result = 9;
    (void)arg;
    ftl_assert(ftl_timeout(wait_within, &inner, ftl_deadline(inner.outer), &result) == 0);
    ftl_assert(result == FTL_ETIMEDOUT);
    ftl_assert(ftl_timeout(wait_within, &outer, ftl_deadline(outer.outer), &result) ==
               FTL_ETIMEDOUT);
    ftl_assert(outer.inner_rc == 0); /* it was cut off inside */
    return NULL;
}

START_TEST(timeouts_nest)
{
    fixture_run(nests_timeouts, NULL);
}
END_TEST

/* ---- abort of the task ---- */

static void time_out_in_defer(void *arg)
{
    int result, quick = 5;
    struct ftl_branch branch = {.fn = yield_and_return, .arg = &quick};
    ftl_assert(ftl_join(&branch, 1) == 0 && branch.result == 5);
    ftl_assert(ftl_timeout(wait_for_ever, NULL, ftl_deadline(FTL_MS), &result) == FTL_ETIMEDOUT);
    trace_add(arg, 9);
}

struct scene {
    struct trace trace;
    struct ftl_oneshot ready;
    struct ftl_semaphore *semaphore;
};

static int say_ready(void *arg)
{
    struct scene *scene = arg;
    ftl_assert(ftl_yield() == 0); /* the inner branches of the other one begin */
    ftl_oneshot_send(&scene->ready, NULL);
    ftl_sleep(1000 * FTL_S);
    ftl_panic("it sleeps no longer");
}

static int stay_in_two(void *arg)
{
    struct scene *scene = arg;
    struct stay own = {&scene->trace, 3}, stays[2] = {{&scene->trace, 1}, {&scene->trace, 1}};
    FTL_DEFER(stay_defer, &own);
    struct ftl_branch branches[2] = {{.fn = stay_for_ever, .arg = &stays[0]},
                                     {.fn = stay_for_ever, .arg = &stays[1]}};
    ftl_join(branches, 2);
    ftl_panic("it stays no longer");
}

static void *stays_in_a_tree(void *arg)
{
    struct scene *scene = arg;
    struct stay own = {&scene->trace, 5};
    FTL_DEFER(stay_defer, &own);
    FTL_DEFER(time_out_in_defer, &scene->trace);
    struct ftl_branch branches[2] = {{.fn = stay_in_two, .arg = scene},
                                     {.fn = say_ready, .arg = scene}};
    size_t winner;
    ftl_select(branches, 2, &winner);
    ftl_panic("it stays no longer");
}

START_TEST(an_abort_unwinds_branches_innermost_first_then_the_caller)
{
    struct scene scene = {0};
    void *nothing;
    ftl_oneshot_init(&scene.ready);
    struct ftl_task *task = fixture_spawn(stays_in_a_tree, &scene);
    ck_assert_int_eq(ftl_oneshot_recv(&scene.ready, FTL_FOREVER, &nothing), 0);
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    trace_is(&scene.trace, (const int[]){1, 1, 3, 9, 5}, 5);
}
END_TEST

static int wait_is_cancelled(void *arg)
{
    struct scene *scene = arg;
    struct ftl_permit permit = {0};
    ftl_assert(ftl_semaphore_acquire(scene->semaphore, 1, FTL_FOREVER, &permit) == FTL_ECANCELED);
    ftl_assert(ftl_yield() == FTL_ECANCELED);
    trace_add(&scene->trace, 1);
    return 4;
}

static int join_is_not_cut(void *arg)
{
    struct scene *scene = arg;
    struct ftl_branch branches[2] = {{.fn = wait_is_cancelled, .arg = scene},
                                     {.fn = wait_is_cancelled, .arg = scene}};
    ftl_assert(ftl_join(branches, 2) == 0); /* both came to their ends */
    ftl_assert(branches[0].result == 4 && branches[1].result == 4);
    ftl_assert(ftl_join(branches, 2) == FTL_ECANCELED); /* and now nothing begins */
    ftl_assert(!branches[0].returned && branches[0].result == FTL_ECANCELED);
    return 3;
}

static int ready_then_cancelled(void *arg)
{
    struct scene *scene = arg;
    ftl_assert(ftl_yield() == 0); /* the inner branches begin */
    ftl_oneshot_send(&scene->ready, NULL);
    return wait_is_cancelled(arg);
}

static void *uses_the_grace(void *arg)
{
    struct ftl_branch branches[2] = {{.fn = join_is_not_cut, .arg = arg},
                                     {.fn = ready_then_cancelled, .arg = arg}};
    ftl_assert(ftl_join(branches, 2) == 0);
    ftl_assert(branches[0].result == 3 && branches[1].result == 4);
    return arg;
}

START_TEST(during_the_grace_every_wait_of_every_branch_returns_cancelled)
{
    struct scene scene = {.semaphore = ftl_semaphore_new(0)};
    void *nothing;
    ftl_oneshot_init(&scene.ready);
    struct ftl_task *task = fixture_spawn(uses_the_grace, &scene);
    ck_assert_int_eq(ftl_oneshot_recv(&scene.ready, FTL_FOREVER, &nothing), 0);
    ftl_abort(task, 1000 * FTL_S);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    ck_assert_int_eq(scene.trace.count, 3);
    ftl_semaphore_free(scene.semaphore);
}
END_TEST

static int abort_oneself(void *arg)
{
    ftl_abort(ftl_task_current(), *(int64_t *)arg);
    return 0;
}

static int must_not_begin(void *arg)
{
    (void)arg;
    ftl_panic("it begins");
}

static void *aborts_before_the_rest(void *arg)
{
    struct ftl_branch branches[2] = {{.fn = abort_oneself, .arg = arg}, {.fn = must_not_begin}};
    size_t failed = 9;
    ftl_assert(ftl_try_join(branches, 2, &failed) == FTL_ECANCELED);
    ftl_assert(failed == 2 && branches[0].returned && !branches[1].returned);
    ftl_assert(branches[1].result == FTL_ECANCELED);
    return arg;
}

START_TEST(branches_that_have_not_begun_never_do_after_an_abort)
{
    int64_t graces[2] = {0, 1000 * FTL_S};
    ck_assert_int_eq(fixture_join(fixture_spawn(aborts_before_the_rest, &graces[0])),
                     FTL_CANCELLED);
    ck_assert_int_eq(fixture_join(fixture_spawn(aborts_before_the_rest, &graces[1])),
                     FTL_COMPLETED);
}
END_TEST

static int give_and_abort(void *arg)
{
    struct scene *scene = arg;
    ftl_semaphore_adjust(scene->semaphore, 1);
    ftl_abort(ftl_task_current(), 0);
    return 0;
}

static int take_with_a_defer(void *arg)
{
    struct scene *scene = arg;
    struct stay stay = {&scene->trace, 1};
    FTL_DEFER(stay_defer, &stay);
    FTL_PERMIT(permit);
    ftl_semaphore_acquire(scene->semaphore, 1, FTL_FOREVER, &permit);
    ftl_panic("it has the permit");
}

static void *aborts_a_ready_one(void *arg)
{
    struct ftl_branch branches[2] = {{.fn = take_with_a_defer, .arg = arg},
                                     {.fn = give_and_abort, .arg = arg}};
    ftl_join(branches, 2);
    ftl_panic("it goes on");
}

START_TEST(a_branch_that_is_ready_when_the_abort_comes_gives_back_its_permit)
{
    struct scene scene = {.semaphore = ftl_semaphore_new(0)};
    ck_assert_int_eq(fixture_join(fixture_spawn(aborts_a_ready_one, &scene)), FTL_CANCELLED);
    ck_assert_uint_eq(ftl_semaphore_available(scene.semaphore), 1);
    trace_is(&scene.trace, (const int[]){1}, 1);
    ftl_semaphore_free(scene.semaphore);
}
END_TEST

static void slow_defer(void *arg)
{
    struct scene *scene = arg;
    ftl_oneshot_send(&scene->ready, NULL);
    ftl_assert(ftl_sleep(20 * FTL_MS) == 0);
    trace_add(&scene->trace, 1);
}

static int end_slowly(void *arg)
{
    FTL_DEFER(slow_defer, arg);
    return 0;
}

static void *ends_slowly(void *arg)
{
    struct ftl_branch branches[2] = {{.fn = end_slowly, .arg = arg}, {.fn = wait_for_ever}};
    ftl_try_join(branches, 2, NULL);
    ftl_panic("it goes on");
}

START_TEST(an_abort_waits_for_a_defer_that_a_branch_is_in)
{
    struct scene scene = {0};
    void *nothing;
    ftl_oneshot_init(&scene.ready);
    struct ftl_task *task = fixture_spawn(ends_slowly, &scene);
    ck_assert_int_eq(ftl_oneshot_recv(&scene.ready, FTL_FOREVER, &nothing), 0);
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    trace_is(&scene.trace, (const int[]){1}, 1);
}
END_TEST

static int sleep_a_little(void *arg)
{
    ftl_oneshot_send(arg, NULL);
    ftl_assert(ftl_sleep(20 * FTL_MS) == 0);
    return 6;
}

static void *joins_masked(void *arg)
{
    struct ftl_branch branch = {.fn = sleep_a_little, .arg = arg};
    int result;
    ftl_mask();
    ftl_assert(ftl_join(&branch, 1) == 0 && branch.result == 6);
    ftl_assert(ftl_timeout(wait_for_ever, NULL, ftl_deadline(FTL_MS), &result) == FTL_ETIMEDOUT);
    ftl_unmask();
    ftl_sleep(1000 * FTL_S);
    ftl_panic("it goes on");
}

START_TEST(a_masked_call_is_masked_as_a_whole_and_a_timeout_in_it_works)
{
    struct ftl_oneshot ready;
    void *nothing;
    ftl_oneshot_init(&ready);
    struct ftl_task *task = fixture_spawn(joins_masked, &ready);
    ck_assert_int_eq(ftl_oneshot_recv(&ready, FTL_FOREVER, &nothing), 0);
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
}
END_TEST

/* ---- the budget ---- */

static int take_turns_for_ever(void *arg)
{
    struct scene *scene = arg;
    while (atomic_load(&steps) == 0) {
        FTL_PERMIT(permit);
        ftl_assert(ftl_semaphore_acquire(scene->semaphore, 1, FTL_FOREVER, &permit) == 0);
    }
    return 0;
}

static void *runs_hot(void *arg)
{
    struct ftl_branch branches[3];
    for (int i = 0; i < 3; i++)
        branches[i] = (struct ftl_branch){.fn = take_turns_for_ever, .arg = arg};
    ftl_assert(ftl_join(branches, 3) == 0);
    return NULL;
}

static void *stops_it(void *arg)
{
    count_step(arg);
    return NULL;
}

START_TEST(branches_whose_operations_are_always_ready_let_other_tasks_run)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *runtime;
    struct ftl_task *hot, *stopper;
    struct scene scene = {.semaphore = ftl_semaphore_new(3)};
    reset();
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, runs_hot, &scene, NULL, &hot), 0);
    ck_assert_int_eq(ftl_spawn(runtime, stops_it, &scene, NULL, &stopper), 0);
    ck_assert_int_eq(fixture_join(stopper), FTL_COMPLETED);
    ck_assert_int_eq(fixture_join(hot), FTL_COMPLETED);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
    ftl_semaphore_free(scene.semaphore);
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, the_first_to_return_wins_and_the_others_have_run_their_defers);
    FIXTURE_CASE(suite, the_branch_that_begins_rotates);
    FIXTURE_CASE(suite, a_loser_gives_back_the_permit_and_the_message_that_it_was_granted);
    FIXTURE_CASE(suite, a_loser_in_a_masked_section_ends_it_first);
    FIXTURE_CASE(suite, a_timeout_cuts_off_at_the_deadline_and_not_before);
    FIXTURE_CASE(suite, timeouts_nest);
    FIXTURE_CASE(suite, an_abort_unwinds_branches_innermost_first_then_the_caller);
    FIXTURE_CASE(suite, during_the_grace_every_wait_of_every_branch_returns_cancelled);
    FIXTURE_CASE(suite, branches_that_have_not_begun_never_do_after_an_abort);
    FIXTURE_CASE(suite, a_branch_that_is_ready_when_the_abort_comes_gives_back_its_permit);
    FIXTURE_CASE(suite, an_abort_waits_for_a_defer_that_a_branch_is_in);
    FIXTURE_CASE(suite, a_masked_call_is_masked_as_a_whole_and_a_timeout_in_it_works);
    UNIT_CASE(suite, branches_whose_operations_are_always_ready_let_other_tasks_run);
}

UNIT_MAIN("select", add_cases)
