/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Benches that spawn: one task after the other, many at once, chains, trees, and a set
 * whose members are bounded by permits. */
#include <fettle/channel.h>
#include <fettle/semaphore.h>
#include <fettle/task_set.h>

#include "bench/runtime.h"

static void *nothing(void *arg)
{
    return arg;
}

int64_t bench_spawn_join(struct ftl_runtime *runtime, uint32_t operations)
{
    int64_t start = ftl_now();
    for (uint32_t i = 0; i < operations; i++)
        bench_join(bench_spawn(runtime, nothing, NULL));
    return ftl_now() - start;
}

int64_t bench_spawn_and_join(struct ftl_runtime *runtime, uint32_t count, ftl_task_fn fn, void *arg)
{
    static struct ftl_task *tasks[BENCH_TASKS_MAX];
    int64_t start = ftl_now();
    for (uint32_t i = 0; i < count; i++)
        tasks[i] = bench_spawn(runtime, fn, arg);
    for (uint32_t i = 0; i < count; i++)
        bench_join(tasks[i]);
    return ftl_now() - start;
}

int64_t bench_spawn_many(struct ftl_runtime *runtime, uint32_t operations)
{
    return bench_spawn_and_join(runtime, operations, nothing, NULL);
}

/* ---- a chain: each spawns the next -------------------------------------------------------- */

struct chain {
    uint32_t left;
    struct ftl_oneshot done;
};

static void *link_of_chain(void *arg)
{
    struct chain *chain = arg;
    if (--chain->left == 0)
        ftl_oneshot_send(&chain->done, NULL);
    else
        bench_spawn_detached(ftl_runtime_current(), link_of_chain, chain);
    return NULL;
}

int64_t bench_chained_spawn(struct ftl_runtime *runtime, uint32_t operations)
{
    struct chain chain = {.left = operations};
    void *value;
    ftl_oneshot_init(&chain.done);
    int64_t start = ftl_now();
    bench_spawn_detached(runtime, link_of_chain, &chain);
    bench_must(ftl_oneshot_recv(&chain.done, FTL_FOREVER, &value));
    return ftl_now() - start;
}

/* ---- a set, bounded by permits ------------------------------------------------------------ */

static void spawn_member(struct ftl_task_set *set, struct ftl_runtime *runtime,
                         struct ftl_semaphore *semaphore)
{
    struct ftl_permit permit = {0};
    bench_must(ftl_semaphore_acquire(semaphore, 1, FTL_FOREVER, &permit));
    const struct ftl_spawn_options options = {.permit = &permit};
    bench_must(ftl_task_set_spawn(set, runtime, nothing, NULL, &options, NULL, NULL));
}

int64_t bench_task_set_semaphore(struct ftl_runtime *runtime, uint32_t operations)
{
    enum { PERMITS = 64 };
    struct ftl_task_set *set = ftl_task_set_new();
    struct ftl_semaphore *semaphore = ftl_semaphore_new(PERMITS);
    struct ftl_outcome outcome;
    bench_must(set && semaphore ? 0 : FTL_ENOMEM);
    int64_t start = ftl_now();
    for (uint32_t i = 0; i < operations; i++) {
        spawn_member(set, runtime, semaphore);
        while (ftl_task_set_try_join_next(set, &outcome, NULL) == 0)
            ;
    }
    while (ftl_task_set_join_next(set, FTL_FOREVER, &outcome, NULL) == 0)
        ;
    int64_t elapsed = ftl_now() - start;
    ftl_semaphore_free(semaphore);
    ftl_task_set_free(set);
    return elapsed;
}

/* ---- a tree: ten children each, a million leaves; each node returns the sum of its leaves -- */

enum { BRANCHES = 10 };

struct node {
    uint32_t first, leaves;
};

static void *sum_of_node(void *arg)
{
    const struct node *node = arg;
    struct node nodes[BRANCHES];
    struct ftl_task *tasks[BRANCHES];
    uintptr_t sum = 0;
    if (node->leaves == 1)
        return (void *)(uintptr_t)node->first;
    uint32_t leaves = node->leaves / BRANCHES;
    for (uint32_t i = 0; i < BRANCHES; i++) {
        nodes[i] = (struct node){.first = node->first + i * leaves, .leaves = leaves};
        tasks[i] = bench_spawn(ftl_runtime_current(), sum_of_node, &nodes[i]);
    }
    for (uint32_t i = 0; i < BRANCHES; i++)
        sum += (uintptr_t)bench_join(tasks[i]);
    return (void *)sum;
}

int64_t bench_skynet(struct ftl_runtime *runtime, uint32_t operations)
{
    struct node root = {.first = 0, .leaves = operations};
    uintptr_t expected = (uintptr_t)operations * (operations - 1) / 2;
    int64_t start = ftl_now();
    uintptr_t sum = (uintptr_t)bench_join(bench_spawn(runtime, sum_of_node, &root));
    int64_t elapsed = ftl_now() - start;
    bench_must(sum == expected ? 0 : FTL_EPROTO);
    return elapsed;
}
