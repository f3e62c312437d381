/* SPDX-License-Identifier: MIT
 *
 * DESIGN. What tasks that do not return to their worker cost the others, on a runtime of two workers
 * and the library as it is shipped:
 *
 *     bench/stall [SECONDS]
 *
 * `thread`: a bare thread that sleeps for 1 ms at a time beside one that spins, and how late it is: what
 * the machine does by itself. `timer`: the same by a task beside a task that spins. `behind`: a task
 * makes others ready, new ones and woken migratable ones, and spins; from then until each has run.
 * `both`: both workers spin, a task comes from outside; until it has run. Each row spins for SECONDS
 * in all (10). What is measured is when a thread gets a processor: leave the machine alone. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include <fettle/channel.h>
#include <fettle/runtime.h>

#include "bench/runtime.h"

enum { WORKERS = 2, SAMPLES_MAX = 100000, BEHIND = 50 };

static struct ftl_runtime *runtime;
static _Atomic int spinning, released;

/* ---- samples, in ns -------------------------------------------------------------------------- */

static int64_t samples[SAMPLES_MAX];
static _Atomic size_t sample_count;

static void sample(int64_t value)
{
    size_t i = atomic_fetch_add(&sample_count, 1);
    if (i < SAMPLES_MAX)
        samples[i] = value;
}

static int compare(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static void print(const char *name, const char *what)
{
    size_t count = atomic_exchange(&sample_count, 0);
    count = count < SAMPLES_MAX ? count : SAMPLES_MAX;
    qsort(samples, count, sizeof samples[0], compare);
    printf("%-7s p50 %6.2f ms, p99 %6.2f ms, worst %6.2f ms (%zu samples) %s\n", name,
           (double)samples[count / 2] / FTL_MS, (double)samples[count * 99 / 100] / FTL_MS,
           (double)samples[count - 1] / FTL_MS, count, what);
    fflush(stdout);
}

/* ---- who spins ------------------------------------------------------------------------------- */

static void spin_until_released(void)
{
    atomic_fetch_add(&spinning, 1);
    while (!atomic_load(&released))
        ;
}

static void *spin(void *arg)
{
    spin_until_released();
    return arg;
}

static void nap(int64_t ns)
{
    const struct timespec time = {.tv_nsec = (long)ns};
    bench_must(clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL) == 0 ? 0 : FTL_ESYS);
}

static void until_spinning(int count)
{
    while (atomic_load(&spinning) < count)
        nap(FTL_MS / 10);
}

static void begin(void)
{
    atomic_store(&spinning, 0);
    atomic_store(&released, 0);
}

/* ---- a timer beside one that spins ------------------------------------------------------------- */

static void bench_thread(int64_t until)
{
    pthread_t spinner;
    begin();
    bench_must(pthread_create(&spinner, NULL, spin, NULL) == 0 ? 0 : FTL_ESYS);
    until_spinning(1);
    while (ftl_now() < until) {
        int64_t due = ftl_deadline(FTL_MS);
        nap(FTL_MS);
        sample(ftl_now() - due);
    }
    atomic_store(&released, 1);
    pthread_join(spinner, NULL);
    print("thread", "a thread's sleep of 1 ms is late beside a thread that spins");
}

static void *sleep_often(void *arg)
{
    const int64_t *until = arg;
    while (ftl_now() < *until) {
        int64_t due = ftl_deadline(FTL_MS);
        bench_must(ftl_sleep_until(due));
        sample(ftl_now() - due);
    }
    return NULL;
}

static void bench_timer(int64_t until)
{
    begin();
    struct ftl_task *spinner = bench_spawn(runtime, spin, NULL);
    until_spinning(1);
    bench_join(bench_spawn(runtime, sleep_often, &until));
    atomic_store(&released, 1);
    bench_join(spinner);
    print("timer", "a task's sleep of 1 ms is late beside a task that spins");
}

/* ---- what stands behind one that spins ------------------------------------------------------------ */

static _Atomic int left;

static void ran(int64_t since)
{
    sample(ftl_now() - since);
    if (atomic_fetch_sub(&left, 1) == 1)
        atomic_store(&released, 1);
}

static _Atomic int64_t ready_at;

static void *run_new(void *arg)
{
    ran(atomic_load(&ready_at));
    return arg;
}

static void *run_woken(void *arg)
{
    void *value;
    bench_must(ftl_oneshot_recv(arg, FTL_FOREVER, &value));
    ran(atomic_load(&ready_at));
    return NULL;
}

static void *leave_behind(void *arg)
{
    const struct ftl_spawn_options migratable = {.migratable = true};
    struct ftl_oneshot wake_ups[BEHIND];
    atomic_store(&left, 2 * BEHIND);
    for (int i = 0; i < BEHIND; i++) {
        ftl_oneshot_init(&wake_ups[i]);
        bench_must(ftl_spawn(runtime, run_woken, &wake_ups[i], &migratable, NULL));
    }
    bench_must(ftl_sleep(2 * FTL_MS)); /* they wait by then */
    atomic_store(&ready_at, ftl_now());
    for (int i = 0; i < BEHIND; i++) {
        ftl_oneshot_send(&wake_ups[i], NULL);
        bench_spawn_detached(runtime, run_new, NULL);
    }
    spin_until_released();
    return arg;
}

static void bench_behind(int64_t until)
{
    while (ftl_now() < until) {
        begin();
        bench_join(bench_spawn(runtime, leave_behind, NULL));
    }
    print("behind", "from a task's being ready behind one that spins until it runs");
}

/* ---- both workers spin ---------------------------------------------------------------------------- */

static void bench_both(int64_t until)
{
    while (ftl_now() < until) {
        struct ftl_task *spinners[WORKERS];
        begin();
        for (int i = 0; i < WORKERS; i++)
            spinners[i] = bench_spawn(runtime, spin, NULL);
        until_spinning(WORKERS);
        atomic_store(&left, 1);
        atomic_store(&ready_at, ftl_now());
        bench_spawn_detached(runtime, run_new, NULL);
        for (int i = 0; i < WORKERS; i++)
            bench_join(spinners[i]);
        nap(50 * FTL_MS); /* the extra worker rests again */
    }
    print("both", "from a task's coming while both workers spin until it runs");
}

int main(int argc, char **argv)
{
    const struct ftl_runtime_options options = {.name = "stall", .workers = WORKERS};
    long seconds = argc > 1 ? atol(argv[1]) : 10;
    if (argc > 2 || seconds < 1 || seconds > 60) {
        fputs("usage: bench/stall [SECONDS]\n", stderr);
        return 2;
    }
    bench_must(ftl_runtime_start(&options, &runtime));
    bench_thread(ftl_deadline(seconds * FTL_S));
    bench_timer(ftl_deadline(seconds * FTL_S));
    bench_behind(ftl_deadline(seconds * FTL_S));
    bench_both(ftl_deadline(seconds * FTL_S));
    if (ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)) != 0)
        bench_must(FTL_ETIMEDOUT);
    ftl_runtime_free(runtime);
    return 0;
}
