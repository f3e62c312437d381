/* SPDX-License-Identifier: MIT
 *
 * DESIGN. What the runtime costs, one bench a process, on the library as it is shipped:
 *
 *     bench/runtime NAME [WORKERS]
 *
 * prints `NAME VALUE ns/op` or `NAME VALUE B/task`. A round of a bench runs inside a task, or on
 * this thread, which is outside of the pool. Of time, the median of several rounds after one that is
 * not counted; of memory, the one round there is. bench/tokio does the same with Tokio, and
 * bench/compare puts the two side by side. */
#include "bench/runtime.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/runtime.h>

enum { ROUNDS_LEAST = 5, ROUNDS_MOST = 1000, WORKERS_DEFAULT = 2 };
static const int64_t measured_least = 300 * FTL_MS; /* all rounds together */

enum kind { TIME, MEMORY };
enum place { INSIDE, OUTSIDE };

static const struct bench {
    const char *name;
    bench_round *round;
    uint32_t operations; /* in a round */
    enum kind kind;
    enum place place;
} benches[] = {
    {"spawn_join", bench_spawn_join, 100000, TIME, INSIDE},
    {"spawn_many", bench_spawn_many, 10000, TIME, INSIDE},
    {"spawn_remote", bench_spawn_many, 10000, TIME, OUTSIDE},
    {"yield_many", bench_yield_many, 200 * 10000, TIME, INSIDE},
    {"ping_pong", bench_ping_pong, 1000, TIME, INSIDE},
    {"chained_spawn", bench_chained_spawn, 1000, TIME, INSIDE},
    {"task_set_semaphore", bench_task_set_semaphore, 500000, TIME, INSIDE},
    {"timeout", bench_timeout, 100000, TIME, INSIDE},
    {"mpsc", bench_mpsc, 1000000, TIME, INSIDE},
    {"mpsc_apart", bench_mpsc_apart, 1000000, TIME, OUTSIDE},
    {"skynet", bench_skynet, 1000000, TIME, INSIDE},
    {"cpu_fanout", bench_cpu_fanout, 2000, TIME, INSIDE},
    {"steal_imbalance", bench_steal_imbalance, 10000, TIME, INSIDE},
    {"sleep_1m", bench_sleep_1m, 1000000, MEMORY, INSIDE},
    {"queued_1m", bench_queued_1m, 1000000, MEMORY, INSIDE},
    {"switch", bench_switch, 10000000, TIME, OUTSIDE},
};
enum { BENCHES = sizeof benches / sizeof benches[0] };

/* ---- rounds ------------------------------------------------------------------------------- */

struct round {
    const struct bench *bench;
    struct ftl_runtime *runtime;
    int64_t result;
};

static void *run(void *arg)
{
    struct round *round = arg;
    round->result = round->bench->round(round->runtime, round->bench->operations);
    return NULL;
}

static int64_t run_round(const struct bench *bench, struct ftl_runtime *runtime)
{
    struct round round = {.bench = bench, .runtime = runtime};
    if (bench->place == INSIDE)
        bench_join(bench_spawn(runtime, run, &round));
    else
        run(&round);
    return round.result;
}

static int compare(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static int64_t median_round(const struct bench *bench, struct ftl_runtime *runtime)
{
    static int64_t results[ROUNDS_MOST];
    int rounds = 0;
    (void)run_round(bench, runtime);
    for (int64_t total = 0;
         rounds < ROUNDS_MOST && (rounds < ROUNDS_LEAST || total < measured_least); rounds++) {
        results[rounds] = run_round(bench, runtime);
        total += results[rounds];
    }
    qsort(results, (size_t)rounds, sizeof results[0], compare);
    return results[rounds / 2];
}

/* ---- main --------------------------------------------------------------------------------- */

static int usage(void)
{
    fputs("usage: bench/runtime NAME [WORKERS]\n", stderr);
    for (int i = 0; i < BENCHES; i++)
        fprintf(stderr, "    %s\n", benches[i].name);
    return 2;
}

static const struct bench *find(const char *name)
{
    for (int i = 0; i < BENCHES; i++)
        if (strcmp(benches[i].name, name) == 0)
            return &benches[i];
    return NULL;
}

static bool read_workers(const char *text, unsigned *ret_workers)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 1 || value > FTL_WORKERS_MAX)
        return false;
    *ret_workers = (unsigned)value;
    return true;
}

int main(int argc, char **argv)
{
    struct ftl_runtime_options options = {.name = "bench", .workers = WORKERS_DEFAULT};
    struct ftl_runtime *runtime;
    const struct bench *bench = argc >= 2 ? find(argv[1]) : NULL;
    if (!bench || argc > 3 || (argc == 3 && !read_workers(argv[2], &options.workers)))
        return usage();
    bench_must(ftl_runtime_start(&options, &runtime));
    int64_t result = bench->kind == TIME ? median_round(bench, runtime) : run_round(bench, runtime);
    printf("%s %.1f %s\n", bench->name, (double)result / bench->operations,
           bench->kind == TIME ? "ns/op" : "B/task");
    if (ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)) != 0)
        bench_must(FTL_ETIMEDOUT);
    ftl_runtime_free(runtime);
    return 0;
}
