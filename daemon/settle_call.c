/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The script names batches and queues by their places among its keys. Places are given in
 * the order of the entries and written down in the batches and queues themselves, under the number
 * of the call, so that nothing is searched. Runs in the task of settle; nothing here waits. */
#include "daemon/settle_call.h"

#include "daemon/queues.h"

static void give_places(struct ftl__settle_call *call)
{
    call->number++;
    call->batches = call->queues = 0;
    for (uint32_t i = 0; i < call->count; i++) {
        struct ftl__batch *batch = call->entries[i].batch;
        if (batch->call != call->number) {
            batch->call = call->number;
            batch->place_in_call = ++call->batches;
            batch->in_call = 0;
        }
        batch->in_call++;
        if (call->entries[i].operation.action == FTL__ACTION_PUSH &&
            batch->queue->call != call->number) {
            batch->queue->call = call->number;
            batch->queue->place_in_call = ++call->queues;
        }
    }
}

/* Places were given in the order of the entries, so walking them again meets each in its turn. */
static void add_keys(const struct ftl__settle_call *call, const struct ftl__keys *keys,
                     const char *id, struct ftl__invoke *invoke)
{
    struct ftl__key key;
    uint32_t next = 1;

    ftl__invoke_key(invoke, &keys->owners);
    ftl__key_batches(keys, id, &key);
    ftl__invoke_key(invoke, &key);
    ftl__invoke_key(invoke, &keys->retry);
    ftl__invoke_key(invoke, &keys->dead);
    ftl__invoke_key(invoke, &keys->queues);
    for (uint32_t i = 0; i < call->count; i++)
        if (call->entries[i].batch->place_in_call == next) {
            ftl__key_batch(keys, id, call->entries[i].batch->seq, &key);
            ftl__invoke_key(invoke, &key);
            next++;
        }
    next = 1;
    for (uint32_t i = 0; i < call->count; i++)
        if (call->entries[i].operation.action == FTL__ACTION_PUSH &&
            call->entries[i].batch->queue->place_in_call == next) {
            ftl__invoke_key(invoke, &call->entries[i].batch->queue->key);
            next++;
        }
}

static bool is_last(const struct ftl__batch *batch)
{
    return batch->count[FTL__ENTRY_GONE] + batch->in_call == batch->size;
}

static void add_entry(struct ftl__invoke *invoke, struct ftl__settle_entry *entry)
{
    static const char *const actions[] = {
        [FTL__ACTION_DONE] = "done", [FTL__ACTION_ZADD] = "zadd", [FTL__ACTION_PUSH] = "push"};
    const struct ftl__operation *operation = &entry->operation;

    entry->last = is_last(entry->batch);
    ftl__invoke_uint(invoke, entry->batch->place_in_call);
    ftl__invoke_uint(invoke, entry->index);
    ftl__invoke_text(invoke, actions[operation->action]);
    ftl__invoke_uint(invoke, entry->last);
    if (operation->action == FTL__ACTION_ZADD) {
        ftl__invoke_text(invoke, operation->set);
        ftl__invoke_time(invoke, operation->score);
        ftl__invoke_bytes(invoke, operation->payload, operation->payload_size);
    } else if (operation->action == FTL__ACTION_PUSH) {
        ftl__invoke_uint(invoke, entry->batch->queue->place_in_call);
        ftl__invoke_text(invoke, entry->batch->queue->name);
    }
}

void ftl__settle_call_build(struct ftl__settle_call *call, const struct ftl__keys *keys,
                            const char *id, struct ftl__invoke *invoke)
{
    uint32_t next = 1;

    give_places(call);
    ftl__invoke_start(invoke, FTL__SCRIPT_SETTLE);
    add_keys(call, keys, id, invoke);
    ftl__invoke_text(invoke, id);
    ftl__invoke_uint(invoke, call->batches);
    for (uint32_t i = 0; i < call->count; i++)
        if (call->entries[i].batch->place_in_call == next) {
            ftl__invoke_uint(invoke, call->entries[i].batch->seq);
            next++;
        }
    for (uint32_t i = 0; i < call->count; i++)
        add_entry(invoke, &call->entries[i]);
}
