/* SPDX-License-Identifier: MIT
 *
 * DESIGN. One connection for one question, as the daemon does it (daemon/sentinel.c), with hiredis'
 * blocking calls. Whether the server is the master indeed is not asked: a replica refuses to write
 * and says so. */
#include "cli/sentinel.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/auth.h"
#include "jobs/url.h"

#define SENTINEL_PORT 26379

struct master {
    char host[256];
    uint16_t port;
};

/* Why it was not found, of the sentinel that is being asked. */
struct why {
    char text[256];
};

static bool explain(struct why *why, const char *text)
{
    snprintf(why->text, sizeof why->text, "%s", text);
    return false;
}

/* Is there an answer, and is it no error? */
static bool is_answer(redisContext *sentinel, const redisReply *reply, struct why *why)
{
    if (reply == NULL)
        return explain(why, sentinel->errstr);
    return reply->type != REDIS_REPLY_ERROR || explain(why, reply->str);
}

/* Host and port, or null. */
static bool take(const redisReply *reply, struct master *ret_master, struct why *why)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_STRING ||
        (size_t)reply->element[0]->len >= sizeof ret_master->host)
        return explain(why, "does not know it");
    snprintf(ret_master->host, sizeof ret_master->host, "%s", reply->element[0]->str);
    ret_master->port = (uint16_t)atoi(reply->element[1]->str);
    return true;
}

static bool ask(const struct ftl__cli_settings *settings, const struct ftl__tls_context *tls,
                const struct ftl__url *url, struct master *ret_master, struct why *why)
{
    const struct timeval patience = {.tv_sec = 1};
    struct ftl__dialed sentinel;
    redisReply *reply = NULL;
    bool found = false;
    if (ftl__dial_tcp(url->host != NULL ? url->host : "127.0.0.1",
                      url->port != 0 ? url->port : SENTINEL_PORT, tls, patience, &sentinel,
                      why->text, sizeof why->text) != 0)
        return false;
    if (ftl__cli_auth(sentinel.context, NULL, settings->sentinel_password, why->text,
                      sizeof why->text)) {
        reply = redisCommand(sentinel.context, "SENTINEL GET-MASTER-ADDR-BY-NAME %s",
                             settings->master);
        found = is_answer(sentinel.context, reply, why) && take(reply, ret_master, why);
    }
    freeReplyObject(reply);
    ftl__hang_up(&sentinel);
    return found;
}

/* What each of them said, if none knows. */
static bool find(const struct ftl__cli_settings *settings, const struct ftl__tls_context *tls,
                 struct master *ret_master, char *reason, size_t reason_size)
{
    bool found = false;
    size_t used = (size_t)snprintf(reason, reason_size, "no sentinel tells where the master \"%s\" is",
                                   settings->master);
    for (char **text = settings->sentinels; *text != NULL && !found; text++) {
        struct ftl__url *url;
        const char *fault;
        char whole[512];
        struct why why = {""};
        snprintf(whole, sizeof whole, "redis://%s", *text);
        if (ftl__url_parse(whole, &url, &fault) != 0)
            continue;
        found = ask(settings, tls, url, ret_master, &why);
        ftl__url_free(url);
        if (used < reason_size)
            used += (size_t)snprintf(reason + used, reason_size - used, "; %s: %s", *text, why.text);
    }
    return found;
}

int ftl__cli_dial_master(const struct ftl__cli_settings *settings,
                         const struct ftl__tls_context *tls, struct timeval timeout,
                         struct ftl__dialed *ret_dialed, char *reason, size_t reason_size)
{
    struct master master;
    if (!find(settings, tls, &master, reason, reason_size))
        return FTL_ECONN;
    return ftl__dial_tcp(master.host, master.port, tls, timeout, ret_dialed, reason, reason_size);
}
