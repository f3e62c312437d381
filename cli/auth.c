/* SPDX-License-Identifier: MIT
 *
 * DESIGN. An error is shown only if its first words are known, as the daemon does it
 * (daemon/greeting.c): who does not know the command repeats its arguments. */
#include "cli/auth.h"

#include <stdio.h>
#include <string.h>

static const char *const known[] = {
    "WRONGPASS ", "NOPERM ", "NOAUTH ", "LOADING ", "BUSY ", "DENIED ",
    "ERR max number of clients", "ERR invalid password", "ERR AUTH <password> called without",
    "ERR Client sent AUTH, but no password is set", "ERR wrong number of arguments for 'auth'",
};

static const char *show(const char *error)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(error, known[i], strlen(known[i])) == 0)
            return error;
    return "AUTH: an error that is not shown, since it may repeat the password";
}

static bool is_given(const char *text)
{
    return text != NULL && *text != '\0';
}

bool ftl__cli_auth(redisContext *context, const char *user, const char *password, char *reason,
                   size_t reason_size)
{
    if (!is_given(user) && !is_given(password))
        return true;
    redisReply *reply = is_given(user)
                            ? redisCommand(context, "AUTH %s %s", user, password != NULL ? password : "")
                            : redisCommand(context, "AUTH %s", password);
    bool in = reply != NULL && reply->type == REDIS_REPLY_STATUS;
    if (reply == NULL)
        snprintf(reason, reason_size, "%s", context->errstr);
    else if (reply->type == REDIS_REPLY_ERROR)
        snprintf(reason, reason_size, "%s", show(reply->str));
    else if (!in)
        snprintf(reason, reason_size, "AUTH: an answer of the wrong type");
    freeReplyObject(reply);
    return in;
}
