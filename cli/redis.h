/* SPDX-License-Identifier: MIT
 *
 * A blocking connection to Redis with timeouts. Every failure is printed where it happens, so that
 * callers only pass it on. */
#ifndef FETTLE_CLI_REDIS_H
#define FETTLE_CLI_REDIS_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

#include "cli/settings.h"

struct ftl__redis;

/* 0: *ret_redis; else an exit code. The settings outlive the connection. */
int ftl__redis_open(const struct ftl__cli_settings *settings, struct ftl__redis **ret_redis);
void ftl__redis_close(struct ftl__redis *redis); /* NULL-safe */

const struct ftl__cli_settings *ftl__redis_settings(const struct ftl__redis *redis);

#define FTL__REDIS_KEY 512
/* The prefix and the two parts (`more` may be NULL) in ret_key, cut if they are too long; returns
 * it. */
const char *ftl__redis_key(const struct ftl__redis *redis, const char *part, const char *more,
                           char ret_key[FTL__REDIS_KEY]);

/* A command in hiredis' format. The reply is of `type` (REDIS_REPLY_*), or nil if `type` is
 * REDIS_REPLY_STRING; the caller frees it. NULL: failed, and said. */
redisReply *ftl__redis_call(struct ftl__redis *redis, int type, const char *format, ...);

/* The same, where an error reply is about `key`: it is named. */
redisReply *ftl__redis_call_on(struct ftl__redis *redis, const char *key, int type,
                               const char *format, ...);

/* The same for arguments with lengths. */
redisReply *ftl__redis_call_argv(struct ftl__redis *redis, int type, int argc, const char **argv,
                                 const size_t *argvlen);

/* Whether the connection is gone: that is said once, and further calls fail without a word. */
bool ftl__redis_is_lost(const struct ftl__redis *redis);

/* The server's clock in epoch seconds. 0 or an exit code. */
int ftl__redis_now(struct ftl__redis *redis, double *ret_now);

#endif
