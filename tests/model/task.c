/* SPDX-License-Identifier: MIT
 *
 * The life of a task under joiners and aborters: whatever comes first, the outcome is one, what the
 * task owned is given back once, and nobody waits for ever. */
#include <stdlib.h>

#include <fettle/channel.h>
#include <fettle/runtime.h>
#include <fettle/task.h>
#include <fettle/task_set.h>
#include <fettle/time.h>

#include "runtime/park.h"
#include "tests/model/model.h"

enum { SOON = 1000 };

static struct state {
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    struct ftl_task_set *set;
    struct ftl_oneshot oneshot;
    int started, returned;    /* the function */
    int freed, values_freed;  /* the argument, the value */
    int completed, cancelled; /* outcomes seen */
    int timeouts, left;
    _Atomic int ended;
} * state;

static void free_arg(void *arg)
{
    (void)arg;
    state->freed++;
}

static void free_value(void *value)
{
    (void)value;
    state->values_freed++;
}

static const struct ftl_spawn_options options = {.arg_free = free_arg, .value_free = free_value};

static void *quick(void *arg)
{
    (void)arg;
    state->started++;
    state->returned++;
    return state;
}

static void *wait(void *arg)
{
    void *value;
    (void)arg;
    state->started++;
    if (ftl_oneshot_recv(&state->oneshot, FTL_FOREVER, &value) == 0)
        state->returned++;
    return state;
}

static void *wait_until(void *arg)
{
    void *value;
    (void)arg;
    state->started++;
    (void)ftl_oneshot_recv(&state->oneshot, ftl_now() + SOON, &value);
    model_use_stack();
    state->returned++;
    return state;
}

/* The handles of the others are there before they begin: the task is spawned in setup(), and its
 * worker has not looked yet. */
static void start(ftl_task_fn fn)
{
    state = calloc(1, sizeof *state);
    state->runtime = model_runtime(1);
    ftl_oneshot_init(&state->oneshot);
    if (fn)
        model_check(ftl_spawn(state->runtime, fn, state, &options, &state->task) == 0);
}

static void count(struct ftl_outcome *outcome)
{
    if (outcome->kind == FTL_COMPLETED) {
        model_check(outcome->value == state && state->returned == 1);
        state->completed++;
    } else {
        model_check(outcome->kind == FTL_CANCELLED);
        state->cancelled++;
    }
}

static void *join(void *task)
{
    struct ftl_outcome outcome;
    int rc = ftl_task_join(task, FTL_FOREVER, &outcome);
    model_check(rc == 0 && state->freed == 1);
    count(&outcome);
    return NULL;
}

static void *join_until(void *task)
{
    struct ftl_outcome outcome;
    if (ftl_task_join(task, ftl_now() + SOON, &outcome) == 0)
        count(&outcome);
    else
        state->timeouts++;
    model_use_stack();
    if (state->timeouts)
        ftl_task_detach(task);
    return NULL;
}

static void *abort_it(void *task)
{
    ftl_abort(task, 0);
    ftl_task_detach(task);
    return NULL;
}

static void *send(void *arg)
{
    ftl_oneshot_send(&state->oneshot, state);
    return arg;
}

static void finish(void)
{
    for (int i = 1; i <= 2; i++)
        model_check(model_has_returned(i));
    model_check(state->freed == 1 && state->started <= 1);
    model_check(state->completed + state->cancelled + state->timeouts == 1);
    model_check(state->completed + state->values_freed == state->returned);
}

/* ---- join and abort ---- */

static void setup_abort(void)
{
    start(quick);
    model_thread(join, state->task);
    model_thread(abort_it, ftl_task_ref(state->task));
}

extern const struct model_scenario model_task_abort;
const struct model_scenario model_task_abort = {
    .name = "task_abort",
    .promise = "a task that is about to run is aborted and joined",
    .setup = setup_abort,
    .finish = finish,
    .preemptions = 3,
    .stale = 1,
};

static void setup_abort_waiting(void)
{
    start(wait);
    model_thread(join, state->task);
    model_thread(abort_it, ftl_task_ref(state->task));
}

extern const struct model_scenario model_task_abort_waiting;
const struct model_scenario model_task_abort_waiting = {
    .name = "task_abort_waiting",
    .promise = "a task that waits, or is about to, is aborted and joined",
    .setup = setup_abort_waiting,
    .finish = finish,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

/* ---- a wake-up and an abort ---- */

static void *join_and_abort(void *task)
{
    ftl_abort(task, 0);
    return join(task);
}

static void setup_wake_abort(void)
{
    start(wait);
    model_thread(join_and_abort, state->task);
    model_thread(send, NULL);
}

extern const struct model_scenario model_task_wake_abort;
const struct model_scenario model_task_wake_abort = {
    .name = "task_wake_abort",
    .promise = "a task is woken and aborted at once",
    .setup = setup_wake_abort,
    .finish = finish,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

/* ---- deadlines ---- */

static void setup_join_until(void)
{
    start(wait);
    model_thread(join_until, state->task);
    model_thread(send, NULL);
}

static void finish_until(void)
{
    finish();
    model_check(state->returned == 1);
}

extern const struct model_scenario model_task_join_until;
const struct model_scenario model_task_join_until = {
    .name = "task_join_until",
    .promise = "a join whose deadline passes leaves the task alone, and the value is freed",
    .setup = setup_join_until,
    .finish = finish_until,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

static void setup_timer(void)
{
    start(wait_until);
    model_thread(join, state->task);
    model_thread(send, NULL);
}

extern const struct model_scenario model_task_timer;
const struct model_scenario model_task_timer = {
    .name = "task_timer",
    .promise = "a timer fires while the task is woken",
    .setup = setup_timer,
    .finish = finish_until,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

/* ---- the set ---- */

static void *use_set(void *arg)
{
    struct ftl_outcome outcome;
    for (int i = 0; i < 2; i++)
        model_check(ftl_task_set_spawn(state->set, state->runtime, quick, state, &options, NULL,
                                       NULL) == 0);
    for (int i = 0; i < 2; i++)
        if (ftl_task_set_join_next(state->set, FTL_FOREVER, &outcome, NULL) == 0)
            state->completed += outcome.kind == FTL_COMPLETED;
    ftl_task_set_free(state->set);
    return arg;
}

static void *free_set(void *arg)
{
    model_check(
        ftl_task_set_spawn(state->set, state->runtime, quick, state, &options, NULL, NULL) == 0);
    ftl_task_set_free(state->set);
    return arg;
}

static void setup_set(void)
{
    start(NULL);
    state->set = ftl_task_set_new();
    model_thread(use_set, NULL);
}

static void finish_set(void)
{
    model_check(model_has_returned(1) && state->completed == 2 && state->freed == 2);
}

extern const struct model_scenario model_task_set;
const struct model_scenario model_task_set = {
    .name = "task_set",
    .promise = "each outcome of a set's tasks comes once",
    .setup = setup_set,
    .finish = finish_set,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

static void setup_set_free(void)
{
    start(NULL);
    state->set = ftl_task_set_new();
    model_thread(free_set, NULL);
}

static void finish_set_free(void)
{
    model_check(model_has_returned(1) && state->freed == 1);
    model_check(state->values_freed == state->returned);
}

extern const struct model_scenario model_task_set_free;
const struct model_scenario model_task_set_free = {
    .name = "task_set_free",
    .promise = "a set is freed while its task is about to run, runs or ends",
    .setup = setup_set_free,
    .finish = finish_set_free,
    .preemptions = 3,
    .stale = 1,
};

/* The owner leaves, its members go when they like; the last one out frees what they share. */
static void *end_at_once(void *arg)
{
    atomic_fetch_add_explicit(&state->ended, 1, memory_order_relaxed); /* they are parallel */
    return arg;
}

static void *detach_set(void *arg)
{
    for (int i = 0; i < 2; i++)
        model_check(ftl_task_set_spawn(state->set, state->runtime, end_at_once, NULL, NULL, NULL,
                                       NULL) == 0);
    ftl_task_set_detach_all(state->set);
    ftl_task_set_free(state->set);
    return arg;
}

static void setup_set_detach(void)
{
    state = calloc(1, sizeof *state);
    state->runtime = model_runtime(2);
    state->set = ftl_task_set_new();
    model_thread(detach_set, NULL);
}

static void finish_set_detach(void)
{
    model_check(model_has_returned(2));
    model_check(atomic_load_explicit(&state->ended, memory_order_relaxed) == 2);
}

extern const struct model_scenario model_task_set_detach;
const struct model_scenario model_task_set_detach = {
    .name = "task_set_detach",
    .promise = "a set is left while its tasks end on two workers",
    .setup = setup_set_detach,
    .finish = finish_set_detach,
    .preemptions = 2,
    .stale = 1,
    .sum = 2,
};

/* A wait for the next that its deadline ends, perhaps too late. */
static void *use_set_until(void *arg)
{
    struct ftl_outcome outcome;
    int rc;
    model_check(
        ftl_task_set_spawn(state->set, state->runtime, quick, state, &options, NULL, NULL) == 0);
    rc = ftl_task_set_join_next(state->set, ftl_now() + SOON, &outcome, NULL);
    model_use_stack();
    if (rc == FTL_ETIMEDOUT)
        rc = ftl_task_set_join_next(state->set, FTL_FOREVER, &outcome, NULL);
    model_check(rc == 0);
    count(&outcome);
    ftl_task_set_free(state->set);
    return arg;
}

static void setup_set_until(void)
{
    start(NULL);
    state->set = ftl_task_set_new();
    model_thread(use_set_until, NULL);
}

static void finish_set_until(void)
{
    model_check(model_has_returned(1) && state->completed == 1 && state->freed == 1);
}

extern const struct model_scenario model_task_set_until;
const struct model_scenario model_task_set_until = {
    .name = "task_set_until",
    .promise = "a deadline passes while a member ends",
    .setup = setup_set_until,
    .finish = finish_set_until,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

/* ---- shutdown ---- */

static void *spawn_late(void *arg)
{
    struct ftl_task *task;
    if (ftl_spawn(state->runtime, quick, state, &options, &task) == 0)
        join(task);
    else
        state->timeouts++;
    return arg;
}

static void *shut_down(void *arg)
{
    state->left = (int)ftl_runtime_shutdown(state->runtime, FTL_FOREVER);
    return arg;
}

static void setup_shutdown(void)
{
    start(NULL);
    model_thread(spawn_late, NULL);
    model_thread(shut_down, NULL);
}

static void finish_shutdown(void)
{
    model_check(model_has_returned(1) && model_has_returned(2) && state->left == 0);
    model_check(state->completed + state->cancelled + state->timeouts == 1);
    model_check(state->freed + state->timeouts == 1);
}

extern const struct model_scenario model_task_shutdown;
const struct model_scenario model_task_shutdown = {
    .name = "task_shutdown",
    .promise = "who spawns while the runtime closes is refused or seen",
    .setup = setup_shutdown,
    .finish = finish_shutdown,
    .preemptions = 2,
    .stale = 1,
    .sum = 3,
};

/* One that waits for ever ends only if the shutdown, or who spawned it, aborts it. */
static void *spawn_late_waiting(void *arg)
{
    struct ftl_task *task;
    if (ftl_spawn(state->runtime, wait, state, &options, &task) == 0)
        join(task);
    else
        state->timeouts++;
    return arg;
}

static void setup_shutdown_waiting(void)
{
    start(NULL);
    model_thread(spawn_late_waiting, NULL);
    model_thread(shut_down, NULL);
}

extern const struct model_scenario model_task_shutdown_waiting;
const struct model_scenario model_task_shutdown_waiting = {
    .name = "task_shutdown_waiting",
    .promise = "what was spawned while the runtime closes is aborted",
    .setup = setup_shutdown_waiting,
    .finish = finish_shutdown,
    .preemptions = 2,
    .stale = 1,
    .sum = 2,
};

/* The owner waits, in vain, and leaves: what it has written to the hub comes before its end. */
static void *leave_set(void *arg)
{
    struct ftl_outcome outcome;
    model_check(ftl_task_set_spawn(state->set, state->runtime, end_at_once, NULL, NULL, NULL,
                                   NULL) == 0);
    (void)ftl_task_set_join_next(state->set, ftl_now() + SOON, &outcome, NULL);
    ftl_task_set_detach_all(state->set);
    ftl_task_set_free(state->set);
    return arg;
}

static void setup_set_leave(void)
{
    start(NULL);
    state->set = ftl_task_set_new();
    model_thread(leave_set, NULL);
}

static void finish_set_leave(void)
{
    model_check(model_has_returned(1));
    model_check(atomic_load_explicit(&state->ended, memory_order_relaxed) == 1);
}

extern const struct model_scenario model_task_set_leave;
const struct model_scenario model_task_set_leave = {
    .name = "task_set_leave",
    .promise = "a set is left after a wait in vain",
    .setup = setup_set_leave,
    .finish = finish_set_leave,
    .preemptions = 2,
    .stale = 1,
};

/* ---- the driver is elsewhere ---- */

static void *poll_later(void *arg)
{
    (void)ftl_sleep(2 * FTL_MS);
    (void)ftl__runtime_poll(state->runtime);
    return arg;
}

static void setup_timer_elsewhere(void)
{
    start(wait_until);
    ftl_task_detach(state->task);
    model_thread(send, NULL);
    model_thread(poll_later, NULL);
}

static void finish_timer_elsewhere(void)
{
    model_check(state->returned == 1 && state->freed == 1);
}

extern const struct model_scenario model_task_timer_elsewhere;
const struct model_scenario model_task_timer_elsewhere = {
    .name = "task_timer_elsewhere",
    .promise = "a timer is fired by another thread while the task is woken",
    .setup = setup_timer_elsewhere,
    .finish = finish_timer_elsewhere,
    .preemptions = 2,
    .stale = 1,
    .sum = 3,
};

/* ---- counting ---- */

static void *spawn_and_abort(void *arg)
{
    struct ftl_task *task;
    if (ftl_spawn(state->runtime, quick, state, &options, &task) == 0)
        abort_it(task);
    return arg;
}

static void *spawn_one(void *arg)
{
    (void)arg;
    state->started++;
    (void)ftl_spawn(state->runtime, end_at_once, NULL, NULL, NULL);
    return NULL;
}

static void *ask(void *arg)
{
    struct ftl_runtime_stats stats;
    ftl_runtime_stats(state->runtime, &stats);
    model_check(stats.ended <= stats.spawned);
    return arg;
}

static void setup_stats(void)
{
    start(NULL);
    model_thread(spawn_and_abort, NULL);
    model_thread(ask, NULL);
}

static void setup_stats_2(void)
{
    state = calloc(1, sizeof *state);
    state->runtime = model_runtime(2);
    model_check(ftl_spawn(state->runtime, spawn_one, NULL, NULL, NULL) == 0);
    model_thread(ask, NULL);
}

static void finish_stats(void)
{
}

extern const struct model_scenario model_task_stats, model_task_stats_2;
const struct model_scenario model_task_stats = {
    .name = "task_stats",
    .promise = "never more have ended than were spawned",
    .setup = setup_stats,
    .finish = finish_stats,
    .preemptions = 2,
    .stale = 1,
    .sum = 3,
};
const struct model_scenario model_task_stats_2 = {
    .name = "task_stats_2",
    .promise = "never more have ended than were spawned, on two workers",
    .setup = setup_stats_2,
    .finish = finish_stats,
    .preemptions = 1,
    .stale = 1,
};
