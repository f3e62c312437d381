/* SPDX-License-Identifier: MIT
 *
 * A panic ends one task. Nothing else.
 *
 * To see: whoever joins gets the message and a backtrace, and goes on; the defers of the one that
 * panicked have run. A panic that nobody joins goes to the hook of the runtime. */
#include <stdio.h>
#include <string.h>

#include <fettle/channel.h>
#include <fettle/runtime.h>

static struct ftl_oneshot reported;

static void close_file(void *arg)
{
    (void)arg;
    printf("the file is closed\n");
}

static void *divide(void *arg)
{
    const int *numbers = arg;
    FTL_DEFER(close_file, NULL);
    ftl_assert(numbers[0] >= numbers[1]);
    if (numbers[1] == 0)
        ftl_panic("cannot divide %d by 0", numbers[0]);
    printf("%d / %d = %d\n", numbers[0], numbers[1], numbers[0] / numbers[1]);
    return NULL;
}

static void join_it(int first, int second)
{
    int numbers[2] = {first, second};
    struct ftl_task *task;
    struct ftl_outcome outcome;
    ftl_assert(ftl_spawn(ftl_runtime_current(), divide, numbers, NULL, &task) == 0);
    ftl_assert(ftl_task_join(task, FTL_FOREVER, &outcome) == 0);
    if (outcome.kind == FTL_PANICKED) {
        char trace[2048];
        ftl_panic_format(outcome.panic, trace, sizeof trace);
        printf("joined: %s\n%s", outcome.panic->message, trace);
    }
    ftl_outcome_clear(&outcome);
}

static void *panic_alone(void *arg)
{
    (void)arg;
    ftl_panic("nobody will join me");
}

/* On whichever thread gives up the last reference; it must not wait. */
static void on_detached_panic(void *arg, const char *task_name, const struct ftl_panic *panic)
{
    (void)arg;
    printf("hook: %s: %s\n", task_name, panic->message);
    ftl_oneshot_send(&reported, NULL);
}

static void *panic_thrice(void *arg)
{
    static const struct ftl_spawn_options options = {.name = "loose"};
    void *nothing;
    join_it(42, 6);
    join_it(42, 0);
    join_it(6, 42);
    ftl_oneshot_init(&reported);
    ftl_assert(ftl_spawn(ftl_runtime_current(), panic_alone, NULL, &options, NULL) == 0);
    ftl_assert(ftl_oneshot_recv(&reported, FTL_FOREVER, &nothing) == 0);
    printf("still there\n");
    return arg;
}

int main(void)
{
    const struct ftl_runtime_options options = {.on_detached_panic = on_detached_panic};
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    struct ftl_outcome outcome;
    if (ftl_runtime_start(&options, &runtime) != 0 ||
        ftl_spawn(runtime, panic_thrice, NULL, NULL, &task) != 0 ||
        ftl_task_join(task, FTL_FOREVER, &outcome) != 0)
        return 1;
    ftl_runtime_shutdown(runtime, FTL_FOREVER);
    ftl_runtime_free(runtime);
    return outcome.kind == FTL_COMPLETED ? 0 : 1;
}
