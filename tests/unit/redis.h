/* SPDX-License-Identifier: MIT
 *
 * A private redis-server on a unix socket in a temporary directory, and a control runtime beside
 * it, for tests of daemon/. The test's own thread talks to Redis with blocking calls; what is to be
 * tested runs as tasks on the runtime. */
#ifndef FETTLE_TESTS_REDIS_H
#define FETTLE_TESTS_REDIS_H

#include <hiredis/hiredis.h>
#include <sys/types.h>

#include <fettle/runtime.h>

#include "daemon/config.h"

struct unit_redis {
    char dir[64], socket[96];
    pid_t pid; /* 0: not running */
    redisContext *context;
    struct ftl__address address; /* for links */
    struct ftl_runtime *control;
};

/* Ends the program as skipped if there is no redis-server. */
void unit_redis_require(void);

/* Starts both; `option` is one more option of the server ("--requirepass x"), or NULL. */
void unit_redis_open(struct unit_redis *redis, const char *option);
/* Stops both and removes the directory. */
void unit_redis_close(struct unit_redis *redis);

void unit_redis_kill(struct unit_redis *redis); /* SIGKILL */
void unit_redis_start(struct unit_redis *redis, const char *option);

/* A command; the reply is never NULL and must be freed. */
redisReply *unit_redis_call(struct unit_redis *redis, const char *format, ...);
/* The same for its integer, or 0/1 for nil/status; an error reply fails the test. */
long long unit_redis_int(struct unit_redis *redis, const char *format, ...);
/* The same for its text, in static storage. */
const char *unit_redis_text(struct unit_redis *redis, const char *format, ...);
/* Repeats the command until its integer is `expected`; fails the test after some seconds. */
void unit_redis_await(struct unit_redis *redis, long long expected, const char *format, ...);
/* The same until its text has `expected` in it. */
void unit_redis_await_text(struct unit_redis *redis, const char *expected, const char *command);

/* Runs `fn(arg)` as a task of the control runtime and waits for its end; a panic fails the test. */
void unit_on_control(struct unit_redis *redis, void *(*fn)(void *arg), void *arg);

#endif
