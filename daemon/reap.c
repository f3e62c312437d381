/* SPDX-License-Identifier: MIT
 *
 * DESIGN: reads the list of batches, sorts it, and calls the script until each is empty, a hundred
 * jobs at a time. All decisions are the script's; here is only the order, and the telling: each job
 * that is buried is reported, its bytes come with the reply (a batch has 8 MiB, or one job).
 * Interrupted anywhere, it begins again with what is left. */
#include "daemon/reap.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/time.h>

#include "daemon/lease.h"
#include "daemon/log.h"
#include "jobs/job.h"
#include "jobs/retry.h"

#define LIMIT 100 /* jobs per call */

struct batch {
    uint64_t seq;
    char name[129];
};

/* What came of a batch. */
struct tally {
    uint64_t recovered, dead;
};

/* SEQ → "TOKEN COUNT NAME". */
static bool parse_batch(const struct redisReply *seq, const struct redisReply *entry,
                        struct batch *ret_batch)
{
    int name = -1;
    if (sscanf(seq->str, "%" SCNu64, &ret_batch->seq) != 1 ||
        sscanf(entry->str, "%*u %*u %n", &name) < 0 || name < 0)
        return false;
    size_t size = entry->len - (size_t)name;
    if (!ftl__queue_name_valid(entry->str + name, size))
        return false;
    memcpy(ret_batch->name, entry->str + name, size + 1);
    return true;
}

static int younger_first(const void *a, const void *b)
{
    uint64_t left = ((const struct batch *)a)->seq, right = ((const struct batch *)b)->seq;
    return left < right ? 1 : left > right ? -1 : 0;
}

static int read_batches(const struct ftl__reap_options *options, const struct ftl__key *key,
                        struct batch **ret_batches, size_t *ret_count)
{
    struct redisReply *reply;
    int status = ftl__link_callf(options->link, ftl_deadline(options->call_timeout), &reply,
                                 "HGETALL %b", key->text, key->size);
    if (status != 0)
        return status;
    char what[sizeof key->text + 16]; /* the complaint names the owner */
    snprintf(what, sizeof what, "HGETALL %s", key->text);
    status = ftl__reply_check(reply, REDIS_REPLY_ARRAY, what);
    struct batch *batches = status == 0 ? malloc((reply->elements + 1) * sizeof *batches) : NULL;
    if (status == 0 && batches == NULL)
        status = FTL_ENOMEM;
    size_t count = 0;
    for (size_t i = 0; status == 0 && i + 1 < reply->elements; i += 2)
        count += parse_batch(reply->element[i], reply->element[i + 1], &batches[count]);
    ftl__reply_free(reply);
    if (status != 0)
        return status;
    qsort(batches, count, sizeof *batches, younger_first);
    *ret_batches = batches;
    *ret_count = count;
    return 0;
}

static void build(const struct ftl__reap_options *options, struct ftl__invoke *invoke,
                  const struct ftl__reap_victim *victim, const struct ftl__key *batches,
                  const struct batch *batch, bool only)
{
    struct ftl__key list, queue;
    ftl__key_batch(options->keys, victim->id, batch->seq, &list);
    ftl__key_queue(options->keys, batch->name, &queue);
    const struct ftl__key *keys[] = {
        &options->keys->fenced, &options->keys->owners, batches, &options->keys->recoveries,
        &options->keys->queues, &options->keys->dead,   &list,   &queue};
    ftl__invoke_start(invoke, FTL__SCRIPT_REAP);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        ftl__invoke_key(invoke, keys[i]);
    ftl__invoke_text(invoke, victim->id);
    ftl__invoke_uint(invoke, batch->seq);
    ftl__invoke_text(invoke, batch->name);
    ftl__invoke_text(invoke, victim->format);
    ftl__invoke_uint(invoke, FTL__LEASE_RECOVERIES);
    ftl__invoke_uint(invoke, LIMIT);
    ftl__invoke_uint(invoke, only);
}

static void tell_buried(const char *queue, const struct redisReply *token,
                        const struct redisReply *bytes)
{
    static const struct ftl__job_limits widest = {SIZE_MAX, FTL__JSON_DEPTH_CEILING};
    struct ftl__job job;
    struct ftl__job_error error;
    struct ftl__slice jid = {0}, class = {0};
    if (ftl__job_scan(bytes->str, bytes->len, &widest, &job, &error) == 0) {
        bool wrapped = job.type[FTL__WRAPPED] == FTL__STRING;
        jid = ftl__job_plain(&job, FTL__JID);
        class = ftl__job_plain(&job, wrapped ? FTL__WRAPPED : FTL__CLASS);
    }
    ftl__log(FTL__EV_JOB_DEAD, FTL__BYTES("jid", jid.begin, jid.size),
             FTL__BYTES("class", class.begin, class.size), FTL__STR("queue", queue),
             FTL__UINT("token", strtoull(token->str, NULL, 10)), FTL__STR("reason", "recovered"));
}

/* [left, recovered, [TOKEN, RAW, …]]. */
static int take_reply(const struct redisReply *reply, const char *queue, struct tally *tally,
                      long long *ret_left)
{
    if (reply->elements != 3 || reply->element[2]->type != REDIS_REPLY_ARRAY)
        return FTL_EPROTO;
    const struct redisReply *buried = reply->element[2];
    for (size_t i = 0; i + 1 < buried->elements; i += 2)
        tell_buried(queue, buried->element[i], buried->element[i + 1]);
    *ret_left = reply->element[0]->integer;
    tally->recovered += (uint64_t)reply->element[1]->integer;
    tally->dead += buried->elements / 2;
    return 0;
}

/* One call. *ret_left: live entries still in the batch. */
static int reap_some(const struct ftl__reap_options *options, struct ftl__invoke *invoke,
                     const char *queue, struct tally *tally, long long *ret_left)
{
    struct redisReply *reply;
    int status = ftl__invoke_run(invoke, options->scripts, options->link,
                                 ftl_deadline(options->call_timeout), &reply);
    if (status != 0)
        return status;
    status = ftl__reply_check(reply, REDIS_REPLY_ARRAY, "reap");
    if (status == 0)
        status = take_reply(reply, queue, tally, ret_left);
    ftl__reply_free(reply);
    return status;
}

static int reap_batch(const struct ftl__reap_options *options, struct ftl__invoke *invoke,
                      const struct ftl__reap_victim *victim, const struct ftl__key *batches,
                      const struct batch *batch, bool only)
{
    struct tally tally = {0};
    long long left = 1;
    int status = 0;
    while (status == 0 && left > 0) {
        left = 0;
        build(options, invoke, victim, batches, batch, only);
        status = reap_some(options, invoke, batch->name, &tally, &left);
        if (status == 0)
            status = options->tend(options->arg);
    }
    if (tally.recovered + tally.dead > 0)
        ftl__log(FTL__EV_LEASE_REAPED, FTL__STR("owner", victim->id), FTL__STR("queue", batch->name),
                 FTL__UINT("recovered", tally.recovered), FTL__UINT("dead", tally.dead));
    return status;
}

/* Harmless if repeated; an owner with batches left keeps it. */
static int forget_owner(const struct ftl__reap_options *options, const struct ftl__key *batches,
                        const char *id)
{
    struct redisReply *reply;
    int64_t deadline = ftl_deadline(options->call_timeout);
    int status =
        ftl__link_callf(options->link, deadline, &reply, "EXISTS %b", batches->text, batches->size);
    if (status != 0)
        return status;
    bool empty = reply->type == REDIS_REPLY_INTEGER && reply->integer == 0;
    ftl__reply_free(reply);
    if (!empty)
        return 0;
    const struct ftl__key *fenced = &options->keys->fenced;
    status = ftl__link_callf(options->link, deadline, &reply, "HDEL %b %s", fenced->text,
                             fenced->size, id);
    if (status != 0)
        return status;
    status = ftl__reply_check(reply, REDIS_REPLY_INTEGER, "HDEL");
    ftl__reply_free(reply);
    return status;
}

int ftl__reap(const struct ftl__reap_options *options, struct ftl__invoke *invoke,
              const struct ftl__reap_victim *victim)
{
    struct ftl__key key;
    struct batch *batches = NULL;
    size_t count = 0;
    ftl__key_batches(options->keys, victim->id, &key);
    int status = read_batches(options, &key, &batches, &count);
    for (size_t i = 0; status == 0 && i < count; i++) {
        status = reap_batch(options, invoke, victim, &key, &batches[i], count == 1);
        if (status == FTL_EPROTO) /* told; the others need not wait for it */
            status = 0;
    }
    free(batches);
    return status != 0 ? status : forget_owner(options, &key, victim->id);
}
