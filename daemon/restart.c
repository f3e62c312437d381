/* SPDX-License-Identifier: MIT
 *
 * DESIGN. execve(2) of the program that runs, from the main thread: the pid stays, and with it the
 * children, the service manager's idea of us, and pending signals; threads and memory go. So children
 * that are left, by a handler that has forked them or by a drain that could not end them, are killed and
 * reaped before: the next program would not know them. What it must know travels in its environment, from which it takes it out again:
 * FETTLE_RESTARTS has the number of restarts in a row, and when the last one was (CLOCK_MONOTONIC).
 *
 * Restarts less than a minute apart are in a row: the first is at once, the next ones wait 1, 2, 4, …
 * at most 32 s, in the new process, before it claims anything. A timer (alarm(2)) that was to end a
 * process which did not get here is taken back. */
#include "daemon/restart.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <fettle/time.h>

#include "daemon/log.h"
#include "daemon/notify.h"

#define STATE "FETTLE_RESTARTS"
#define IN_A_ROW (60 * FTL_S)
#define PAUSE_MAX 32u /* seconds */
#define HOLD (5 * FTL_S) /* between two looks at a configuration that does not load */
#define CHILDREN_MAX 4096

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1u << 2)
#endif

static char program[PATH_MAX];
static char **arguments;
static unsigned in_a_row; /* restarts */
static int64_t last;      /* ns */

/* Who was there before us: started by what has executed us, or spared the last time. */
static pid_t elders[CHILDREN_MAX];
static size_t elder_count;

/* All children of all our threads, or as many as there is room for. */
static size_t list_children(pid_t *ret_children, size_t room)
{
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *task;
    size_t count = 0;

    while (tasks != NULL && (task = readdir(tasks)) != NULL) {
        char path[64];
        FILE *file;
        int pid;

        snprintf(path, sizeof path, "/proc/self/task/%.20s/children", task->d_name);
        file = fopen(path, "re");
        while (file != NULL && count < room && fscanf(file, "%d", &pid) == 1)
            ret_children[count++] = pid;
        if (file != NULL)
            fclose(file);
    }
    if (tasks != NULL)
        closedir(tasks);
    return count;
}

void ftl__restart_begin(char **argv)
{
    const char *state = getenv(STATE);
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);

    alarm(0);
    program[size > 0 ? size : 0] = '\0';
    arguments = argv;
    if (state != NULL && sscanf(state, "%u:%" SCNd64, &in_a_row, &last) != 2)
        in_a_row = 0;
    unsetenv(STATE);
    elder_count = list_children(elders, CHILDREN_MAX);
}

static unsigned pause_seconds(void)
{
    if (in_a_row < 2)
        return 0;
    return in_a_row - 2 < 5 ? 1u << (in_a_row - 2) : PAUSE_MAX;
}

/* At most a second, and not beyond `end`; *ret_signal: which one has come, or 0. */
static void await_signal(const sigset_t *set, int64_t end, int *ret_signal)
{
    int64_t left = end - ftl_now();
    const struct timespec time = {.tv_sec = left >= FTL_S, .tv_nsec = left % FTL_S};
    int number = left > 0 ? sigtimedwait(set, NULL, &time) : 0;

    ftl__notify_extend();
    ftl__notify_alive();
    *ret_signal = number > 0 ? number : 0;
}

bool ftl__restart_hold(void)
{
    int64_t end = ftl_deadline(HOLD);
    int number = 0;
    sigset_t set;

    if (in_a_row == 0)
        return false;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    ftl__notify_status("Waiting for a configuration that loads");
    while (number == 0 && ftl_now() < end)
        await_signal(&set, end, &number);
    return number == 0 || number == SIGHUP;
}

bool ftl__restart_wait(void)
{
    unsigned pause = pause_seconds();
    sigset_t stop;

    if (pause == 0)
        return true;
    ftl__log(FTL__EV_DAEMON_PAUSED, FTL__UINT("restarts", in_a_row),
             FTL__REAL("seconds", (double)pause));
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    ftl__notify_status("Waiting for %u s after %u restarts in a row", pause, in_a_row);
    for (int64_t end = ftl_deadline(pause * FTL_S); ftl_now() < end;) {
        int number;
        await_signal(&stop, end, &number);
        if (number != 0)
            return false;
    }
    return true;
}

static bool is_elder(pid_t pid)
{
    for (size_t i = 0; i < elder_count; i++)
        if (elders[i] == pid)
            return true;
    return false;
}

/* A child that the kernel does not let go of is not waited for. */
static void end_children(pid_t spared)
{
    static pid_t children[CHILDREN_MAX];
    const struct timespec pause = {.tv_nsec = FTL_MS};
    size_t count = list_children(children, CHILDREN_MAX);
    int64_t until = ftl_deadline(FTL_S);
    size_t ours = 0;

    for (size_t i = 0; i < count; i++)
        if (children[i] != spared && !is_elder(children[i]))
            children[ours++] = children[i];
    for (size_t i = 0; i < ours; i++)
        kill(children[i], SIGKILL);
    for (size_t i = 0; i < ours; i++)
        while (waitpid(children[i], NULL, WNOHANG) == 0 && ftl_now() < until)
            nanosleep(&pause, NULL);
}

void ftl__restart(pid_t spared)
{
    char state[64];
    int64_t now = ftl_now();

    in_a_row = last > 0 && now - last < IN_A_ROW ? in_a_row + 1 : 1;
    snprintf(state, sizeof state, "%u:%" PRId64, in_a_row, now);
    if (setenv(STATE, state, 1) != 0)
        return;
    end_children(spared);
    /* Ours are closed by exec anyway; on an old kernel what a handler has left open stays. */
    (void)syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
    execv(program, arguments);
    execv("/proc/self/exe", arguments); /* it was replaced, or removed */
}
