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

void ftl__part_stop(struct ftl_task **task, int64_t grace)
{
    if (*task == NULL)
        return;
    struct ftl_outcome outcome = {0};
    ftl_abort(*task, grace);
    ftl_mask();
    int status = ftl_task_join(*task, FTL_FOREVER, &outcome);
    ftl_unmask();
    ftl_assert(status == 0);
    *task = NULL;
    if (outcome.kind == FTL_PANICKED)
        report(outcome.panic);
    ftl_outcome_clear(&outcome);
}
