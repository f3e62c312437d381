/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Each batch stands in exactly one list, the one that `place` names, so that what is due is
 * always at the head of a list and nothing is searched on the hot path. `held` is ordered by
 * held_until, since every batch that enters it gets the same patience (but after an error of
 * Redis). A batch is acked as a whole once no entry of it is LIVE or OPEN: what is DONE then goes
 * in one stroke, what is GONE already does not mind. One that is doubtful is told entry by entry, so
 * that what Redis has of it beyond that stays there, for the audit to find. Everything runs on
 * control; nothing here waits, logs or talks. */
#include "daemon/ledger.h"

#include <stdlib.h>
#include <string.h>

#include <fettle/task.h>

#include "runtime/list.h"

void ftl__ledger_init(struct ftl__ledger *ledger)
{
    memset(ledger, 0, offsetof(struct ftl__ledger, history));
    ftl__history_init(&ledger->history);
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
    ftl__history_clear(&ledger->history);
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
    ftl__history_clear(&ledger->history);
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

uint64_t ftl__ledger_next_seq(struct ftl__ledger *ledger)
{
    uint64_t seq = ledger->next_seq++;

    ftl__history_begin(&ledger->history, seq);
    return seq;
}

static bool is_recent(const struct ftl__ledger *ledger, uint64_t seq)
{
    return seq < ledger->next_seq && ledger->next_seq - seq <= FTL__HISTORY_SEQS;
}

bool ftl__ledger_knows(const struct ftl__ledger *ledger, uint64_t seq)
{
    return is_recent(ledger, seq) && ftl__history_knows(&ledger->history, seq);
}

void ftl__ledger_acked(struct ftl__ledger *ledger, struct ftl__batch *batch)
{
    if (ftl__ledger_owns(ledger, batch) && is_recent(ledger, batch->seq))
        ftl__history_end(&ledger->history, batch->seq, batch->others);
    ftl__ledger_remove(ledger, batch);
}

/* ---- by SEQ ---------------------------------------------------------------------------------- */

static int compare_items(const void *left, const void *right)
{
    const struct ftl__ledger_index_item *a = left, *b = right;

    return (a->seq > b->seq) - (a->seq < b->seq);
}

static void index_list(const struct ftl__list *list, uint32_t epoch,
                       struct ftl__ledger_index *index)
{
    for (struct ftl__list *node = list->next; node != list; node = node->next) {
        struct ftl__batch *batch = ftl__container(node, struct ftl__batch, link);
        if (batch->epoch == epoch)
            index->items[index->count++] = (struct ftl__ledger_index_item){batch->seq, batch};
    }
}

int ftl__ledger_index(const struct ftl__ledger *ledger, struct ftl__ledger_index *ret_index)
{
    struct ftl__ledger_index index = {.count = 0};

    index.items = malloc((ledger->batches + 1) * sizeof *index.items);
    if (index.items == NULL)
        return FTL_ENOMEM;
    index_list(&ledger->working, ledger->epoch, &index);
    index_list(&ledger->held, ledger->epoch, &index);
    index_list(&ledger->ready, ledger->epoch, &index);
    qsort(index.items, index.count, sizeof *index.items, compare_items);
    *ret_index = index;
    return 0;
}

void ftl__ledger_index_free(struct ftl__ledger_index *index)
{
    free(index->items);
}

struct ftl__batch *ftl__ledger_index_find(const struct ftl__ledger_index *index, uint64_t seq)
{
    struct ftl__ledger_index_item wanted = {.seq = seq};
    struct ftl__ledger_index_item *found =
        bsearch(&wanted, index->items, index->count, sizeof wanted, compare_items);

    return found != NULL ? found->batch : NULL;
}

/* ---- edges ----------------------------------------------------------------------------------- */

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
    if (is_complete(batch) && !batch->doubtful) {
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
    if (batch->count[FTL__ENTRY_GONE] == batch->size && (deleted || batch->doubtful)) {
        ftl__ledger_acked(ledger, batch);
        return false;
    }
    tell_less(ledger);
    if (!is_complete(batch) || batch->doubtful)
        return false;
    place(ledger, batch, FTL__BATCH_READY);
    return true;
}

void ftl__ledger_keep(struct ftl__ledger *ledger, struct ftl__batch *batch, uint32_t index,
                      bool returned, struct ftl__retry_result *result, int64_t now)
{
    batch->others++;
    if (ftl__ledger_owns(ledger, batch))
        ftl__history_add(&ledger->history, batch->seq, index, returned, result, now);
}

void ftl__ledger_lose(struct ftl__batch *batch)
{
    batch->others++;
}

static void revive(struct ftl__batch *batch, uint32_t index, enum ftl__entry to)
{
    batch->count[FTL__ENTRY_GONE]--;
    batch->count[to]++;
    batch->entry[index] = (uint8_t)to;
}

/* What is not kept has succeeded, unless more had failed than was kept. */
static void revive_successes(struct ftl__batch *batch)
{
    batch->doubtful |= batch->others > 0;
    for (uint32_t i = 0; i < batch->size && !batch->doubtful; i++)
        if (batch->entry[i] == FTL__ENTRY_GONE)
            revive(batch, i, FTL__ENTRY_DONE);
}

struct ftl__past *ftl__ledger_reopen(struct ftl__ledger *ledger, struct ftl__batch *batch)
{
    struct ftl__past *past = ftl__history_take(&ledger->history, batch->seq);

    if (past == NULL) {
        revive_successes(batch);
        if (batch->count[FTL__ENTRY_GONE] == batch->size) {
            ftl__ledger_remove(ledger, batch);
            return NULL;
        }
    } else {
        ftl_assert(past->index < batch->size);
        if (batch->entry[past->index] == FTL__ENTRY_GONE) {
            batch->others--;
            revive(batch, past->index, FTL__ENTRY_LIVE);
        }
    }
    if (!is_complete(batch) || batch->doubtful) {
        batch->held_until = 0;
        place(ledger, batch,
              batch->count[FTL__ENTRY_DONE] > 0 ? FTL__BATCH_HELD : FTL__BATCH_WORKING);
    }
    return past;
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
