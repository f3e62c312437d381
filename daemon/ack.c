/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A batch that was claimed under an earlier registration is not ours to ack: others have
 * its jobs, and each success in it is reported as refused. An ack may be repeated: that a batch is
 * not there any more is bad news only at the first try. Runs in the task of whoever claims. */
#include "daemon/ack.h"

#include <string.h>

#include "daemon/report.h"

#define MAX_BATCHES 1000
#define CALL_TIMEOUT (10 * FTL_S)

void ftl__ack_init(struct ftl__ack *ack)
{
    ftl__invoke_init(&ack->invoke);
    ftl__list_init(&ack->batches);
    ack->count = 0;
}

void ftl__ack_free(struct ftl__ack *ack)
{
    ftl__ledger_give_back(ack->ledger, &ack->batches);
    ftl__invoke_free(&ack->invoke);
}

static void refuse(struct ftl__ack *ack, struct ftl__batch *batch, const char *reason)
{
    for (uint32_t i = 0; i < batch->size; i++)
        if (batch->entry[i] == FTL__ENTRY_DONE)
            ftl__report_success_refused(batch, i, reason);
    ftl__ledger_remove(ack->ledger, batch);
}

static void drop_lost(struct ftl__ack *ack)
{
    struct ftl__list *next;

    for (struct ftl__list *node = ack->batches.next; node != &ack->batches; node = next) {
        struct ftl__batch *batch = ftl__container(node, struct ftl__batch, link);
        next = node->next;
        if (ftl__ledger_owns(ack->ledger, batch))
            continue;
        refuse(ack, batch, "fenced");
        ack->count--;
    }
}

static void build(struct ftl__ack *ack)
{
    struct ftl__key key;

    ftl__invoke_start(&ack->invoke, FTL__SCRIPT_ACK);
    ftl__invoke_key(&ack->invoke, &ack->keys->owners);
    ftl__key_batches(ack->keys, ack->ledger->id, &key);
    ftl__invoke_key(&ack->invoke, &key);
    for (struct ftl__list *node = ack->batches.next; node != &ack->batches; node = node->next) {
        struct ftl__batch *batch = ftl__container(node, struct ftl__batch, link);
        ftl__key_batch(ack->keys, ack->ledger->id, batch->seq, &key);
        ftl__invoke_key(&ack->invoke, &key);
    }
    ftl__invoke_text(&ack->invoke, ack->ledger->id);
    for (struct ftl__list *node = ack->batches.next; node != &ack->batches; node = node->next)
        ftl__invoke_uint(&ack->invoke, ftl__container(node, struct ftl__batch, link)->seq);
}

bool ftl__ack_begin(struct ftl__ack *ack)
{
    ftl_assert(ack->count == 0);
    if (ack->ledger->id[0] == '\0' || ftl__list_is_empty(&ack->ledger->ready))
        return false;
    ack->count = ftl__ledger_take_ready(ack->ledger, &ack->batches, MAX_BATCHES);
    drop_lost(ack);
    if (ack->count == 0)
        return false;
    build(ack);
    if (ftl__invoke_begin(&ack->invoke, ack->scripts, ack->link, &ack->call,
                          ftl_deadline(CALL_TIMEOUT)) == 0)
        return true;
    ftl__ledger_give_back(ack->ledger, &ack->batches);
    ack->count = 0;
    return false;
}

static int take_answers(struct ftl__ack *ack, const struct redisReply *reply)
{
    struct ftl__list *node = ack->batches.next;
    int code = 0;

    if (reply->elements != ack->count)
        return FTL_EPROTO;
    for (size_t i = 0; i < reply->elements; i++) {
        struct ftl__batch *batch = ftl__container(node, struct ftl__batch, link);
        int told = ftl__reply_check(reply->element[i], REDIS_REPLY_INTEGER, "ack");
        node = node->next;
        if (told != 0)
            code = told;
        else if (reply->element[i]->integer == 1 || batch->resent)
            ftl__ledger_acked(ack->ledger, batch);
        else
            refuse(ack, batch, "not held");
    }
    return code;
}

int ftl__ack_finish(struct ftl__ack *ack)
{
    char id[FTL__ID_MAX + 1];
    struct redisReply *reply;
    int code;

    ftl_assert(ack->count > 0);
    memcpy(id, ack->ledger->id, sizeof id);
    code = ftl__invoke_wait(&ack->invoke, ack->scripts, &ack->call, &reply);
    if (code == 0) {
        code = ftl__reply_check(reply, REDIS_REPLY_ARRAY, "ack");
        if (code == 0)
            code = take_answers(ack, reply);
        else if (code == FTL_EFENCED)
            ftl__lease_suspect(ack->lease, id);
        ftl__reply_free(reply);
    }
    ftl__ledger_give_back(ack->ledger, &ack->batches);
    ack->count = 0;
    return code;
}
