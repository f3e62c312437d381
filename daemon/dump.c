/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A task cannot go on while it is looked at, so the look only copies its frames; symbols
 * are looked up when all have been copied. Beyond MAX_TASKS the dump says how many more there
 * were. */
#include "daemon/dump.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"

#define MAX_TASKS 4096
#define BACKTRACE_SIZE 8192

struct snapshot {
    const char *name; /* static */
    uint64_t id;
    size_t frame_count;
    void *frames[FTL_PANIC_FRAMES];
};

struct dump {
    struct snapshot *tasks; /* room for MAX_TASKS */
    size_t count, missed;
};

static void look(void *arg, const char *task_name, uint64_t task_id, void *const *frames,
                 size_t frame_count)
{
    struct dump *dump = arg;
    struct snapshot *task;

    if (dump->count == MAX_TASKS) {
        dump->missed++;
        return;
    }
    task = &dump->tasks[dump->count++];
    task->name = task_name;
    task->id = task_id;
    task->frame_count = frame_count < FTL_PANIC_FRAMES ? frame_count : FTL_PANIC_FRAMES;
    for (size_t i = 0; i < task->frame_count; i++) /* a running task has none, and no array */
        task->frames[i] = frames[i];
}

static void report(const struct snapshot *task, const char *runtime)
{
    struct ftl_panic panic = {.frame_count = (uint32_t)task->frame_count};
    char backtrace[BACKTRACE_SIZE];
    size_t size;

    memcpy(panic.frames, task->frames, task->frame_count * sizeof *task->frames);
    size = ftl_panic_format(&panic, backtrace, sizeof backtrace);
    ftl__log(FTL__EV_DAEMON_DUMP, FTL__STR("task", task->name != NULL ? task->name : "task"),
             FTL__UINT("task_id", task->id),
             FTL__STR("state", task->frame_count > 0 ? "waiting" : "running"),
             FTL__STR("worker", runtime), FTL__BYTES("backtrace", backtrace, size));
}

void ftl__dump(struct ftl_runtime *runtime, const char *name)
{
    struct dump dump = {.tasks = calloc(MAX_TASKS, sizeof(struct snapshot))};

    if (dump.tasks == NULL)
        return;
    ftl_runtime_dump(runtime, look, &dump);
    for (size_t i = 0; i < dump.count; i++)
        report(&dump.tasks[i], name);
    if (dump.missed > 0)
        ftl__log(FTL__EV_DAEMON_DUMP, FTL__STR("state", "not shown"), FTL__STR("worker", name),
                 FTL__UINT("tasks", dump.missed));
    free(dump.tasks);
}
