/* SPDX-License-Identifier: MIT
 *
 * What tests/gdb.sh looks at: when stop_here() is called, one task waits, one waits in two
 * branches, one runs, and one has not begun; in another runtime one waits. With an argument the
 * process dumps core there. */
#include <stdbool.h>
#include <stdlib.h>

#include <fettle/channel.h>
#include <fettle/join.h>
#include <fettle/runtime.h>
#include <fettle/task.h>
#include <fettle/time.h>

static bool dump_core;

__attribute__((noinline)) static void stop_here(void)
{
    if (dump_core)
        abort();
    __asm__ volatile("");
}

/* The barriers keep calls from becoming jumps, which leave no frame. */
__attribute__((noinline)) static void wait_inside(void)
{
    ftl_sleep(1000 * FTL_S);
    __asm__ volatile("");
}

static void *waits(void *arg)
{
    ftl_oneshot_send(arg, NULL);
    wait_inside();
    return arg;
}

__attribute__((noinline)) static int branch(void *arg)
{
    waits(arg);
    return 0;
}

__attribute__((noinline)) static int second_branch(void *arg)
{
    waits(arg);
    return 0;
}

static void *joins(void *arg)
{
    struct ftl_oneshot other;
    struct ftl_branch branches[2] = {{.fn = second_branch, .arg = &other},
                                     {.fn = branch, .arg = arg}};
    ftl_oneshot_init(&other);
    ftl_join(branches, 2);
    return arg;
}

static struct ftl_task *spawn(struct ftl_runtime *runtime, ftl_task_fn fn, void *arg,
                              const char *name)
{
    const struct ftl_spawn_options options = {.name = name};
    struct ftl_task *task;
    if (ftl_spawn(runtime, fn, arg, &options, &task) != 0)
        abort();
    return task;
}

/* The only worker is in here, so that what this spawns cannot begin. */
static void *spawns_and_runs(void *arg)
{
    ftl_task_detach(spawn(ftl_runtime_current(), waits, NULL, "fresh"));
    stop_here();
    return arg;
}

static void *ends(void *arg)
{
    return arg;
}

/* A runtime where a task with the number 4 waits. */
static void start_other(void)
{
    const struct ftl_runtime_options options = {.name = "other", .workers = 1};
    struct ftl_runtime *runtime;
    struct ftl_outcome outcome;
    struct ftl_oneshot started;
    void *nothing;
    if (ftl_runtime_start(&options, &runtime) != 0)
        abort();
    for (int i = 0; i < 4; i++)
        if (ftl_task_join(spawn(runtime, ends, NULL, "brief"), FTL_FOREVER, &outcome) != 0)
            abort();
    ftl_oneshot_init(&started);
    ftl_task_detach(spawn(runtime, waits, &started, "elsewhere"));
    if (ftl_oneshot_recv(&started, FTL_FOREVER, &nothing) != 0)
        abort();
}

int main(int argc, char **argv)
{
    (void)argv;
    dump_core = argc > 1;
    start_other();
    const struct ftl_runtime_options options = {.name = "gdb", .workers = 1};
    struct ftl_runtime *runtime;
    struct ftl_oneshot started;
    struct ftl_outcome outcome;
    void *nothing;
    if (ftl_runtime_start(&options, &runtime) != 0)
        return 1;
    ftl_oneshot_init(&started);
    ftl_task_detach(spawn(runtime, waits, &started, "sleeper"));
    if (ftl_oneshot_recv(&started, FTL_FOREVER, &nothing) != 0)
        return 1;
    ftl_oneshot_init(&started);
    ftl_task_detach(spawn(runtime, joins, &started, "joiner"));
    if (ftl_oneshot_recv(&started, FTL_FOREVER, &nothing) != 0)
        return 1;
    struct ftl_task *runner = spawn(runtime, spawns_and_runs, NULL, "runner");
    return ftl_task_join(runner, FTL_FOREVER, &outcome) == 0 ? 0 : 1;
}
