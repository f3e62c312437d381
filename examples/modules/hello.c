/* SPDX-License-Identifier: MIT
 *
 * The sample module: what jobs in C look like.
 *
 *     redis-cli LPUSH queue:default '{"class":"Hello","args":["world"]}'
 */
#include <fettle/module.h>

/* ["name"] → one line in the log. */
static int hello(struct ftl_run *run)
{
    const char *name;

    if (json_unpack(ftl_run_args(run), "[s]", &name) != 0) {
        return ftl_run_fail_forever(run, "ArgumentError", "expected [name]");
    }
    ftl_run_log(run, "hello, %s", name);
    return 0;
}

static int noop(struct ftl_run *run)
{
    (void)run;
    return 0;
}

/* [seconds]: waits as a task, so that the worker runs others meanwhile. */
static int sleep_for(struct ftl_run *run)
{
    double seconds;

    if (json_unpack(ftl_run_args(run), "[F]", &seconds) != 0 || seconds < 0 || seconds > 1e9) {
        return ftl_run_fail_forever(run, "ArgumentError", "expected [seconds]");
    }
    return ftl_sleep((int64_t)(seconds * (double)FTL_S));
}

/* [message]: an error that is returned. */
static int fail(struct ftl_run *run)
{
    const char *message = "failed as asked";

    (void)json_unpack(ftl_run_args(run), "[s]", &message);
    return ftl_run_fail(run, "SampleError", "%s", message);
}

/* [message]: the end of this task and of nothing else. */
static int panic(struct ftl_run *run)
{
    const char *message = "panicked as asked";

    (void)json_unpack(ftl_run_args(run), "[s]", &message);
    ftl_panic("%s", message);
}

FTL_MODULE("hello", {"Hello", hello}, {"Noop", noop}, {"Sleep", sleep_for}, {"Fail", fail},
           {"Panic", panic});
