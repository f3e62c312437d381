/* SPDX-License-Identifier: MIT
 *
 * DESIGN: the replies of MULTI and of what is queued after it tell nothing that EXEC's does not, so
 * those calls are given up as soon as they are begun: the link drops their replies, and one call is
 * waited for. All is begun without a wait in between, so nothing of another task can come into the
 * transaction. */
#include "daemon/tx.h"

#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdlib.h>

#include <fettle/error.h>

#include "daemon/complaint.h"
#include "daemon/script.h"

struct words {
    char *bytes; /* hiredis' */
    size_t size;
};

struct ftl__tx {
    struct words *commands;
    size_t count, room;
    int status; /* of put() */
};

int ftl__tx_open(struct ftl__tx **ret_tx)
{
    struct ftl__tx *tx = calloc(1, sizeof *tx);
    if (tx == NULL)
        return FTL_ENOMEM;
    *ret_tx = tx;
    return 0;
}

void ftl__tx_start(struct ftl__tx *tx)
{
    for (size_t i = 0; i < tx->count; i++)
        redisFreeCommand(tx->commands[i].bytes);
    tx->count = 0;
    tx->status = 0;
}

void ftl__tx_close(struct ftl__tx *tx)
{
    if (tx == NULL)
        return;
    ftl__tx_start(tx);
    free(tx->commands);
    free(tx);
}

static int reserve(struct ftl__tx *tx)
{
    if (tx->count < tx->room)
        return 0;
    size_t room = tx->room == 0 ? 16 : 2 * tx->room;
    struct words *commands = realloc(tx->commands, room * sizeof *commands);
    if (commands == NULL)
        return FTL_ENOMEM;
    tx->commands = commands;
    tx->room = room;
    return 0;
}

void ftl__tx_put(struct ftl__tx *tx, const char *format, ...)
{
    char *bytes = NULL;
    va_list args;
    if (tx->status != 0 || (tx->status = reserve(tx)) != 0)
        return;
    va_start(args, format);
    int size = redisvFormatCommand(&bytes, format, args);
    va_end(args);
    if (size < 0)
        tx->status = size == -1 ? FTL_ENOMEM : FTL_EINVAL;
    else
        tx->commands[tx->count++] = (struct words){bytes, (size_t)size};
}

static int begin_and_forget(struct ftl__link *link, const char *bytes, size_t size,
                            int64_t deadline)
{
    struct ftl__call call;
    int status = ftl__link_begin_raw(link, &call, bytes, size, deadline);
    if (status == 0)
        ftl__link_cancel(&call);
    return status;
}

/* EXEC's reply: null or an error if nothing was executed, else one reply for each command. */
static int check(const struct redisReply *reply)
{
    int status = ftl__reply_check(reply, REDIS_REPLY_ARRAY, "EXEC");
    if (status != 0)
        return status;
    for (size_t i = 0; i < reply->elements; i++)
        if (reply->element[i]->type == REDIS_REPLY_ERROR)
            ftl__complain("EXEC", NULL, reply->element[i]->str);
    return 0;
}

int ftl__tx_run(struct ftl__tx *tx, struct ftl__link *link, int64_t deadline)
{
    static const char multi[] = "*1\r\n$5\r\nMULTI\r\n";
    static const char exec[] = "*1\r\n$4\r\nEXEC\r\n";
    struct ftl__call call;
    struct redisReply *reply;
    if (tx->status != 0 || tx->count == 0)
        return tx->status;
    int status = begin_and_forget(link, multi, sizeof multi - 1, deadline);
    if (status != 0)
        return status;
    for (size_t i = 0; i < tx->count && status == 0; i++)
        status = begin_and_forget(link, tx->commands[i].bytes, tx->commands[i].size, deadline);
    if (status == 0)
        status = ftl__link_begin_raw(link, &call, exec, sizeof exec - 1, deadline);
    if (status != 0) {
        ftl__link_break(link, "a transaction could not be sent whole");
        return status;
    }
    status = ftl__link_wait(&call, &reply);
    if (status != 0)
        return status;
    status = check(reply);
    ftl__reply_free(reply);
    return status;
}
