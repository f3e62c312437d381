/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Each batch stands in exactly one list, the one that `place` names, so that what is due is
 * always at the head of a list and nothing is searched on the hot path. `held` is ordered by
 * held_until, since every batch that enters it gets the same patience (but after an error of
 * Redis). A batch is acked as a whole once no entry of it is LIVE or OPEN: what is DONE then goes
 * in one stroke, what is GONE already does not mind. Everything runs on control; nothing here
 * waits, logs or talks. */
#include "daemon/ledger.h"

#include <stdlib.h>
#include <string.h>

#include <fettle/task.h>

#include "runtime/list.h"

void ftl__ledger_init(struct ftl__ledger *ledger)
{
    memset(ledger, 0, sizeof *ledger);
    ftl__list_init(&ledger->working);
    ftl__list_init(&ledger->held);
    ftl__list_init(&ledger->ready);
}

static void free_list(struct ftl__list *list)
{
    struct ftl__list *node;
    while ((node = ftl__list_pop_front(list)) != NULL)
        free(ftl__container(node, struct ftl__batch, link));
}

void ftl__ledger_free(struct ftl__ledger *ledger)
{
    free_list(&ledger->working);
    free_list(&ledger->held);
    free_list(&ledger->ready);
}

static uint64_t left_in(const struct ftl__list *list)
{
    uint64_t left = 0;

    for (struct ftl__list *node = list->next; node != list; node = node->next) {
        const struct ftl__batch *batch = ftl__container(node, struct ftl__batch, link);
        left += batch->size - batch->count[FTL__ENTRY_GONE];
    }
    return left;
}

uint64_t ftl__ledger_left(const struct ftl__ledger *ledger)
{
    return left_in(&ledger->working) + left_in(&ledger->held) + left_in(&ledger->ready);
}

bool ftl__ledger_holds_one(const struct ftl__ledger *ledger, const struct ftl__batch *batch)
{
    return ledger->batches == 1 && batch->size - batch->count[FTL__ENTRY_GONE] == 1;
}

void ftl__ledger_registered(struct ftl__ledger *ledger, const char *id)
{
    size_t size = strlen(id);

    ftl_assert(size > 0 && size <= FTL__ID_MAX);
    memcpy(ledger->id, id, size + 1);
    ledger->epoch++;
    ledger->next_seq = 1;
    memset(ledger->succeeded, 0, sizeof ledger->succeeded);
}

void ftl__ledger_fenced(struct ftl__ledger *ledger)
{
    ledger->id[0] = '\0';
}

static void place(struct ftl__ledger *ledger, struct ftl__batch *batch, enum ftl__batch_place where)
{
    struct ftl__list *list = where == FTL__BATCH_HELD    ? &ledger->held
                             : where == FTL__BATCH_READY ? &ledger->ready
                                                         : &ledger->working;
    if (ftl__list_is_linked(&batch->link))
        ftl__list_unlink(&batch->link);
    ftl__list_push_back(list, &batch->link);
    batch->place = where;
}

struct ftl__batch *ftl__ledger_add(struct ftl__ledger *ledger, struct ftl__queue *queue,
                                   uint64_t seq, uint64_t token, uint32_t size, int64_t now)
{
    struct ftl__batch *batch = calloc(1, sizeof *batch + size);

    if (batch == NULL)
        return NULL;
    batch->queue = queue;
    batch->seq = seq;
    batch->token = token;
    batch->size = size;
    batch->epoch = ledger->epoch;
    batch->claimed_at = now;
    batch->count[FTL__ENTRY_LIVE] = size;
    ledger->batches++;
    place(ledger, batch, FTL__BATCH_WORKING);
    return batch;
}

static void tell_less(struct ftl__ledger *ledger)
{
    if (ledger->on_less != NULL)
        ledger->on_less(ledger->arg);
}

void ftl__ledger_remove(struct ftl__ledger *ledger, struct ftl__batch *batch)
{
    ftl_assert(ledger->batches > 0);
    ledger->batches--;
    if (ftl__list_is_linked(&batch->link))
        ftl__list_unlink(&batch->link);
    free(batch);
    tell_less(ledger);
}

static uint8_t *byte_of(struct ftl__ledger *ledger, uint64_t seq)
{
    return &ledger->succeeded[seq % FTL__LEDGER_MEMORY / 8];
}

uint64_t ftl__ledger_next_seq(struct ftl__ledger *ledger)
{
    uint64_t seq = ledger->next_seq++;

    *byte_of(ledger, seq) &= (uint8_t)~(1U << seq % 8);
    return seq;
}

bool ftl__ledger_succeeded(const struct ftl__ledger *ledger, uint64_t seq)
{
    return seq < ledger->next_seq && ledger->next_seq - seq <= FTL__LEDGER_MEMORY &&
           (ledger->succeeded[seq % FTL__LEDGER_MEMORY / 8] >> seq % 8 & 1) != 0;
}

void ftl__ledger_acked(struct ftl__ledger *ledger, struct ftl__batch *batch)
{
    if (!batch->mixed && ftl__ledger_owns(ledger, batch) &&
        ledger->next_seq - batch->seq <= FTL__LEDGER_MEMORY)
        *byte_of(ledger, batch->seq) |= (uint8_t)(1U << batch->seq % 8);
    ftl__ledger_remove(ledger, batch);
}

static struct ftl__batch *find_in(struct ftl__list *list, uint32_t epoch, uint64_t seq)
{
    for (struct ftl__list *node = list->next; node != list; node = node->next) {
        struct ftl__batch *batch = ftl__container(node, struct ftl__batch, link);
        if (batch->seq == seq && batch->epoch == epoch)
            return batch;
    }
    return NULL;
}

struct ftl__batch *ftl__ledger_find(struct ftl__ledger *ledger, uint64_t seq)
{
    struct ftl__batch *batch = find_in(&ledger->working, ledger->epoch, seq);

    if (batch == NULL)
        batch = find_in(&ledger->held, ledger->epoch, seq);
    return batch != NULL ? batch : find_in(&ledger->ready, ledger->epoch, seq);
}

static void move(struct ftl__batch *batch, uint32_t index, enum ftl__entry to)
{
    ftl_assert(index < batch->size);
    ftl_assert(batch->entry[index] < to);
    batch->count[batch->entry[index]]--;
    batch->count[to]++;
    batch->entry[index] = (uint8_t)to;
}

static bool is_complete(const struct ftl__batch *batch)
{
    return batch->count[FTL__ENTRY_LIVE] == 0 && batch->count[FTL__ENTRY_OPEN] == 0;
}

bool ftl__ledger_done(struct ftl__ledger *ledger, struct ftl__batch *batch, uint32_t index,
                      int64_t now)
{
    move(batch, index, FTL__ENTRY_DONE);
    if (is_complete(batch)) {
        place(ledger, batch, FTL__BATCH_READY);
        return true;
    }
    if (batch->place != FTL__BATCH_HELD) {
        batch->held_until = now + FTL__LEDGER_PATIENCE;
        place(ledger, batch, FTL__BATCH_HELD);
    }
    return false;
}

void ftl__ledger_open(struct ftl__ledger *ledger, struct ftl__batch *batch, uint32_t index)
{
    ftl_assert(batch->place != FTL__BATCH_READY);
    batch->mixed |= batch->entry[index] == FTL__ENTRY_LIVE;
    move(batch, index, FTL__ENTRY_OPEN);
    if (batch->place == FTL__BATCH_HELD && batch->count[FTL__ENTRY_DONE] == 0)
        place(ledger, batch, FTL__BATCH_WORKING);
}

void ftl__ledger_undo(struct ftl__ledger *ledger, struct ftl__batch *batch, uint32_t index,
                      int64_t now, int64_t patience)
{
    ftl_assert(batch->entry[index] == FTL__ENTRY_OPEN);
    batch->count[FTL__ENTRY_OPEN]--;
    batch->count[FTL__ENTRY_DONE]++;
    batch->entry[index] = FTL__ENTRY_DONE;
    if (batch->place != FTL__BATCH_HELD) {
        batch->held_until = now + patience;
        place(ledger, batch, FTL__BATCH_HELD);
    }
}

bool ftl__ledger_gone(struct ftl__ledger *ledger, struct ftl__batch *batch, uint32_t index,
                      bool deleted)
{
    ftl_assert(batch->entry[index] == FTL__ENTRY_OPEN);
    move(batch, index, FTL__ENTRY_GONE);
    if (deleted && batch->count[FTL__ENTRY_GONE] == batch->size) {
        ftl__ledger_acked(ledger, batch);
        return false;
    }
    tell_less(ledger);
    if (!is_complete(batch))
        return false;
    place(ledger, batch, FTL__BATCH_READY);
    return true;
}

struct ftl__batch *ftl__ledger_overdue(struct ftl__ledger *ledger, int64_t now)
{
    struct ftl__batch *batch;

    if (ftl__list_is_empty(&ledger->held))
        return NULL;
    batch = ftl__container(ledger->held.next, struct ftl__batch, link);
    return batch->held_until <= now ? batch : NULL;
}

int64_t ftl__ledger_held_until(const struct ftl__ledger *ledger)
{
    if (ftl__list_is_empty(&ledger->held))
        return INT64_MAX;
    return ftl__container(ledger->held.next, struct ftl__batch, link)->held_until;
}

size_t ftl__ledger_take_ready(struct ftl__ledger *ledger, struct ftl__list *list, size_t max)
{
    size_t taken = 0;

    for (; taken < max && !ftl__list_is_empty(&ledger->ready); taken++) {
        struct ftl__list *node = ftl__list_pop_front(&ledger->ready);
        ftl__container(node, struct ftl__batch, link)->place = FTL__BATCH_ACKING;
        ftl__list_push_back(list, node);
    }
    return taken;
}

void ftl__ledger_give_back(struct ftl__ledger *ledger, struct ftl__list *list)
{
    struct ftl__list *node;
    while ((node = ftl__list_pop_front(list)) != NULL) {
        struct ftl__batch *batch = ftl__container(node, struct ftl__batch, link);
        batch->resent = true;
        place(ledger, batch, FTL__BATCH_READY);
    }
}
