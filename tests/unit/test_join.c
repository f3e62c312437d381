/* SPDX-License-Identifier: MIT
 *
 * Branches that run to their ends: their order, their stacks, who wakes them. */
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
}

UNIT_MAIN("join", add_cases)
