/* SPDX-License-Identifier: MIT
 *
 * The ring queue with thieves: each task is taken exactly once, whoever takes it sees what its
 * maker wrote to it, and a thief does not come in the way of the owner who goes around the ring.
 * Compiled for rings of 4, and by queue_2.c for rings of 2. */
#include "runtime/queue.h"

#include <stdlib.h>

#include "runtime/tcb.h"
#include "tests/model/model.h"

#ifndef MODEL_RING
#define MODEL_RING(name) name##_4
#endif

enum { TASKS = 8, THIEVES = 2, SIZE = FTL__QUEUE_SIZE };

static struct state {
    struct ftl__queue ring, own[THIEVES], full;
    struct ftl_task tasks[TASKS];
    int taken[TASKS];
    int pushed;
} * state;

static void take(struct ftl_task *task)
{
    ptrdiff_t i = task - state->tasks;
    model_check(i >= 0 && i < TASKS && task->arg == &state->tasks[i]);
    state->taken[i]++;
}

static void push(void)
{
    struct ftl_task *task = &state->tasks[state->pushed], *first = NULL, *last = NULL;
    state->pushed++;
    task->arg = task;
    if (ftl__queue_push(&state->ring, task))
        return;
    uint32_t shed = ftl__queue_shed(&state->ring, &first, &last);
    for (; shed > 0; shed--, first = first->queue_next)
        take(first);
    take(task); /* in its place: the injection queue */
}

static void pop(void)
{
    struct ftl_task *task = ftl__queue_pop(&state->ring);
    if (task)
        take(task);
}

static void *steal_once(void *own)
{
    uint32_t moved = 0;
    struct ftl_task *task = ftl__queue_steal(&state->ring, own, &moved);
    if (!task)
        return NULL;
    take(task);
    while ((task = ftl__queue_pop(own)) != NULL)
        take(task);
    return NULL;
}

static void *steal_twice(void *own)
{
    steal_once(own);
    return steal_once(own);
}

static void prepare(void *(*owner)(void *), void *(*thief)(void *))
{
    state = aligned_alloc(128, sizeof *state);
    ftl__queue_init(&state->ring);
    model_thread(owner, NULL);
    for (int i = 0; i < THIEVES; i++) {
        ftl__queue_init(&state->own[i]);
        model_thread(thief, &state->own[i]);
    }
}

static void finish(void)
{
    struct ftl_task *task;
    for (int i = 0; i <= THIEVES; i++)
        model_check(model_has_returned(i));
    while ((task = ftl__queue_pop(&state->ring)) != NULL)
        take(task);
    for (int i = 0; i < state->pushed; i++)
        model_check(state->taken[i] == 1);
}

/* ---- the owner takes as well ---- */

static void *push_and_pop(void *arg)
{
    push();
    push();
    pop();
    push();
    pop();
    return arg;
}

static void setup_pop(void)
{
    prepare(push_and_pop, steal_once);
}

extern const struct model_scenario MODEL_RING(model_queue_pop);
const struct model_scenario MODEL_RING(model_queue_pop) = {
    .name = SIZE == 2 ? "queue_pop_2" : "queue_pop_4",
    .promise = "an owner and two thieves take each task exactly once",
    .setup = setup_pop,
    .finish = finish,
    .preemptions = 3,
    .stale = 2,
    .sum = 4,
};

/* ---- around the ring, and over its edge ---- */

static void *overflow(void *arg)
{
    for (int i = 0; i < SIZE + 2; i++)
        push();
    return arg;
}

static void setup_overflow(void)
{
    prepare(overflow, steal_once);
}

extern const struct model_scenario MODEL_RING(model_queue_overflow);
const struct model_scenario MODEL_RING(model_queue_overflow) = {
    .name = SIZE == 2 ? "queue_overflow_2" : "queue_overflow_4",
    .promise = "a full ring sheds half, whatever thieves do",
    .setup = setup_overflow,
    .finish = finish,
    .preemptions = 3,
    .stale = 2,
    .sum = 4,
};

static void *around(void *arg)
{
    for (int i = 0; i < SIZE + 3 && i < TASKS; i++) {
        push();
        if (i % 2)
            pop();
    }
    return arg;
}

static void setup_around(void)
{
    prepare(around, steal_twice);
}

extern const struct model_scenario MODEL_RING(model_queue_around);
const struct model_scenario MODEL_RING(model_queue_around) = {
    .name = SIZE == 2 ? "queue_around_2" : "queue_around_4",
    .promise = "slots are used again only after the thief has copied them",
    .setup = setup_around,
    .finish = finish,
    .preemptions = 3,
    .stale = 2,
    .sum = 3,
};

/* ---- the owner steals, too ---- */

static void *use_up_and_steal(void *arg)
{
    for (int i = 0; i < SIZE; i++)
        push();
    for (int i = 0; i < SIZE; i++)
        pop();
    uint32_t moved = 0;
    struct ftl_task *task = ftl__queue_steal(&state->full, &state->ring, &moved);
    if (task)
        take(task);
    return arg;
}

static void setup_exchange(void)
{
    prepare(use_up_and_steal, steal_once);
    ftl__queue_init(&state->full);
    for (int i = SIZE; i < 2 * SIZE; i++) {
        state->tasks[i].arg = &state->tasks[i];
        ftl__queue_push(&state->full, &state->tasks[i]);
    }
}

static void finish_exchange(void)
{
    struct ftl_task *task;
    while ((task = ftl__queue_pop(&state->full)) != NULL)
        take(task);
    finish();
    for (int i = SIZE; i < 2 * SIZE; i++)
        model_check(state->taken[i] == 1);
}

extern const struct model_scenario MODEL_RING(model_queue_exchange);
const struct model_scenario MODEL_RING(model_queue_exchange) = {
    .name = SIZE == 2 ? "queue_exchange_2" : "queue_exchange_4",
    .promise = "an owner steals into slots that were stolen from it",
    .setup = setup_exchange,
    .finish = finish_exchange,
    .preemptions = 2,
    .stale = 2,
    .sum = 3,
};
