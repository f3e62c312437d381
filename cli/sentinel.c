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

#include "jobs/url.h"

#define SENTINEL_PORT 26379

struct master {
    char host[256];
    uint16_t port;
};

static bool login(redisContext *sentinel, const char *password)
{
    redisReply *reply = password != NULL ? redisCommand(sentinel, "AUTH %s", password) : NULL;
    bool failed = password != NULL && (reply == NULL || reply->type == REDIS_REPLY_ERROR);
    freeReplyObject(reply);
    return !failed;
}

/* Host and port, or null. */
static bool take(const redisReply *reply, struct master *ret_master)
{
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_STRING ||
        (size_t)reply->element[0]->len >= sizeof ret_master->host)
        return false;
    snprintf(ret_master->host, sizeof ret_master->host, "%s", reply->element[0]->str);
    ret_master->port = (uint16_t)atoi(reply->element[1]->str);
    return true;
}

static bool ask(const struct ftl__cli_settings *settings, const struct ftl__tls_context *tls,
                const struct ftl__url *url, struct master *ret_master)
{
    const struct timeval patience = {.tv_sec = 1};
    struct ftl__dialed sentinel;
    redisReply *reply = NULL;
    char reason[256];
    if (ftl__dial_tcp(url->host != NULL ? url->host : "127.0.0.1",
                      url->port != 0 ? url->port : SENTINEL_PORT, tls, patience, &sentinel, reason,
                      sizeof reason) != 0)
        return false;
    if (login(sentinel.context, settings->sentinel_password))
        reply = redisCommand(sentinel.context, "SENTINEL GET-MASTER-ADDR-BY-NAME %s",
                             settings->master);
    bool found = take(reply, ret_master);
    freeReplyObject(reply);
    ftl__hang_up(&sentinel);
    return found;
}

static bool find(const struct ftl__cli_settings *settings, const struct ftl__tls_context *tls,
                 struct master *ret_master)
{
    bool found = false;
    for (char **text = settings->sentinels; *text != NULL && !found; text++) {
        struct ftl__url *url;
        const char *reason;
        char whole[512];
        snprintf(whole, sizeof whole, "redis://%s", *text);
        if (ftl__url_parse(whole, &url, &reason) != 0)
            continue;
        found = ask(settings, tls, url, ret_master);
        ftl__url_free(url);
    }
    return found;
}

int ftl__cli_dial_master(const struct ftl__cli_settings *settings,
                         const struct ftl__tls_context *tls, struct timeval timeout,
                         struct ftl__dialed *ret_dialed, char *reason, size_t reason_size)
{
    struct master master;
    if (!find(settings, tls, &master)) {
        snprintf(reason, reason_size, "no sentinel tells where the master \"%s\" is",
                 settings->master);
        return FTL_ECONN;
    }
    return ftl__dial_tcp(master.host, master.port, tls, timeout, ret_dialed, reason, reason_size);
}
