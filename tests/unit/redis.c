/* SPDX-License-Identifier: MIT
 *
 * DESIGN: see redis.h. The server writes every change to its append-only file, so that killing it
 * loses nothing. */
#include "tests/unit/redis.h"

#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <fettle/time.h>

#include "tests/unit/unit.h"

static void pause_ms(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

void unit_redis_require(void)
{
    if (system("command -v redis-server >/dev/null 2>&1") == 0)
        return;
    printf("1..0 # SKIP no redis-server\n");
    exit(0);
}

/* What is running now, for tests that end early. */
static struct unit_redis *running;

static void clean_up(void)
{
    if (running != NULL && running->pid > 0)
        kill(running->pid, SIGKILL);
}

static void exec_server(const struct unit_redis *redis, const char *option)
{
    const char *words[24] = {"redis-server",
                             "--port",
                             "0",
                             "--unixsocket",
                             redis->socket,
                             "--dir",
                             redis->dir,
                             "--appendonly",
                             "yes",
                             "--appendfsync",
                             "always",
                             "--save",
                             "",
                             "--logfile",
                             "redis.log"};
    size_t count = 15;
    char *copy = option != NULL ? strdup(option) : NULL;
    for (char *word = copy != NULL ? strtok(copy, " ") : NULL; word != NULL && count < 23;
         word = strtok(NULL, " "))
        words[count++] = word;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execvp(words[0], (char *const *)(uintptr_t)words);
    _exit(127);
}

void unit_redis_start(struct unit_redis *redis, const char *option)
{
    redis->pid = fork();
    ck_assert_int_ge(redis->pid, 0);
    if (redis->pid == 0)
        exec_server(redis, option);
    int64_t deadline = ftl_deadline(60 * FTL_S);
    for (;;) {
        redis->context = redisConnectUnix(redis->socket);
        ck_assert_ptr_nonnull(redis->context);
        redisReply *reply = redis->context->err == 0 ? redisCommand(redis->context, "PING") : NULL;
        bool loading = reply != NULL && reply->type == REDIS_REPLY_ERROR &&
                       strncmp(reply->str, "LOADING", 7) == 0;
        bool answered = reply != NULL && !loading;
        freeReplyObject(reply);
        if (answered)
            return;
        redisFree(redis->context);
        ck_assert_msg(ftl_now() < deadline, "redis-server does not answer");
        pause_ms(5);
    }
}

void unit_redis_kill(struct unit_redis *redis)
{
    if (redis->pid == 0)
        return;
    kill(redis->pid, SIGKILL);
    waitpid(redis->pid, NULL, 0);
    redis->pid = 0;
    redisFree(redis->context);
    redis->context = NULL;
}

void unit_redis_open(struct unit_redis *redis, const char *option)
{
    *redis = (struct unit_redis){.dir = "/tmp/fettle-unit-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(redis->dir));
    snprintf(redis->socket, sizeof redis->socket, "%s/redis.sock", redis->dir);
    redis->address = (struct ftl__address){.socket = redis->socket, .shown = redis->socket};
    running = redis;
    atexit(clean_up);
    unit_redis_start(redis, option);
    struct ftl_runtime_options options = {.name = "control", .serial = true};
    ck_assert_int_eq(ftl_runtime_start(&options, &redis->control), 0);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status, (void)type, (void)ftw;
    return remove(path);
}

void unit_redis_close(struct unit_redis *redis)
{
    ck_assert_uint_eq(ftl_runtime_shutdown(redis->control, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(redis->control);
    unit_redis_kill(redis);
    running = NULL;
    nftw(redis->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static redisReply *call_args(struct unit_redis *redis, const char *format, va_list args)
{
    redisReply *reply = redisvCommand(redis->context, format, args);
    ck_assert_msg(reply != NULL, "%s: %s", format, redis->context->errstr);
    return reply;
}

redisReply *unit_redis_call(struct unit_redis *redis, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = call_args(redis, format, args);
    va_end(args);
    return reply;
}

static long long integer_of(const char *format, redisReply *reply)
{
    ck_assert_msg(reply->type != REDIS_REPLY_ERROR, "%s: %s", format, reply->str);
    long long value = reply->type == REDIS_REPLY_INTEGER  ? reply->integer
                      : reply->type == REDIS_REPLY_STRING ? atoll(reply->str)
                                                          : reply->type != REDIS_REPLY_NIL;
    freeReplyObject(reply);
    return value;
}

long long unit_redis_int(struct unit_redis *redis, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = call_args(redis, format, args);
    va_end(args);
    return integer_of(format, reply);
}

const char *unit_redis_text(struct unit_redis *redis, const char *format, ...)
{
    static char text[65536];
    va_list args;
    va_start(args, format);
    redisReply *reply = call_args(redis, format, args);
    va_end(args);
    snprintf(text, sizeof text, "%s", reply->str != NULL ? reply->str : "(none)");
    freeReplyObject(reply);
    return text;
}

void unit_redis_await(struct unit_redis *redis, long long expected, const char *format, ...)
{
    int64_t deadline = ftl_deadline(60 * FTL_S);
    long long value;
    for (;;) {
        va_list args;
        va_start(args, format);
        value = integer_of(format, call_args(redis, format, args));
        va_end(args);
        if (value == expected || ftl_now() >= deadline)
            break;
        pause_ms(5);
    }
    ck_assert_msg(value == expected, "%s: %lld, not %lld", format, value, expected);
}

void unit_redis_await_text(struct unit_redis *redis, const char *expected, const char *command)
{
    int64_t deadline = ftl_deadline(60 * FTL_S);
    const char *text = unit_redis_text(redis, command);
    while (strstr(text, expected) == NULL && ftl_now() < deadline) {
        pause_ms(5);
        text = unit_redis_text(redis, command);
    }
    ck_assert_msg(strstr(text, expected) != NULL, "%s: no %s", command, expected);
}

void unit_on_control(struct unit_redis *redis, void *(*fn)(void *arg), void *arg)
{
    struct ftl_task *task;
    struct ftl_outcome outcome;
    ck_assert_int_eq(ftl_spawn(redis->control, fn, arg, NULL, &task), 0);
    ck_assert_int_eq(ftl_task_join(task, FTL_FOREVER, &outcome), 0);
    ck_assert_msg(outcome.kind == FTL_COMPLETED, "%s",
                  outcome.kind == FTL_PANICKED ? outcome.panic->message : "cancelled");
    ftl_outcome_clear(&outcome);
}
