/* SPDX-License-Identifier: MIT
 *
 * Fan-out, fan-in: one task for each part of the work, their values added up as they come in.
 *
 * To see: all parts are under way at a time, on all cores; the sum does not depend on their order.
 * A part gets its number by value and returns its result by value, so they share nothing. */
#include <stdint.h>
#include <stdio.h>

#include <fettle/runtime.h>
#include <fettle/task_set.h>

enum { PARTS = 100 };

static void *square(void *arg)
{
    intptr_t n = (intptr_t)arg;
    return (void *)(n * n);
}

static void *fan_out(void *arg)
{
    struct ftl_task_set *set = ftl_task_set_new();
    struct ftl_outcome part;
    intptr_t sum = 0;
    ftl_assert(set);
    for (intptr_t n = 1; n <= PARTS; n++)
        ftl_assert(ftl_task_set_spawn(set, ftl_runtime_current(), square, (void *)n, NULL, NULL,
                                      NULL) == 0);
    while (ftl_task_set_join_next(set, FTL_FOREVER, &part, NULL) == 0)
        sum += (intptr_t)part.value;
    ftl_task_set_free(set);
    printf("%d squares add up to %jd\n", PARTS, (intmax_t)sum);
    return arg;
}

int main(void)
{
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    struct ftl_outcome outcome;
    if (ftl_runtime_start(NULL, &runtime) != 0 ||
        ftl_spawn(runtime, fan_out, NULL, NULL, &task) != 0 ||
        ftl_task_join(task, FTL_FOREVER, &outcome) != 0)
        return 1;
    ftl_runtime_shutdown(runtime, FTL_FOREVER);
    ftl_runtime_free(runtime);
    return outcome.kind == FTL_COMPLETED ? 0 : 1;
}
