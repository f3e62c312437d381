/* SPDX-License-Identifier: MIT
 *
 * The monitor beside workers that are kept by a task, that fall asleep and that wake: what only the
 * stuck one could reach is run by another, and the monitor does not sleep while a task runs. Its own
 * loop would never end; here it looks twice. */
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <fettle/io.h>
#include <fettle/runtime.h>
#include <fettle/task.h>
#include <fettle/time.h>

#include "runtime/futex.h"
#include "runtime/monitor.h"
#include "runtime/park.h"
#include "tests/model/model.h"

static struct state {
    struct ftl_runtime *runtime, *other;
    struct ftl_fd *fd;
    int number;
    _Atomic uint32_t flag; /* futex word */
    int ran, kept, slept; /* plain: what orders the tasks orders these */
} * state;

static void start(unsigned workers)
{
    state = calloc(1, sizeof *state);
    state->runtime = model_runtime(workers);
}

static void raise_flag(void)
{
    atomic_store_explicit(&state->flag, 1, memory_order_relaxed);
    ftl__futex_wake(&state->flag, 1);
}

static void *set_flag(void *arg)
{
    state->ran++;
    raise_flag();
    return arg;
}

/* The thread waits, and the task with it. */
static void keep_worker(void)
{
    while (!atomic_load_explicit(&state->flag, memory_order_relaxed))
        ftl__futex_wait(&state->flag, 0, FTL_FOREVER);
    state->kept++;
}

static void spawn_onto(struct ftl_runtime *runtime, ftl_task_fn fn)
{
    model_check(ftl_spawn(runtime, fn, NULL, NULL, NULL) == 0);
}

/* Time passes between two looks, so that a worker may count as stuck at the second. */
static void *look(void *arg)
{
    ftl__monitor_look(state->runtime);
    (void)ftl_sleep(2 * FTL_MS);
    ftl__monitor_look(state->runtime);
    return arg;
}

/* ---- the task in the slot ---- */

static void *spawn_and_keep(void *arg)
{
    spawn_onto(state->runtime, set_flag);
    keep_worker();
    return arg;
}

static void setup_lifo(void)
{
    start(2);
    spawn_onto(state->runtime, spawn_and_keep);
    model_thread(look, NULL);
}

static void finish_lifo(void)
{
    model_check(state->ran <= 1 && state->kept <= 1);
    model_check(state->ran == state->kept);
}

extern const struct model_scenario model_monitor_lifo;
const struct model_scenario model_monitor_lifo = {
    .name = "monitor_lifo",
    .promise = "the task that would be next behind a stuck one runs elsewhere, once",
    .setup = setup_lifo,
    .finish = finish_lifo,
    .preemptions = 2,
    .stale = 1,
    .sum = 2,
};

/* ---- two in the slot, one after the other, while the monitor takes it ---- */

static void *note(void *arg)
{
    state->ran++;
    return arg;
}

static void *spawn_two(void *arg)
{
    ftl_cork(); /* so that the monitor comes for an empty slot, too */
    spawn_onto(state->runtime, note);
    spawn_onto(state->runtime, note);
    return arg;
}

static void setup_displace(void)
{
    start(1);
    spawn_onto(state->runtime, spawn_two);
    model_thread(look, NULL);
}

static void finish_displace(void)
{
    model_check(state->ran == 2);
}

extern const struct model_scenario model_monitor_displace;
const struct model_scenario model_monitor_displace = {
    .name = "monitor_displace",
    .promise = "worker and monitor at the slot together: each task runs once",
    .setup = setup_displace,
    .finish = finish_displace,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

/* ---- what a cork holds back ---- */

static void *cork_and_end(void *arg)
{
    ftl_cork();
    spawn_onto(state->other, note);
    return arg; /* its scheduler uncorks */
}

static void *cork_and_keep(void *arg)
{
    ftl_cork();
    spawn_onto(state->other, set_flag);
    keep_worker();
    return arg;
}

static void setup_outbox(void)
{
    start(1);
    state->other = model_runtime(1);
    spawn_onto(state->runtime, cork_and_end);
    spawn_onto(state->runtime, cork_and_keep);
    model_thread(look, NULL);
}

static void finish_outbox(void)
{
    model_check(state->ran == 1 + state->kept && state->kept <= 1);
}

extern const struct model_scenario model_monitor_outbox;
const struct model_scenario model_monitor_outbox = {
    .name = "monitor_outbox",
    .promise = "what a stuck one has held back is handed over, once",
    .setup = setup_outbox,
    .finish = finish_outbox,
    .preemptions = 1,
    .stale = 1,
    .sum = 2,
};

/* The same in a destructor, which the scheduler calls. */
static void keep_in_destructor(void *value)
{
    (void)cork_and_keep(value);
}

static void *end_with_value(void *arg)
{
    (void)arg;
    ftl_cork();
    spawn_onto(state->other, note);
    return state;
}

static void setup_destructor(void)
{
    const struct ftl_spawn_options options = {.value_free = keep_in_destructor};
    start(1);
    state->other = model_runtime(1);
    model_check(ftl_spawn(state->runtime, end_with_value, NULL, &options, NULL) == 0);
    model_thread(look, NULL);
}

extern const struct model_scenario model_monitor_destructor;
const struct model_scenario model_monitor_destructor = {
    .name = "monitor_destructor",
    .promise = "what a destructor that is stuck has held back is handed over, once",
    .setup = setup_destructor,
    .finish = finish_outbox,
    .preemptions = 1,
    .stale = 1,
    .sum = 2,
};

/* ---- its sleep ---- */

static void *sleep_and_release(void *arg)
{
    ftl__monitor_sleep(state->runtime);
    state->slept++;
    raise_flag();
    return arg;
}

/* It ends only if the monitor did not sleep through it. */
static void *keep(void *arg)
{
    keep_worker();
    return arg;
}

static void *spawn_keep(void *arg)
{
    spawn_onto(state->runtime, keep);
    return arg;
}

static void setup_sleep(void)
{
    start(2);
    model_thread(sleep_and_release, NULL);
    model_thread(spawn_keep, NULL);
}

static void finish_sleep(void)
{
    model_check(state->kept == 1 && state->slept == 1);
}

extern const struct model_scenario model_monitor_sleep;
const struct model_scenario model_monitor_sleep = {
    .name = "monitor_sleep",
    .promise = "the monitor does not sleep while a worker is awake",
    .setup = setup_sleep,
    .finish = finish_sleep,
    .preemptions = 1,
    .stale = 1,
    .sum = 2,
};

/* ---- its sleep, while a worker comes back from the driver ---- */

static void *nap_and_keep(void *arg)
{
    (void)ftl_sleep(FTL_MS);
    keep_worker();
    return arg;
}

static void setup_nap(void)
{
    start(1);
    spawn_onto(state->runtime, nap_and_keep);
    model_thread(sleep_and_release, NULL);
}

extern const struct model_scenario model_monitor_nap;
const struct model_scenario model_monitor_nap = {
    .name = "monitor_nap",
    .promise = "the monitor does not sleep while a worker comes back from the driver",
    .setup = setup_nap,
    .finish = finish_sleep,
    .preemptions = 2,
    .stale = 1,
    .sum = 2,
};

/* ---- an extra worker ---- */

static void *look_for_long(void *arg)
{
    ftl__monitor_look(state->runtime);
    (void)ftl_sleep(20 * FTL_MS);
    ftl__monitor_look(state->runtime); /* its thread cannot be started */
    raise_flag();
    return arg;
}

static void *ask(void *arg)
{
    struct ftl_runtime_stats stats;
    ftl_runtime_stats(state->runtime, &stats);
    return arg;
}

static void setup_extra(void)
{
    const struct ftl_runtime_options options = {.workers = 1, .extra_workers = 1};
    state = calloc(1, sizeof *state);
    model_check(ftl_runtime_start(&options, &state->runtime) == 0);
    spawn_onto(state->runtime, keep);
    spawn_onto(state->runtime, note);
    model_thread(look_for_long, NULL);
    model_thread(ask, NULL);
}

static void finish_extra(void)
{
    model_check(state->ran == 1 && state->kept == 1);
}

extern const struct model_scenario model_monitor_extra;
const struct model_scenario model_monitor_extra = {
    .name = "monitor_extra",
    .promise = "who counts while an extra worker comes to be sees all of it, or nothing",
    .setup = setup_extra,
    .finish = finish_extra,
    .preemptions = 1,
    .stale = 1,
};

/* ---- the driver in turns ---- */

static void *poke(void *arg)
{
    uint64_t one = 1;
    (void)!write(state->number, &one, sizeof one);
    return arg;
}

static void *close_and_poll(void *arg)
{
    ftl_fd_close(state->fd);
    while (!ftl__runtime_poll(state->runtime)) /* in vain while the worker sleeps there */
        sched_yield();
    return arg;
}

static void setup_close(void)
{
    start(1);
    state->number = eventfd(0, 0);
    model_check(ftl_fd_open(state->runtime, state->number, &state->fd) == 0);
    model_thread(poke, NULL);
    model_thread(close_and_poll, NULL);
}

static void finish_close(void)
{
    model_check(model_has_returned(1));
}

extern const struct model_scenario model_driver_close;
const struct model_scenario model_driver_close = {
    .name = "driver_close",
    .promise = "a descriptor is freed after all use of it by whoever polled before",
    .setup = setup_close,
    .finish = finish_close,
    .preemptions = 2,
    .stale = 1,
    .sum = 3,
};
