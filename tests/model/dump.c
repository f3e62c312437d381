/* SPDX-License-Identifier: MIT
 *
 * A dump beside a worker: while it looks at a task, that is not resumed, and what the task did before
 * is seen; and a runtime that ends. */
#include <sched.h>
#include <stdlib.h>

#include <fettle/channel.h>
#include <fettle/runtime.h>
#include <fettle/task.h>

#include "tests/model/model.h"

static struct state {
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    struct ftl_oneshot oneshot;
    int step; /* plain: the task's, and whoever holds it may read it */
    int freed, finished;
} * state;

static void start(unsigned workers, ftl_task_fn fn)
{
    state = calloc(1, sizeof *state);
    state->runtime = model_runtime(workers);
    ftl_oneshot_init(&state->oneshot);
    if (fn)
        model_check(ftl_spawn(state->runtime, fn, NULL, NULL, &state->task) == 0);
}

static void look(void *arg, const char *name, uint64_t id, void *const *frames, size_t count)
{
    (void)arg, (void)name, (void)id, (void)frames;
    if (count > 0) /* it does not run */
        model_check(state->step > 0);
}

static void *dump(void *arg)
{
    ftl_runtime_dump(state->runtime, look, NULL);
    return arg;
}

/* ---- one that waits, one that yields ---- */

static void *wait(void *arg)
{
    void *value;
    state->step++;
    if (ftl_oneshot_recv(&state->oneshot, FTL_FOREVER, &value) == 0)
        state->step++;
    return arg;
}

static void *send(void *arg)
{
    ftl_oneshot_send(&state->oneshot, NULL);
    return arg;
}

static void setup_waiting(void)
{
    start(1, wait);
    model_thread(dump, NULL);
    model_thread(send, NULL);
}

static void finish_waiting(void)
{
    model_check(model_has_returned(1) && model_has_returned(2) && state->step == 2);
}

extern const struct model_scenario model_dump_waiting;
const struct model_scenario model_dump_waiting = {
    .name = "dump_waiting",
    .promise = "a task that waits is looked at while it is woken",
    .setup = setup_waiting,
    .finish = finish_waiting,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

static void *yield_twice(void *arg)
{
    for (int i = 0; i < 2; i++) {
        state->step++;
        (void)ftl_yield();
    }
    state->step++;
    return arg;
}

static void setup_yielding(void)
{
    start(1, yield_twice);
    model_thread(dump, NULL);
}

static void finish_yielding(void)
{
    model_check(model_has_returned(1) && state->step == 3);
}

extern const struct model_scenario model_dump_yielding;
const struct model_scenario model_dump_yielding = {
    .name = "dump_yielding",
    .promise = "a task that is ready is looked at, or runs",
    .setup = setup_yielding,
    .finish = finish_yielding,
    .preemptions = 3,
    .stale = 2,
    .sum = 4,
};

/* ---- is it finished? ---- */

static void *finish_soon(void *arg)
{
    state->step = 1;
    return arg;
}

static void *poll_finished(void *task)
{
    while (!ftl_task_is_finished(task))
        sched_yield();
    model_check(state->step == 1);
    state->finished++;
    ftl_task_detach(task);
    return NULL;
}

static void setup_finished(void)
{
    start(1, finish_soon);
    model_thread(poll_finished, state->task);
}

static void finish_finished(void)
{
    model_check(state->finished == 1);
}

extern const struct model_scenario model_task_finished;
const struct model_scenario model_task_finished = {
    .name = "task_finished",
    .promise = "who sees that a task has finished sees what it did",
    .setup = setup_finished,
    .finish = finish_finished,
    .preemptions = 3,
    .stale = 2,
    .sum = 3,
};

/* ---- the end of a runtime ---- */

static void *end_runtime(void *arg)
{
    model_check(ftl_runtime_shutdown(state->runtime, FTL_FOREVER) == 0);
    ftl_runtime_free(state->runtime);
    state->freed++;
    return arg;
}

static void setup_free(void)
{
    start(2, NULL);
    model_check(ftl_spawn(state->runtime, finish_soon, NULL, NULL, NULL) == 0);
    model_thread(end_runtime, NULL);
}

static void finish_free(void)
{
    model_check(model_has_returned(2) && state->freed == 1);
}

extern const struct model_scenario model_runtime_free;
const struct model_scenario model_runtime_free = {
    .name = "runtime_free",
    .promise = "workers leave, asleep or not, before the runtime goes",
    .setup = setup_free,
    .finish = finish_free,
    .preemptions = 1,
    .stale = 1,
    .sum = 1,
};

/* ---- one that is being spawned ---- */

static void *spawn_yielding(void *arg)
{
    model_check(ftl_spawn(state->runtime, yield_twice, NULL, NULL, NULL) == 0);
    return arg;
}

static void setup_spawning(void)
{
    start(1, NULL);
    model_thread(dump, NULL);
    model_thread(spawn_yielding, NULL);
}

static void finish_spawning(void)
{
    model_check(model_has_returned(1) && state->step == 3);
}

extern const struct model_scenario model_dump_spawning;
const struct model_scenario model_dump_spawning = {
    .name = "dump_spawning",
    .promise = "a dump sees a task whole, or not yet",
    .setup = setup_spawning,
    .finish = finish_spawning,
    .preemptions = 2,
    .stale = 1,
    .sum = 3,
};
