/* SPDX-License-Identifier: MIT
 *
 * The lock, and the injection queue under it. */
#include <stdlib.h>

#include "runtime/inject.h"
#include "runtime/tcb.h"
#include "tests/model/model.h"

static struct state {
    struct ftl__lock lock;
    int inside, entered;
    struct ftl__inject inject;
    struct ftl_task tasks[3];
    int taken[3];
} * state;

/* ---- the lock ---- */

static void *enter(void *arg)
{
    ftl__lock_take(&state->lock);
    model_check(state->inside++ == 0);
    state->entered++;
    state->inside--;
    ftl__lock_drop(&state->lock);
    return arg;
}

static void *enter_twice(void *arg)
{
    enter(arg);
    return enter(arg);
}

static void setup_lock(void)
{
    state = calloc(1, sizeof *state);
    model_thread(enter, NULL);
    model_thread(enter, NULL);
    model_thread(enter_twice, NULL);
}

static void finish_lock(void)
{
    model_check(state->entered == 4);
}

extern const struct model_scenario model_lock;
const struct model_scenario model_lock = {
    .name = "lock",
    .promise = "one at a time, none sleeps for ever",
    .setup = setup_lock,
    .finish = finish_lock,
    .preemptions = 3,
    .stale = 3,
};

/* ---- the injection queue ---- */

static void push(int first, int last)
{
    for (int i = first; i <= last; i++) {
        state->tasks[i].arg = &state->tasks[i];
        state->tasks[i].queue_next = i < last ? &state->tasks[i + 1] : NULL;
    }
    ftl__inject_push(&state->inject, &state->tasks[first], &state->tasks[last],
                     (uint32_t)(last - first + 1));
}

static void *push_two(void *arg)
{
    push(0, 1);
    return arg;
}

static void *push_one(void *arg)
{
    push(2, 2);
    return arg;
}

static void *take_one(void *arg)
{
    struct ftl_task *task = ftl__inject_take(&state->inject, 1);
    if (task) {
        model_check(task->arg == task);
        state->taken[task - state->tasks]++;
    }
    return arg;
}

static void *take_twice(void *arg)
{
    take_one(arg);
    return take_one(arg);
}

static void setup_inject(void)
{
    state = calloc(1, sizeof *state);
    model_thread(push_two, NULL);
    model_thread(push_one, NULL);
    model_thread(take_twice, NULL);
}

static void finish_inject(void)
{
    while (ftl__inject_len(&state->inject) > 0)
        take_one(NULL);
    for (int i = 0; i < 3; i++)
        model_check(state->taken[i] == 1);
}

extern const struct model_scenario model_inject;
const struct model_scenario model_inject = {
    .name = "inject",
    .promise = "what is injected is taken once, and seen whole",
    .setup = setup_inject,
    .finish = finish_inject,
    .preemptions = 3,
    .stale = 3,
};
