/* SPDX-License-Identifier: MIT
 *
 * Branches that fail: errors, panics, and what a branch leaves to its caller. */
#include <stdio.h>
#include <string.h>

#include <fettle/join.h>
#include <fettle/semaphore.h>

#include "tests/unit/branch.h"

/* ---- try_join ---- */

static int fails(void *arg)
{
    (void)arg;
    return FTL_EPROTO;
}

static int yield_and_fail(void *arg)
{
    ftl_assert(ftl_yield() == 0);
    return fails(arg);
}

static void *first_error(void *arg)
{
    struct trace *trace = arg;
    struct stay stay = {.trace = trace, .id = 1};
    struct ftl_branch branches[4] = {{.fn = stay_for_ever, .arg = &stay},
                                     {.fn = yield_and_fail},
                                     {.fn = sleep_for, .arg = &(struct sleeper){0, 3}},
                                     {.fn = yield_and_fail}};
    size_t failed = 9;
    ftl_assert(ftl_try_join(branches, 4, &failed) == FTL_EPROTO);
    ftl_assert(failed == 1);
    trace_add(trace, 100); /* the defer has run before */
    ftl_assert(!branches[0].returned && branches[0].result == FTL_ECANCELED);
    ftl_assert(branches[1].returned && branches[1].result == FTL_EPROTO);
    return NULL;
}

START_TEST(try_join_returns_at_the_first_error_after_the_defers_of_the_others)
{
    struct trace trace = {0};
    fixture_run(first_error, &trace);
    trace_is(&trace, (const int[]){1, 100}, 2);
}
END_TEST

static int abort_and_fail(void *arg)
{
    ftl_mask(); /* it has begun, and so it ends */
    ftl_abort(ftl_task_current(), 60 * FTL_S);
    ftl_sleep(FTL_MS); /* the join hears of it */
    ftl_unmask();
    return fails(arg);
}

static void *abort_before_the_error(void *arg)
{
    struct ftl_branch branches[2] = {{.fn = abort_and_fail}, {.fn = must_not_run}};
    size_t failed = 9;
    (void)arg;
    ftl_assert(ftl_try_join(branches, 2, &failed) == FTL_ECANCELED);
    ftl_assert(failed == 2);
    ftl_assert(branches[0].returned && branches[0].result == FTL_EPROTO);
    ftl_assert(!branches[1].returned && branches[1].result == FTL_ECANCELED);
    return NULL;
}

START_TEST(an_abort_is_no_branch_that_failed)
{
    fixture_run(abort_before_the_error, NULL);
}
END_TEST

static void *error_before_the_rest(void *arg)
{
    struct ftl_branch branches[3] = {
        {.fn = sleep_for, .arg = &(struct sleeper){-1, 3}}, {.fn = fails}, {.fn = must_not_run}};
    (void)arg;
    ftl_assert(ftl_try_join(branches, 3, NULL) == FTL_EPROTO);
    ftl_assert(!branches[2].returned && branches[2].result == FTL_ECANCELED);
    return NULL;
}

START_TEST(branches_that_have_not_begun_never_do_after_an_error)
{
    fixture_run(error_before_the_rest, NULL);
}
END_TEST

static void *no_error(void *arg)
{
    struct ftl_branch branches[2] = {{.fn = sleep_for, .arg = &(struct sleeper){FTL_MS, 3}},
                                     {.fn = sleep_for, .arg = &(struct sleeper){0, 0}}};
    size_t failed = 9;
    (void)arg;
    ftl_assert(ftl_try_join(branches, 2, &failed) == 0 && failed == 9);
    ftl_assert(branches[0].result == 3 && branches[1].result == 0);
    return NULL;
}

START_TEST(try_join_without_an_error_is_join)
{
    fixture_run(no_error, NULL);
}
END_TEST

/* ---- what a branch leaves ---- */

struct taking {
    struct ftl_semaphore *semaphore;
    struct ftl_permit permit;
};

static int take_a_permit(void *arg)
{
    struct taking *taking = arg;
    return ftl_semaphore_acquire(taking->semaphore, 1, FTL_FOREVER, &taking->permit);
}

static void *takes_permits(void *arg)
{
    struct ftl_semaphore *semaphore = arg;
    struct taking takings[2] = {{.semaphore = semaphore}, {.semaphore = semaphore}};
    struct ftl_branch branches[2] = {{.fn = take_a_permit, .arg = &takings[0]},
                                     {.fn = take_a_permit, .arg = &takings[1]}};
    ftl_assert(ftl_join(branches, 2) == 0);
    ftl_assert(ftl_semaphore_available(semaphore) == 1);
    ftl_permit_release(&takings[0].permit);
    ftl_assert(ftl_semaphore_available(semaphore) == 2);
    ftl_panic("with one permit");
}

START_TEST(a_branch_leaves_its_permits_to_the_caller)
{
    struct ftl_semaphore *semaphore = ftl_semaphore_new(3);
    ck_assert_int_eq(fixture_join(fixture_spawn(takes_permits, semaphore)), FTL_PANICKED);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 3);
    ftl_semaphore_free(semaphore);
}
END_TEST

static int release_a_permit(void *arg)
{
    ftl_permit_release(arg);
    return ftl_yield();
}

static void *releases_in_a_branch(void *arg)
{
    struct ftl_semaphore *semaphore = arg;
    FTL_PERMIT(permit);
    ftl_assert(ftl_semaphore_acquire(semaphore, 1, FTL_FOREVER, &permit) == 0);
    struct ftl_branch branch = {.fn = release_a_permit, .arg = &permit};
    ftl_assert(ftl_join(&branch, 1) == 0);
    ftl_assert(ftl_semaphore_available(semaphore) == 3);
    return NULL;
}

START_TEST(a_branch_may_release_what_the_caller_holds)
{
    struct ftl_semaphore *semaphore = ftl_semaphore_new(3);
    fixture_run(releases_in_a_branch, semaphore);
    ftl_semaphore_free(semaphore);
}
END_TEST

/* ---- panics ---- */

static const char *here = "here", *beside = "beside", *first = "first";

static int panic_later(void *arg)
{
    ftl_assert(ftl_sleep(FTL_MS) == 0);
    ftl_panic("planned %s", *(const char **)arg);
}

static void *panics_in_a_branch(void *arg)
{
    struct trace *trace = arg;
    struct stay stay = {.trace = trace, .id = 1}, guard = {.trace = trace, .id = 2};
    FTL_DEFER(stay_defer, &guard);
    struct ftl_branch branches[2] = {{.fn = stay_for_ever, .arg = &stay},
                                     {.fn = panic_later, .arg = &here}};
    ftl_join(branches, 2);
    trace_add(trace, 100);
    return NULL;
}

static bool names(const struct ftl_panic *panic, const char *function)
{
    static char text[16384];
    ftl_panic_format(panic, text, sizeof text);
    return strstr(text, function) != NULL;
}

START_TEST(a_panic_in_a_branch_aborts_its_siblings_and_then_the_task)
{
    struct trace trace = {0};
    struct ftl_outcome outcome = join(fixture_spawn(panics_in_a_branch, &trace));
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    ck_assert_str_eq(outcome.panic->message, "planned here");
    ck_assert_uint_ge(outcome.panic->frame_count, 4);
    ck_assert(names(outcome.panic, "ftl_join")); /* the caller's frames follow the branch's */
    trace_is(&trace, (const int[]){1, 2}, 2);
    ftl_outcome_clear(&outcome);
}
END_TEST

static int join_within(void *arg)
{
    panics_in_a_branch(arg);
    return 0;
}

static void *panics_deep_inside(void *arg)
{
    struct trace *trace = arg;
    struct stay stay = {.trace = trace, .id = 3};
    struct ftl_branch branches[2] = {{.fn = stay_for_ever, .arg = &stay},
                                     {.fn = join_within, .arg = trace}};
    size_t winner;
    ftl_select(branches, 2, &winner);
    trace_add(trace, 100);
    return NULL;
}

START_TEST(a_panic_comes_out_of_nested_joins_innermost_first)
{
    struct trace trace = {0};
    struct ftl_outcome outcome = join(fixture_spawn(panics_deep_inside, &trace));
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    ck_assert_str_eq(outcome.panic->message, "planned here");
    trace_is(&trace, (const int[]){1, 2, 3}, 3);
    ftl_outcome_clear(&outcome);
}
END_TEST

static int stay_masked(void *arg)
{
    struct trace *trace = arg;
    ftl_mask();
    ftl_assert(ftl_sleep(20 * FTL_MS) == 0);
    trace_add(trace, 5);
    ftl_unmask();
    ftl_sleep(1000 * FTL_S);
    trace_add(trace, 100);
    return 0;
}

static void *panics_beside_a_mask(void *arg)
{
    struct ftl_branch branches[2] = {{.fn = stay_masked, .arg = arg},
                                     {.fn = panic_later, .arg = &beside}};
    ftl_join(branches, 2);
    trace_add(arg, 100);
    return NULL;
}

START_TEST(a_panic_waits_for_the_masked_section_of_a_sibling)
{
    struct trace trace = {0};
    struct ftl_outcome outcome = join(fixture_spawn(panics_beside_a_mask, &trace));
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    ck_assert_str_eq(outcome.panic->message, "planned beside");
    trace_is(&trace, (const int[]){5}, 1);
    ftl_outcome_clear(&outcome);
}
END_TEST

static void panic_in_defer(void *arg)
{
    (void)arg;
    ftl_panic("of the defer");
}

static int stay_with_a_bad_defer(void *arg)
{
    struct trace *trace = arg;
    struct stay stay = {.trace = trace, .id = 1};
    FTL_DEFER(stay_defer, &stay);
    FTL_DEFER(panic_in_defer, NULL);
    ftl_sleep(1000 * FTL_S);
    return 0;
}

static void *aborts_a_bad_defer(void *arg)
{
    struct ftl_branch branches[2] = {{.fn = stay_with_a_bad_defer, .arg = arg},
                                     {.fn = yield_and_fail}};
    ftl_try_join(branches, 2, NULL);
    trace_add(arg, 100);
    return NULL;
}

START_TEST(a_panic_in_a_defer_of_an_aborted_branch_is_the_tasks)
{
    struct trace trace = {0};
    struct ftl_outcome outcome = join(fixture_spawn(aborts_a_bad_defer, &trace));
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    ck_assert_str_eq(outcome.panic->message, "of the defer");
    trace_is(&trace, (const int[]){1}, 1); /* the other defer of that branch ran */
    ftl_outcome_clear(&outcome);
}
END_TEST

static void *panics_twice(void *arg)
{
    struct ftl_branch branches[2] = {{.fn = stay_with_a_bad_defer, .arg = arg},
                                     {.fn = panic_later, .arg = &first}};
    ftl_join(branches, 2);
    return NULL;
}

START_TEST(the_first_panic_of_several_branches_is_kept)
{
    struct trace trace = {0};
    struct ftl_outcome outcome = join(fixture_spawn(panics_twice, &trace));
    ck_assert_str_eq(outcome.panic->message, "planned first");
    trace_is(&trace, (const int[]){1}, 1);
    ftl_outcome_clear(&outcome);
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, try_join_returns_at_the_first_error_after_the_defers_of_the_others);
    FIXTURE_CASE(suite, branches_that_have_not_begun_never_do_after_an_error);
    FIXTURE_CASE(suite, try_join_without_an_error_is_join);
    FIXTURE_CASE(suite, an_abort_is_no_branch_that_failed);
    FIXTURE_CASE(suite, a_branch_leaves_its_permits_to_the_caller);
    FIXTURE_CASE(suite, a_branch_may_release_what_the_caller_holds);
    FIXTURE_CASE(suite, a_panic_in_a_branch_aborts_its_siblings_and_then_the_task);
    FIXTURE_CASE(suite, a_panic_comes_out_of_nested_joins_innermost_first);
    FIXTURE_CASE(suite, a_panic_waits_for_the_masked_section_of_a_sibling);
    FIXTURE_CASE(suite, a_panic_in_a_defer_of_an_aborted_branch_is_the_tasks);
    FIXTURE_CASE(suite, the_first_panic_of_several_branches_is_kept);
}

UNIT_MAIN("try_join", add_cases)
