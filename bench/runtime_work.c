/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Benches whose tasks compute: what counts is that all workers get their share of them. */
#include "bench/runtime.h"

/* At the beginning of a cache line, as in bench/tokio (see bench/compare): where the loop happens to
 * lie makes a fifth of its time. */
__attribute__((noinline, aligned(64))) static uint64_t fib(uint64_t n)
{
    __asm__ volatile("" : "+r"(n)); /* each call is made */
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static void *fib_of_20(void *arg)
{
    (void)arg;
    return (void *)(uintptr_t)fib(20);
}

int64_t bench_cpu_fanout(struct ftl_runtime *runtime, uint32_t operations)
{
    return bench_spawn_and_join(runtime, operations, fib_of_20, NULL);
}

static void *spin(void *arg)
{
    const int64_t *duration = arg;
    int64_t end = ftl_now() + *duration;
    while (ftl_now() < end)
        ;
    return NULL;
}

/* All of them begin on one worker; the ideal is 10 us, divided by the workers. */
int64_t bench_steal_imbalance(struct ftl_runtime *runtime, uint32_t operations)
{
    int64_t duration = 10000;
    return bench_spawn_and_join(runtime, operations, spin, &duration);
}
