/* SPDX-License-Identifier: MIT
 *
 * DESIGN. One table of commands says how many arguments each takes and which options mean something
 * to it; an option that has no effect on the command is an error. Options may stand anywhere. */
#include "cli/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config.h"

enum {
    OPT_CONFIG = 256,
    OPT_REDIS,
    OPT_PREFIX,
    OPT_JSON,
    OPT_HELP,
    OPT_VERSION,
    OPT_QUEUE, /* from here on: only of some commands */
    OPT_IN,
    OPT_AT,
    OPT_RETRY,
    OPT_JID,
    OPT_LIMIT,
    OPT_ALL,
    OPT_TOKEN,
};
#define BIT(option) (1u << ((option)-OPT_QUEUE))

static const struct option long_options[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"redis", required_argument, NULL, OPT_REDIS},
    {"prefix", required_argument, NULL, OPT_PREFIX},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {"queue", required_argument, NULL, OPT_QUEUE},
    {"in", required_argument, NULL, OPT_IN},
    {"at", required_argument, NULL, OPT_AT},
    {"retry", required_argument, NULL, OPT_RETRY},
    {"jid", required_argument, NULL, OPT_JID},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"all", no_argument, NULL, OPT_ALL},
    {"token", required_argument, NULL, OPT_TOKEN},
    {NULL, 0, NULL, 0},
};

static const struct command {
    const char *name;
    ftl__cli_fn run;
    int least, most; /* arguments; -1: any number */
    unsigned options;
} commands[] = {
    {"enqueue", ftl__cli_enqueue, 1, 2,
     BIT(OPT_QUEUE) | BIT(OPT_IN) | BIT(OPT_AT) | BIT(OPT_RETRY) | BIT(OPT_JID)},
    {"stats", ftl__cli_stats, 0, 0, 0},
    {"list", ftl__cli_list, 1, 1, BIT(OPT_LIMIT)},
    {"retry", ftl__cli_retry, 1, -1, BIT(OPT_ALL)},
    {"kill", ftl__cli_kill, 1, -1, BIT(OPT_ALL)},
    {"delete", ftl__cli_delete, 1, -1, BIT(OPT_ALL)},
    {"cancel", ftl__cli_cancel, 0, -1, BIT(OPT_TOKEN)},
};

static const char usage[] =
    "usage: fettle [--config FILE] [--redis URL] [--prefix TEXT] [--json] COMMAND\n"
    "\n"
    "  enqueue CLASS [ARGS]   push a job; ARGS is a JSON array\n"
    "      [--queue NAME] [--in SECONDS | --at TIME] [--retry true|false|N] [--jid JID]\n"
    "  stats                  queues, sets and processes\n"
    "  list SET [--limit N]   jobs of a set: retry, schedule or dead\n"
    "  retry SET JID... | --all    to their queues, now\n"
    "  kill SET JID... | --all     to the set dead\n"
    "  delete SET JID... | --all   away, for ever\n"
    "  cancel JID... | --token TOKEN   wherever they are, to the set dead\n"
    "\n"
    "Exit: 0 done, 1 failed, 2 usage, 3 no such job. More in fettle(1).\n";

int ftl__cli_failed(const char *format, ...)
{
    va_list args;
    fputs("fettle: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return FTL__EXIT_FAILED;
}

int ftl__cli_misused(const char *format, ...)
{
    va_list args;
    fputs("fettle: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return FTL__EXIT_USAGE;
}

const char *ftl__cli_set(const char *name)
{
    static const char *const sets[] = {"retry", "schedule", "dead"};
    for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++)
        if (strcmp(name, sets[i]) == 0)
            return sets[i];
    return NULL;
}

static const char **place(struct ftl__cli_options *options, int option)
{
    switch (option) {
    case OPT_CONFIG:
        return &options->config;
    case OPT_REDIS:
        return &options->redis;
    case OPT_PREFIX:
        return &options->prefix;
    case OPT_QUEUE:
        return &options->queue;
    case OPT_IN:
        return &options->in;
    case OPT_AT:
        return &options->at;
    case OPT_RETRY:
        return &options->retry;
    case OPT_JID:
        return &options->jid;
    case OPT_LIMIT:
        return &options->limit;
    case OPT_TOKEN:
        return &options->token;
    default:
        return NULL;
    }
}

/* Takes the options; *ret_given has a bit for each that only some commands know. */
static int take_options(int argc, char **argv, struct ftl__cli_options *options, bool *ret_said,
                        unsigned *ret_given)
{
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        const char **text = place(options, option);
        if (text != NULL)
            *text = optarg;
        if (option >= OPT_QUEUE)
            *ret_given |= BIT(option);
        if (option == OPT_JSON)
            options->json = true;
        if (option == OPT_ALL)
            options->all = true;
        if (option == OPT_HELP || option == OPT_VERSION) {
            fputs(option == OPT_HELP ? usage : "fettle " PACKAGE_VERSION "\n", stdout);
            *ret_said = true;
            return 0;
        }
        if (option == '?')
            return FTL__EXIT_USAGE; /* getopt has said it */
    }
    return 0;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int check_command(const struct command *command, const struct ftl__cli_options *options,
                         unsigned given)
{
    for (const struct option *option = long_options; option->name != NULL; option++)
        if (option->val >= OPT_QUEUE && (given & ~command->options & BIT(option->val)) != 0)
            return ftl__cli_misused("--%s has no effect on %s", option->name, command->name);
    if (options->count < command->least)
        return ftl__cli_misused("%s needs more arguments (fettle --help)", command->name);
    if (command->most >= 0 && options->count > command->most)
        return ftl__cli_misused("%s takes no \"%s\" (fettle --help)", command->name,
                                options->args[command->most]);
    return 0;
}

int ftl__cli_options_parse(int argc, char **argv, struct ftl__cli_options *ret_options,
                           ftl__cli_fn *ret_run)
{
    struct ftl__cli_options options = {.config = NULL};
    bool said = false;
    unsigned given = 0;
    int rc = take_options(argc, argv, &options, &said, &given);
    *ret_run = NULL;
    if (rc != 0 || said)
        return rc;
    if (optind >= argc) {
        fputs(usage, stderr);
        return FTL__EXIT_USAGE;
    }
    const struct command *command = find_command(argv[optind]);
    if (command == NULL)
        return ftl__cli_misused("\"%s\" is no command (fettle --help)", argv[optind]);
    options.args = (const char *const *)argv + optind + 1;
    options.count = argc - optind - 1;
    rc = check_command(command, &options, given);
    if (rc != 0)
        return rc;
    *ret_options = options;
    *ret_run = command->run;
    return 0;
}
