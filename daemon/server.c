/* SPDX-License-Identifier: MIT
 *
 * DESIGN. BLMOVE, RPOP with a count and ZRANGE … BYSCORE came with Redis 6.2: with an older server
 * some jobs would run and others wait for ever. And in a Cluster the keys of a script would have to be
 * on one node. So INFO is read first of all, in the greeting of the link `work`; no state. Forks of
 * Redis tell the version that they are compatible with, and Valkey may call the mode server_mode. A
 * server that tells nothing (no right, no such field) is tried: it may well be good enough. */
#include "daemon/server.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "daemon/link.h"
#include "daemon/reply.h"

#define MAJOR 6
#define MINOR 2

const char *ftl__server_field(const char *info, const char *field)
{
    const char *at = info;
    while ((at = strstr(at, field)) != NULL && at != info && at[-1] != '\n')
        at += strlen(field);
    return at != NULL ? at + strlen(field) : NULL;
}

static bool is_cluster(const char *info)
{
    const char *mode = ftl__server_field(info, "redis_mode:");
    if (mode == NULL)
        mode = ftl__server_field(info, "server_mode:");
    return mode != NULL && strncmp(mode, "cluster", 7) == 0;
}

static bool is_old(const char *version)
{
    unsigned major, minor;
    return version != NULL && sscanf(version, "%u.%u", &major, &minor) == 2 &&
           (major < MAJOR || (major == MAJOR && minor < MINOR));
}

static int judge(const char *info, char *reason, size_t size)
{
    const char *version = ftl__server_field(info, "redis_version:");
    if (is_old(version))
        snprintf(reason, size, "version %.*s is too old: fettled needs Redis %d.%d or newer",
                 (int)strcspn(version, "\r\n"), version, MAJOR, MINOR);
    else if (is_cluster(info))
        snprintf(reason, size, "Redis Cluster is not supported yet");
    else
        return 0;
    return FTL_EINVAL;
}

int ftl__server_check(struct ftl__link *link, int64_t deadline, char *reason, size_t reason_size)
{
    struct redisReply *reply;
    int status = ftl__link_callf(link, deadline, &reply, "INFO server");
    if (status != 0)
        return status;
    status = ftl__link_passing(link, "INFO", reply);
    if (status == 0 && reply->type == REDIS_REPLY_STRING)
        status = judge(reply->str, reason, reason_size);
    ftl__reply_free(reply);
    return status;
}
