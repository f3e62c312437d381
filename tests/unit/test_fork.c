/* SPDX-License-Identifier: MIT
 *
 * In a forked child every runtime is dead: whoever uses one there ends the child, and nothing else
 * happens. */
#include <sys/wait.h>
#include <unistd.h>

#include <fettle/join.h>

#include "tests/unit/task_fixture.h"

static pid_t parent;

static int status_of(pid_t pid)
{
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void never(void *arg)
{
    (void)arg;
    if (getpid() != parent)
        _exit(1);
}

static int never_in_branch(void *arg)
{
    never(arg);
    return 0;
}

static void *fork_and_return(void *arg)
{
    *(pid_t *)arg = fork();
    return NULL;
}

static void *fork_and_wait(void *arg)
{
    FTL_DEFER(never, NULL);
    if ((*(pid_t *)arg = fork()) == 0)
        ftl_sleep(FTL_S);
    return NULL;
}

static pid_t child;

static int fork_in_branch(void *arg)
{
    (void)arg;
    child = fork();
    return 0;
}

/* The second would begin on the stack of the first. */
static void *fork_and_join(void *arg)
{
    struct ftl_branch branches[] = {{.fn = fork_in_branch}, {.fn = never_in_branch}};
    ftl_assert(ftl_join(branches, 2) == 0);
    *(pid_t *)arg = child;
    return NULL;
}

static void *fork_and_exit(void *arg)
{
    if ((*(pid_t *)arg = fork()) == 0)
        _exit(3);
    return NULL;
}

static int run(ftl_task_fn fn)
{
    const struct ftl_spawn_options options = {.arg_free = never};
    struct ftl_task *task;
    pid_t pid = -1;
    parent = getpid();
    ck_assert_int_eq(ftl_spawn(fixture_runtime, fn, &pid, &options, &task), 0);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    return status_of(pid);
}

START_TEST(a_task_does_not_return_in_a_child)
{
    ck_assert_int_eq(run(fork_and_return), 127);
}
END_TEST

START_TEST(a_task_does_not_wait_in_a_child)
{
    ck_assert_int_eq(run(fork_and_wait), 127);
}
END_TEST

START_TEST(a_branch_does_not_return_in_a_child)
{
    ck_assert_int_eq(run(fork_and_join), 127);
}
END_TEST

START_TEST(a_child_may_go_its_own_way)
{
    ck_assert_int_eq(run(fork_and_exit), 3);
}
END_TEST

static void *nothing(void *arg)
{
    return arg;
}

START_TEST(a_foreign_thread_does_not_spawn_in_a_child)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)ftl_spawn(fixture_runtime, nothing, NULL, NULL, NULL);
        _exit(1);
    }
    ck_assert_int_eq(status_of(pid), 127);
}
END_TEST

START_TEST(a_foreign_thread_starts_no_runtime_in_a_child)
{
    struct ftl_runtime *runtime;
    pid_t pid = fork();
    if (pid == 0) {
        (void)ftl_runtime_start(NULL, &runtime);
        _exit(1);
    }
    ck_assert_int_eq(status_of(pid), 127);
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, a_task_does_not_return_in_a_child);
    FIXTURE_CASE(suite, a_task_does_not_wait_in_a_child);
    FIXTURE_CASE(suite, a_branch_does_not_return_in_a_child);
    FIXTURE_CASE(suite, a_child_may_go_its_own_way);
    FIXTURE_CASE(suite, a_foreign_thread_does_not_spawn_in_a_child);
    FIXTURE_CASE(suite, a_foreign_thread_starts_no_runtime_in_a_child);
}

UNIT_MAIN("fork", add_cases)
