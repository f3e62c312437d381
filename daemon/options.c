/* SPDX-License-Identifier: MIT
 *
 * DESIGN. getopt_long prints in words of its own and keeps global state; here it is silenced,
 * started afresh for each parse, and its findings are told in one line. `--dev` takes its directory
 * after `=` or as the next word. --version and --help win over everything else that is right. */
#include "daemon/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#ifndef FTL_SYSCONFDIR
#define FTL_SYSCONFDIR "/etc"
#endif
#define DEFAULT_CONFIG FTL_SYSCONFDIR "/fettle/fettled.conf"

enum { OPT_CONFIG = 256, OPT_CHECK, OPT_DEV, OPT_HOST, OPT_RUNS, OPT_STACK, OPT_VERSION, OPT_HELP };

#define HOST_RUNS 8
#define HOST_RUNS_MOST 1000
#define HOST_STACK_MOST (8 << 20)

const char ftl__options_help[] =
    "Usage: fettled [--config FILE] [--check-config]\n"
    "       fettled --dev [DIR]\n"
    "       fettled --host MODULE [--runs N] [--stack-size BYTES]\n"
    "\n"
    "Runs jobs from Redis.\n"
    "\n"
    "  --config FILE    the configuration (default: " DEFAULT_CONFIG ")\n"
    "  --check-config   check the configuration, load modules, find commands, and exit\n"
    "  --dev [DIR]      run with a private redis-server and sample modules; DIR keeps the data\n"
    "  --host MODULE    be a persistent worker for the classes of a C module (fettled starts it)\n"
    "  --version        print the version and exit\n"
    "  --help           print this and exit\n"
    "\n"
    "Signals: TERM, INT stop (twice: now); TSTP claims no more; HUP reloads; TTIN logs all tasks.\n"
    "Exit status: 0 all settled or returned; 1 configuration; 2 usage; 3 jobs are left for the\n"
    "lease.\n";

static const struct option long_options[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"check-config", no_argument, NULL, OPT_CHECK},
    {"dev", optional_argument, NULL, OPT_DEV},
    {"host", required_argument, NULL, OPT_HOST},
    {"runs", required_argument, NULL, OPT_RUNS},
    {"stack-size", required_argument, NULL, OPT_STACK},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

struct found {
    const char *config, *dev_dir, *host, *runs, *stack;
    bool check, dev, version, help;
};

static void take_dev(struct found *found, int argc, char *const *argv)
{
    found->dev = true;
    found->dev_dir = optarg;
    if (optarg == NULL && optind < argc && argv[optind][0] != '-')
        found->dev_dir = argv[optind++];
}

static int take(struct found *found, int option, int argc, char *const *argv, char *error,
                size_t error_size)
{
    switch (option) {
    case OPT_CONFIG:
        found->config = optarg;
        return 0;
    case OPT_CHECK:
        found->check = true;
        return 0;
    case OPT_DEV:
        take_dev(found, argc, argv);
        return 0;
    case OPT_VERSION:
        found->version = true;
        return 0;
    case OPT_HOST:
        found->host = optarg;
        return 0;
    case OPT_RUNS:
        found->runs = optarg;
        return 0;
    case OPT_STACK:
        found->stack = optarg;
        return 0;
    case OPT_HELP:
        found->help = true;
        return 0;
    case ':':
        snprintf(error, error_size, "%s: needs a value", argv[optind - 1]);
        return FTL_EINVAL;
    default:
        snprintf(error, error_size, "%s: no such option, or one that takes no value",
                 argv[optind - 1]);
        return FTL_EINVAL;
    }
}

/* A number from `least` to `most`, or `otherwise` where nothing is said. */
static int read_number(const char *name, const char *text, unsigned long least, unsigned long most,
                       unsigned long otherwise, unsigned long *ret, char *error, size_t error_size)
{
    char *end;

    *ret = text != NULL ? strtoul(text, &end, 10) : otherwise;
    if (text == NULL ||
        (text[0] >= '0' && text[0] <= '9' && *end == '\0' && *ret >= least && *ret <= most))
        return 0;
    snprintf(error, error_size, "%s: must be a number from %lu to %lu", name, least, most);
    return FTL_EINVAL;
}

static int judge_host(const struct found *found, struct ftl__options *ret_options, char *error,
                      size_t error_size)
{
    unsigned long runs, stack;

    if (found->host == NULL && (found->runs != NULL || found->stack != NULL)) {
        snprintf(error, error_size, "--runs and --stack-size: have no effect without --host");
        return FTL_EINVAL;
    }
    if (found->host != NULL && (found->config != NULL || found->check || found->dev)) {
        snprintf(error, error_size, "--host: has no configuration");
        return FTL_EINVAL;
    }
    if (read_number("--runs", found->runs, 1, HOST_RUNS_MOST, HOST_RUNS, &runs, error,
                    error_size) != 0 ||
        read_number("--stack-size", found->stack, 0, HOST_STACK_MOST, 0, &stack, error,
                    error_size) != 0)
        return FTL_EINVAL;
    ret_options->host_module = found->host;
    ret_options->host_runs = (unsigned)runs;
    ret_options->host_stack = stack;
    return 0;
}

static int judge(const struct found *found, struct ftl__options *ret_options, char *error,
                 size_t error_size)
{
    if (found->dev && (found->config != NULL || found->check)) {
        snprintf(error, error_size, "--dev: has a configuration of its own");
        return FTL_EINVAL;
    }
    if (judge_host(found, ret_options, error, error_size) != 0)
        return FTL_EINVAL;
    ret_options->config = found->config != NULL ? found->config : DEFAULT_CONFIG;
    ret_options->dev_dir = found->dev_dir;
    ret_options->mode = found->help      ? FTL__MODE_HELP
                        : found->version ? FTL__MODE_VERSION
                        : found->host    ? FTL__MODE_HOST
                        : found->dev     ? FTL__MODE_DEV
                        : found->check   ? FTL__MODE_CHECK
                                         : FTL__MODE_RUN;
    return 0;
}

int ftl__options_parse(int argc, char *const *argv, struct ftl__options *ret_options, char *error,
                       size_t error_size)
{
    struct found found = {0};
    int option;

    optind = 0; /* GNU: start afresh */
    while ((option = getopt_long(argc, argv, "+:", long_options, NULL)) != -1)
        if (take(&found, option, argc, argv, error, error_size) != 0)
            return FTL_EINVAL;
    if (optind < argc) {
        snprintf(error, error_size, "%s: not expected", argv[optind]);
        return FTL_EINVAL;
    }
    return judge(&found, ret_options, error, error_size);
}
