/* SPDX-License-Identifier: MIT
 *
 * DESIGN: every object with a task of its own starts and ends it here, so that no task outlives
 * what it works on. Who stops a part waits masked: an abort of the stopper must not free the object
 * under the task. A panic is a fault of ours and is logged when the part is stopped. */
#include "daemon/part.h"

#include <string.h>

#include <fettle/time.h>

#include "daemon/log.h"

int ftl__part_start(struct ftl_runtime *runtime, ftl_task_fn fn, void *arg, const char *name,
                    struct ftl_task **ret_task)
{
    struct ftl_spawn_options options = {.name = name};
    return ftl_spawn(runtime, fn, arg, &options, ret_task);
}

static void report(const struct ftl_panic *panic)
{
    char backtrace[4096];
    ftl_panic_format(panic, backtrace, sizeof backtrace);
    ftl__log(FTL__EV_TASK_PANIC, FTL__STR("reason", panic->message),
             FTL__STR("backtrace", backtrace));
}

static bool join(struct ftl_task **task, int64_t deadline)
{
    struct ftl_outcome outcome = {0};
    ftl_mask();
    int status = ftl_task_join(*task, deadline, &outcome);
    ftl_unmask();
    if (status != 0)
        return false;
    *task = NULL;
    if (outcome.kind == FTL_PANICKED)
        report(outcome.panic);
    ftl_outcome_clear(&outcome);
    return true;
}

void ftl__part_stop(struct ftl_task **task, int64_t grace)
{
    if (*task == NULL)
        return;
    ftl_abort(*task, grace);
    bool ended = join(task, FTL_FOREVER);
    ftl_assert(ended);
}

void ftl__part_await(struct ftl_task **task, int64_t deadline, int64_t grace)
{
    if (*task != NULL && !join(task, deadline))
        ftl__part_stop(task, grace);
}

bool ftl__part_has_failed(struct ftl_task **task)
{
    if (*task == NULL || !ftl_task_is_finished(*task))
        return false;
    ftl__part_stop(task, 0);
    return true;
}
