/* SPDX-License-Identifier: MIT
 *
 * Concurrent is not parallel: branches of one task, and tasks, with the threads that they run on.
 *
 * To see: the branches of a join take turns where they wait, all on one thread, and so count in a
 * plain local of their parent. The two spawned tasks each wait, computing, for the other to begin:
 * that ends only because they run at the same time, on two threads, and what they share is atomic. */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <fettle/join.h>
#include <fettle/runtime.h>

enum { THREADS = 2 };

/* ---- join ---- */

struct shared {
    int turns;     /* no atomic, no lock */
    pid_t threads[3];
};

struct branch {
    struct shared *shared;
    int index;
};

static int take_turns(void *arg)
{
    const struct branch *branch = arg;
    branch->shared->threads[branch->index] = gettid();
    for (int i = 0; i < 1000; i++) {
        branch->shared->turns++;
        ftl_yield(); /* a sibling's turn */
    }
    return 0;
}

static void join_three(void)
{
    struct shared shared = {0};
    struct branch args[3] = {{&shared, 0}, {&shared, 1}, {&shared, 2}};
    struct ftl_branch branches[3] = {{.fn = take_turns, .arg = &args[0]},
                                     {.fn = take_turns, .arg = &args[1]},
                                     {.fn = take_turns, .arg = &args[2]}};
    ftl_assert(ftl_join(branches, 3) == 0);
    for (int i = 0; i < 3; i++)
        printf("join: branch %d on thread %d\n", i, (int)shared.threads[i]);
    printf("join: %d turns\n", shared.turns);
}

/* ---- spawn ---- */

static _Atomic int begun;

static void *meet_the_other(void *arg)
{
    atomic_fetch_add(&begun, 1);
    while (atomic_load(&begun) < 2)
        ; /* does not wait, does not yield: this worker is taken */
    *(pid_t *)arg = gettid();
    return NULL;
}

static void spawn_two(void)
{
    struct ftl_task *tasks[2];
    struct ftl_outcome outcome;
    pid_t threads[2];
    for (int i = 0; i < 2; i++)
        ftl_assert(ftl_spawn(ftl_runtime_current(), meet_the_other, &threads[i], NULL,
                             &tasks[i]) == 0);
    for (int i = 0; i < 2; i++) {
        ftl_assert(ftl_task_join(tasks[i], FTL_FOREVER, &outcome) == 0);
        printf("spawn: task %d on thread %d\n", i, (int)threads[i]);
    }
}

static void *join_then_spawn(void *arg)
{
    join_three();
    spawn_two();
    return arg;
}

int main(void)
{
    const struct ftl_runtime_options options = {.workers = THREADS};
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    struct ftl_outcome outcome;
    if (ftl_runtime_start(&options, &runtime) != 0 ||
        ftl_spawn(runtime, join_then_spawn, NULL, NULL, &task) != 0 ||
        ftl_task_join(task, FTL_FOREVER, &outcome) != 0)
        return 1;
    ftl_runtime_shutdown(runtime, FTL_FOREVER);
    ftl_runtime_free(runtime);
    return outcome.kind == FTL_COMPLETED ? 0 : 1;
}
