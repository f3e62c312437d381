/* SPDX-License-Identifier: MIT
 *
 * runtime/process: that nothing of a child's group, or of its cgroup, is left when its object is freed,
 * its task aborted or its parent killed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/process_fixture.h"

/* ---- groups ----------------------------------------------------------------------------- */

/* Makes us the parent of orphans, so that their ends can be seen. */
static void adopt_orphans(void)
{
    ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
}

static void expect_killed(pid_t pid)
{
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void *free_with_grandchild(void *arg)
{
    struct ftl_process *process = start_shell("sleep 1000 & echo $!; wait", NULL);
    char text[64];

    read_line(ftl_process_stdout(process), text, sizeof(text));
    *(pid_t *)arg = atoi(text);
    ftl_process_free(process);
    return NULL;
}

START_TEST(free_kills_the_group)
{
    pid_t grandchild;
    adopt_orphans();
    fixture_run(free_with_grandchild, &grandchild);
    expect_killed(grandchild);
}
END_TEST

static void *kill_after_end(void *arg)
{
    struct ftl_process *process = start_shell("sleep 1000 & echo $!", NULL);
    struct ftl_exit exit;
    char text[64];

    FTL_DEFER(free_process, process);
    read_line(ftl_process_stdout(process), text, sizeof(text));
    *(pid_t *)arg = atoi(text);
    ftl_assert(ftl_process_wait(process, FTL_FOREVER, &exit) == 0 && exit.code == 0);
    ftl_process_kill(process, SIGKILL);
    read_all(ftl_process_stdout(process), text, sizeof(text)); /* the last holder is gone */
    return NULL;
}

START_TEST(kill_reaches_what_the_leader_left)
{
    pid_t grandchild;
    adopt_orphans();
    fixture_run(kill_after_end, &grandchild);
    expect_killed(grandchild);
}
END_TEST

/* ---- whose child it is ------------------------------------------------------------------- */

static struct ftl_process *sleeper;

static pid_t start_sleeper(void)
{
    sleeper = start_shell("exec sleep 1000", NULL);
    return ftl_process_pid(sleeper);
}

/* In a process of its own: starts a child, says which, and waits to be killed. */
static void start_and_wait(int fd)
{
    pid_t pid;

    fixture_start();
    pid = start_sleeper();
    ck_assert_int_eq(write(fd, &pid, sizeof(pid)), sizeof(pid));
    for (;;)
        pause();
}

START_TEST(it_dies_with_this_process)
{
    pid_t parent, child;
    int ends[2], status;
    adopt_orphans();
    ck_assert_int_eq(pipe(ends), 0);
    parent = fork(); /* before there is a runtime */
    ck_assert_int_ge(parent, 0);
    if (parent == 0)
        start_and_wait(ends[1]);
    ck_assert_int_eq(read(ends[0], &child, sizeof(child)), sizeof(child));
    kill(parent, SIGKILL);
    ck_assert_int_eq(waitpid(parent, &status, 0), parent);
    expect_killed(child);
}
END_TEST

static void *start_sleeper_in_thread(void *arg)
{
    *(pid_t *)arg = start_sleeper();
    return NULL;
}

START_TEST(it_does_not_die_with_the_thread_that_asked)
{
    pthread_t thread;
    pid_t pid;
    ck_assert_int_eq(pthread_create(&thread, NULL, start_sleeper_in_thread, &pid), 0);
    pthread_join(thread, NULL);
    ftl_sleep(50 * FTL_MS); /* a signal would have come by then */
    ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
    ftl_process_free(sleeper);
}
END_TEST

static void *wait_for_ever(void *arg)
{
    struct ftl_process *process = start_shell("echo up; exec sleep 1000", NULL);
    struct ftl_exit exit;
    char text[16];

    FTL_DEFER(free_process, process);
    read_line(ftl_process_stdout(process), text, sizeof(text));
    atomic_store((_Atomic pid_t *)arg, ftl_process_pid(process));
    (void)ftl_process_wait(process, FTL_FOREVER, &exit);
    return NULL;
}

START_TEST(abort_leaves_no_child)
{
    _Atomic pid_t pid = 0;
    struct ftl_task *task = fixture_spawn(wait_for_ever, &pid);
    while (atomic_load(&pid) == 0)
        ftl_sleep(FTL_MS);
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    ck_assert_int_eq(kill(atomic_load(&pid), 0), -1);
    ck_assert_int_eq(errno, ESRCH);
}
END_TEST

/* ---- cgroups ---------------------------------------------------------------------------- */

/* A cgroup of our own: a descriptor of its directory; -1: this machine has none for us. */
static int make_cgroup(char path[64])
{
    static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

    for (int i = 0; i < 2; i++) {
        struct statfs fs;
        snprintf(path, 64, "%s/fettle-test-XXXXXX", mounts[i]);
        if (statfs(mounts[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC && mkdtemp(path))
            return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return -1;
}

/* Its own cgroup, with what it has forked and forgotten, which ends with it. */
static void contain(void)
{
    struct child child;
    char path[64];
    int dir = make_cgroup(path);

    if (dir < 0) {
        printf("# no cgroup2 mount in which we may make one\n");
        return;
    }
    adopt_orphans();
    fixture_start();
    ck_assert_int_eq(ftl_process_contain(fixture_runtime, dir), 0);
    child = shell("setsid sleep 1000 >/dev/null 2>&1 & echo $!; grep ^0:: /proc/self/cgroup");
    ck_assert_ptr_nonnull(strstr(child.out, "/child-0\n"));
    expect_killed(atoi(child.out));
    fixture_stop();
    close(dir);
    ck_assert_int_eq(rmdir(path), 0); /* nothing is left below it */
}

START_TEST(all_of_a_contained_child_ends_with_it)
{
    contain();
}
END_TEST

/* As in a service with RestrictNamespaces=. */
START_TEST(without_clone3_it_is_contained_as_well)
{
    forbid(SYS_clone3);
    contain();
}
END_TEST

static void *contain_in_no_cgroup(void *arg)
{
    int dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    ftl_assert(ftl_process_contain(fixture_runtime, dir) == FTL_ESYS);
    close(dir);
    return arg;
}

START_TEST(what_is_no_cgroup_is_refused)
{
    fixture_run(contain_in_no_cgroup, NULL);
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, free_kills_the_group);
    FIXTURE_CASE(suite, kill_reaches_what_the_leader_left);
    UNIT_CASE(suite, it_dies_with_this_process);
    FIXTURE_CASE(suite, it_does_not_die_with_the_thread_that_asked);
    FIXTURE_CASE(suite, abort_leaves_no_child);
    FIXTURE_CASE(suite, what_is_no_cgroup_is_refused);
    UNIT_CASE(suite, all_of_a_contained_child_ends_with_it);
    UNIT_CASE(suite, without_clone3_it_is_contained_as_well);
}

UNIT_MAIN("containment", add_cases)
