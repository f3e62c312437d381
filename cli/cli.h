/* SPDX-License-Identifier: MIT
 *
 * What the commands of `fettle` share: the options, the exit codes, and how they speak. */
#ifndef FETTLE_CLI_CLI_H
#define FETTLE_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include <fettle/export.h>

struct ftl__redis;

enum {
    FTL__EXIT_OK,
    FTL__EXIT_FAILED,
    FTL__EXIT_USAGE,
    FTL__EXIT_NOT_FOUND,
};

/* From the command line; the strings are argv's. NULL or false: not given. */
struct ftl__cli_options {
    const char *config, *redis, *prefix;
    bool json;
    const char *queue, *in, *at, *retry, *jid; /* enqueue */
    const char *limit;                         /* list */
    bool all;                                  /* retry, kill, delete */
    const char *token;                         /* cancel */
    const char *const *args;                   /* behind the command's name */
    int count;
};

/* A command: opens nothing itself. Returns an exit code, having said on stderr what failed. */
typedef int (*ftl__cli_fn)(const struct ftl__cli_options *options, struct ftl__redis *redis);

int ftl__cli_enqueue(const struct ftl__cli_options *options, struct ftl__redis *redis);
int ftl__cli_stats(const struct ftl__cli_options *options, struct ftl__redis *redis);
int ftl__cli_list(const struct ftl__cli_options *options, struct ftl__redis *redis);
int ftl__cli_retry(const struct ftl__cli_options *options, struct ftl__redis *redis);
int ftl__cli_kill(const struct ftl__cli_options *options, struct ftl__redis *redis);
int ftl__cli_delete(const struct ftl__cli_options *options, struct ftl__redis *redis);
int ftl__cli_cancel(const struct ftl__cli_options *options, struct ftl__redis *redis);

/* "fettle: …" on stderr. The first returns FTL__EXIT_FAILED, the other one FTL__EXIT_USAGE. */
int ftl__cli_failed(const char *format, ...) FTL_PRINTF(1, 2);
int ftl__cli_misused(const char *format, ...) FTL_PRINTF(1, 2);

/* `retry`, `schedule` or `dead`: the static name, or NULL. */
const char *ftl__cli_set(const char *name);

#endif
