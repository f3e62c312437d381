/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A connection for one question: dial, AUTH if there is a password, the question, the
 * answer, close. It is asked from the task of the link that wants to connect, which has nothing
 * else to do, so bytes are written and read in place; the wire (wire.c) makes and takes them apart.
 * Nobody subscribes to the sentinels' news: who loses its connection asks again, and a demoted
 * master closes its connections. */
#include "daemon/sentinel.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/time.h>

#include "daemon/dial.h"
#include "daemon/greeting.h"
#include "daemon/reply.h"
#include "daemon/wire.h"

#define PATIENCE FTL_S /* with one sentinel */

struct question {
    struct ftl__connection *connection;
    struct ftl__wire *wire;
    int64_t deadline;
    char *reason;
    size_t reason_size;
};

static void close_wire(void *wire)
{
    ftl__wire_close(wire);
}

static int explain(struct question *question, int status, const char *what)
{
    snprintf(question->reason, question->reason_size, "%s", what);
    return status;
}

static int put(struct question *question, int argc, const char *const *argv)
{
    size_t sizes[3];
    for (int i = 0; i < argc; i++)
        sizes[i] = strlen(argv[i]);
    return ftl__wire_put(question->wire, argc, argv, sizes);
}

/* Whoever hangs up may have said why before: what comes back tells more than a write that fails. */
static void send(struct question *question)
{
    const char *bytes;
    size_t size;
    int error;
    if (ftl__wire_take(question->wire, &bytes, &size))
        (void)ftl__connection_write_all(question->connection, bytes, size, question->deadline,
                                        &error);
}

static int receive(struct question *question, struct redisReply **ret_reply)
{
    int status = ftl__wire_next(question->wire, ret_reply);
    while (status == FTL_EAGAIN) {
        char *space;
        size_t room;
        int error = 0;
        status = ftl__wire_space(question->wire, &space, &room);
        if (status != 0)
            break;
        ssize_t size =
            ftl__connection_read(question->connection, space, room, question->deadline, &error);
        if (size <= 0)
            return explain(question, size == 0 ? FTL_ECONN : (int)size, "does not answer");
        ftl__wire_filled(question->wire, (size_t)size);
        status = ftl__wire_next(question->wire, ret_reply);
    }
    return status != 0 ? explain(question, status, "gives an answer that is none of Redis'") : 0;
}

/* Host and port, or null: it does not know that master. */
static int take_master(struct question *question, const struct redisReply *reply,
                       struct ftl__master *ret_master)
{
    if (reply->type == REDIS_REPLY_ERROR)
        return explain(question, FTL_EPROTO, reply->str);
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_STRING)
        return explain(question, FTL_ENOENT, "does not know the master");
    unsigned long port = strtoul(reply->element[1]->str, NULL, 10);
    if ((size_t)reply->element[0]->len >= sizeof ret_master->host || port == 0 || port > 65535)
        return explain(question, FTL_EPROTO, "names no address");
    snprintf(ret_master->host, sizeof ret_master->host, "%s", reply->element[0]->str);
    ret_master->port = (uint16_t)port;
    return 0;
}

static int exchange(struct question *question, int argc, const char *const *argv,
                    struct redisReply **ret_reply)
{
    int status = put(question, argc, argv);
    if (status != 0)
        return explain(question, status, ftl_error_text(status));
    send(question);
    return receive(question, ret_reply);
}

static int login(struct question *question, const char *password)
{
    struct redisReply *reply;
    int status = exchange(question, 2, (const char *const[]){"AUTH", password}, &reply);
    if (status != 0)
        return status;
    if (reply->type == REDIS_REPLY_ERROR)
        status = explain(question, FTL_EPROTO, ftl__greeting_auth_error(reply->str));
    ftl__reply_free(reply);
    return status;
}

static int ask_master(struct question *question, const struct ftl__sentinels *sentinels,
                      struct ftl__master *ret_master)
{
    const char *const words[] = {"SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinels->master};
    struct redisReply *reply;
    int status = sentinels->password != NULL ? login(question, sentinels->password) : 0;
    if (status == 0)
        status = exchange(question, 3, words, &reply);
    if (status != 0)
        return status;
    status = take_master(question, reply, ret_master);
    ftl__reply_free(reply);
    return status;
}

static int ask(struct ftl_runtime *runtime, const struct ftl__sentinels *sentinels, size_t i,
               struct ftl__master *ret_master, char *reason, size_t reason_size)
{
    const struct ftl__address address = {.host = sentinels->at[i].host,
                                         .port = sentinels->at[i].port,
                                         .tls = sentinels->tls};
    struct question question = {
        .deadline = ftl_deadline(PATIENCE), .reason = reason, .reason_size = reason_size};
    int status =
        ftl__dial(runtime, &address, question.deadline, &question.connection, reason, reason_size);
    if (status != 0)
        return status;
    FTL_DEFER(ftl__connection_close_at, &question.connection);
    status = ftl__wire_open(&question.wire);
    if (status != 0)
        return explain(&question, status, ftl_error_text(status));
    FTL_DEFER(close_wire, question.wire);
    return ask_master(&question, sentinels, ret_master);
}

/* The order is the same as long as none has answered, and so is the reason. */
int ftl__sentinel_find(struct ftl_runtime *runtime, const struct ftl__sentinels *sentinels,
                       unsigned *turn, struct ftl__master *ret_master, char *reason,
                       size_t reason_size)
{
    int status = FTL_ENOENT;
    char why[128] = "";
    size_t used = 0;
    for (size_t tried = 0; tried < sentinels->count; tried++) {
        size_t i = (*turn + tried) % sentinels->count;
        status = ask(runtime, sentinels, i, ret_master, why, sizeof why);
        if (status == 0)
            *turn = (unsigned)i + 1;
        if (status == 0 || status == FTL_ECANCELED)
            return status;
        if (used < reason_size)
            used += (size_t)snprintf(reason + used, reason_size - used, "%ssentinel %s:%u: %s",
                                     used > 0 ? "; " : "", sentinels->at[i].host,
                                     sentinels->at[i].port, why);
    }
    return status;
}
