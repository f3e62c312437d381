/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The first command is one that every user may call, since a server that takes no more
 * connections, or none from outside, says why in place of its answer: AUTH if there is a user or a
 * password, PING in any case. A user without a password may be one that needs none: without AUTH we
 * would be another one. What stands behind is in the order of its use. Each command is a call
 * of the link (link.c), which has the deadlines; the task is the link's owner, and nothing is kept.
 *
 * What is said to AUTH goes to the log only if its first words are known: servers and proxies that
 * do not know a command repeat its arguments, or the beginning of them. */
#include "daemon/greeting.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

#include <fettle/time.h>

#include "daemon/link.h"

#define TIMEOUT (5 * FTL_S)

static bool begins_with_any(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strncmp(text, *words, strlen(*words)) == 0)
            return true;
    return false;
}

const char *ftl__greeting_auth_error(const char *text)
{
    static const char *const known[] = {
        "WRONGPASS ", "NOAUTH ", "NOPERM ", "LOADING ", "BUSY ", "MASTERDOWN ", "DENIED ",
        "ERR max number of clients", "ERR invalid password", "ERR AUTH <password> called without",
        "ERR Client sent AUTH, but no password is set", "ERR wrong number of arguments for 'auth'", NULL};
    return begins_with_any(text, known)
               ? text
               : "an error that is not shown, since it may repeat the password";
}

bool ftl__greeting_passes(const char *text)
{
    static const char *const passing[] = {"LOADING ", "MASTERDOWN ", "BUSY ", NULL};
    return begins_with_any(text, passing);
}

static int refuse(struct ftl__refusal *refusal, const char *command, const char *said)
{
    refusal->command = command;
    refusal->passes = ftl__greeting_passes(said);
    snprintf(refusal->said, sizeof refusal->said, "%s", said);
    return FTL_EPROTO;
}

/* Its error reply ends the connection. */
static int call(struct ftl__link *link, const struct ftl__command *command,
                struct ftl__refusal *refusal)
{
    struct redisReply *reply;
    int status = ftl__link_call(link, command, ftl_deadline(TIMEOUT), &reply);
    if (status != 0)
        return status;
    const char *name = command->argv[0];
    if (reply->type == REDIS_REPLY_ERROR)
        status = refuse(refusal, name, strcmp(name, "AUTH") == 0
                                           ? ftl__greeting_auth_error(reply->str)
                                           : reply->str);
    ftl__reply_free(reply);
    return status;
}

static int authenticate(struct ftl__link *link, const struct ftl__address *address,
                        struct ftl__refusal *refusal)
{
    const char *user = address->user != NULL && address->user[0] != '\0' ? address->user : NULL;
    const char *password = address->password != NULL ? address->password : "";
    if (user == NULL && address->password == NULL)
        return 0;
    const char *argv[3] = {"AUTH", user != NULL ? user : password, password};
    size_t argvlen[3] = {4, strlen(argv[1]), strlen(argv[2])};
    return call(link, &(struct ftl__command){user != NULL ? 3 : 2, argv, argvlen}, refusal);
}

/* The server may be up and not yet of use: LOADING, MASTERDOWN, NOAUTH. */
static int ping(struct ftl__link *link, struct ftl__refusal *refusal)
{
    const char *argv[1] = {"PING"};
    size_t argvlen[1] = {4};
    return call(link, &(struct ftl__command){1, argv, argvlen}, refusal);
}

static int select_db(struct ftl__link *link, unsigned number, struct ftl__refusal *refusal)
{
    if (number == 0)
        return 0;
    char db[16];
    int size = snprintf(db, sizeof db, "%u", number);
    const char *argv[2] = {"SELECT", db};
    size_t argvlen[2] = {6, (size_t)size};
    return call(link, &(struct ftl__command){2, argv, argvlen}, refusal);
}

/* For CLIENT LIST only: an ACL may forbid it. */
static int set_name(struct ftl__link *link, const char *name)
{
    struct redisReply *reply;
    int status = ftl__link_callf(link, ftl_deadline(TIMEOUT), &reply,
                                 "CLIENT SETNAME fettled:%s", name);
    if (status == 0)
        ftl__reply_free(reply);
    return status;
}

/* A sentinel may be late to learn of a failover. */
static int look_at_role(struct ftl__link *link, struct ftl__refusal *refusal)
{
    struct redisReply *reply;
    int status = ftl__link_callf(link, ftl_deadline(TIMEOUT), &reply, "ROLE");
    if (status != 0)
        return status;
    if (reply->type == REDIS_REPLY_ERROR)
        status = refuse(refusal, "ROLE", reply->str);
    else if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0 ||
             reply->element[0]->type != REDIS_REPLY_STRING ||
             strcmp(reply->element[0]->str, "master") != 0)
        status = refuse(refusal, NULL, "it is not the master");
    ftl__reply_free(reply);
    return status;
}

int ftl__greet(struct ftl__link *link, const struct ftl__address *address, const char *name,
               struct ftl__refusal *ret_refusal)
{
    *ret_refusal = (struct ftl__refusal){.command = NULL};
    int status = authenticate(link, address, ret_refusal);
    if (status == 0)
        status = ping(link, ret_refusal);
    if (status == 0)
        status = select_db(link, address->db, ret_refusal);
    if (status == 0 && address->sentinels != NULL)
        status = look_at_role(link, ret_refusal);
    if (status == 0)
        status = set_name(link, name);
    return status;
}
