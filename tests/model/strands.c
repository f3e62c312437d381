/* SPDX-License-Identifier: MIT
 *
 * Branches of one task, woken by threads while the task runs, waits, or leaves the call: none stays
 * behind, and no place is posted that has gone. */
#include <stdlib.h>

#include <fettle/channel.h>
#include <fettle/join.h>
#include <fettle/runtime.h>
#include <fettle/task.h>
#include <fettle/time.h>

#include "tests/model/model.h"

static struct state {
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    struct ftl_oneshot oneshots[2];
    int sent[2];
    int branches, ended; /* without atomics: branches are never parallel */
} * state;

static int receive(void *arg)
{
    struct ftl_oneshot *oneshot = arg;
    void *value;
    int rc = ftl_oneshot_recv(oneshot, FTL_FOREVER, &value);
    model_check(rc != 0 || *(int *)value == 1);
    state->branches += rc == 0;
    return rc;
}

static int receive_both(void *arg)
{
    int rc = receive(&state->oneshots[0]);
    (void)arg;
    return rc == 0 ? receive(&state->oneshots[1]) : rc;
}

static int pass(void *arg)
{
    (void)arg;
    return 0;
}

static void *send(void *arg)
{
    struct ftl_oneshot *oneshot = arg;
    int *sent = &state->sent[oneshot - state->oneshots];
    *sent = 1;
    ftl_oneshot_send(oneshot, sent);
    return NULL;
}

static void fill(struct ftl_branch *branches)
{
    for (int i = 0; i < 2; i++)
        branches[i] = (struct ftl_branch){.fn = receive, .arg = &state->oneshots[i]};
}

static void *join(void *arg)
{
    struct ftl_branch branches[2];
    fill(branches);
    model_check(ftl_join(branches, 2) == 0);
    model_check(branches[0].returned && branches[1].returned);
    state->ended++;
    return arg;
}

static void *select_one(void *arg)
{
    struct ftl_branch branches[2];
    size_t winner;
    fill(branches);
    model_check(ftl_select(branches, 2, &winner) == 0 && branches[winner].returned);
    state->ended++;
    return arg;
}

/* The branch may be posted for its first wait when it is in its second already. */
static void *join_one_after_the_other(void *arg)
{
    struct ftl_branch branches[2] = {{.fn = receive_both}, {.fn = pass}};
    model_check(ftl_join(branches, 2) == 0);
    state->ended++;
    return arg;
}

static void start(ftl_task_fn fn)
{
    state = calloc(1, sizeof *state);
    state->runtime = model_runtime(1);
    for (int i = 0; i < 2; i++)
        ftl_oneshot_init(&state->oneshots[i]);
    model_check(ftl_spawn(state->runtime, fn, NULL, NULL, &state->task) == 0);
}

static void setup_join(void)
{
    start(join);
    model_thread(send, &state->oneshots[0]);
    model_thread(send, &state->oneshots[1]);
}

static void finish_join(void)
{
    model_check(state->branches == 2 && state->ended == 1);
}

extern const struct model_scenario model_strands_join;
const struct model_scenario model_strands_join = {
    .name = "strands_join",
    .promise = "two branches of a task are woken by two threads",
    .setup = setup_join,
    .finish = finish_join,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

static void setup_twice(void)
{
    start(join_one_after_the_other);
    model_thread(send, &state->oneshots[0]);
    model_thread(send, &state->oneshots[1]);
}

extern const struct model_scenario model_strands_twice;
const struct model_scenario model_strands_twice = {
    .name = "strands_twice",
    .promise = "a branch that is still posted for one wait is woken for the next",
    .setup = setup_twice,
    .finish = finish_join,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

static void setup_select(void)
{
    start(select_one);
    model_thread(send, &state->oneshots[0]);
    model_thread(send, &state->oneshots[1]);
}

/* The loser may have its value, too: it was not cut off before. */
static void finish_select(void)
{
    model_check(state->branches >= 1 && state->ended == 1);
}

extern const struct model_scenario model_strands_select;
const struct model_scenario model_strands_select = {
    .name = "strands_select",
    .promise = "a branch is woken while another wins",
    .setup = setup_select,
    .finish = finish_select,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

static void *abort_it(void *arg)
{
    ftl_abort(state->task, 0);
    return arg;
}

static void setup_abort(void)
{
    start(join);
    model_thread(send, &state->oneshots[0]);
    model_thread(abort_it, NULL);
}

static void finish_abort(void)
{
    model_check(ftl_task_is_finished(state->task) && state->ended == 0);
}

extern const struct model_scenario model_strands_abort;
const struct model_scenario model_strands_abort = {
    .name = "strands_abort",
    .promise = "an abort reaches all branches, also one that is being woken",
    .setup = setup_abort,
    .finish = finish_abort,
    .preemptions = 2,
    .stale = 1,
    .sum = 2,
};
