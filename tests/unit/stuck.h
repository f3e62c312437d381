/* SPDX-License-Identifier: MIT
 *
 * Tasks that keep their worker, for the tests of what is done about them: a runtime, tasks that spin
 * until they are released, tasks that are counted, reports. */
#ifndef FETTLE_TESTS_STUCK_H
#define FETTLE_TESTS_STUCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <fettle/runtime.h>
#include <fettle/task.h>
#include <fettle/time.h>

#include "tests/unit/unit.h"

static struct ftl_runtime *runtime;
static _Atomic int spinning, ran;
static _Atomic bool released;

/* Far above what is promised. */
#define ck_assert_soon(since, limit) ck_assert_int_le(ftl_now() - (since), unit_limit(limit))

static inline void start(const struct ftl_runtime_options *options)
{
    atomic_store(&spinning, 0);
    atomic_store(&ran, 0);
    atomic_store(&released, false);
    ck_assert_int_eq(ftl_runtime_start(options, &runtime), 0);
}

static inline void stop(void)
{
    atomic_store(&released, true);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}

static inline struct ftl_runtime_stats stats(void)
{
    struct ftl_runtime_stats stats;
    ftl_runtime_stats(runtime, &stats);
    return stats;
}

static inline struct ftl_task *spawn(ftl_task_fn fn, void *arg)
{
    struct ftl_task *task;
    ck_assert_int_eq(ftl_spawn(runtime, fn, arg, NULL, &task), 0);
    return task;
}

static inline void join(struct ftl_task *task)
{
    struct ftl_outcome outcome;
    ck_assert_int_eq(ftl_task_join(task, ftl_deadline(60 * FTL_S), &outcome), 0);
    ck_assert_int_eq(outcome.kind, FTL_COMPLETED);
}

static inline void *count(void *arg)
{
    atomic_fetch_add(&ran, 1);
    return arg;
}

/* Keeps its worker until released. */
static inline void *spin(void *arg)
{
    atomic_fetch_add(&spinning, 1);
    while (!atomic_load(&released))
        ;
    return arg;
}

static inline void spin_on(int workers, struct ftl_task **ret_tasks)
{
    for (int i = 0; i < workers; i++)
        ret_tasks[i] = spawn(spin, NULL);
    while (atomic_load(&spinning) < workers)
        usleep(100);
}

static inline void until_ran(int expected)
{
    int64_t deadline = ftl_deadline(60 * FTL_S);
    while (atomic_load(&ran) < expected && ftl_now() < deadline)
        ;
    ftl_assert(atomic_load(&ran) == expected);
}

static inline void *sleep_often(void *arg)
{
    int64_t *worst = arg;
    for (int i = 0; i < 100; i++) {
        int64_t due = ftl_deadline(FTL_MS);
        ftl_assert(ftl_sleep_until(due) == 0);
        int64_t late = ftl_now() - due;
        if (late > *worst)
            *worst = late;
    }
    return NULL;
}

/* ---- reports ---- */

static pthread_mutex_t stalls_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ftl_stall stalls[8];
static _Atomic int stall_count;

static inline void on_stall(void *arg, const struct ftl_stall *stall)
{
    (void)arg;
    pthread_mutex_lock(&stalls_lock);
    int n = atomic_load(&stall_count);
    if (n < 8)
        stalls[n] = *stall;
    atomic_store(&stall_count, n + 1);
    pthread_mutex_unlock(&stalls_lock);
}

#endif
