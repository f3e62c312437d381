/* SPDX-License-Identifier: MIT
 *
 * runtime/process: how a child starts, what it gets, how it ends, what does not start. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/process_fixture.h"

/* ---- how it ends ------------------------------------------------------------------------ */

START_TEST(exit_code)
{
    struct child child = shell("exit 3");
    ck_assert_int_eq(child.exit.code, 3);
    ck_assert_int_eq(child.exit.signal, 0);
    ck_assert(!child.exit.core_dumped);
}
END_TEST

START_TEST(signal_number)
{
    struct child child = shell("kill -KILL $$");
    ck_assert_int_eq(child.exit.code, -1);
    ck_assert_int_eq(child.exit.signal, SIGKILL);
}
END_TEST

static void *wait_again(void *arg)
{
    struct ftl_process *process = start_shell("exit 7", NULL);
    struct ftl_exit *exits = arg;

    FTL_DEFER(free_process, process);
    ftl_assert(ftl_process_wait(process, FTL_FOREVER, &exits[0]) == 0);
    ftl_assert(ftl_process_wait(process, 0, &exits[1]) == 0);
    return NULL;
}

START_TEST(wait_is_repeatable)
{
    struct ftl_exit exits[2] = {{.code = -2}, {.code = -2}};
    fixture_run(wait_again, exits);
    ck_assert_int_eq(exits[0].code, 7);
    ck_assert_int_eq(exits[1].code, 7);
}
END_TEST

static void *time_out(void *arg)
{
    struct ftl_process *process = start_shell("exec sleep 1000", NULL);
    struct ftl_exit *exit = arg;

    FTL_DEFER(free_process, process);
    ftl_assert(ftl_process_wait(process, ftl_deadline(20 * FTL_MS), exit) == FTL_ETIMEDOUT);
    ftl_process_kill(process, SIGTERM);
    ftl_assert(ftl_process_wait(process, FTL_FOREVER, exit) == 0);
    return NULL;
}

START_TEST(wait_times_out_and_term_ends_it)
{
    struct ftl_exit exit = {.code = -2};
    fixture_run(time_out, &exit);
    ck_assert_int_eq(exit.signal, SIGTERM);
}
END_TEST

START_TEST(no_zombie_after_free)
{
    struct child child = shell("exit 0");
    ck_assert_int_eq(waitpid(child.pid, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
}
END_TEST

/* ---- what it gets ----------------------------------------------------------------------- */

START_TEST(pipes_carry_both_ways)
{
    struct child child = {.line = "cat; echo problem >&2", .input = "some input"};
    fixture_run(run_child, &child);
    ck_assert_str_eq(child.out, "some input");
    ck_assert_str_eq(child.err, "problem\n");
}
END_TEST

START_TEST(environment_is_what_was_given)
{
    static const char *const envp[] = {"PATH=/usr/bin:/bin", "COLOUR=blue", NULL};
    struct child child = {.line = "exec env", .envp = envp};
    ck_assert_int_eq(setenv("SECRET", "ours", 1), 0);
    fixture_run(run_child, &child);
    ck_assert_ptr_nonnull(strstr(child.out, "COLOUR=blue\n"));
    ck_assert_ptr_null(strstr(child.out, "SECRET"));
}
END_TEST

START_TEST(descriptors_are_not_inherited)
{
    struct child child;
    ck_assert_int_eq(dup2(STDOUT_FILENO, 100), 100); /* without close-on-exec */
    child = shell("for fd in 3 4 5 6 7 8 100; do [ ! -e /proc/$$/fd/$fd ] || echo $fd; done");
    close(100);
    ck_assert_str_eq(child.out, "");
    child = shell("exec ls /proc/self/fd"); /* 3 is the folder */
    ck_assert_str_eq(child.out, "0\n1\n2\n3\n");
}
END_TEST

START_TEST(descriptors_are_passed)
{
    struct child child = {.line = "echo hello >&4; read line <&3; echo $line; "
                                  "for fd in 5 6 7 8 9; do [ ! -e /proc/$$/fd/$fd ] || echo $fd; done"};
    int ends[2];
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    child.fds = ends;
    fixture_run(run_child, &child);
    ck_assert_str_eq(child.out, "hello\n");
    child.fds = (const int[]){ends[1], ends[0]};
    child.line = "echo hello >&3; read line <&4; echo $line";
    fixture_run(run_child, &child);
    ck_assert_str_eq(child.out, "hello\n");
    close(ends[0]);
    close(ends[1]);
}
END_TEST

START_TEST(signals_are_reset)
{
    struct child child;
    sigset_t set, old;
    unsigned long long blocked = 1, ignored = 1;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &set, &old), 0);
    signal(SIGHUP, SIG_IGN); /* SIGPIPE is ignored anyway */
    child = shell("exec grep -E '^Sig(Blk|Ign):' /proc/self/status");
    signal(SIGHUP, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    ck_assert_int_eq(sscanf(child.out, "SigBlk: %llx SigIgn: %llx", &blocked, &ignored), 2);
    ck_assert_uint_eq(blocked, 0);
    ck_assert_uint_eq(ignored, 0);
}
END_TEST

START_TEST(group_of_its_own)
{
    struct child child = shell("cut -d' ' -f5 /proc/$$/stat");
    ck_assert_int_eq(atoi(child.out), child.pid);
    ck_assert_int_ne(child.pid, getpgrp());
}
END_TEST

/* ---- limits ------------------------------------------------------------------------------ */

static void *run_limited(void *arg)
{
    struct child *child = arg;
    const char *const argv[] = {"/bin/sh", "-c", child->line, NULL};
    const struct ftl_process_options options = {
        .argv = argv,
        .envp = plain_env,
        .out = FTL_STDIO_PIPE,
        .limits = {.memory = UINT64_C(1) << 30, .cpu_seconds = 1, .files = 20, .nice = 15},
    };
    struct ftl_process *process;

    ftl_assert(ftl_process_start(fixture_runtime, &options, &process, NULL) == 0);
    FTL_DEFER(free_process, process);
    read_all(ftl_process_stdout(process), child->out, sizeof(child->out));
    ftl_assert(ftl_process_wait(process, FTL_FOREVER, &child->exit) == 0);
    return NULL;
}

START_TEST(limits_are_set)
{
    struct child child = {.line = "ulimit -v; ulimit -n; ulimit -Hn; ulimit -t; ulimit -Ht; nice"};
    fixture_run(run_limited, &child);
    ck_assert_str_eq(child.out, "1048576\n20\n20\n1\n6\n15\n");
}
END_TEST

START_TEST(processor_time_is_limited_and_told)
{
    struct child child = {.line = "while :; do :; done"};
    fixture_run(run_limited, &child);
    ck_assert_int_eq(child.exit.signal, SIGXCPU);
    ck_assert_int_ge(child.exit.cpu_time, FTL_S / 2); /* the limit is counted in ticks */
    ck_assert_int_lt(child.exit.cpu_time, 5 * FTL_S);
}
END_TEST

static void *start_beyond(void *arg)
{
    const char *const argv[] = {"/bin/true", NULL};
    const struct ftl_process_options options = {.argv = argv, .limits = {.files = UINT64_C(1) << 40}};
    struct ftl_process *process;
    int error = 0;

    ftl_assert(ftl_process_start(fixture_runtime, &options, &process, &error) == FTL_ESYS);
    ftl_assert(error == EPERM);
    ftl_assert(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    return arg;
}

START_TEST(a_limit_beyond_ours_is_refused)
{
    fixture_run(start_beyond, NULL);
}
END_TEST

/* Starts with 0, 1 and 2 closed, so that the pipes get these numbers. Exits 0 if all went well. */
static void run_without_stdio(void)
{
    struct child child = {.line = "cat; echo problem >&2", .input = "some input"};

    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    fixture_start();
    fixture_run(run_child, &child);
    fixture_stop();
    _exit(strcmp(child.out, "some input") == 0 && strcmp(child.err, "problem\n") == 0 ? 0 : 1);
}

START_TEST(starts_without_stdio)
{
    int status;
    pid_t pid = fork(); /* before there is a runtime */
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        run_without_stdio();
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

/* ---- what does not start ---------------------------------------------------------------- */

struct attempt {
    const char *argv0, *cwd;
    int code, error;
};

static void start_and_free(struct attempt *attempt, enum ftl_stdio stdio)
{
    const char *const argv[] = {attempt->argv0, NULL};
    const struct ftl_process_options options = {.argv = argv,
                                                .envp = plain_env,
                                                .cwd = attempt->cwd,
                                                .in = stdio,
                                                .out = stdio,
                                                .err = stdio};
    struct ftl_process *process = NULL;

    attempt->code = ftl_process_start(fixture_runtime, &options, &process, &attempt->error);
    ftl_process_free(process);
}

static void *attempt(void *arg)
{
    start_and_free(arg, FTL_STDIO_NULL);
    return NULL;
}

static void *attempt_with_pipes(void *arg)
{
    start_and_free(arg, FTL_STDIO_PIPE);
    return NULL;
}

static void *look_into_our_environment(void *arg)
{
    const char *const argv[] = {"sh", "-c", "exec test \"$OURS\" = here", NULL};
    const struct ftl_process_options options = {.argv = argv};
    struct ftl_process *process;

    ftl_assert(ftl_process_start(fixture_runtime, &options, &process, NULL) == 0);
    ftl_assert(ftl_process_wait(process, FTL_FOREVER, arg) == 0);
    ftl_process_free(process);
    return NULL;
}

START_TEST(without_an_environment_it_gets_ours)
{
    struct ftl_exit exit = {.code = -2};
    ck_assert_int_eq(setenv("OURS", "here", 1), 0);
    fixture_run(look_into_our_environment, &exit);
    ck_assert_int_eq(exit.code, 0);
}
END_TEST

static void *start_nothing(void *arg)
{
    const char *const nothing[] = {NULL};
    struct ftl_process_options options = {.envp = plain_env};
    struct ftl_process *process;

    ftl_assert(ftl_process_start(fixture_runtime, &options, &process, NULL) == FTL_EINVAL);
    options.argv = nothing;
    ftl_assert(ftl_process_start(fixture_runtime, &options, &process, NULL) == FTL_EINVAL);
    return arg;
}

START_TEST(without_a_program_there_is_no_child)
{
    fixture_run(start_nothing, NULL);
}
END_TEST

static void expect_refusal(const char *argv0, const char *cwd, int error)
{
    struct attempt tried = {.argv0 = argv0, .cwd = cwd};

    fixture_run(attempt, &tried);
    ck_assert_int_eq(tried.code, FTL_ESYS);
    ck_assert_int_eq(tried.error, error);
}

START_TEST(refusals_name_their_reason)
{
    expect_refusal("/nowhere/program", NULL, ENOENT);
    expect_refusal("no-such-program", NULL, ENOENT);
    expect_refusal("", NULL, ENOENT);
    expect_refusal("/etc/passwd", NULL, EACCES);
    expect_refusal("/bin/true", "/nowhere", ENOENT);
    signal(SIGCHLD, SIG_IGN);
    expect_refusal("/bin/true", NULL, ECHILD);
    signal(SIGCHLD, SIG_DFL);
}
END_TEST

static int open_descriptors(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Allows one descriptor more each time, until a start succeeds. */
START_TEST(without_descriptors_nothing_is_left)
{
    int before = open_descriptors(), failures = 0;
    struct rlimit old, limit;
    struct attempt tried = {.argv0 = "/bin/true", .code = FTL_ESYS};
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    limit = old;
    for (limit.rlim_cur = 3; limit.rlim_cur < 256 && tried.code != 0; limit.rlim_cur++) {
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        fixture_run(attempt_with_pipes, &tried);
        if (tried.code == 0)
            break;
        failures++;
        ck_assert_int_eq(tried.code, FTL_ESYS);
        ck_assert_int_eq(tried.error, EMFILE);
        ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
        ck_assert_int_eq(open_descriptors(), before);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    ck_assert_int_eq(tried.code, 0);
    ck_assert_int_ge(failures, 3);
    ck_assert_int_eq(open_descriptors(), before);
}
END_TEST

START_TEST(many_at_a_time)
{
    struct ftl_task *tasks[16];
    struct child children[16];
    char lines[16][40];
    for (int i = 0; i < 16; i++) {
        snprintf(lines[i], sizeof(lines[i]), "echo %d; exit %d", i, i);
        children[i] = (struct child){.line = lines[i]};
        tasks[i] = fixture_spawn(run_child, &children[i]);
    }
    for (int i = 0; i < 16; i++) {
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
        ck_assert_int_eq(children[i].exit.code, i);
        ck_assert_int_eq(atoi(children[i].out), i);
    }
}
END_TEST

/* ---- on older kernels -------------------------------------------------------------------- */

START_TEST(without_close_range_descriptors_are_not_inherited)
{
    struct child child;
    forbid(SYS_close_range);
    fixture_start();
    ck_assert_int_eq(dup2(STDOUT_FILENO, 100), 100);
    child = shell("exec ls /proc/self/fd");
    close(100);
    ck_assert_str_eq(child.out, "0\n1\n2\n3\n");
    fixture_stop();
}
END_TEST

START_TEST(without_pidfds_nothing_is_left_running)
{
    struct attempt tried = {.argv0 = "/bin/true"};
    forbid(SYS_pidfd_open);
    fixture_start();
    int before = open_descriptors();
    fixture_run(attempt_with_pipes, &tried);
    ck_assert_int_eq(tried.code, FTL_ESYS);
    ck_assert_int_eq(tried.error, ENOSYS);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(open_descriptors(), before);
    fixture_stop();
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, exit_code);
    FIXTURE_CASE(suite, signal_number);
    FIXTURE_CASE(suite, wait_is_repeatable);
    FIXTURE_CASE(suite, wait_times_out_and_term_ends_it);
    FIXTURE_CASE(suite, no_zombie_after_free);
    FIXTURE_CASE(suite, pipes_carry_both_ways);
    FIXTURE_CASE(suite, environment_is_what_was_given);
    FIXTURE_CASE(suite, descriptors_are_not_inherited);
    FIXTURE_CASE(suite, descriptors_are_passed);
    FIXTURE_CASE(suite, signals_are_reset);
    FIXTURE_CASE(suite, group_of_its_own);
    UNIT_CASE(suite, starts_without_stdio);
    FIXTURE_CASE(suite, limits_are_set);
    FIXTURE_CASE(suite, processor_time_is_limited_and_told);
    FIXTURE_CASE(suite, a_limit_beyond_ours_is_refused);
    FIXTURE_CASE(suite, without_an_environment_it_gets_ours);
    FIXTURE_CASE(suite, without_a_program_there_is_no_child);
    FIXTURE_CASE(suite, refusals_name_their_reason);
    FIXTURE_CASE(suite, without_descriptors_nothing_is_left);
    FIXTURE_CASE(suite, many_at_a_time);
    UNIT_CASE(suite, without_close_range_descriptors_are_not_inherited);
    UNIT_CASE(suite, without_pidfds_nothing_is_left_running);
}

UNIT_MAIN("process", add_cases)
