/* SPDX-License-Identifier: MIT
 *
 * Tasks under test: what their destructors and defers have done is counted. */
#ifndef FETTLE_TESTS_COUNTED_H
#define FETTLE_TESTS_COUNTED_H

#include <stdatomic.h>

#include <fettle/channel.h>

#include "tests/unit/task_fixture.h"

static _Atomic int freed; /* calls of a destructor */
static _Atomic int steps;

static inline void count_free(void *arg)
{
    (void)arg;
    atomic_fetch_add(&freed, 1);
}

static inline void count_step(void *arg)
{
    (void)arg;
    atomic_fetch_add(&steps, 1);
}

static inline void reset(void)
{
    atomic_store(&freed, 0);
    atomic_store(&steps, 0);
}

static inline void *identity(void *arg)
{
    return arg;
}

static inline void *sleep_long(void *arg)
{
    FTL_DEFER(count_step, NULL);
    ftl_sleep(1000 * FTL_S);
    return arg;
}

static inline struct ftl_task *spawn_with(ftl_task_fn fn, void *arg, bool migratable)
{
    const struct ftl_spawn_options options = {.arg_free = count_free,
                                              .value_free = count_free,
                                              .name = "under_test",
                                              .migratable = migratable};
    struct ftl_task *task;
    ck_assert_int_eq(ftl_spawn(fixture_runtime, fn, arg, &options, &task), 0);
    return task;
}

static inline struct ftl_outcome join(struct ftl_task *task)
{
    struct ftl_outcome outcome = {0};
    ck_assert_int_eq(ftl_task_join(task, ftl_deadline(60 * unit_slow() * FTL_S), &outcome), 0);
    return outcome;
}

static inline void *wait_for_freed(void *arg)
{
    while (atomic_load(&freed) < *(int *)arg)
        ftl_sleep(FTL_MS);
    return NULL;
}

static inline void *say_started(void *arg)
{
    ftl_oneshot_send(arg, NULL);
    return sleep_long(NULL);
}

/* A task that is certainly waiting. */
static inline struct ftl_task *waiting_task(bool migratable)
{
    struct ftl_oneshot started;
    void *nothing;
    ftl_oneshot_init(&started);
    struct ftl_task *task = spawn_with(say_started, &started, migratable);
    ck_assert_int_eq(ftl_oneshot_recv(&started, FTL_FOREVER, &nothing), 0);
    return task;
}

/* Both workers are kept busy, so that what is spawned meanwhile cannot start. */
static _Atomic int busy, release;

static inline void *burn(void *arg)
{
    atomic_fetch_add(&busy, 1);
    while (!atomic_load(&release))
        ;
    return arg;
}

#endif
