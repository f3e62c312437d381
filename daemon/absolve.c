/* SPDX-License-Identifier: MIT
 *
 * DESIGN: an entry of fettle:recoveries names the owner that it was last counted for, so nobody
 * needs to know the jobs: all entries are looked through, page by page, and those that name us are
 * handed to the script, which looks once more. There are few, and for three days at most; it is
 * done once after each fence. A count that another death was added to since is left as it is.
 *
 * Part of the watch, in whose task it runs. */
#include "daemon/absolve.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

#include <fettle/time.h>

#define PAGE     "1000"
#define PER_CALL 1000

/* Are there batches of it that nobody has reaped yet? */
static int check_reaped(const struct ftl__reap_options *options, const char *id)
{
    const struct ftl__key *fenced = &options->keys->fenced;
    struct redisReply *reply;
    int status = ftl__link_callf(options->link, ftl_deadline(options->call_timeout), &reply,
                                 "HEXISTS %b %s", fenced->text, fenced->size, id);
    if (status != 0)
        return status;
    status = ftl__reply_check(reply, REDIS_REPLY_INTEGER, "HEXISTS");
    if (status == 0 && reply->integer != 0)
        status = FTL_EAGAIN;
    ftl__reply_free(reply);
    return status;
}

/* "N ID". */
static bool names(const struct redisReply *entry, const char *id)
{
    const char *space = entry->type == REDIS_REPLY_STRING ? strchr(entry->str, ' ') : NULL;
    return space != NULL && strcmp(space + 1, id) == 0;
}

/* At most PER_CALL of the entries from *at on, which is moved on. */
static int absolve_some(const struct ftl__reap_options *options, struct ftl__invoke *invoke,
                        const char *id, const struct redisReply *entries, size_t *at)
{
    size_t count = 0;
    ftl__invoke_start(invoke, FTL__SCRIPT_ABSOLVE);
    ftl__invoke_key(invoke, &options->keys->recoveries);
    ftl__invoke_text(invoke, id);
    for (; *at + 1 < entries->elements && count < PER_CALL; *at += 2) {
        const struct redisReply *digest = entries->element[*at];
        if (!names(entries->element[*at + 1], id))
            continue;
        ftl__invoke_bytes(invoke, digest->str, digest->len);
        count++;
    }
    if (count == 0)
        return 0;
    struct redisReply *reply;
    int status = ftl__invoke_run(invoke, options->scripts, options->link,
                                 ftl_deadline(options->call_timeout), &reply);
    if (status != 0)
        return status;
    status = ftl__reply_check(reply, REDIS_REPLY_INTEGER, "absolve");
    ftl__reply_free(reply);
    return status != 0 ? status : options->tend(options->arg);
}

static int read_page(const struct ftl__reap_options *options, const char *cursor,
                     struct redisReply **ret_reply)
{
    const struct ftl__key *recoveries = &options->keys->recoveries;
    struct redisReply *reply;
    int status = ftl__link_callf(options->link, ftl_deadline(options->call_timeout), &reply,
                                 "HSCAN %b %s COUNT " PAGE, recoveries->text, recoveries->size,
                                 cursor);
    if (status != 0)
        return status;
    status = ftl__reply_check(reply, REDIS_REPLY_ARRAY, "HSCAN");
    if (status == 0 && (reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
                        reply->element[1]->type != REDIS_REPLY_ARRAY))
        status = FTL_EPROTO;
    if (status != 0)
        ftl__reply_free(reply);
    else
        *ret_reply = reply;
    return status;
}

int ftl__absolve(const struct ftl__reap_options *options, struct ftl__invoke *invoke,
                 const char *id)
{
    char cursor[24] = "0";
    int status = check_reaped(options, id);
    while (status == 0) {
        struct redisReply *reply;
        status = read_page(options, cursor, &reply);
        if (status != 0)
            break;
        for (size_t at = 0; status == 0 && at + 1 < reply->element[1]->elements;)
            status = absolve_some(options, invoke, id, reply->element[1], &at);
        snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
        ftl__reply_free(reply);
        if (strcmp(cursor, "0") == 0)
            break;
    }
    return status;
}
