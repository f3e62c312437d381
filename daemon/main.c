/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The frame of the process: command line, signals, the private server of --dev, the exit
 * code. What the daemon does is in daemon.c. */
#include <config.h>

#include <stdio.h>
#include <unistd.h>

#include "daemon/daemon.h"
#include "daemon/log.h"

#define ERROR_SIZE 1024

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

/* With a thread that does not come back, an orderly exit would wait for it, or pull the ground from
 * under it. */
static int run(const struct ftl__options *options)
{
    static struct ftl__daemon daemon;
    char error[ERROR_SIZE];
    int exit_code = FTL__EXIT_CONFIG;

    daemon.options = options;
    ftl__signals_block();
    if ((options->mode == FTL__MODE_DEV &&
         ftl__dev_start(options->dev_dir, &daemon.dev, error, sizeof error) != 0) ||
        ftl__daemon_configure(&daemon, error, sizeof error) != 0) {
        fprintf(stderr, "%s\n", error);
    } else {
        ftl__log_configure(daemon.config->log_level, daemon.config->log_format,
                           daemon.config->log_jobs);
        exit_code = ftl__daemon_run(&daemon);
    }
    ftl__dev_stop(daemon.dev);
    if (daemon.stuck) {
        fflush(NULL);
        _exit(exit_code);
    }
    return exit_code;
}

int main(int argc, char **argv)
{
    struct ftl__options options;
    char error[ERROR_SIZE];

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
    default:
        return run(&options);
    }
}
