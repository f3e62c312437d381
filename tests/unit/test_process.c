/* SPDX-License-Identifier: MIT
 *
 * runtime/process and runtime/program: how a child starts, what it gets, how it ends, and that
 * nothing of its group is left when its object is freed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
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

static struct ftl_process *sleeper;

static pid_t start_sleeper(void)
{
    sleeper = start_shell("exec sleep 1000", NULL);
    return ftl_process_pid(sleeper);
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

/* As an older kernel, and an older filter of system calls. For good: in the last cases. */
static void forbid(unsigned number)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof(steps) / sizeof(steps[0]), .filter = steps};
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

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
    FIXTURE_CASE(suite, free_kills_the_group);
    FIXTURE_CASE(suite, kill_reaches_what_the_leader_left);
    UNIT_CASE(suite, it_dies_with_this_process);
    FIXTURE_CASE(suite, it_does_not_die_with_the_thread_that_asked);
    FIXTURE_CASE(suite, abort_leaves_no_child);
    FIXTURE_CASE(suite, many_at_a_time);
    UNIT_CASE(suite, programs_are_found_along_path);
    UNIT_CASE(suite, environment_lookup);
    FIXTURE_CASE(suite, what_is_no_cgroup_is_refused);
    UNIT_CASE(suite, all_of_a_contained_child_ends_with_it);
    UNIT_CASE(suite, without_clone3_it_is_contained_as_well);
    UNIT_CASE(suite, without_close_range_descriptors_are_not_inherited);
    UNIT_CASE(suite, without_pidfds_nothing_is_left_running);
}

UNIT_MAIN("process", add_cases)
