/* SPDX-License-Identifier: MIT
 *
 * Time: a limit around anything that waits, and the first answer of several.
 *
 * To see: what is in time returns its result; what is not is cut off where it waits, with its defers
 * run before ftl_timeout() returns. Of two sources the faster one answers, and the other one is
 * gone by then: both may use the caller's locals. */
#include <stdio.h>

#include <fettle/join.h>
#include <fettle/runtime.h>
#include <fettle/time.h>

struct query {
    const char *name;
    int64_t takes; /* ns */
    int answer;
};

static void hang_up(void *arg)
{
    printf("%s: connection closed\n", ((struct query *)arg)->name);
}

static int ask(void *arg)
{
    struct query *query = arg;
    FTL_DEFER(hang_up, query);
    int rc = ftl_sleep(query->takes);
    if (rc != 0)
        return rc;
    query->answer = 42;
    return 0;
}

static void ask_in_time(const char *name, int64_t takes, int64_t limit)
{
    struct query query = {.name = name, .takes = takes};
    int result;
    int rc = ftl_timeout(ask, &query, ftl_deadline(limit), &result);
    if (rc == 0 && result == 0)
        printf("%s: %d\n", name, query.answer);
    else
        printf("%s: %s\n", name, ftl_error_text(rc != 0 ? rc : result));
}

static void ask_both(void)
{
    struct query near = {.name = "near", .takes = FTL_MS};
    struct query far = {.name = "far", .takes = 3600 * FTL_S};
    struct ftl_branch branches[2] = {{.fn = ask, .arg = &far}, {.fn = ask, .arg = &near}};
    size_t winner;
    if (ftl_select(branches, 2, &winner) == 0)
        printf("first: %s\n", ((struct query *)branches[winner].arg)->name);
}

static void *ask_all(void *arg)
{
    ask_in_time("fast", FTL_MS, 60 * FTL_S);
    ask_in_time("slow", 3600 * FTL_S, 5 * FTL_MS);
    ask_both();
    return arg;
}

int main(void)
{
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    struct ftl_outcome outcome;
    if (ftl_runtime_start(NULL, &runtime) != 0 ||
        ftl_spawn(runtime, ask_all, NULL, NULL, &task) != 0 ||
        ftl_task_join(task, FTL_FOREVER, &outcome) != 0)
        return 1;
    ftl_runtime_shutdown(runtime, FTL_FOREVER);
    ftl_runtime_free(runtime);
    return outcome.kind == FTL_COMPLETED ? 0 : 1;
}
