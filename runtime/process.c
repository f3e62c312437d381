/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A child is started by one thread (runtime/spawner.c), in a way that copies no memory
 * (runtime/child.c). It begins with no descriptor from 3 on but those that it is to have, so that
 * it inherits none of ours, even one that was opened without close-on-exec in a library; without
 * our signal mask and dispositions, and in a process group of its own.
 *
 * The end of the child is an edge on its pidfd, which is registered with the runtime's driver like
 * any other descriptor. Its status is looked at with WNOWAIT: the zombie stays, and keeps the
 * number of the process and of its group from being given out again, until ftl_process_free()
 * reaps it. Until then a signal to the group cannot hit a stranger.
 *
 * One task uses a process object at a time, except for its pipes, each of which may have a task of
 * its own, and ftl_process_kill(), which any thread may call. No SIGCHLD handler is needed or
 * made; a program that ignores SIGCHLD loses its children's ends, so there no child is started.
 *
 * A member that leaves the group is out of reach, unless it is in a cgroup (runtime/cgroup.c). */
#include <fettle/process.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fettle/task.h>
#include <fettle/time.h>

#include "runtime/program.h"
#include "runtime/spawner.h"
#include "runtime/worker.h"

struct ftl_process {
    pid_t pid;
    struct ftl__cgroup cgroup;
    struct ftl_fd *pidfd;
    struct ftl_fd *stdio[3]; /* our ends; NULL where there is no pipe */
    bool ended;              /* `exit` is set; the zombie is still there */
    struct ftl_exit exit;
};

/* What a start needs for as long as it lasts. */
struct start {
    const struct ftl_process_options *options;
    const char *const *envp;
    int child_end[3]; /* of the pipes; -1 = none */
    int our_end[3];
    int passed[FTL_PROCESS_FDS]; /* copies of options->fds, above all that the child has */
    char file[PATH_MAX];
    struct ftl__spawner_request request;
};

/* ---- start ------------------------------------------------------------------------------ */

static enum ftl_stdio stdio_mode(const struct ftl_process_options *options, int n)
{
    return n == 0 ? options->in : n == 1 ? options->out : options->err;
}

/* Moves a descriptor out of 0..2, where dup2() in the child would step on it. */
static int above_stdio(int *fd)
{
    int moved;

    if (*fd > STDERR_FILENO) {
        return 0;
    }
    moved = fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (moved < 0) {
        return errno;
    }
    close(*fd);
    *fd = moved;
    return 0;
}

static int open_pipes(struct start *start)
{
    for (int n = 0; n < 3; n++) {
        int ends[2], rc;

        if (stdio_mode(start->options, n) != FTL_STDIO_PIPE) {
            continue;
        }
        if (pipe2(ends, O_CLOEXEC) != 0) {
            return errno;
        }
        start->child_end[n] = n == 0 ? ends[0] : ends[1];
        start->our_end[n] = n == 0 ? ends[1] : ends[0];
        rc = above_stdio(&start->child_end[n]);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static void close_all(int *fds, size_t count)
{
    for (size_t n = 0; n < count; n++) {
        if (fds[n] >= 0) {
            close(fds[n]);
            fds[n] = -1;
        }
    }
}

/* Copies of what the child gets, out of the way of the numbers that it gets them as. */
static int copy_passed(struct start *start)
{
    int above = STDERR_FILENO + 1 + (int)start->options->fd_count;

    for (size_t n = 0; n < start->options->fd_count; n++) {
        start->passed[n] = fcntl(start->options->fds[n], F_DUPFD_CLOEXEC, above);
        if (start->passed[n] < 0) {
            return errno;
        }
    }
    return 0;
}

/* The same pointer, to what is not written through. */
static const char *const *our_environment(void)
{
    union {
        char *const *in;
        const char *const *out;
    } strings = {.in = environ};

    return strings.out;
}

static int child_fd(const struct start *start, int n)
{
    switch (stdio_mode(start->options, n)) {
    case FTL_STDIO_PIPE:
        return start->child_end[n];
    case FTL_STDIO_INHERIT:
        return n;
    case FTL_STDIO_NULL:
        break;
    }
    return FTL__CHILD_NULL;
}

/* 0 and the pid, or an errno value. */
static int spawn_child(struct ftl_runtime *runtime, struct start *start,
                       struct ftl_process *process)
{
    struct ftl__child *child = &start->request.child;
    int rc;

    *child = (struct ftl__child){
        .file = start->file,
        .argv = start->options->argv,
        .envp = start->envp,
        .cwd = start->options->cwd,
        .fd_count = 3 + (int)start->options->fd_count,
        .limits = start->options->limits,
        .cgroup = process->cgroup.dir,
    };
    if (process->cgroup.dir != 0 && runtime->cgroups.memory) {
        child->limits.memory = 0; /* the cgroup's, which counts what is used, not what is mapped */
    }
    for (int n = 0; n < 3; n++) {
        child->fds[n] = child_fd(start, n);
    }
    for (size_t n = 0; n < start->options->fd_count; n++) {
        child->fds[3 + n] = start->passed[n];
    }
    rc = ftl__spawner_start_child(runtime, &start->request);
    if (rc == 0) {
        process->pid = start->request.pid;
    }
    return rc;
}

/* True if this program would never learn how a child ended. */
static bool ends_are_lost(void)
{
    struct sigaction action;

    return sigaction(SIGCHLD, NULL, &action) == 0 &&
           (action.sa_handler == SIG_IGN || (action.sa_flags & SA_NOCLDWAIT) != 0);
}

static int find_program(struct start *start)
{
    const char *path = ftl__environment_get(start->envp, "PATH");

    return ftl__program_find(start->options->argv[0], path != NULL ? path : FTL__PROGRAM_PATH,
                             start->file, sizeof(start->file));
}

/* Hands `fd` to the driver; closes it on an error. */
static int adopt(struct ftl_runtime *runtime, int fd, struct ftl_fd **ret_fd, int *ret_errno)
{
    int rc = ftl_fd_open(runtime, fd, ret_fd);

    if (rc != 0) {
        *ret_errno = errno;
        close(fd);
    }
    return rc;
}

static int adopt_pipes(struct ftl_runtime *runtime, struct start *start,
                       struct ftl_process *process, int *ret_errno)
{
    for (int n = 0; n < 3; n++) {
        int fd = start->our_end[n], rc;

        if (fd < 0) {
            continue;
        }
        start->our_end[n] = -1;
        rc = adopt(runtime, fd, &process->stdio[n], ret_errno);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* The child runs already: a failure here kills it before anyone has heard of it. */
static int adopt_pidfd(struct ftl_runtime *runtime, struct ftl_process *process, int *ret_errno)
{
    int fd = pidfd_open(process->pid, 0), rc;

    if (fd < 0) {
        *ret_errno = errno;
        rc = FTL_ESYS;
    } else {
        rc = adopt(runtime, fd, &process->pidfd, ret_errno);
    }
    if (rc != 0) {
        kill(-process->pid, SIGKILL);
    }
    return rc;
}

static int prepare(struct start *start)
{
    int rc;

    if (ends_are_lost()) {
        return ECHILD;
    }
    rc = find_program(start);
    if (rc == 0) {
        rc = open_pipes(start);
    }
    return rc != 0 ? rc : copy_passed(start);
}

/* Everything before the child exists is done first, so that little can go wrong after. */
static int start_in(struct ftl_runtime *runtime, struct start *start, struct ftl_process *process,
                    int *ret_errno)
{
    int rc, error;

    error = prepare(start);
    if (error != 0) {
        *ret_errno = error;
        return FTL_ESYS;
    }
    rc = adopt_pipes(runtime, start, process, ret_errno);
    if (rc != 0) {
        return rc;
    }
    if (runtime->cgroups.dir != 0) {
        error = ftl__cgroup_make(&runtime->cgroups, start->options->limits.memory,
                                 &process->cgroup);
    }
    if (error == 0) {
        error = spawn_child(runtime, start, process);
    }
    if (error != 0) {
        *ret_errno = error;
        return error == ENOMEM ? FTL_ENOMEM : FTL_ESYS;
    }
    return adopt_pidfd(runtime, process, ret_errno);
}

int ftl_process_start(struct ftl_runtime *runtime, const struct ftl_process_options *options,
                      struct ftl_process **ret_process, int *ret_errno)
{
    struct ftl_process *process;
    struct start *start; /* too large for a small stack */
    int rc = FTL_ENOMEM, error = ENOMEM;

    if (options->argv == NULL || options->argv[0] == NULL || options->fd_count > FTL_PROCESS_FDS) {
        return FTL_EINVAL;
    }
    process = calloc(1, sizeof(*process));
    start = malloc(sizeof(*start));
    if (process != NULL && start != NULL) {
        *start = (struct start){.options = options,
                                .envp = options->envp != NULL ? options->envp : our_environment(),
                                .child_end = {-1, -1, -1},
                                .our_end = {-1, -1, -1},
                                .passed = {-1, -1, -1, -1}};
        rc = start_in(runtime, start, process, &error);
        close_all(start->child_end, 3);
        close_all(start->our_end, 3);
        close_all(start->passed, FTL_PROCESS_FDS);
    }
    free(start);
    if (rc == 0) {
        *ret_process = process;
        return 0;
    }
    if (process != NULL) {
        ftl_process_free(process);
    }
    if (ret_errno != NULL) {
        *ret_errno = error;
    }
    return rc;
}

/* ---- use -------------------------------------------------------------------------------- */

pid_t ftl_process_pid(const struct ftl_process *process)
{
    return process->pid;
}

struct ftl_fd *ftl_process_stdin(struct ftl_process *process)
{
    return process->stdio[STDIN_FILENO];
}

struct ftl_fd *ftl_process_stdout(struct ftl_process *process)
{
    return process->stdio[STDOUT_FILENO];
}

struct ftl_fd *ftl_process_stderr(struct ftl_process *process)
{
    return process->stdio[STDERR_FILENO];
}

void ftl_process_close_stdin(struct ftl_process *process)
{
    ftl_fd_close(process->stdio[STDIN_FILENO]);
    process->stdio[STDIN_FILENO] = NULL;
}

static void kill_group(const struct ftl_process *process, int signal)
{
    /* ESRCH is impossible as long as the zombie is there; EPERM: a member changed its user. */
    (void)kill(-process->pid, signal);
}

void ftl_process_kill(struct ftl_process *process, int signal)
{
    kill_group(process, signal);
    if (signal == SIGKILL && process->cgroup.dir != 0) {
        ftl__cgroup_kill(&process->cgroup);
    }
}

/* ---- end -------------------------------------------------------------------------------- */

static int64_t nanoseconds(const struct timeval *time)
{
    return (int64_t)time->tv_sec * FTL_S + time->tv_usec * 1000;
}

static void keep_exit(struct ftl_process *process, const siginfo_t *info,
                      const struct rusage *usage)
{
    bool exited = info->si_code == CLD_EXITED;

    process->exit = (struct ftl_exit){
        .code = exited ? info->si_status : -1,
        .signal = exited ? 0 : info->si_status,
        .core_dumped = info->si_code == CLD_DUMPED,
        .cpu_time = nanoseconds(&usage->ru_utime) + nanoseconds(&usage->ru_stime),
    };
    if (process->exit.signal == SIGKILL && process->cgroup.dir != 0) {
        process->exit.out_of_memory = ftl__cgroup_is_out_of_memory(&process->cgroup);
    }
    process->ended = true;
}

/* Looks whether the child has ended and leaves the zombie. */
static int look(struct ftl_process *process)
{
    siginfo_t info = {.si_pid = 0};
    struct rusage usage; /* waitid(2) tells it, waitid(3) does not */

    while (syscall(SYS_waitid, P_PID, process->pid, &info, WEXITED | WNOHANG | WNOWAIT, &usage) !=
           0) {
        if (errno != EINTR) {
            return FTL_ESYS;
        }
    }
    if (info.si_pid == 0) {
        return FTL_EAGAIN;
    }
    keep_exit(process, &info, &usage);
    return 0;
}

int ftl_process_wait(struct ftl_process *process, int64_t deadline, struct ftl_exit *ret_exit)
{
    int rc = process->ended ? 0 : look(process);

    while (rc == FTL_EAGAIN) {
        rc = ftl_fd_wait(process->pidfd, FTL_READ, deadline);
        if (rc != 0) {
            return rc;
        }
        rc = look(process);
    }
    if (rc == 0) {
        *ret_exit = process->exit;
    }
    return rc;
}

/* Takes the zombie away; the number may be given out again from here on. */
static void reap(struct ftl_process *process)
{
    while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR) {
        ;
    }
}

static void end_child(struct ftl_process *process)
{
    struct ftl_exit exit;

    kill_group(process, SIGKILL); /* the end of its cgroup, if it has one, kills the rest */
    if (process->pidfd != NULL) {
        /* Suspends the task rather than its thread; whatever it returns, reap() settles it. */
        ftl_mask();
        (void)ftl_process_wait(process, FTL_FOREVER, &exit);
        ftl_unmask();
    }
    reap(process);
}

void ftl_process_free(struct ftl_process *process)
{
    if (process == NULL) {
        return;
    }
    if (process->pid > 0) {
        end_child(process);
    }
    ftl__cgroup_end(&process->cgroup);
    ftl_fd_close(process->pidfd);
    for (int n = 0; n < 3; n++) {
        ftl_fd_close(process->stdio[n]);
    }
    free(process);
}
