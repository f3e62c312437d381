/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The frame of the process: command line, signals, how many files it may open, the private
 * server of --dev, the exit code. What the daemon does is in daemon.c. */
#include <config.h>

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/daemon.h"
#include "daemon/host.h"
#include "daemon/interpose.h"
#include "daemon/log.h"
#include "daemon/restart.h"

#define ERROR_SIZE 1024
#define LOG_TIMEOUT FTL_S
#define FILES_MOST (1u << 20)    /* children inherit the limit, and some close all that it allows */
#define FILES_OF_OURS 64         /* connections, drivers, modules, a child that is being started */
#define FILES_OF_A_COMMAND 5     /* three pipes, a pidfd, and a cgroup if there are any */
#define FILES_OF_A_WORKER 6      /* one pipe more */

static int check(const struct ftl__options *options)
{
    struct ftl__daemon daemon = {.options = options};
    char error[ERROR_SIZE];
    int code = ftl__daemon_configure(&daemon, error, sizeof error);

    if (code != 0)
        fprintf(stderr, "%s\n", error);
    else
        printf("%s: ok\n", options->config);
    ftl__registry_free(daemon.registry);
    ftl__config_free(daemon.started);
    return code == 0 ? FTL__EXIT_OK : FTL__EXIT_CONFIG;
}

/* The soft limit is low for programs that use select(2); we do not. What is not to be had is
 * warned of once it is known what is needed. */
static void raise_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= FILES_MOST)
        return;
    limit.rlim_cur = limit.rlim_max < FILES_MOST ? limit.rlim_max : FILES_MOST;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* How many commands may run at a time. */
static uint64_t most_commands(const struct ftl__config *config)
{
    uint64_t most = 0;

    for (size_t i = 0; i < config->handler_count; i++) {
        const struct ftl__handler_config *handler = &config->handlers[i];
        if (handler->type == FTL__HANDLER_COMMAND)
            most += handler->concurrency > 0 ? handler->concurrency : config->concurrency;
    }
    return most < config->concurrency ? most : config->concurrency;
}

/* At most, with those that suspects have for themselves. */
static uint64_t worker_processes(const struct ftl__config *config)
{
    uint64_t count = 0;
    bool shelters = false;

    for (size_t i = 0; i < config->handler_count; i++) {
        bool isolates = config->handlers[i].type == FTL__HANDLER_MODULE &&
                        config->handlers[i].isolation != FTL__ISOLATION_TASK;
        if (isolates || config->handlers[i].type == FTL__HANDLER_WORKER)
            count += config->handlers[i].processes;
        shelters |= isolates;
    }
    return count + (shelters ? FTL__SHELTER : 0);
}

static void warn_of_files(const struct ftl__config *config)
{
    uint64_t commands = most_commands(config);
    uint64_t workers = worker_processes(config);
    uint64_t needed =
        FILES_OF_OURS + FILES_OF_A_COMMAND * commands + FILES_OF_A_WORKER * workers;
    struct rlimit limit;

    if (commands + workers > 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < needed)
        ftl__log(FTL__EV_DAEMON_LIMITS, FTL__UINT("files", limit.rlim_cur),
                 FTL__UINT("needed", needed), FTL__UINT("commands", commands));
}

/* At once, since there may be threads that do not come back: an orderly exit would wait for them, or
 * pull the ground from under them. */
FTL_NORETURN static void leave(int exit_code)
{
    ftl__interpose_end();
    fflush(NULL);
    _exit(exit_code);
}

/* Everything is told and settled, or left to the lease. */
FTL_NORETURN static void restart(struct ftl__daemon *daemon)
{
    ftl__log(FTL__EV_DAEMON_RESTART, FTL__INT("pid", getpid()));
    ftl__log_stop(LOG_TIMEOUT);
    ftl__restart(ftl__dev_keep(daemon->dev));
    perror("fettled: cannot restart");
    leave(FTL__EXIT_LEFT);
}

/* What is wrong is said once. */
static int configure(struct ftl__daemon *daemon, char *error, size_t size)
{
    char told[ERROR_SIZE] = "";
    int code;

    while ((code = ftl__daemon_configure(daemon, error, size)) != 0) {
        if (strcmp(told, error) != 0)
            fprintf(stderr, "%s\n", error);
        snprintf(told, sizeof told, "%s", error);
        if (!ftl__restart_hold())
            return code;
    }
    return 0;
}

static int run(const struct ftl__options *options)
{
    static struct ftl__daemon daemon;
    char error[ERROR_SIZE];
    int exit_code = FTL__EXIT_CONFIG;

    daemon.options = options;
    ftl__signals_block();
    raise_files();
    if (options->mode == FTL__MODE_DEV &&
        ftl__dev_start(options->dev_dir, &daemon.dev, error, sizeof error) != 0) {
        fprintf(stderr, "%s\n", error);
    } else if (configure(&daemon, error, sizeof error) != 0) {
        exit_code = FTL__EXIT_CONFIG; /* which has been said */
    } else if (ftl__log_start() != 0) {
        perror("fettled: cannot start the log");
    } else {
        ftl__log_configure(daemon.config->log_level, daemon.config->log_format,
                           daemon.config->log_jobs);
        warn_of_files(daemon.config);
        exit_code = ftl__restart_wait() ? ftl__daemon_run(&daemon) : FTL__EXIT_OK;
    }
    if (daemon.restart)
        restart(&daemon);
    ftl__dev_stop(daemon.dev);
    ftl__log_stop(LOG_TIMEOUT);
    if (daemon.stuck)
        leave(exit_code);
    return exit_code;
}

static int act(int argc, char **argv)
{
    struct ftl__options options;
    char error[ERROR_SIZE];

    ftl__restart_begin(argv);
    if (ftl__options_parse(argc, argv, &options, error, sizeof error) != 0) {
        fprintf(stderr, "fettled: %s\nTry 'fettled --help'.\n", error);
        return FTL__EXIT_USAGE;
    }
    switch (options.mode) {
    case FTL__MODE_HELP:
        fputs(ftl__options_help, stdout);
        return FTL__EXIT_OK;
    case FTL__MODE_VERSION:
        puts("fettled " PACKAGE_VERSION);
        return FTL__EXIT_OK;
    case FTL__MODE_CHECK:
        return check(&options);
    case FTL__MODE_HOST:
        leave(ftl__host_main(&options));
    default:
        return run(&options);
    }
}

int main(int argc, char **argv)
{
    int exit_code = act(argc, argv);

    ftl__interpose_end();
    return exit_code;
}
