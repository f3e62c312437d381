/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * How a worker sleeps and is woken. One of those who sleep has the driver and sleeps in epoll, all
 * others on their futex word `park`; who wakes one finds out there which of the two it is. Whom to
 * wake is the business of idle.c, and what there is to do that of schedule.c.
 *
 * Waking is for any thread, sleeping for the worker's own. */
#include "runtime/park.h"

#include "runtime/schedule.h"

/* ---- waking ---- */

void ftl__worker_unpark(struct ftl__worker *worker)
{
    /* What was made visible before is seen by the worker after it leaves its sleep, or it sees
     * NOTIFIED before it begins one. */
    switch (atomic_exchange(&worker->park, FTL__PARK_NOTIFIED)) {
    case FTL__PARK_FUTEX:
        ftl__futex_wake(&worker->park, 1);
        break;
    case FTL__PARK_DRIVER:
        ftl__driver_wake(&worker->runtime->driver);
        break;
    default:
        break;
    }
}

void ftl__runtime_notify(struct ftl_runtime *runtime)
{
    int index = ftl__idle_to_notify(&runtime->idle);
    if (index >= 0)
        ftl__worker_unpark(runtime->workers[index]);
}

/* ---- the driver ---- */

/* Who leaves the driver to run tasks notifies: of those who sleep one comes to sleep in the driver
 * instead, so that a task which keeps its worker keeps no timer and no descriptor of the others. */
bool ftl__worker_poll(struct ftl__worker *worker, bool sleep)
{
    struct ftl_runtime *runtime = worker->runtime;
    struct ftl__wakes wakes;
    if (!ftl__driver_try_take(&runtime->driver))
        return false;
    ftl__wakes_init(&wakes);
    uint32_t empty = FTL__PARK_EMPTY;
    if (sleep && !atomic_compare_exchange_strong(&worker->park, &empty, FTL__PARK_DRIVER))
        sleep = false; /* notified already */
    ftl__driver_poll(&runtime->driver, sleep, &wakes);
    ftl__driver_give(&runtime->driver);

    worker->polling = true; /* one notify for the whole batch */
    ftl__wakes_submit(&wakes);
    worker->polling = false;
    return true;
}

bool ftl__runtime_poll(struct ftl_runtime *runtime)
{
    struct ftl__wakes wakes;
    if (!ftl__driver_try_take(&runtime->driver))
        return false;
    ftl__wakes_init(&wakes);
    ftl__driver_poll(&runtime->driver, false, &wakes);
    ftl__driver_give(&runtime->driver);
    ftl__wakes_submit(&wakes);
    /* A worker that wanted to sleep in the driver meanwhile sleeps elsewhere. */
    ftl__runtime_notify(runtime);
    return true;
}

static void sleep_on_futex(struct ftl__worker *worker)
{
    uint32_t empty = FTL__PARK_EMPTY;
    if (atomic_compare_exchange_strong(&worker->park, &empty, FTL__PARK_FUTEX))
        while (atomic_load(&worker->park) == FTL__PARK_FUTEX)
            ftl__futex_wait(&worker->park, FTL__PARK_FUTEX, FTL_FOREVER);
}

static void wake_up(struct ftl__worker *worker)
{
    /* seq_cst: a monitor that is going to sleep sees this worker awake, or this sees it asleep. */
    atomic_exchange(&worker->park, FTL__PARK_EMPTY);
    if (worker->home) /* the blocking pool is not watched */
        ftl__monitor_wake(&worker->runtime->monitor);
}

/* True: it slept in the driver, which is free now. */
static bool park(struct ftl__worker *worker)
{
    ftl__count(&worker->stats.parked);
    bool drove = ftl__worker_poll(worker, true);
    if (!drove)
        sleep_on_futex(worker);
    wake_up(worker);
    return drove;
}

/* ---- sleeping ---- */

/* Somebody asks it to do something else than sleep. */
static bool called_away(const struct ftl__worker *worker)
{
    /* acquire: pairs with ftl_runtime_free() */
    return atomic_load_explicit(&worker->runtime->stop, memory_order_acquire) ||
           !atomic_load_explicit(&worker->needed, memory_order_relaxed);
}

void ftl__worker_sleep(struct ftl__worker *worker)
{
    struct ftl_runtime *runtime = worker->runtime;
    bool look = ftl__idle_sleep(&runtime->idle, worker->index, worker->searching);
    worker->searching = false;
    if (look && ftl__runtime_has_work(runtime))
        ftl__runtime_notify(runtime);
    for (;;) {
        bool drove = park(worker);
        if (ftl__worker_has_work(worker) || called_away(worker)) {
            /* Not among the sleepers any more: it was notified as well, as a searcher. */
            worker->searching = !ftl__idle_wake(&runtime->idle, worker->index);
            if (drove && !worker->searching)
                ftl__runtime_notify(runtime);
            return;
        }
        if (!ftl__idle_is_sleeping(&runtime->idle, worker->index)) {
            worker->searching = true;
            return;
        }
    }
}

void ftl__worker_rest(struct ftl__worker *worker)
{
    sleep_on_futex(worker);
    wake_up(worker);
}
