/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The signals are blocked in every thread and come out of a descriptor, so that what
 * answers them is an ordinary task and may do what tasks do. Two of the same kind may come as one,
 * as signals do. Children get an empty mask and default dispositions from runtime/process. */
#include "daemon/signals.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <fettle/io.h>
#include <fettle/time.h>

#include "daemon/part.h"

static const struct {
    int signal;
    const char *name;
} watched[] = {
    {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}, {SIGTSTP, "SIGTSTP"},
    {SIGHUP, "SIGHUP"},   {SIGTTIN, "SIGTTIN"},
};
#define WATCHED (sizeof watched / sizeof *watched)

struct ftl__signals {
    struct ftl__signals_options options;
    struct ftl_fd *fd;
    struct ftl_task *task;
};

static void fill(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < WATCHED; i++)
        sigaddset(set, watched[i].signal);
}

void ftl__signals_block(void)
{
    sigset_t set;

    fill(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* who started us may have ignored it: then no child's end is told */
}

const char *ftl__signal_name(int signal)
{
    for (size_t i = 0; i < WATCHED; i++)
        if (watched[i].signal == signal)
            return watched[i].name;
    return "a signal";
}

static void *signals_main(void *arg)
{
    struct ftl__signals *signals = arg;
    struct signalfd_siginfo info;

    while (ftl_fd_read(signals->fd, &info, sizeof info, FTL_FOREVER, NULL) ==
           (ssize_t)sizeof info)
        signals->options.on_signal(signals->options.arg, (int)info.ssi_signo);
    return NULL;
}

static int open_fd(struct ftl__signals *signals)
{
    sigset_t set;
    int fd, code;

    fill(&set);
    fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return FTL_ESYS;
    code = ftl_fd_open(signals->options.runtime, fd, &signals->fd);
    if (code != 0)
        close(fd);
    return code;
}

int ftl__signals_open(const struct ftl__signals_options *options,
                      struct ftl__signals **ret_signals)
{
    struct ftl__signals *signals = calloc(1, sizeof *signals);
    int code;

    if (signals == NULL)
        return FTL_ENOMEM;
    signals->options = *options;
    code = open_fd(signals);
    if (code == 0)
        code = ftl__part_start(options->runtime, signals_main, signals, "signals", &signals->task);
    if (code == 0)
        *ret_signals = signals;
    else
        ftl__signals_close(signals);
    return code;
}

void ftl__signals_close(struct ftl__signals *signals)
{
    if (signals == NULL)
        return;
    ftl__part_stop(&signals->task, FTL_S);
    ftl_fd_close(signals->fd);
    free(signals);
}
