/* SPDX-License-Identifier: MIT
 *
 * Many tasks: what each costs in memory, resident and in page tables, that the memory comes back,
 * that the rest goes on among them, and what happens where there is no memory. FTL_TEST_SCALE in the
 * environment is how many (100,000; bench/runtime counts a million). Memory is counted in plain
 * builds only. */
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fettle/channel.h>

#include "runtime/sanitizer.h"
#include "tests/unit/task_fixture.h"

#if !defined FTL__ASAN && !defined FTL__TSAN

enum { TASK_MAX = 4710, /* 4.6 KiB */ QUEUED_MAX = 256, FREE_MAX = 16 << 20 };

static uint32_t scale(void)
{
    const char *text = getenv("FTL_TEST_SCALE");
    int count = text ? atoi(text) : 100000;
    return count > 0 ? (uint32_t)count : 1;
}

/* VmRSS and VmPTE, in bytes. */
static int64_t resident(void)
{
    char line[256];
    int64_t total = 0, kib;
    int found = 0;
    FILE *file = fopen("/proc/self/status", "re");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmRSS: %" SCNd64, &kib) != 1 && sscanf(line, "VmPTE: %" SCNd64, &kib) != 1)
            continue;
        total += kib * 1024;
        found++;
    }
    fclose(file);
    ck_assert_int_eq(found, 2);
    return total;
}

struct countdown {
    _Atomic uint32_t left;
    struct ftl_oneshot done;
};

static void *sleeper(void *arg)
{
    struct countdown *starts = arg;
    if (atomic_fetch_sub(&starts->left, 1) == 1)
        ftl_oneshot_send(&starts->done, NULL);
    (void)ftl_sleep(3600 * FTL_S);
    return NULL;
}

static void *nothing(void *arg)
{
    return arg;
}

/* How long it takes to spawn a task and join it, at worst of some. */
static int64_t slowest_start(void)
{
    int64_t slowest = 0;
    for (int i = 0; i < 20; i++) {
        int64_t begin = ftl_now();
        ck_assert_int_eq(fixture_join(fixture_spawn(nothing, NULL)), FTL_COMPLETED);
        int64_t took = ftl_now() - begin;
        slowest = took > slowest ? took : slowest;
    }
    return slowest;
}

START_TEST(a_waiting_task_costs_little_and_gives_it_back)
{
    uint32_t count = scale();
    struct countdown starts;
    void *value;
    struct ftl_task **tasks = malloc(count * sizeof *tasks);
    ck_assert_ptr_nonnull(tasks);
    memset(tasks, 0, count * sizeof *tasks);
    atomic_init(&starts.left, count);
    ftl_oneshot_init(&starts.done);
    int64_t before = resident();
    for (uint32_t i = 0; i < count; i++)
        tasks[i] = fixture_spawn(sleeper, &starts);
    ck_assert_int_eq(ftl_oneshot_recv(&starts.done, FTL_FOREVER, &value), 0);
    int64_t each = (resident() - before) / count;
    printf("# %" PRId64 " B for each of %" PRIu32 " waiting tasks\n", each, count);
    ck_assert_int_le(each, TASK_MAX);
    ck_assert_int_lt(slowest_start(), unit_limit(FTL_S));

    for (uint32_t i = 0; i < count; i++)
        ftl_abort(tasks[i], 0);
    for (uint32_t i = 0; i < count; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_CANCELLED);
    free(tasks);
    /* What stays: control blocks, descriptors of stacks and their page tables, some warm stacks. */
    int64_t kept = resident() - before;
    printf("# %" PRId64 " KiB kept\n", kept / 1024);
    ck_assert_int_le(kept, FREE_MAX + (int64_t)count * 512);
}
END_TEST

struct gate {
    _Atomic bool open;
    _Atomic uint32_t held, left;
};

/* It keeps its worker: with one on each the rest stay in the queues. */
static void *hold(void *arg)
{
    struct gate *gate = arg;
    atomic_fetch_add(&gate->held, 1);
    while (!atomic_load(&gate->open))
        usleep(1000);
    return NULL;
}

static void *pass(void *arg)
{
    atomic_fetch_sub(&((struct gate *)arg)->left, 1);
    return NULL;
}

START_TEST(a_queued_task_costs_a_control_block)
{
    const struct ftl_runtime_options options = {.workers = 2, .extra_workers = -1};
    uint32_t count = scale();
    struct ftl_runtime *runtime;
    struct gate gate;
    struct ftl_task *holders[2];
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    atomic_init(&gate.open, false);
    atomic_init(&gate.held, 0);
    atomic_init(&gate.left, count);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(ftl_spawn(runtime, hold, &gate, NULL, &holders[i]), 0);
    while (atomic_load(&gate.held) < 2)
        usleep(100);
    int64_t before = resident();
    for (uint32_t i = 0; i < count; i++)
        ck_assert_int_eq(ftl_spawn(runtime, pass, &gate, NULL, NULL), 0);
    int64_t each = (resident() - before) / count;
    printf("# %" PRId64 " B for each of %" PRIu32 " queued tasks\n", each, count);
    ck_assert_int_le(each, QUEUED_MAX);
    ck_assert_uint_eq(atomic_load(&gate.left), count);
    atomic_store(&gate.open, true);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(fixture_join(holders[i]), FTL_COMPLETED);
    while (atomic_load(&gate.left) > 0)
        usleep(1000);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

/* ---- no memory ---- */

enum { GREEDY = 200 };

static void *begin_and_wait(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
    (void)ftl_sleep(3600 * FTL_S);
    return NULL;
}

/* Until all have begun, or ended without that. */
static void wait_for_all(struct ftl_task **tasks, _Atomic int *begun)
{
    for (;;) {
        int settled = atomic_load(begun);
        for (int i = 0; i < GREEDY; i++)
            settled += ftl_task_is_finished(tasks[i]);
        if (settled == GREEDY)
            return;
        usleep(1000);
    }
}

/* How many of some tasks with stacks of 8 MiB find no room in 512 MiB of address space; negative:
 * something else went wrong. */
static int without_room(void)
{
    struct rlimit limit = {(rlim_t)512 << 20, (rlim_t)512 << 20};
    const struct ftl_runtime_options workers = {.workers = 2};
    const struct ftl_spawn_options large = {.stack_size = 8 << 20};
    struct ftl_runtime *runtime;
    struct ftl_task *tasks[GREEDY];
    _Atomic int begun = 0;
    int panicked = 0;
    if (ftl_runtime_start(&workers, &runtime) != 0 || setrlimit(RLIMIT_AS, &limit) != 0)
        return -1;
    for (int i = 0; i < GREEDY; i++)
        if (ftl_spawn(runtime, begin_and_wait, &begun, &large, &tasks[i]) != 0)
            return -2;
    wait_for_all(tasks, &begun);
    for (int i = 0; i < GREEDY; i++)
        ftl_abort(tasks[i], 0);
    for (int i = 0; i < GREEDY; i++) {
        struct ftl_outcome outcome;
        if (ftl_task_join(tasks[i], FTL_FOREVER, &outcome) != 0)
            return -3;
        if (outcome.kind == FTL_PANICKED && strstr(outcome.panic->message, "out of memory"))
            panicked++;
        else if (outcome.kind != FTL_CANCELLED)
            return -4;
        ftl_outcome_clear(&outcome);
    }
    if (ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)) != 0)
        return -5;
    ftl_runtime_free(runtime);
    return panicked;
}

START_TEST(tasks_without_room_for_their_stacks_panic)
{
    int status;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int panicked = without_room();
        _exit(panicked > 0 && panicked < GREEDY ? 0 : 100 - panicked);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

#endif

static void add_cases(Suite *suite)
{
    (void)suite;
#if !defined FTL__ASAN && !defined FTL__TSAN
    FIXTURE_CASE(suite, a_waiting_task_costs_little_and_gives_it_back);
    UNIT_CASE(suite, a_queued_task_costs_a_control_block);
    UNIT_CASE(suite, tasks_without_room_for_their_stacks_panic);
#endif
}

UNIT_MAIN("scale", add_cases)
