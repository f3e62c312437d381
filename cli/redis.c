/* SPDX-License-Identifier: MIT
 *
 * DESIGN. hiredis, synchronous. A reply of an unexpected type is an error like any other, so that
 * callers may use what they get without looking twice. Nothing is repeated: after a timeout nobody
 * knows whether a command was executed, and that is for the operator to decide. */
#include "cli/redis.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <fettle/error.h>

#include "cli/auth.h"
#include "cli/dial.h"
#include "cli/sentinel.h"
#include "jobs/url.h"

#define TIMEOUT_S 10

struct ftl__redis {
    struct ftl__dialed dialed;
    struct ftl__tls_context *tls; /* NULL: plain */
    const struct ftl__cli_settings *settings;
    bool lost; /* and said */
};

/* ---- the address ------------------------------------------------------------------------- */

static int refuse(const char *reason)
{
    return ftl__cli_failed("the address of Redis %s", reason);
}

/* The database: the path of redis:// and rediss://, the option db of unix://. */
static int find_db(const struct ftl__url *url, unsigned *ret_db)
{
    const char *text = strcmp(url->scheme, "unix") == 0 ? ftl__url_query(url, "db") : url->path;
    if (text != NULL && *text == '/')
        text++;
    if (text == NULL || *text == '\0')
        text = "0";
    if (strspn(text, "0123456789") != strlen(text) || strlen(text) > 5)
        return refuse("names no database: expected a number");
    *ret_db = (unsigned)strtoul(text, NULL, 10);
    return 0;
}

/* A rediss:// URL asks for TLS, and so does the group redis.tls beside sentinels. */
static int prepare_tls(struct ftl__redis *redis, const struct ftl__url *url)
{
    const struct ftl__cli_settings *settings = redis->settings;
    char reason[512];
    bool wanted = settings->sentinels != NULL ? settings->tls_set
                                              : strcmp(url->scheme, "rediss") == 0;
    if (wanted && ftl__tls_context_new(&settings->tls, &redis->tls, reason, sizeof reason) != 0)
        return ftl__cli_failed("TLS: %s", reason);
    return 0;
}

static int dial_sentinels(struct ftl__redis *redis)
{
    const struct timeval timeout = {.tv_sec = TIMEOUT_S};
    char reason[512];
    int rc = ftl__cli_dial_master(redis->settings, redis->tls, timeout, &redis->dialed, reason,
                                  sizeof reason);
    return rc == 0 ? 0 : ftl__cli_failed("cannot connect to Redis: %s", reason);
}

static int dial(struct ftl__redis *redis, const struct ftl__url *url)
{
    const struct timeval timeout = {.tv_sec = TIMEOUT_S};
    const char *host = url->host != NULL ? url->host : "127.0.0.1";
    uint16_t port = url->port != 0 ? url->port : 6379;
    char reason[512];
    if (strcmp(url->scheme, "unix") == 0) {
        int rc = ftl__dial_unix(url->path, timeout, &redis->dialed, reason, sizeof reason);
        return rc == 0 ? 0
                       : ftl__cli_failed("cannot connect to Redis at %s: %s", url->path, reason);
    }
    int rc = ftl__dial_tcp(host, port, redis->tls, timeout, &redis->dialed, reason, sizeof reason);
    return rc == 0 ? 0
                   : ftl__cli_failed("cannot connect to Redis at %s:%u: %s", host, (unsigned)port,
                                     reason);
}

static int authenticate(struct ftl__redis *redis, const struct ftl__url *url)
{
    const struct ftl__cli_settings *settings = redis->settings;
    char reason[512];
    bool in = ftl__cli_auth(redis->dialed.context,
                            settings->user != NULL ? settings->user : url->user,
                            settings->password != NULL ? settings->password : url->password, reason,
                            sizeof reason);
    return in ? 0 : ftl__cli_failed("Redis: %s", reason);
}

static int select_db(struct ftl__redis *redis, unsigned db)
{
    if (db == 0)
        return 0;
    redisReply *reply = ftl__redis_call(redis, REDIS_REPLY_STATUS, "SELECT %u", db);
    freeReplyObject(reply);
    return reply != NULL ? 0 : FTL__EXIT_FAILED;
}

static int open_url(struct ftl__redis *redis, const struct ftl__url *url)
{
    unsigned db = 0;
    if (strcmp(url->scheme, "redis") != 0 && strcmp(url->scheme, "rediss") != 0 &&
        strcmp(url->scheme, "unix") != 0)
        return refuse("must begin with redis://, rediss:// or unix://");
    if (find_db(url, &db) != 0)
        return FTL__EXIT_FAILED;
    if (redis->settings->sentinels != NULL)
        db = (unsigned)redis->settings->db;
    if (prepare_tls(redis, url) != 0 ||
        (redis->settings->sentinels != NULL ? dial_sentinels(redis) : dial(redis, url)) != 0)
        return FTL__EXIT_FAILED;
    int rc = authenticate(redis, url);
    return rc != 0 ? rc : select_db(redis, db);
}

int ftl__redis_open(const struct ftl__cli_settings *settings, struct ftl__redis **ret_redis)
{
    struct ftl__url *url;
    const char *reason;
    if (ftl__url_parse(settings->url, &url, &reason) != 0)
        return ftl__cli_failed("the address of Redis: %s", reason);
    struct ftl__redis *redis = calloc(1, sizeof(*redis));
    int rc = redis != NULL ? 0 : ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
    if (rc == 0) {
        redis->settings = settings;
        rc = open_url(redis, url);
    }
    ftl__url_free(url);
    if (rc == 0)
        *ret_redis = redis;
    else
        ftl__redis_close(redis);
    return rc;
}

void ftl__redis_close(struct ftl__redis *redis)
{
    if (redis == NULL)
        return;
    ftl__hang_up(&redis->dialed);
    ftl__tls_context_free(redis->tls);
    free(redis);
}

/* ---- calls ------------------------------------------------------------------------------- */

const struct ftl__cli_settings *ftl__redis_settings(const struct ftl__redis *redis)
{
    return redis->settings;
}

const char *ftl__redis_key(const struct ftl__redis *redis, const char *part, const char *more,
                           char ret_key[FTL__REDIS_KEY])
{
    snprintf(ret_key, FTL__REDIS_KEY, "%s%s%s", redis->settings->prefix, part,
             more != NULL ? more : "");
    return ret_key;
}

static void *lose(struct ftl__redis *redis)
{
    if (!redis->lost)
        ftl__cli_failed("Redis did not answer: %s", redis->dialed.context->errstr[0] != '\0'
                                                        ? redis->dialed.context->errstr
                                                        : "the command could not be sent");
    redis->lost = true;
    return NULL;
}

/* "KEY: ", fit for a terminal: names of queues and processes come from Redis. */
static const char *show(const char *key, char text[FTL__REDIS_KEY])
{
    if (key == NULL)
        return "";
    snprintf(text, FTL__REDIS_KEY, "%.*s: ", FTL__REDIS_KEY - 3, key);
    for (char *c = text; *c != '\0'; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    return text;
}

/* `key`: what the command is about, or NULL. */
static redisReply *check(struct ftl__redis *redis, const char *key, redisReply *reply, int type)
{
    char about[FTL__REDIS_KEY];
    if (reply == NULL)
        return lose(redis);
    if (reply->type == type || (type == REDIS_REPLY_STRING && reply->type == REDIS_REPLY_NIL))
        return reply;
    if (reply->type == REDIS_REPLY_ERROR)
        ftl__cli_failed("Redis: %s%s", show(key, about), reply->str);
    else
        ftl__cli_failed("%sRedis gave an answer of the wrong type", show(key, about));
    freeReplyObject(reply);
    return NULL;
}

redisReply *ftl__redis_call(struct ftl__redis *redis, int type, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(redis->dialed.context, format, args);
    va_end(args);
    return check(redis, NULL, reply, type);
}

redisReply *ftl__redis_call_on(struct ftl__redis *redis, const char *key, int type,
                               const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(redis->dialed.context, format, args);
    va_end(args);
    return check(redis, key, reply, type);
}

redisReply *ftl__redis_call_argv(struct ftl__redis *redis, int type, int argc, const char **argv,
                                 const size_t *argvlen)
{
    return check(redis, NULL, redisCommandArgv(redis->dialed.context, argc, argv, argvlen), type);
}

bool ftl__redis_is_lost(const struct ftl__redis *redis)
{
    return redis->lost;
}

int ftl__redis_now(struct ftl__redis *redis, double *ret_now)
{
    redisReply *reply = ftl__redis_call(redis, REDIS_REPLY_ARRAY, "TIME");
    if (reply == NULL)
        return FTL__EXIT_FAILED;
    int rc = FTL__EXIT_FAILED;
    if (reply->elements == 2 && reply->element[0]->type == REDIS_REPLY_STRING &&
        reply->element[1]->type == REDIS_REPLY_STRING) {
        *ret_now = strtod(reply->element[0]->str, NULL);
        *ret_now += strtod(reply->element[1]->str, NULL) / 1e6;
        rc = 0;
    } else {
        ftl__cli_failed("Redis gave no time");
    }
    freeReplyObject(reply);
    return rc;
}
