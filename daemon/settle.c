/* SPDX-License-Identifier: MIT
 *
 * DESIGN. `ends` has the slots that have not been sent, in order; `call` has what the call that is
 * being made tells: slots, and entries without one (successes whose batch was slow). A call is
 * repeated until Redis has answered it, so an end leaves it only with an answer. After a failure of
 * the link it is unknown whether the call was executed: what it held is marked `resent`, and "was
 * settled before" then counts as settled. The script decides by the entry alone whether we may
 * still settle it: the fence. An operation that Redis refuses stands back for a second; the others
 * go on.
 *
 * The task runs on control; it is the only one that sends settles, and owns `call`. Others append
 * to `ends`, change the ledger, and wake it. */
#include "daemon/settle.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/checksum.h"
#include "daemon/part.h"
#include "daemon/report.h"
#include "daemon/settle_call.h"

#define CALL_BYTES (1 << 20)
#define CALL_TIMEOUT (10 * FTL_S)
#define RETRY_AFTER FTL_S
#define FENCED_AFTER (100 * FTL_MS)

struct ftl__settle {
    struct ftl__settle_options options;
    struct ftl_notify *wake;
    struct ftl_task *task;
    struct ftl__list ends;
    struct ftl__list later; /* what Redis has refused, until later_at */
    int64_t later_at;
    size_t open; /* slots in ends, later and call */
    struct ftl__settle_call call;
    struct ftl__invoke invoke;
    int64_t sleeps_until; /* 0: it is awake, or about to be */
    bool hurry;
};

/* Once is enough: before it sleeps again, it looks at everything. */
static void wake(struct ftl__settle *settle)
{
    settle->sleeps_until = 0;
    ftl_notify_one(settle->wake);
}

/* ---- what others call ------------------------------------------------------------------- */

void ftl__settle_success(struct ftl__settle *settle, struct ftl__slot *slot)
{
    struct ftl__ledger *ledger = settle->options.ledger;

    ftl__report_done(slot);
    if (ftl__ledger_done(ledger, slot->batch, slot->index, slot->ended_at))
        settle->options.on_ready(settle->options.arg);
    else if (settle->hurry || ftl__ledger_held_until(ledger) < settle->sleeps_until)
        wake(settle);
    ftl__slots_give(settle->options.slots, slot);
}

void ftl__settle_end(struct ftl__settle *settle, struct ftl__slot *slot, enum ftl__end end,
                     const char *class, const char *message)
{
    ftl__slot_set(slot, FTL__SLOT_SETTLING);
    slot->end = end;
    slot->end_class = class;
    slot->end_message = message;
    ftl__ledger_open(settle->options.ledger, slot->batch, slot->index);
    ftl__list_push_back(&settle->ends, &slot->link);
    settle->open++;
    wake(settle);
}

void ftl__settle_again(struct ftl__settle *settle, struct ftl__batch *batch, struct ftl__past *past)
{
    struct ftl__slot *slot = ftl__slots_take(settle->options.slots);

    ftl__slot_enter(slot, batch, past->index);
    slot->resent = true;
    slot->result = past->result;
    slot->decided = true;
    ftl__settle_end(settle, slot, past->returned ? FTL__END_RETURNED : FTL__END_AGAIN, NULL,
                    "brought back");
    free(past);
}

void ftl__settle_look(struct ftl__settle *settle)
{
    wake(settle);
}

size_t ftl__settle_open_ends(const struct ftl__settle *settle)
{
    return settle->open;
}

void ftl__settle_hurry(struct ftl__settle *settle)
{
    settle->hurry = true;
    wake(settle);
}

void ftl__settle_set_unroutable_ttl(struct ftl__settle *settle, double seconds)
{
    settle->options.unroutable_ttl = seconds;
}

/* ---- filling the call -------------------------------------------------------------------- */

static void gone(struct ftl__settle *settle, struct ftl__settle_entry *entry, bool deleted)
{
    if (ftl__ledger_gone(settle->options.ledger, entry->batch, entry->index, deleted))
        settle->options.on_ready(settle->options.arg);
    if (entry->slot == NULL)
        return;
    settle->open--;
    ftl__slots_give(settle->options.slots, entry->slot);
}

/* The job is not ours any more: whoever has it runs it again. */
static void refuse(struct ftl__settle *settle, struct ftl__settle_entry *entry, const char *reason)
{
    if (entry->slot != NULL)
        ftl__report_refused(entry->slot, reason);
    else
        ftl__report_success_refused(entry->batch, entry->index, reason);
    ftl__ledger_lose(entry->batch);
    gone(settle, entry, false);
}

static struct ftl__settle_entry *append(struct ftl__settle_call *call, struct ftl__batch *batch,
                                        uint32_t index, struct ftl__slot *slot)
{
    struct ftl__settle_entry *entry = &call->entries[call->count++];

    *entry = (struct ftl__settle_entry){.batch = batch, .index = index, .slot = slot};
    return entry;
}

static bool has_room(const struct ftl__settle_call *call)
{
    return call->count < FTL__SETTLE_CALL_ENTRIES && call->bytes < CALL_BYTES;
}

/* In a tainted process nothing is written that was made of bytes which are not those of the claim:
 * the job is left to the lease, with its bytes in Redis. The slot is left where it is. */
static bool is_damaged(const struct ftl__settle *settle, struct ftl__slot *slot)
{
    bool rewritten = slot->end != FTL__END_RETURNED && slot->end != FTL__END_RAW;

    if (!rewritten || settle->options.tainted == NULL || !atomic_load(settle->options.tainted))
        return false;
    if (slot->end == FTL__END_AGAIN)
        return true;
    if (slot->decided && !slot->resent)
        ftl__fate_forget(slot); /* what was made before is made anew */
    return ftl__checksum(slot->run.bytes, slot->run.size) != slot->checksum;
}

static void leave_to_lease(struct ftl__settle *settle, struct ftl__slot *slot)
{
    ftl__list_unlink(&slot->link);
    settle->open--;
    ftl__report_refused(slot, "damaged");
}

/* 0, or FTL_ENOMEM when a rewrite could not be made: it is tried again later. */
static int take_ends(struct ftl__settle *settle, double now)
{
    struct ftl__settle_call *call = &settle->call;

    while (has_room(call) && !ftl__list_is_empty(&settle->ends)) {
        struct ftl__slot *slot = ftl__container(settle->ends.next, struct ftl__slot, link);
        struct ftl__operation operation;

        if (is_damaged(settle, slot)) {
            leave_to_lease(settle, slot);
            continue;
        }
        int code = ftl__fate_decide(slot, now, settle->options.unroutable_ttl, &operation);
        if (code != 0)
            return code;
        ftl__list_unlink(&slot->link);
        append(call, slot->batch, slot->index, slot)->operation = operation;
        call->bytes += operation.payload_size;
    }
    return 0;
}

static void take_done(struct ftl__settle *settle, struct ftl__batch *batch)
{
    for (uint32_t i = 0; i < batch->size && has_room(&settle->call); i++) {
        if (batch->entry[i] != FTL__ENTRY_DONE)
            continue;
        ftl__ledger_open(settle->options.ledger, batch, i);
        append(&settle->call, batch, i, NULL)->operation.action = FTL__ACTION_DONE;
    }
}

static void take_overdue(struct ftl__settle *settle, int64_t now)
{
    struct ftl__batch *batch;

    while (has_room(&settle->call) &&
           (batch = ftl__ledger_overdue(settle->options.ledger, now)) != NULL)
        take_done(settle, batch);
}

/* What was claimed under an earlier registration has gone to others. */
static void drop_lost(struct ftl__settle *settle)
{
    struct ftl__settle_call *call = &settle->call;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < call->count; i++) {
        struct ftl__settle_entry entry = call->entries[i];
        if (ftl__ledger_owns(settle->options.ledger, entry.batch))
            call->entries[kept++] = entry;
        else
            refuse(settle, &entry, "fenced");
    }
    call->count = kept;
}

static int fill(struct ftl__settle *settle)
{
    int64_t now = ftl_now();
    int code = 0;

    if (!ftl__list_is_empty(&settle->later) && now >= settle->later_at)
        ftl__list_splice(&settle->ends, &settle->later);
    if (settle->call.count == 0) {
        settle->call.bytes = 0;
        code = take_ends(settle, ftl__clock_epoch(settle->options.clock, now));
        take_overdue(settle, settle->hurry ? now + FTL__LEDGER_PATIENCE : now);
    }
    if (settle->options.ledger->id[0] != '\0')
        drop_lost(settle);
    return code;
}

/* ---- sending it --------------------------------------------------------------------------- */

/* The call was not answered, or with an error: it may have been executed, wholly or in part. */
static void mark_resent(struct ftl__settle_call *call)
{
    for (uint32_t i = 0; i < call->count; i++) {
        call->entries[i].batch->resent = true;
        if (call->entries[i].slot != NULL)
            call->entries[i].slot->resent = true;
    }
}

/* One operation could not be done (a key of the wrong type, a missing right): the others need not
 * wait for its next try. */
static void put_off(struct ftl__settle *settle, struct ftl__settle_entry *entry,
                    const struct redisReply *reply)
{
    int64_t now = ftl_now();

    ftl__reply_check(reply, REDIS_REPLY_INTEGER, "settle");
    if (entry->slot == NULL) {
        ftl__ledger_undo(settle->options.ledger, entry->batch, entry->index, now, RETRY_AFTER);
        return;
    }
    if (ftl__list_is_empty(&settle->later))
        settle->later_at = now + RETRY_AFTER;
    ftl__list_push_back(&settle->later, &entry->slot->link);
}

/* The slot goes, what it has told Redis is kept for a while. */
static void told(struct ftl__settle *settle, struct ftl__settle_entry *entry)
{
    struct ftl__slot *slot = entry->slot;

    ftl__report_end(slot);
    if (ftl__fate_stays(slot))
        ftl__ledger_keep(settle->options.ledger, entry->batch, entry->index,
                         slot->end == FTL__END_RETURNED, &slot->result, ftl_now());
}

static void answered(struct ftl__settle *settle, struct ftl__settle_entry *entry,
                     const struct redisReply *reply)
{
    bool resent = entry->slot != NULL ? entry->slot->resent : entry->batch->resent;

    if (reply->type != REDIS_REPLY_INTEGER) {
        put_off(settle, entry, reply);
    } else if (reply->integer == 0 && !resent) {
        refuse(settle, entry, "not held");
    } else {
        if (entry->slot != NULL)
            told(settle, entry);
        gone(settle, entry, entry->last);
    }
}

static int take_answers(struct ftl__settle *settle, const struct redisReply *reply)
{
    struct ftl__settle_call *call = &settle->call;

    if (reply->elements != call->count)
        return FTL_EPROTO;
    for (uint32_t i = 0; i < call->count; i++)
        answered(settle, &call->entries[i], reply->element[i]);
    call->count = 0;
    return 0;
}

static int send_call(struct ftl__settle *settle)
{
    struct redisReply *reply;
    char id[FTL__ID_MAX + 1];
    int code;

    memcpy(id, settle->options.ledger->id, sizeof id);
    ftl__settle_call_build(&settle->call, settle->options.keys, id, &settle->invoke);
    code = ftl__invoke_run(&settle->invoke, settle->options.scripts, settle->options.link,
                           ftl_deadline(CALL_TIMEOUT), &reply);
    if (code != 0)
        return code;
    code = ftl__reply_check(reply, REDIS_REPLY_ARRAY, "settle");
    if (code == 0)
        code = take_answers(settle, reply);
    else if (code == FTL_EFENCED)
        ftl__lease_suspect(settle->options.lease, id);
    ftl__reply_free(reply);
    return code;
}

/* ---- the task ------------------------------------------------------------------------------ */

/* Waits before the next try, in a way that fits the failure. */
static int pause_after(struct ftl__settle *settle, int code)
{
    if (code == FTL_ECONN || code == FTL_ETIMEDOUT) {
        int up = ftl__link_wait_up(settle->options.link, ftl_deadline(RETRY_AFTER));
        return up == FTL_ECANCELED ? up : ftl_sleep(FTL_MS);
    }
    return ftl_sleep(code == FTL_EFENCED ? FENCED_AFTER : RETRY_AFTER);
}

static int sleep_until_due(struct ftl__settle *settle)
{
    int64_t until = ftl__ledger_held_until(settle->options.ledger);
    int code;

    if (!ftl__list_is_empty(&settle->ends) || settle->call.count > 0)
        return 0;
    if (settle->hurry && until != INT64_MAX)
        until -= FTL__LEDGER_PATIENCE;
    if (!ftl__list_is_empty(&settle->later) && settle->later_at < until)
        until = settle->later_at;
    settle->sleeps_until = until;
    code = ftl_notify_wait(settle->wake, settle->sleeps_until);
    settle->sleeps_until = 0;
    return code == FTL_ECANCELED ? code : 0;
}

static void *settle_main(void *arg)
{
    struct ftl__settle *settle = arg;

    while (sleep_until_due(settle) == 0) {
        int code = fill(settle);
        if (settle->options.ledger->id[0] == '\0')
            code = FTL_EFENCED;
        else if (settle->call.count > 0) {
            code = send_call(settle);
            if (code != 0)
                mark_resent(&settle->call);
        }
        if (code != 0 && pause_after(settle, code) == FTL_ECANCELED)
            break;
    }
    return NULL;
}

int ftl__settle_open(const struct ftl__settle_options *options, struct ftl__settle **ret_settle)
{
    struct ftl__settle *settle = calloc(1, sizeof *settle);
    int code = FTL_ENOMEM;

    if (settle == NULL)
        return FTL_ENOMEM;
    settle->options = *options;
    ftl__list_init(&settle->ends);
    ftl__list_init(&settle->later);
    ftl__invoke_init(&settle->invoke);
    settle->wake = ftl_notify_new();
    if (settle->wake != NULL)
        code = ftl__part_start(options->runtime, settle_main, settle, "settle", &settle->task);
    if (code == 0)
        *ret_settle = settle;
    else
        ftl__settle_close(settle);
    return code;
}

void ftl__settle_close(struct ftl__settle *settle)
{
    if (settle == NULL)
        return;
    ftl__part_stop(&settle->task, FTL_S);
    ftl__invoke_free(&settle->invoke);
    ftl_notify_free(settle->wake);
    free(settle);
}

bool ftl__settle_has_failed(struct ftl__settle *settle)
{
    return ftl__part_has_failed(&settle->task);
}
