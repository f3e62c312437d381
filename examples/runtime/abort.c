/* SPDX-License-Identifier: MIT
 *
 * Abort: how a task is stopped from outside, at once or with a grace.
 *
 * To see: without grace the wait in which the task is reached does not return, and nothing after it
 * runs, but its defers do. With a grace its waits return FTL_ECANCELED, so that it can finish what
 * it has begun; a mask around the last step keeps even that out. What never started ends without
 * having run at all. */
#include <stdbool.h>
#include <stdio.h>

#include <fettle/channel.h>
#include <fettle/runtime.h>
#include <fettle/time.h>

static const char *const endings[] = {
    [FTL_COMPLETED] = "completed", [FTL_PANICKED] = "panicked", [FTL_CANCELLED] = "cancelled"};

struct worker {
    const char *name;
    struct ftl_oneshot started;
};

static void remove_lock_file(void *arg)
{
    printf("  %s: lock file removed\n", ((struct worker *)arg)->name);
}

static void save(const char *name, int records)
{
    ftl_mask(); /* not to be cut off in the middle */
    ftl_sleep(FTL_MS);
    printf("  %s: %d records saved\n", name, records);
    ftl_unmask();
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    FTL_DEFER(remove_lock_file, worker);
    ftl_oneshot_send(&worker->started, NULL);
    int records = 3;
    while (ftl_sleep(3600 * FTL_S) != FTL_ECANCELED)
        records++;
    save(worker->name, records);
    return NULL;
}

static void stop(const char *name, bool started, int64_t grace)
{
    struct worker worker = {.name = name};
    struct ftl_task *task;
    struct ftl_outcome outcome;
    void *nothing;
    printf("%s\n", name);
    ftl_oneshot_init(&worker.started);
    ftl_assert(ftl_spawn(ftl_runtime_current(), work, &worker, NULL, &task) == 0);
    if (started)
        ftl_assert(ftl_oneshot_recv(&worker.started, FTL_FOREVER, &nothing) == 0);
    ftl_abort(task, grace);
    ftl_assert(ftl_task_join(task, FTL_FOREVER, &outcome) == 0);
    printf("  %s\n", endings[outcome.kind]);
}

static void *stop_three(void *arg)
{
    stop("at once", true, 0);
    stop("with a grace", true, FTL_S);
    stop("before it started", false, 0);
    return arg;
}

int main(void)
{
    const struct ftl_runtime_options options = {.workers = 1}; /* so that the third cannot start */
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    struct ftl_outcome outcome;
    if (ftl_runtime_start(&options, &runtime) != 0 ||
        ftl_spawn(runtime, stop_three, NULL, NULL, &task) != 0 ||
        ftl_task_join(task, FTL_FOREVER, &outcome) != 0)
        return 1;
    ftl_runtime_shutdown(runtime, FTL_FOREVER);
    ftl_runtime_free(runtime);
    return outcome.kind == FTL_COMPLETED ? 0 : 1;
}
