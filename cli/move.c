/* SPDX-License-Identifier: MIT
 *
 * DESIGN. `fettle retry`, `kill` and `delete`: members of a set to their queues, to dead, or away.
 * The set is walked with ZSCAN, which sees every member that is there all the time; what is found
 * goes page by page through the daemon's own promote script, which moves each member as one step:
 * an operator's retry is a promotion before its time. So a job is never in two places or none,
 * whatever ends this program, and a second run does what the first one left. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "cli/mark.h"
#include "cli/ops.h"
#include "cli/redis.h"
#include "cli/text.h"
#include "cli/walk.h"
#include "jobs/retry.h"

/* A walk through a set, and what came of it. */
struct move {
    struct ftl__redis *redis;
    const char *set;
    enum ftl__op_kind kind;
    const char *jid; /* NULL: all members */
    bool marks;      /* there are some of what is cancelled: a retry takes them away */
    double now;
    long long moved, skipped, failed;
};

/* Whether the member is meant, and can go where it should. */
static int take(struct move *move, struct ftl__ops *ops, const redisReply *member)
{
    struct ftl__job job;
    char jid[FTL__CLI_JID_MAX + 8], queue[129], *bytes; /* longer than what can be asked for */
    size_t size;
    bool valid = ftl__walk_scan(member, &job);
    if (move->jid != NULL && (!valid || ftl__job_string(&job, FTL__JID, jid, sizeof(jid)) < 0 ||
                              strcmp(jid, move->jid) != 0))
        return 0;
    if (move->kind != FTL__OP_RETRY)
        return ftl__ops_add(ops, member->str, member->len, NULL, NULL, 0);
    int rc = valid ? ftl__retry_promoted(&job, move->now, &bytes, &size, queue) : FTL_EPROTO;
    if (rc == FTL_EPROTO) {
        move->skipped++; /* no job, or a queue that cannot be */
        return 0;
    }
    if (rc != 0)
        return ftl__cli_failed("%s", ftl_error_text(rc));
    rc = ftl__ops_add(ops, member->str, member->len, queue, bytes, size);
    free(bytes);
    if (rc == 0 && move->marks && ftl__job_string(&job, FTL__JID, jid, sizeof(jid)) > 0)
        rc = ftl__unmark(move->redis, jid);
    return rc;
}

static int take_page(void *arg, const redisReply *members, size_t step, size_t *ret_removed)
{
    struct move *move = arg;
    struct ftl__ops *ops;
    (void)ret_removed;
    int rc = ftl__ops_new(move->redis, move->set, move->kind, &ops);
    for (size_t i = 0; rc == 0 && i < members->elements; i += step)
        if (members->element[i]->type == REDIS_REPLY_STRING)
            rc = take(move, ops, members->element[i]);
    if (rc == 0)
        rc = ftl__ops_run(ops, &move->moved, &move->failed);
    ftl__ops_free(ops);
    return rc;
}

static int walk(struct move *move)
{
    return ftl__walk_set(move->redis, move->set, move->jid, take_page, move);
}

static int walk_all(struct move *move, const struct ftl__cli_options *options)
{
    int rc = 0, missing = 0;
    if (options->all)
        return walk(move);
    for (int i = 1; rc == 0 && i < options->count; i++) {
        long long before = move->moved + move->skipped + move->failed;
        move->jid = options->args[i];
        rc = walk(move);
        if (rc == 0 && before == move->moved + move->skipped + move->failed) {
            ftl__cli_failed("no job %s in %s", options->args[i], move->set);
            missing++;
        }
    }
    return rc == 0 && missing > 0 ? FTL__EXIT_NOT_FOUND : rc;
}

static int report(const struct ftl__cli_options *options, const struct move *move, int rc)
{
    static const char *const done[] = {"retried", "killed", "deleted"};
    if (options->json) {
        json_t *object = json_pack("{s:I, s:I, s:I}", done[move->kind], (json_int_t)move->moved,
                                   "skipped", (json_int_t)move->skipped, "failed",
                                   (json_int_t)move->failed);
        if (ftl__text_dump(object) != 0)
            return ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
    } else {
        printf("%s %lld\n", done[move->kind], move->moved);
    }
    if (move->skipped > 0)
        rc = ftl__cli_failed("%lld left where they are: they are no jobs, or name no valid queue",
                             move->skipped);
    return move->failed > 0 ? FTL__EXIT_FAILED : rc;
}

static int run(const struct ftl__cli_options *options, struct ftl__redis *redis,
               enum ftl__op_kind kind)
{
    struct move move = {.redis = redis, .kind = kind, .set = ftl__cli_set(options->args[0])};
    if (move.set == NULL)
        return ftl__cli_misused("\"%s\" is none of retry, schedule, dead", options->args[0]);
    if (kind == FTL__OP_KILL && strcmp(move.set, "dead") == 0)
        return ftl__cli_misused("what is in dead has been killed already");
    if (options->all == (options->count > 1))
        return ftl__cli_misused("give the jids, or --all");
    for (int i = 1; i < options->count; i++)
        if (options->args[i][0] == '\0' || strlen(options->args[i]) > FTL__CLI_JID_MAX)
            return ftl__cli_misused("a jid has 1 to %d bytes", FTL__CLI_JID_MAX);
    int rc = ftl__redis_now(redis, &move.now);
    if (rc == 0 && kind == FTL__OP_RETRY)
        rc = ftl__mark_any(redis, &move.marks);
    if (rc == 0)
        rc = walk_all(&move, options);
    return rc == 0 || rc == FTL__EXIT_NOT_FOUND ? report(options, &move, rc) : rc;
}

int ftl__cli_retry(const struct ftl__cli_options *options, struct ftl__redis *redis)
{
    return run(options, redis, FTL__OP_RETRY);
}

int ftl__cli_kill(const struct ftl__cli_options *options, struct ftl__redis *redis)
{
    return run(options, redis, FTL__OP_KILL);
}

int ftl__cli_delete(const struct ftl__cli_options *options, struct ftl__redis *redis)
{
    return run(options, redis, FTL__OP_DELETE);
}
