/* SPDX-License-Identifier: MIT
 *
 * runtime/process and runtime/program: how a child starts, what it gets, how it ends, and that
 * nothing of its group is left when its object is freed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fettle/process.h>

#include "runtime/program.h"
#include "tests/unit/task_fixture.h"

static const char *const plain_env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};

/* A child that runs a line of shell, and what a test wants to know of it. */
struct child {
    const char *line;
    const char *input;
    const char *const *envp;
    const int *fds; /* two, or NULL */
    char out[1024], err[1024];
    struct ftl_exit exit;
    pid_t pid;
};

static void free_process(void *process)
{
    ftl_process_free(process);
}

static struct ftl_process *start_with(const char *line, const char *const *envp, const int *fds)
{
    const char *const argv[] = {"/bin/sh", "-c", line, NULL};
    const struct ftl_process_options options = {
        .argv = argv,
        .envp = envp != NULL ? envp : plain_env,
        .in = FTL_STDIO_PIPE,
        .out = FTL_STDIO_PIPE,
        .err = FTL_STDIO_PIPE,
        .fds = fds,
        .fd_count = fds != NULL ? 2 : 0,
    };
    struct ftl_process *process;
    int error = 0;

    ftl_assert(ftl_process_start(fixture_runtime, &options, &process, &error) == 0);
    return process;
}

static struct ftl_process *start_shell(const char *line, const char *const *envp)
{
    return start_with(line, envp, NULL);
}

static void read_all(struct ftl_fd *fd, char *text, size_t size)
{
    size_t used = 0;
    ssize_t n;

    while ((n = ftl_fd_read(fd, text + used, size - 1 - used, FTL_FOREVER, NULL)) > 0)
        used += (size_t)n;
    ftl_assert(n == 0);
    text[used] = '\0';
}

static void read_line(struct ftl_fd *fd, char *text, size_t size)
{
    size_t used = 0;

    while (used == 0 || text[used - 1] != '\n') {
        ssize_t n = ftl_fd_read(fd, text + used, size - 1 - used, FTL_FOREVER, NULL);
        ftl_assert(n > 0);
        used += (size_t)n;
    }
    text[used] = '\0';
}

static void *run_child(void *arg)
{
    struct child *child = arg;
    struct ftl_process *process = start_with(child->line, child->envp, child->fds);

    FTL_DEFER(free_process, process);
    child->pid = ftl_process_pid(process);
    if (child->input != NULL)
        ftl_assert(ftl_fd_write_all(ftl_process_stdin(process), child->input, strlen(child->input),
                                    FTL_FOREVER, NULL) == 0);
    ftl_process_close_stdin(process);
    read_all(ftl_process_stdout(process), child->out, sizeof(child->out));
    read_all(ftl_process_stderr(process), child->err, sizeof(child->err));
    ftl_assert(ftl_process_wait(process, FTL_FOREVER, &child->exit) == 0);
    return NULL;
}

static struct child shell(const char *line)
{
    struct child child = {.line = line};

    fixture_run(run_child, &child);
    return child;
}

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
    ck_assert_uint_eq(ignored & ~0x180000000ULL, 0); /* the C library keeps 32 and 33 to itself */
}
END_TEST

START_TEST(group_of_its_own)
{
    struct child child = shell("cut -d' ' -f5 /proc/$$/stat");
    ck_assert_int_eq(atoi(child.out), child.pid);
    ck_assert_int_ne(child.pid, getpgrp());
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

/* ---- programs --------------------------------------------------------------------------- */

static char *make_file(const char *dir, const char *name, mode_t mode)
{
    char *file;
    int fd;

    ck_assert_int_gt(asprintf(&file, "%s/%s", dir, name), 0);
    fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, mode);
    ck_assert_int_ge(fd, 0);
    close(fd);
    return file;
}

START_TEST(programs_are_found_along_path)
{
    char a[] = "/tmp/ftl-a-XXXXXX", b[] = "/tmp/ftl-b-XXXXXX", path[128], file[256];
    char *plain, *program;
    ck_assert_ptr_nonnull(mkdtemp(a));
    ck_assert_ptr_nonnull(mkdtemp(b));
    plain = make_file(a, "tool", 0600);
    program = make_file(b, "tool", 0700);
    snprintf(path, sizeof(path), ":relative:%s:%s", a, b);
    ck_assert_int_eq(ftl__program_find("tool", path, file, sizeof(file)), 0);
    ck_assert_str_eq(file, program);
    ck_assert_int_eq(ftl__program_find("tool", a, file, sizeof(file)), EACCES);
    ck_assert_int_eq(ftl__program_find("other", path, file, sizeof(file)), ENOENT);
    ck_assert_int_eq(ftl__program_find("tool", "", file, sizeof(file)), ENOENT);
    ck_assert_int_eq(ftl__program_find("/any/thing", path, file, sizeof(file)), 0);
    ck_assert_str_eq(file, "/any/thing");
    ck_assert_int_eq(ftl__program_find("/any/thing", path, file, 5), ENAMETOOLONG);
    ck_assert_int_eq(ftl__program_check(a), EACCES); /* a directory */
    unlink(plain);
    unlink(program);
    rmdir(a);
    rmdir(b);
    free(plain);
    free(program);
}
END_TEST

START_TEST(environment_lookup)
{
    static const char *const envp[] = {"PATHS=no", "PATH=/here", "EMPTY=", NULL};
    ck_assert_str_eq(ftl__environment_get(envp, "PATH"), "/here");
    ck_assert_str_eq(ftl__environment_get(envp, "EMPTY"), "");
    ck_assert_ptr_null(ftl__environment_get(envp, "PAT"));
}
END_TEST

/* Linux before 5.3, and filters of system calls that are older. */
static void forbid_pidfd_open(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof(steps) / sizeof(steps[0]), .filter = steps};
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

START_TEST(without_pidfds_nothing_is_left_running)
{
    struct attempt tried = {.argv0 = "/bin/true"};
    forbid_pidfd_open(); /* for good: the last case */
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
    FIXTURE_CASE(suite, without_an_environment_it_gets_ours);
    FIXTURE_CASE(suite, without_a_program_there_is_no_child);
    FIXTURE_CASE(suite, refusals_name_their_reason);
    FIXTURE_CASE(suite, without_descriptors_nothing_is_left);
    FIXTURE_CASE(suite, free_kills_the_group);
    FIXTURE_CASE(suite, kill_reaches_what_the_leader_left);
    FIXTURE_CASE(suite, abort_leaves_no_child);
    FIXTURE_CASE(suite, many_at_a_time);
    UNIT_CASE(suite, programs_are_found_along_path);
    UNIT_CASE(suite, environment_lookup);
    UNIT_CASE(suite, without_pidfds_nothing_is_left_running); /* the last */
}

UNIT_MAIN("process", add_cases)
