/* SPDX-License-Identifier: MIT
 *
 * Branches that run to their ends: their order, their stacks, what they leave, how they fail. */
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fettle/join.h>
#include <fettle/semaphore.h>

#include "tests/unit/branch.h"

/* ---- order and stacks ---- */

struct note {
    struct trace *trace;
    int id;
    int waits;
};

static int note_and_yield(void *arg)
{
    struct note *note = arg;
    trace_add(note->trace, note->id);
    for (int i = 1; i <= note->waits; i++) {
        ftl_assert(ftl_yield() == 0);
        trace_add(note->trace, note->id + 10 * i);
    }
    return note->id;
}

static void *joins_in_order(void *arg)
{
    struct trace *trace = arg;
    struct note notes[3] = {{trace, 1, 2}, {trace, 2, 0}, {trace, 3, 1}};
    struct ftl_branch branches[3] = {{.fn = note_and_yield, .arg = &notes[0]},
                                     {.fn = note_and_yield, .arg = &notes[1]},
                                     {.fn = note_and_yield, .arg = &notes[2]}};
    ftl_assert(ftl_join(branches, 3) == 0);
    for (int i = 0; i < 3; i++)
        ftl_assert(branches[i].returned && branches[i].result == i + 1);
    return NULL;
}

START_TEST(branches_begin_in_order_and_take_turns)
{
    struct trace trace = {0};
    fixture_run(joins_in_order, &trace);
    trace_is(&trace, (const int[]){1, 2, 3, 11, 13, 21}, 6);
}
END_TEST

/* The counter has no atomics and the branches yield between its load and its store's neighbours: a
 * branch that ran in parallel would lose counts. */
enum { COUNTS = 20000, COUNTERS = 4 };

struct counter {
    long count;
    pid_t thread;
    bool moved;
};

static int count_up(void *arg)
{
    struct counter *counter = arg;
    for (int i = 0; i < COUNTS; i++) {
        counter->count++;
        if (i % 16 == 0) {
            ftl_assert(ftl_yield() == 0);
            counter->moved |= (pid_t)syscall(SYS_gettid) != counter->thread;
        }
    }
    return 0;
}

static void *counts_without_atomics(void *arg)
{
    struct counter *counter = arg;
    struct ftl_branch branches[COUNTERS];
    counter->thread = (pid_t)syscall(SYS_gettid);
    for (int i = 0; i < COUNTERS; i++)
        branches[i] = (struct ftl_branch){.fn = count_up, .arg = counter};
    ftl_assert(ftl_join(branches, COUNTERS) == 0);
    return NULL;
}

START_TEST(branches_never_run_in_parallel_and_stay_on_one_thread)
{
    struct counter counters[4] = {{0}};
    struct ftl_task *tasks[4];
    for (int i = 0; i < 4; i++)
        tasks[i] = fixture_spawn(counts_without_atomics, &counters[i]);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
        ck_assert_int_eq(counters[i].count, COUNTS * COUNTERS);
        ck_assert(!counters[i].moved);
    }
}
END_TEST

START_TEST(branches_of_a_migratable_task_never_run_in_parallel)
{
    struct counter counters[8] = {{0}};
    struct ftl_task *tasks[8];
    const struct ftl_spawn_options options = {.migratable = true};
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(ftl_spawn(fixture_runtime, counts_without_atomics, &counters[i], &options,
                                   &tasks[i]), 0);
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
        ck_assert_int_eq(counters[i].count, COUNTS * COUNTERS);
    }
}
END_TEST

static int where(void *arg)
{
    char local;
    *(uintptr_t *)arg = (uintptr_t)&local;
    return 0;
}

static int where_and_yield(void *arg)
{
    where(arg);
    return ftl_yield();
}

static uintptr_t distance(uintptr_t a, uintptr_t b)
{
    return a > b ? a - b : b - a;
}

static void *shares_a_stack(void *arg)
{
    enum { SMALL = 1024 };
    uintptr_t places[4] = {0}, here = (uintptr_t)&places;
    struct ftl_branch branches[4];
    (void)arg;
    for (int i = 0; i < 4; i++)
        branches[i] =
            (struct ftl_branch){.fn = i == 2 ? where_and_yield : where, .arg = &places[i]};
    ftl_assert(ftl_join(branches, 4) == 0);
    ftl_assert(places[0] == places[1]);
    ftl_assert(distance(places[0], places[2]) < SMALL);
    ftl_assert(distance(places[2], places[3]) > SMALL); /* the third was waiting on it */
    ftl_assert(distance(here, places[0]) > SMALL);
    return NULL;
}

START_TEST(branches_that_do_not_wait_share_a_stack)
{
    fixture_run(shares_a_stack, NULL);
}
END_TEST

/* ---- woken from outside ---- */

struct gate {
    struct ftl_oneshot oneshot;
    struct trace *trace;
    int id;
};

static int pass_gate(void *arg)
{
    struct gate *gate = arg;
    void *value;
    ftl_assert(ftl_oneshot_recv(&gate->oneshot, FTL_FOREVER, &value) == 0);
    trace_add(gate->trace, gate->id);
    return 0;
}

struct opener {
    struct gate *gates;
    const int *order;
    int count;
};

static void *open_gates(void *arg)
{
    struct opener *opener = arg;
    for (int i = 0; i < opener->count; i++)
        ftl_oneshot_send(&opener->gates[opener->order[i]].oneshot, NULL);
    return NULL;
}

static int open_from_a_branch(void *arg)
{
    open_gates(arg);
    return 0;
}

static const int opening_order[] = {3, 0, 2, 4, 1};

/* A branch and a task open the gates while nobody can pass: on one worker each runs to its end. */
static void *waits_at_gates(void *arg)
{
    struct trace *trace = arg;
    struct gate gates[5];
    struct opener opener = {gates, opening_order, 5};
    struct ftl_branch branches[6];
    for (int outside = 0; outside < 2; outside++) {
        for (int i = 0; i < 5; i++) {
            gates[i].trace = trace;
            gates[i].id = i;
            ftl_oneshot_init(&gates[i].oneshot);
            branches[i] = (struct ftl_branch){.fn = pass_gate, .arg = &gates[i]};
        }
        branches[5] = (struct ftl_branch){.fn = open_from_a_branch, .arg = &opener};
        if (outside)
            ftl_assert(ftl_spawn(ftl_runtime_current(), open_gates, &opener, NULL, NULL) == 0);
        ftl_assert(ftl_join(branches, outside ? 5 : 6) == 0);
    }
    return NULL;
}

START_TEST(branches_go_on_in_the_order_in_which_they_were_woken)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    struct trace trace = {0};
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, waits_at_gates, &trace, NULL, &task), 0);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    trace_is(&trace, (const int[]){3, 0, 2, 4, 1, 3, 0, 2, 4, 1}, 10);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

struct sleeper {
    int64_t ns;
    int result;
};

static int sleep_for(void *arg)
{
    struct sleeper *sleeper = arg;
    ftl_assert(ftl_sleep(sleeper->ns) == 0);
    return sleeper->result;
}

static void *sleeps_together(void *arg)
{
    enum { SLEEPERS = 50 };
    struct sleeper sleeper = {20 * FTL_MS, 7};
    struct ftl_branch branches[SLEEPERS];
    int64_t *ret_elapsed = arg, start = ftl_now();
    for (int i = 0; i < SLEEPERS; i++)
        branches[i] = (struct ftl_branch){.fn = sleep_for, .arg = &sleeper};
    ftl_assert(ftl_join(branches, SLEEPERS) == 0);
    *ret_elapsed = ftl_now() - start;
    for (int i = 0; i < SLEEPERS; i++)
        ftl_assert(branches[i].result == 7);
    return NULL;
}

START_TEST(branches_wait_concurrently)
{
    int64_t elapsed;
    fixture_run(sleeps_together, &elapsed);
    ck_assert_int_ge(elapsed, 20 * FTL_MS);
    ck_assert_int_lt(elapsed, unit_limit(50 * 20 * FTL_MS));
}
END_TEST

/* ---- nested, many, none ---- */

struct tree {
    int depth;
    long *leaves;
};

static int grow(void *arg)
{
    const struct tree *tree = arg;
    if (tree->depth == 0) {
        ftl_assert(ftl_yield() == 0);
        ++*tree->leaves;
        return 1;
    }
    struct tree below = {tree->depth - 1, tree->leaves};
    struct ftl_branch branches[3];
    int sum = 0;
    for (int i = 0; i < 3; i++)
        branches[i] = (struct ftl_branch){.fn = grow, .arg = &below};
    ftl_assert(ftl_join(branches, 3) == 0);
    for (int i = 0; i < 3; i++)
        sum += branches[i].result;
    return sum;
}

static void *grows(void *arg)
{
    long leaves = 0;
    struct tree tree = {5, &leaves};
    (void)arg;
    ftl_assert(grow(&tree) == 243);
    ftl_assert(leaves == 243);
    return NULL;
}

START_TEST(joins_nest)
{
    fixture_run(grows, NULL);
}
END_TEST

static void *joins_many(void *arg)
{
    int count = *(int *)arg;
    long sum = 0;
    struct tree leaf = {0, &sum};
    struct ftl_branch *branches = calloc((size_t)count, sizeof *branches);
    ftl_assert(branches);
    for (int i = 0; i < count; i++)
        branches[i] = (struct ftl_branch){.fn = grow, .arg = &leaf};
    ftl_assert(ftl_join(branches, (size_t)count) == 0);
    ftl_assert(sum == count);
    free(branches);
    return NULL;
}

START_TEST(ten_thousand_branches)
{
    int count = 10000 / unit_slow(); /* TSan bears some 8,000 stacks */
    fixture_run(joins_many, &count);
}
END_TEST

static void *joins_nothing(void *arg)
{
    size_t winner = 9, failed = 9;
    (void)arg;
    ftl_assert(ftl_join(NULL, 0) == 0);
    ftl_assert(ftl_try_join(NULL, 0, &failed) == 0 && failed == 9);
    ftl_assert(ftl_select(NULL, 0, &winner) == FTL_EINVAL && winner == 9);
    return NULL;
}

START_TEST(no_branches)
{
    fixture_run(joins_nothing, NULL);
}
END_TEST

static int must_not_run(void *arg)
{
    (void)arg;
    ftl_panic("it runs");
}

START_TEST(a_foreign_thread_is_refused_and_nothing_runs)
{
    struct ftl_branch branch = {.fn = must_not_run, .result = 5};
    size_t index = 9;
    int result = 9;
    ck_assert_int_eq(ftl_join(&branch, 1), FTL_EINVAL);
    ck_assert_int_eq(ftl_try_join(&branch, 1, &index), FTL_EINVAL);
    ck_assert_int_eq(ftl_select(&branch, 1, &index), FTL_EINVAL);
    ck_assert_int_eq(ftl_timeout(must_not_run, NULL, ftl_deadline(FTL_S), &result), FTL_EINVAL);
    ck_assert_uint_eq(index, 9);
    ck_assert_int_eq(result, 9);
    ck_assert_int_eq(branch.result, 5);
}
END_TEST

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
    FIXTURE_CASE(suite, branches_begin_in_order_and_take_turns);
    FIXTURE_CASE(suite, branches_never_run_in_parallel_and_stay_on_one_thread);
    FIXTURE_CASE(suite, branches_of_a_migratable_task_never_run_in_parallel);
    FIXTURE_CASE(suite, branches_that_do_not_wait_share_a_stack);
    UNIT_CASE(suite, branches_go_on_in_the_order_in_which_they_were_woken);
    FIXTURE_CASE(suite, branches_wait_concurrently);
    FIXTURE_CASE(suite, joins_nest);
    FIXTURE_CASE(suite, ten_thousand_branches);
    FIXTURE_CASE(suite, no_branches);
    FIXTURE_CASE(suite, a_foreign_thread_is_refused_and_nothing_runs);
    FIXTURE_CASE(suite, try_join_returns_at_the_first_error_after_the_defers_of_the_others);
    FIXTURE_CASE(suite, branches_that_have_not_begun_never_do_after_an_error);
    FIXTURE_CASE(suite, try_join_without_an_error_is_join);
    FIXTURE_CASE(suite, a_branch_leaves_its_permits_to_the_caller);
    FIXTURE_CASE(suite, a_branch_may_release_what_the_caller_holds);
    FIXTURE_CASE(suite, a_panic_in_a_branch_aborts_its_siblings_and_then_the_task);
    FIXTURE_CASE(suite, a_panic_comes_out_of_nested_joins_innermost_first);
    FIXTURE_CASE(suite, a_panic_waits_for_the_masked_section_of_a_sibling);
    FIXTURE_CASE(suite, a_panic_in_a_defer_of_an_aborted_branch_is_the_tasks);
    FIXTURE_CASE(suite, the_first_panic_of_several_branches_is_kept);
}

UNIT_MAIN("join", add_cases)
