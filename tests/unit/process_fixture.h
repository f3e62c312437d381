/* SPDX-License-Identifier: MIT
 *
 * Children of a test: lines of shell, run to their end by a task. */
#ifndef FETTLE_TESTS_PROCESS_FIXTURE_H
#define FETTLE_TESTS_PROCESS_FIXTURE_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <fettle/io.h>
#include <fettle/process.h>

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

static inline void free_process(void *process)
{
    ftl_process_free(process);
}

static inline struct ftl_process *start_with(const char *line, const char *const *envp,
                                             const int *fds)
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

static inline struct ftl_process *start_shell(const char *line, const char *const *envp)
{
    return start_with(line, envp, NULL);
}

static inline void read_all(struct ftl_fd *fd, char *text, size_t size)
{
    size_t used = 0;
    ssize_t n;

    while ((n = ftl_fd_read(fd, text + used, size - 1 - used, FTL_FOREVER, NULL)) > 0)
        used += (size_t)n;
    ftl_assert(n == 0);
    text[used] = '\0';
}

static inline void read_line(struct ftl_fd *fd, char *text, size_t size)
{
    size_t used = 0;

    while (used == 0 || text[used - 1] != '\n') {
        ssize_t n = ftl_fd_read(fd, text + used, size - 1 - used, FTL_FOREVER, NULL);
        ftl_assert(n > 0);
        used += (size_t)n;
    }
    text[used] = '\0';
}

static inline void *run_child(void *arg)
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

static inline struct child shell(const char *line)
{
    struct child child = {.line = line};

    fixture_run(run_child, &child);
    return child;
}

/* As an older kernel, and an older filter of system calls. For good: in the last cases. */
static inline void forbid(unsigned number)
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

#endif
