/* SPDX-License-Identifier: MIT
 *
 * The benches of the runtime. A round does `operations` of what its bench measures and returns the
 * nanoseconds that took, or the bytes. Whatever goes wrong ends the process. */
#ifndef FETTLE_BENCH_RUNTIME_H
#define FETTLE_BENCH_RUNTIME_H

#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <fettle/task.h>
#include <fettle/time.h>

typedef int64_t bench_round(struct ftl_runtime *runtime, uint32_t operations);

/* runtime_spawn.c */
bench_round bench_spawn_join, bench_spawn_many, bench_chained_spawn, bench_task_set_semaphore,
    bench_skynet;
/* runtime_wait.c; switch needs no runtime */
bench_round bench_yield_many, bench_ping_pong, bench_mpsc, bench_mpsc_apart, bench_timeout,
    bench_switch;
/* runtime_work.c */
bench_round bench_cpu_fanout, bench_steal_imbalance;
/* runtime_memory.c: bytes; one round in a process */
bench_round bench_sleep_1m, bench_queued_1m;

static inline void bench_must(int rc)
{
    if (rc == 0)
        return;
    fprintf(stderr, "bench/runtime: %s\n", ftl_error_text(rc));
    _exit(1);
}

static inline struct ftl_task *bench_spawn(struct ftl_runtime *runtime, ftl_task_fn fn, void *arg)
{
    struct ftl_task *task;
    bench_must(ftl_spawn(runtime, fn, arg, NULL, &task));
    return task;
}

static inline void bench_spawn_detached(struct ftl_runtime *runtime, ftl_task_fn fn, void *arg)
{
    bench_must(ftl_spawn(runtime, fn, arg, NULL, NULL));
}

/* The value of a task that completes. */
static inline void *bench_join(struct ftl_task *task)
{
    struct ftl_outcome outcome;
    bench_must(ftl_task_join(task, FTL_FOREVER, &outcome));
    bench_must(outcome.kind == FTL_COMPLETED ? 0 : FTL_ECANCELED);
    return outcome.value;
}

/* Spawns fn(arg) `count` times, BENCH_TASKS_MAX at most, then joins them all. The ns that took. */
enum { BENCH_TASKS_MAX = 10000 };
int64_t bench_spawn_and_join(struct ftl_runtime *runtime, uint32_t count, ftl_task_fn fn,
                             void *arg);

#endif
