/* SPDX-License-Identifier: MIT
 *
 * Stacks: guards that fault, recycling, classes, and tasks that use what they asked for. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/stack.h"
#include "runtime/worker.h"
#include "tests/unit/task_fixture.h"

static struct ftl__stack_pool pool;
static struct ftl__stack_cache cache;

static void begin(bool light)
{
    ftl__stack_pool_init(&pool, light);
    cache = (struct ftl__stack_cache){0};
}

/* How a child ends that writes to `where`. */
static int signal_of_write(volatile char *where)
{
    int status;
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        *where = 1;
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

START_TEST(the_guard_faults_and_the_stack_does_not)
{
    for (int light = 0; light < 2; light++) {
        begin(light);
        for (int class = 0; class < FTL__STACK_CLASSES; class ++) {
            struct ftl__stack *stack = ftl__stack_take(&pool, &cache, class);
            ck_assert_ptr_nonnull(stack);
            ck_assert(stack->guarded);
            ck_assert_uint_eq((uintptr_t)stack->top % 16, 0);
            ck_assert_int_eq(signal_of_write(stack->low), 0);
            ck_assert_int_eq(signal_of_write(stack->top - 1), 0);
            ck_assert_int_eq(signal_of_write(stack->low - 1), SIGSEGV);
            ck_assert_int_eq(signal_of_write(stack->low - (16 << 10)), SIGSEGV);
            ftl__stack_give(&pool, &cache, stack);
        }
        ftl__stack_cache_flush(&pool, &cache);
        ftl__stack_pool_destroy(&pool);
    }
}
END_TEST

START_TEST(stacks_are_recycled)
{
    struct ftl__stack *stacks[3000];
    begin(true);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3000; i++) {
            stacks[i] = ftl__stack_take(&pool, &cache, 0);
            ck_assert_ptr_nonnull(stacks[i]);
            stacks[i]->low[0] = stacks[i]->top[-1] = (char)i;
        }
        for (int i = 0; i < 3000; i++) {
            ck_assert_int_eq(stacks[i]->low[0], (char)i);
            ck_assert_int_eq(stacks[i]->top[-1], (char)i);
        }
        for (int i = 0; i < 3000; i++)
            ftl__stack_give(&pool, &cache, stacks[i]);
        ck_assert_uint_eq(pool.mapped, 3000);
    }
    ftl__stack_cache_flush(&pool, &cache);
    ftl__stack_pool_destroy(&pool);
}
END_TEST

enum { PEAK = 4000 };

static void take_and_give(struct ftl__stack **stacks, int count)
{
    for (int i = 0; i < count; i++) {
        stacks[i] = ftl__stack_take(&pool, &cache, 1);
        ck_assert_ptr_nonnull(stacks[i]);
        stacks[i]->top[-1] = 'x';
    }
    for (int i = 0; i < count; i++)
        ftl__stack_give(&pool, &cache, stacks[i]);
}

static int resident(struct ftl__stack **stacks)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    int count = 0;
    for (int i = 0; i < PEAK; i++) {
        unsigned char in_core = 0;
        void *last = (void *)(((uintptr_t)stacks[i]->top - 1) & ~(page - 1));
        ck_assert_int_eq(mincore(last, 1, &in_core), 0);
        count += in_core & 1;
    }
    return count;
}

START_TEST(few_free_stacks_are_resident_however_they_were_used)
{
    static struct ftl__stack *all[PEAK], *some[PEAK];
    begin(true);
    take_and_give(all, PEAK);
    for (int round = 0; round < 3; round++)
        for (int count = 200; count < PEAK; count += 800)
            take_and_give(some, count);
    ck_assert_int_le(resident(all), 1024 + 64); /* the depot's warm ones, the cache */
    ftl__stack_cache_flush(&pool, &cache);
    ftl__stack_pool_destroy(&pool);
}
END_TEST

START_TEST(without_light_guards_there_are_still_stacks_beyond_the_ceiling)
{
    enum { COUNT = 100 };
    struct ftl__stack *stacks[COUNT];
    begin(false);
    pool.protected_max = 60;
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = ftl__stack_take(&pool, &cache, 1);
        ck_assert_ptr_nonnull(stacks[i]);
        ck_assert_int_eq(stacks[i]->guarded, i < 60);
    }
    ck_assert_uint_eq(pool.unguarded, 40);
    for (int i = 0; i < COUNT; i++)
        ftl__stack_give(&pool, &cache, stacks[i]);
    ftl__stack_cache_flush(&pool, &cache);
    ftl__stack_pool_destroy(&pool);
}
END_TEST

/* As on a kernel without light guards, of whose mappings none is left; before the first task. */
static void take_guards_away(struct ftl_runtime *runtime)
{
    ftl__lock_take(&runtime->stacks.lock);
    runtime->stacks.light_guards = false;
    runtime->stacks.protected_max = 0;
    ftl__lock_drop(&runtime->stacks.lock);
}

static void count_call(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
}

static void *yield_some(void *arg)
{
    for (int i = 0; i < 10; i++)
        ftl_yield();
    return arg;
}

START_TEST(tasks_beyond_the_guards_run_and_that_is_told_once)
{
    enum { COUNT = 300 };
    _Atomic int told = 0;
    const struct ftl_runtime_options options = {
        .workers = 2, .on_unguarded = count_call, .hook_arg = &told};
    struct ftl_runtime *runtime;
    struct ftl_runtime_stats stats;
    struct ftl_task *tasks[COUNT];
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    take_guards_away(runtime);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++)
            ck_assert_int_eq(ftl_spawn(runtime, yield_some, NULL, NULL, &tasks[i]), 0);
        for (int i = 0; i < COUNT; i++)
            ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    }
    ftl_runtime_stats(runtime, &stats);
    ck_assert_uint_gt(stats.stacks_unguarded, 0);
    ck_assert_uint_eq(stats.stacks_unguarded, stats.stacks_mapped);
    ck_assert_int_eq(atomic_load(&told), 1);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}
END_TEST

/* Writes `arg` bytes downwards from its frame, and waits. */
static void *write_below(void *arg)
{
    size_t size = (size_t)(uintptr_t)arg;
    volatile char *area = __builtin_alloca(size);
    for (size_t i = 0; i < size; i++)
        area[i] = 0;
    ftl_yield();
    return NULL;
}

/* The child's part: a task that uses `size` bytes of an unguarded stack of 64 KiB. */
static void overrun_unguarded(size_t size)
{
    const struct ftl_runtime_options options = {.workers = 1};
    const struct ftl_spawn_options named = {.name = "deep"};
    const struct rlimit no_core = {0, 0};
    struct ftl_runtime *runtime;
    struct ftl_outcome outcome;
    struct ftl_task *task;
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, SIG_DFL);
    if (ftl_runtime_start(&options, &runtime) != 0)
        _exit(1);
    take_guards_away(runtime);
    if (ftl_spawn(runtime, write_below, (void *)(uintptr_t)size, &named, &task) != 0 ||
        ftl_task_join(task, FTL_FOREVER, &outcome) != 0)
        _exit(1);
    _exit(outcome.kind == FTL_COMPLETED ? 0 : 1);
}

/* How a child that does so ends; what it says goes to `said`. */
static int status_of_overrun(size_t size, char *said, size_t room)
{
    int ends[2], status;
    size_t used = 0;
    ssize_t n;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        overrun_unguarded(size);
    }
    close(ends[1]);
    while ((n = read(ends[0], said + used, room - 1 - used)) > 0)
        used += (size_t)n;
    said[used] = '\0';
    close(ends[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

START_TEST(who_overruns_an_unguarded_stack_ends_the_process)
{
    char said[4096];
    int status = status_of_overrun(32 << 10, said, sizeof said);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s", said);
    status = status_of_overrun(68 << 10, said, sizeof said);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s", said);
    ck_assert_ptr_nonnull(strstr(said, "task deep (0) has overrun its stack of 64 KiB"));
}
END_TEST

static void *use_stack(void *arg)
{
    size_t size = (size_t)(uintptr_t)arg;
    volatile char *area = __builtin_alloca(size);
    for (size_t i = 0; i < size; i += 1024)
        area[i] = (char)i;
    ftl_yield();
    for (size_t i = 0; i < size; i += 1024)
        ftl_assert(area[i] == (char)i);
    return NULL;
}

START_TEST(a_task_has_the_stack_it_asked_for)
{
    static const size_t sizes[] = {16u << 10, 64u << 10, 256u << 10, 1u << 20, 8u << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const struct ftl_spawn_options options = {.stack_size = sizes[i]};
        struct ftl_task *task;
        uintptr_t use = sizes[i] - (10u << 10); /* the rest is frames, colour, sanitizer */
        ck_assert_int_eq(ftl_spawn(fixture_runtime, use_stack, (void *)use, &options, &task), 0);
        ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    }
    const struct ftl_spawn_options too_large = {.stack_size = FTL__STACK_MAX + 1};
    struct ftl_task *task;
    ck_assert_int_eq(ftl_spawn(fixture_runtime, use_stack, NULL, &too_large, &task), FTL_EINVAL);
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, the_guard_faults_and_the_stack_does_not);
    UNIT_CASE(suite, stacks_are_recycled);
    UNIT_CASE(suite, few_free_stacks_are_resident_however_they_were_used);
    UNIT_CASE(suite, without_light_guards_there_are_still_stacks_beyond_the_ceiling);
    UNIT_CASE(suite, tasks_beyond_the_guards_run_and_that_is_told_once);
    UNIT_CASE(suite, who_overruns_an_unguarded_stack_ends_the_process);
    FIXTURE_CASE(suite, a_task_has_the_stack_it_asked_for);
}

UNIT_MAIN("stack", add_cases)
