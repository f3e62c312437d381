/* SPDX-License-Identifier: MIT
 *
 * Defers and panics: what runs when a task leaves a block, or ends before its end. */
#include <sched.h>
#include <string.h>

#include "tests/unit/counted.h"

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

static void panic_in_arg_free(void *arg)
{
    count_free(arg);
    ftl_panic("in arg_free");
}

/* The task's own end: it panics there, what it returned is freed, and nothing runs twice. */
START_TEST(a_panic_in_arg_free_is_the_outcome)
{
    const struct ftl_spawn_options options = {.arg_free = panic_in_arg_free,
                                              .value_free = count_free};
    struct ftl_task *task;
    reset();
    ck_assert_int_eq(ftl_spawn(fixture_runtime, identity, &steps, &options, &task), 0);
    struct ftl_outcome outcome = join(task);
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    ck_assert_str_eq(outcome.panic->message, "in arg_free");
    ck_assert_ptr_null(outcome.value);
    ck_assert_int_eq(atomic_load(&freed), 2);
    ftl_outcome_clear(&outcome);
}
END_TEST

static void *panic_at_length(void *arg)
{
    (void)arg;
    ftl_panic("%0*d", 2 * FTL_PANIC_MESSAGE, 7);
}

START_TEST(a_message_is_cut_at_its_limit)
{
    struct ftl_outcome outcome = join(spawn_with(panic_at_length, NULL, false));
    ck_assert_uint_eq(strlen(outcome.panic->message), FTL_PANIC_MESSAGE - 1);
    char text[64] = "?";
    ck_assert_uint_eq(ftl_panic_format(outcome.panic, text, 0), 0);
    ck_assert_str_eq(text, "?");
    ck_assert_uint_eq(ftl_panic_format(outcome.panic, text, 1), 0); /* whole lines only */
    ck_assert_str_eq(text, "");
    ftl_outcome_clear(&outcome);
    ftl_outcome_clear(&outcome);
}
END_TEST

static void *fail_an_assertion(void *arg)
{
    ftl_assert(arg == &steps);
    return arg;
}

START_TEST(a_failed_assertion_is_a_panic_that_says_where)
{
    ck_assert_int_eq(fixture_join(fixture_spawn(fail_an_assertion, &steps)), FTL_COMPLETED);
    struct ftl_outcome outcome = join(spawn_with(fail_an_assertion, NULL, false));
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    ck_assert_ptr_nonnull(strstr(outcome.panic->message, "arg == &steps"));
    ck_assert_ptr_nonnull(strstr(outcome.panic->message, "test_defer.c:"));
    ftl_outcome_clear(&outcome);
}
END_TEST

static void arm_another(void *arg)
{
    FTL_DEFER(note, (void *)5);
    note(arg);
}

static void *defers_with_defers(void *arg)
{
    struct ftl_defer first, second;
    FTL_DEFER(note, (void *)1);
    FTL_DEFER(arm_another, (void *)2);
    ftl_defer_arm(&first, note, (void *)3);
    ftl_defer_arm(&second, note, (void *)4);
    ftl_defer_disarm(&first);
    ftl_defer_disarm(&first);
    ftl_defer_run(&second);
    ftl_defer_run(&second);
    if (arg)
        ftl_panic("with one that arms another");
    return NULL;
}

START_TEST(a_defer_is_run_or_disarmed_once_and_may_have_its_own)
{
    const int expected[] = {4, 2, 5, 1};
    for (int panicking = 0; panicking < 2; panicking++) {
        ordered = 0;
        ck_assert_int_eq(fixture_join(fixture_spawn(defers_with_defers, panicking ? &steps : NULL)),
                         panicking ? FTL_PANICKED : FTL_COMPLETED);
        ck_assert_int_eq(ordered, 4);
        ck_assert_mem_eq(order, expected, sizeof expected);
    }
    ordered = 0;
    defers_with_defers(NULL); /* on a foreign thread */
    ck_assert_int_eq(ordered, 4);
    ck_assert_mem_eq(order, expected, sizeof expected);
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
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, a_defer_that_runs_at_the_end_of_its_block_is_masked);
    FIXTURE_CASE(suite, defers_run_at_the_end_of_their_block_last_in_first_out);
    FIXTURE_CASE(suite, a_panic_runs_the_open_defers_and_is_the_outcome);
    FIXTURE_CASE(suite, the_first_panic_is_kept_and_the_other_defers_still_run);
    FIXTURE_CASE(suite, a_panic_while_an_abort_unwinds_makes_the_outcome_panicked);
    FIXTURE_CASE(suite, a_panic_in_arg_free_is_the_outcome);
    FIXTURE_CASE(suite, a_message_is_cut_at_its_limit);
    FIXTURE_CASE(suite, a_failed_assertion_is_a_panic_that_says_where);
    FIXTURE_CASE(suite, a_defer_is_run_or_disarmed_once_and_may_have_its_own);
    UNIT_CASE(suite, a_detached_panic_is_reported_to_the_hook);
}

UNIT_MAIN("defer", add_cases)
