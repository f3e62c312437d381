/* SPDX-License-Identifier: MIT
 *
 * What becomes of a task, its argument and its value when its handle or its set is given up: every
 * way of giving up in every state, each destructor counted. */
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include <fettle/channel.h>
#include <fettle/task_set.h>

#include "tests/unit/task_fixture.h"

enum state { QUEUED, RUNNING, WAITING, ENDED, PANICKED, STATES };
static const char *const state_names[] = {"queued", "running", "waiting", "ended", "panicked"};

/* What the subject and those around it have done. */
static struct counts {
    _Atomic int started, deferred, arg_freed, value_freed, reported;
} counts;

static _Atomic bool release, busy;
static struct ftl_oneshot go;
static int value;

static void count(void *counter)
{
    atomic_fetch_add((_Atomic int *)counter, 1);
}

static void count_arg(void *arg)
{
    (void)arg;
    count(&counts.arg_freed);
}

static void count_value(void *of)
{
    ck_assert_ptr_eq(of, &value);
    count(&counts.value_freed);
}

static void on_panic(void *arg, const char *name, const struct ftl_panic *panic)
{
    ck_assert_str_eq(name, "subject");
    ck_assert_str_eq(panic->message, "on purpose");
    count(arg);
}

static void *subject(void *arg)
{
    enum state state = (enum state)(intptr_t)arg;
    void *nothing;
    FTL_DEFER(count, &counts.deferred);
    count(&counts.started);
    if (state == RUNNING)
        while (!atomic_load(&release))
            sched_yield();
    if (state == WAITING)
        ftl_assert(ftl_oneshot_recv(&go, FTL_FOREVER, &nothing) == 0);
    if (state == PANICKED)
        ftl_panic("on purpose");
    return &value;
}

static const struct ftl_spawn_options options = {
    .arg_free = count_arg, .value_free = count_value, .name = "subject"};

/* ---- one worker, one subject ---- */

static struct ftl_runtime *runtime;
static struct ftl_task_set *set; /* NULL: the subject is no member */

static void *keep_busy(void *arg)
{
    atomic_store(&busy, true);
    while (!atomic_load(&release))
        sched_yield();
    return arg;
}

static void occupy_the_worker(void)
{
    atomic_store(&busy, false);
    ck_assert_int_eq(ftl_spawn(runtime, keep_busy, NULL, NULL, NULL), 0);
    while (!atomic_load(&busy))
        sched_yield();
}

static void see_suspended(void *arg, const char *name, uint64_t id, void *const *frames,
                          size_t frame_count)
{
    (void)id, (void)frames;
    *(bool *)arg |= name && strcmp(name, "subject") == 0 && frame_count > 0;
}

static void await_state(enum state state, const struct ftl_task *task)
{
    bool suspended = false;
    while (state == RUNNING && atomic_load(&counts.started) == 0)
        sched_yield();
    while (state == WAITING && !suspended)
        ftl_runtime_dump(runtime, see_suspended, &suspended);
    while (state >= ENDED && !ftl_task_is_finished(task))
        sched_yield();
}

/* A subject in that state; the caller has a handle (of a member: an additional one). */
static struct ftl_task *begin(enum state state, bool member)
{
    const struct ftl_runtime_options one = {
        .workers = 1, .on_detached_panic = on_panic, .hook_arg = &counts.reported};
    struct ftl_task *task;
    memset((void *)&counts, 0, sizeof counts);
    atomic_store(&release, false);
    ftl_oneshot_init(&go);
    ck_assert_int_eq(ftl_runtime_start(&one, &runtime), 0);
    if (state == QUEUED)
        occupy_the_worker();
    set = member ? ftl_task_set_new() : NULL;
    void *arg = (void *)(intptr_t)state;
    ck_assert_int_eq(member ? ftl_task_set_spawn(set, runtime, subject, arg, &options, &set, &task)
                            : ftl_spawn(runtime, subject, arg, &options, &task),
                     0);
    await_state(state, task);
    return task;
}

/* What holds the subject up lets it go. */
static void let_go(enum state state)
{
    atomic_store(&release, true);
    if (state == WAITING)
        ftl_oneshot_send(&go, NULL);
}

static void finish(void)
{
    atomic_store(&release, true);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * unit_slow() * FTL_S)), 0);
    ftl_runtime_free(runtime);
}

/* The destructors, after everything is over. `reached`: the subject came to its return. */
static void check(enum state state, bool ran, bool reached, bool joined)
{
    bool panicked = state == PANICKED;
    ck_assert_msg(atomic_load(&counts.started) == ran && atomic_load(&counts.deferred) == ran,
                  "%s: its function ran %d times", state_names[state],
                  atomic_load(&counts.started));
    ck_assert_msg(atomic_load(&counts.arg_freed) == 1, "%s: arg_free ran %d times",
                  state_names[state], atomic_load(&counts.arg_freed));
    ck_assert_msg(atomic_load(&counts.value_freed) == (reached && !joined && !panicked),
                  "%s: value_free ran %d times", state_names[state],
                  atomic_load(&counts.value_freed));
    ck_assert_msg(atomic_load(&counts.reported) == (panicked && !joined),
                  "%s: the panic was reported %d times", state_names[state],
                  atomic_load(&counts.reported));
}

/* Takes what a joiner gets; true: it was completed. */
static bool take(struct ftl_outcome *outcome, enum state state, bool aborted)
{
    bool cancelled = aborted && (state == QUEUED || state == WAITING);
    enum ftl_outcome_kind expected = state == PANICKED ? FTL_PANICKED
                                     : cancelled       ? FTL_CANCELLED
                                                       : FTL_COMPLETED;
    ck_assert_msg(outcome->kind == expected, "%s: outcome %d", state_names[state], outcome->kind);
    ck_assert_ptr_eq(outcome->value, expected == FTL_COMPLETED ? &value : NULL);
    if (expected == FTL_PANICKED)
        ck_assert_str_eq(outcome->panic->message, "on purpose");
    ftl_outcome_clear(outcome);
    ck_assert_ptr_null(outcome->panic);
    return expected == FTL_COMPLETED;
}

static int64_t soon(void)
{
    return ftl_deadline(60 * unit_slow() * FTL_S);
}

/* ---- handles ---- */

START_TEST(detaching_lets_the_task_run_on)
{
    enum state state = (enum state)_i;
    ftl_task_detach(begin(state, false));
    ck_assert_int_eq(atomic_load(&counts.arg_freed), state >= ENDED);
    let_go(state);
    while (atomic_load(&counts.arg_freed) == 0)
        sched_yield();
    finish();
    check(state, true, true, false);
}
END_TEST

START_TEST(joining_moves_the_outcome_to_the_joiner)
{
    enum state state = (enum state)_i;
    struct ftl_outcome outcome;
    struct ftl_task *task = begin(state, false);
    let_go(state);
    ck_assert_int_eq(ftl_task_join(task, soon(), &outcome), 0);
    ck_assert_int_eq(atomic_load(&counts.arg_freed), 1); /* before the joiner sees the end */
    take(&outcome, state, false);
    finish();
    check(state, true, true, true);
}
END_TEST

START_TEST(an_abort_and_a_join)
{
    enum state state = (enum state)_i;
    struct ftl_outcome outcome;
    struct ftl_task *task = begin(state, false);
    ftl_abort(task, 0);
    ftl_abort(task, FTL_S);
    atomic_store(&release, state == RUNNING); /* a queued one has ended without its worker */
    ck_assert_int_eq(ftl_task_join(task, soon(), &outcome), 0);
    bool completed = take(&outcome, state, true);
    finish();
    check(state, state != QUEUED, completed, true);
}
END_TEST

START_TEST(an_abort_and_a_detach)
{
    enum state state = (enum state)_i;
    struct ftl_task *task = begin(state, false);
    ftl_abort(task, 0);
    ftl_task_detach(task);
    finish();
    check(state, state != QUEUED, state == RUNNING || state == ENDED, false);
}
END_TEST

START_TEST(the_last_of_several_handles_counts)
{
    enum state state = (enum state)_i;
    struct ftl_outcome outcome;
    struct ftl_task *task = begin(state, false), *other = ftl_task_ref(task);
    ftl_task_detach(task);
    let_go(state);
    ck_assert_int_eq(ftl_task_join(ftl_task_ref(other), soon(), &outcome), 0);
    take(&outcome, state, false);
    ck_assert(ftl_task_is_finished(other));
    ftl_abort(other, 0);
    ftl_task_detach(other); /* what was joined is not freed again */
    finish();
    check(state, true, true, true);
}
END_TEST

START_TEST(a_handle_given_up_after_the_shutdown)
{
    enum state state = (enum state)_i;
    struct ftl_task *task = begin(state, false);
    bool burns = state == RUNNING || state == QUEUED; /* it, or what it stands behind */
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, burns ? 0 : soon()), burns);
    atomic_store(&release, true);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, soon()), 0);
    ck_assert_int_eq(atomic_load(&counts.value_freed), 0);
    ftl_task_detach(task);
    finish();
    check(state, state != QUEUED, state == RUNNING || state == ENDED, false);
}
END_TEST

/* ---- sets ---- */

START_TEST(freeing_a_set_aborts_its_member)
{
    enum state state = (enum state)_i;
    ftl_task_detach(begin(state, true));
    ftl_task_set_free(set);
    finish();
    check(state, state != QUEUED, state == RUNNING || state == ENDED, false);
}
END_TEST

START_TEST(freeing_a_set_leaves_other_handles_valid)
{
    enum state state = (enum state)_i;
    struct ftl_task *task = begin(state, true);
    ftl_task_set_free(set);
    atomic_store(&release, true);
    while (!ftl_task_is_finished(task))
        sched_yield();
    ftl_abort(task, 0);
    ftl_task_detach(task);
    finish();
    check(state, state != QUEUED, state == RUNNING || state == ENDED, false);
}
END_TEST

START_TEST(a_detached_member_runs_on)
{
    enum state state = (enum state)_i;
    ftl_task_detach(begin(state, true));
    ftl_task_set_detach_all(set);
    ck_assert_uint_eq(ftl_task_set_len(set), 0);
    ftl_task_set_free(set);
    let_go(state);
    while (atomic_load(&counts.arg_freed) == 0)
        sched_yield();
    finish();
    check(state, true, true, false);
}
END_TEST

START_TEST(a_member_is_joined_with_its_tag)
{
    enum state state = (enum state)_i;
    struct ftl_outcome outcome;
    void *tag = NULL;
    ftl_task_detach(begin(state, true));
    let_go(state);
    ck_assert_int_eq(ftl_task_set_join_next(set, soon(), &outcome, &tag), 0);
    ck_assert_ptr_eq(tag, &set);
    take(&outcome, state, false);
    ck_assert_int_eq(ftl_task_set_try_join_next(set, &outcome, NULL), FTL_EEMPTY);
    ftl_task_set_free(set);
    finish();
    check(state, true, true, true);
}
END_TEST

START_TEST(abort_all_and_join)
{
    enum state state = (enum state)_i;
    struct ftl_outcome outcome;
    ftl_task_detach(begin(state, true));
    ftl_task_set_abort_all(set, 0);
    atomic_store(&release, state == RUNNING);
    ck_assert_int_eq(ftl_task_set_join_next(set, soon(), &outcome, NULL), 0);
    bool completed = take(&outcome, state, true);
    ftl_task_set_free(set);
    finish();
    check(state, state != QUEUED, completed, true);
}
END_TEST

START_TEST(shutting_a_set_down_waits_for_its_member)
{
    enum state state = (enum state)_i;
    ftl_task_detach(begin(state, true));
    if (state == RUNNING) {
        ck_assert_int_eq(ftl_task_set_shutdown(set, ftl_deadline(FTL_MS)), FTL_ETIMEDOUT);
        ck_assert_uint_eq(ftl_task_set_len(set), 1);
        atomic_store(&release, true);
    }
    ck_assert_int_eq(ftl_task_set_shutdown(set, soon()), 0);
    ck_assert_int_eq(atomic_load(&counts.arg_freed), 1);
    ck_assert_uint_eq(ftl_task_set_len(set), 0);
    ftl_task_set_free(set);
    finish();
    check(state, state != QUEUED, state == RUNNING || state == ENDED, false);
}
END_TEST

START_TEST(a_set_may_outlive_the_tasks_of_a_runtime)
{
    enum state state = (enum state)_i;
    ftl_task_detach(begin(state, true));
    atomic_store(&release, state == QUEUED || state == RUNNING);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, soon()), 0);
    bool ran = atomic_load(&counts.started); /* a queued one: whoever was first */
    ck_assert_uint_eq(ftl_task_set_len(set), 1);
    ftl_task_set_free(set);
    finish();
    check(state, ran, ran && state != WAITING, false);
}
END_TEST

/* NULL is nothing to give up. */
START_TEST(nothing_is_given_up_quietly)
{
    struct ftl_outcome outcome = {0};
    ftl_task_detach(NULL);
    ftl_task_set_free(NULL);
    ftl_runtime_free(NULL);
    ftl_outcome_clear(&outcome);
    ftl_task_set_free(ftl_task_set_new());
    struct ftl_task_set *empty = ftl_task_set_new();
    ftl_task_set_detach_all(empty);
    ftl_task_set_abort_all(empty, 0);
    ck_assert_int_eq(ftl_task_set_shutdown(empty, FTL_FOREVER), 0);
    ftl_task_set_free(empty);
}
END_TEST

/* Once for each state. */
static void state_case(Suite *suite, const char *name, const TTest *test)
{
    TCase *tcase = tcase_create(name);
    tcase_add_loop_test(tcase, test, 0, STATES);
    suite_add_tcase(suite, tcase);
}
#define STATE_CASE(suite, test) state_case((suite), #test, (test))

static void add_cases(Suite *suite)
{
    STATE_CASE(suite, detaching_lets_the_task_run_on);
    STATE_CASE(suite, joining_moves_the_outcome_to_the_joiner);
    STATE_CASE(suite, an_abort_and_a_join);
    STATE_CASE(suite, an_abort_and_a_detach);
    STATE_CASE(suite, the_last_of_several_handles_counts);
    STATE_CASE(suite, a_handle_given_up_after_the_shutdown);
    STATE_CASE(suite, freeing_a_set_aborts_its_member);
    STATE_CASE(suite, freeing_a_set_leaves_other_handles_valid);
    STATE_CASE(suite, a_detached_member_runs_on);
    STATE_CASE(suite, a_member_is_joined_with_its_tag);
    STATE_CASE(suite, abort_all_and_join);
    STATE_CASE(suite, shutting_a_set_down_waits_for_its_member);
    STATE_CASE(suite, a_set_may_outlive_the_tasks_of_a_runtime);
    UNIT_CASE(suite, nothing_is_given_up_quietly);
}

UNIT_MAIN("handles", add_cases)
