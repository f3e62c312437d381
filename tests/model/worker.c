/* SPDX-License-Identifier: MIT
 *
 * Workers and their sleep: what is spawned or woken from elsewhere runs, whatever they are doing.
 * What is left undone when all threads sleep is a lost wake-up. */
#include <sched.h>
#include <stdlib.h>

#include <fettle/channel.h>
#include <fettle/runtime.h>
#include <fettle/task.h>
#include <fettle/time.h>

#include "runtime/park.h"
#include "runtime/worker.h"
#include "tests/model/model.h"

static struct state {
    struct ftl_runtime *runtime;
    struct ftl_oneshot oneshots[2];
    _Atomic bool flag;
    int run[3], expected[3];
} * state;

static void start(unsigned workers, int tasks)
{
    state = calloc(1, sizeof *state);
    state->runtime = model_runtime(workers);
    for (int i = 0; i < tasks; i++)
        state->expected[i] = 1;
}

static void *note(void *count)
{
    ++*(int *)count;
    return NULL;
}

static void spawn_task(ftl_task_fn fn, void *arg)
{
    model_check(ftl_spawn(state->runtime, fn, arg, NULL, NULL) == 0);
}

static void *spawn(void *count)
{
    spawn_task(note, count);
    return NULL;
}

static void finish(void)
{
    for (int i = 0; i < 3; i++)
        model_check(state->run[i] == state->expected[i]);
}

/* ---- one worker, two threads ---- */

static void setup_spawn(void)
{
    start(1, 2);
    model_thread(spawn, &state->run[0]);
    model_thread(spawn, &state->run[1]);
}

extern const struct model_scenario model_worker_spawn;
const struct model_scenario model_worker_spawn = {
    .name = "worker_spawn",
    .promise = "two threads spawn while the worker goes to sleep: both tasks run",
    .setup = setup_spawn,
    .finish = finish,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

/* ---- two workers, one thread ---- */

static void setup_sleep(void)
{
    start(2, 1);
    model_thread(spawn, &state->run[0]);
}

extern const struct model_scenario model_worker_sleep;
const struct model_scenario model_worker_sleep = {
    .name = "worker_sleep",
    .promise = "a task comes while two workers go to sleep: one of them runs it",
    .setup = setup_sleep,
    .finish = finish,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

/* A worker that is kept by a task is no help to the tasks that stand behind it: the other one must
 * come, by a theft from the ring or by what is injected. */
static void *keep(void *arg)
{
    void *value;
    spawn_task(note, &state->run[0]);
    spawn_task(note, &state->run[1]); /* drives the first from the slot into the ring */
    state->run[2]++;
    (void)value;
    return arg;
}

static void *spawn_keeper(void *arg)
{
    spawn_task(keep, arg);
    return NULL;
}

static void setup_steal(void)
{
    start(2, 3);
    model_thread(spawn_keeper, NULL);
}

extern const struct model_scenario model_worker_steal;
const struct model_scenario model_worker_steal = {
    .name = "worker_steal",
    .promise = "a task spawns two while the other worker goes to sleep or steals",
    .setup = setup_steal,
    .finish = finish,
    .preemptions = 2,
    .stale = 1,
    .sum = 2,
};

/* ---- a task that waits with its worker ---- */

static void *set_flag(void *arg)
{
    atomic_store_explicit(&state->flag, true, memory_order_release);
    return note(arg);
}

/* Whoever has it can do nothing else until the other task has run. */
static void *hog(void *arg)
{
    while (!atomic_load_explicit(&state->flag, memory_order_acquire))
        sched_yield();
    return note(arg);
}

static void *spawn_hog(void *arg)
{
    spawn_task(hog, &state->run[0]);
    spawn_task(set_flag, &state->run[1]);
    return arg;
}

static void setup_hog(void)
{
    start(2, 2);
    model_thread(spawn_hog, NULL);
}

extern const struct model_scenario model_worker_hog;
const struct model_scenario model_worker_hog = {
    .name = "worker_hog",
    .promise = "whoever searched and found a task wakes another one for the next task",
    .setup = setup_hog,
    .finish = finish,
    .preemptions = 2,
    .stale = 1,
    .sum = 2,
};

/* ---- a pinned task, woken from elsewhere ---- */

static void *receive(void *arg)
{
    void *value;
    struct ftl_oneshot *oneshot = arg;
    if (ftl_oneshot_recv(oneshot, FTL_FOREVER, &value) == 0)
        ++*(int *)value;
    return NULL;
}

static void *receive_on_thread(void *arg)
{
    receive(arg);
    return NULL;
}

static void *send(void *arg)
{
    struct ftl_oneshot *oneshot = arg;
    ftl_oneshot_send(oneshot, &state->run[oneshot - state->oneshots]);
    return NULL;
}

static void *spawn_receivers(void *arg)
{
    spawn_task(receive, &state->oneshots[0]);
    return receive_on_thread(arg);
}

static void setup_inbox(void)
{
    start(1, 1);
    model_thread(spawn_receivers, &state->oneshots[1]);
    model_thread(send, &state->oneshots[0]);
    state->expected[1] = 0;
}

extern const struct model_scenario model_worker_inbox;
const struct model_scenario model_worker_inbox = {
    .name = "worker_inbox",
    .promise = "a pinned task is woken while its worker goes to sleep",
    .setup = setup_inbox,
    .finish = finish,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

/* Two that wake two pinned tasks of one worker: the inbox takes both. */
static void *spawn_two_receivers(void *arg)
{
    spawn_task(receive, &state->oneshots[0]);
    spawn_task(receive, &state->oneshots[1]);
    return arg;
}

static void setup_inbox_2(void)
{
    start(1, 2);
    model_thread(spawn_two_receivers, NULL);
    model_thread(send, &state->oneshots[0]);
    model_thread(send, &state->oneshots[1]);
}

extern const struct model_scenario model_worker_inbox_2;
const struct model_scenario model_worker_inbox_2 = {
    .name = "worker_inbox_2",
    .promise = "two pinned tasks are woken by two threads at once",
    .setup = setup_inbox_2,
    .finish = finish,
    .preemptions = 1,
    .stale = 1,
};

/* ---- a worker is sent away ---- */

static void *send_away(void *arg)
{
    struct ftl__worker *worker = state->runtime->workers[1];
    atomic_store_explicit(&worker->needed, false, memory_order_relaxed);
    ftl__worker_unpark(worker); /* publishes it */
    return arg;
}

static void setup_retire(void)
{
    start(2, 1);
    model_thread(spawn, &state->run[0]);
    model_thread(send_away, NULL);
}

extern const struct model_scenario model_worker_retire;
const struct model_scenario model_worker_retire = {
    .name = "worker_retire",
    .promise = "a task comes while one worker sleeps and the other one leaves",
    .setup = setup_retire,
    .finish = finish,
    .preemptions = 1,
    .stale = 1,
    .sum = 3,
};
