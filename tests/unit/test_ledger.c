/* SPDX-License-Identifier: MIT
 *
 * The ledger: which batches are acked as a whole, which entries are settled on their own, and
 * when. */
#include "daemon/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/unit.h"

static struct ftl__ledger ledger;
static int emptied;

static void on_less(void *arg)
{
    (void)arg;
    emptied += ledger.batches == 0;
}

static void setup(void)
{
    ftl__ledger_init(&ledger);
    ledger.on_less = on_less;
    emptied = 0;
    ftl__ledger_registered(&ledger, "host:1:abc");
}

static struct ftl__batch *batch_of(uint32_t size)
{
    uint64_t seq = ledger.next_seq++;
    struct ftl__batch *batch = ftl__ledger_add(&ledger, NULL, seq, seq * 1000, size, 0);
    ck_assert_ptr_ne(batch, NULL);
    return batch;
}

static struct ftl__batch *take_one(void)
{
    struct ftl__list list;
    ftl__list_init(&list);
    ck_assert_uint_eq(ftl__ledger_take_ready(&ledger, &list, 10), 1);
    return ftl__container(ftl__list_pop_front(&list), struct ftl__batch, link);
}

static struct ftl__batch *find(uint64_t seq)
{
    struct ftl__ledger_index index;
    ck_assert_int_eq(ftl__ledger_index(&ledger, &index), 0);
    struct ftl__batch *batch = ftl__ledger_index_find(&index, seq);
    ftl__ledger_index_free(&index);
    return batch;
}

START_TEST(a_batch_of_successes_is_acked_at_its_last)
{
    setup();
    struct ftl__batch *batch = batch_of(3);
    ck_assert(!ftl__ledger_done(&ledger, batch, 2, 10));
    ck_assert(!ftl__ledger_done(&ledger, batch, 0, 11));
    ck_assert(ftl__ledger_done(&ledger, batch, 1, 12));
    ck_assert_ptr_eq(take_one(), batch);
    ftl__ledger_remove(&ledger, batch);
    ck_assert_int_eq(emptied, 1);
    ck_assert_uint_eq(ledger.batches, 0);
}
END_TEST

START_TEST(a_success_waits_five_ms_for_its_batch)
{
    setup();
    struct ftl__batch *batch = batch_of(2);
    ck_assert_int_eq(ftl__ledger_held_until(&ledger), INT64_MAX);
    ftl__ledger_done(&ledger, batch, 0, 1000);
    ck_assert_int_eq(ftl__ledger_held_until(&ledger), 1000 + FTL__LEDGER_PATIENCE);
    ck_assert_ptr_eq(ftl__ledger_overdue(&ledger, 1000 + FTL__LEDGER_PATIENCE - 1), NULL);
    ck_assert_ptr_eq(ftl__ledger_overdue(&ledger, 1000 + FTL__LEDGER_PATIENCE), batch);
    ftl__ledger_open(&ledger, batch, 0);
    ck_assert_ptr_eq(ftl__ledger_overdue(&ledger, INT64_MAX), NULL);
    ck_assert(!ftl__ledger_gone(&ledger, batch, 0, false));
    ck_assert_uint_eq(ftl__ledger_left(&ledger), 1);
    ck_assert(ftl__ledger_done(&ledger, batch, 1, 2000)); /* an ack of the rest */
    ck_assert_ptr_eq(take_one(), batch);
    ftl__ledger_remove(&ledger, batch);
}
END_TEST

START_TEST(a_failure_holds_the_ack_until_it_is_settled)
{
    setup();
    struct ftl__batch *batch = batch_of(2);
    ftl__ledger_open(&ledger, batch, 0);
    ck_assert(!ftl__ledger_done(&ledger, batch, 1, 5));
    ck_assert_uint_eq(ftl__ledger_take_ready(&ledger, &ledger.working, 1), 0);
    ck_assert(ftl__ledger_gone(&ledger, batch, 0, false));
    ck_assert_ptr_eq(take_one(), batch);
    ftl__ledger_remove(&ledger, batch);
}
END_TEST

START_TEST(the_last_settle_may_delete_the_batch)
{
    setup();
    struct ftl__batch *batch = batch_of(2);
    ftl__ledger_open(&ledger, batch, 0);
    ftl__ledger_open(&ledger, batch, 1);
    ck_assert(!ftl__ledger_gone(&ledger, batch, 1, true)); /* not the last one after all */
    ck_assert(!ftl__ledger_gone(&ledger, batch, 0, true));
    ck_assert_uint_eq(ledger.batches, 0);
}
END_TEST

START_TEST(a_refused_operation_is_done_again)
{
    setup();
    struct ftl__batch *batch = batch_of(2);
    ftl__ledger_done(&ledger, batch, 0, 0);
    ftl__ledger_open(&ledger, batch, 0);
    ftl__ledger_undo(&ledger, batch, 0, 100, 50);
    ck_assert_ptr_eq(ftl__ledger_overdue(&ledger, 149), NULL);
    ck_assert_ptr_eq(ftl__ledger_overdue(&ledger, 150), batch);
    ftl__ledger_free(&ledger);
}
END_TEST

START_TEST(a_failed_ack_is_repeated)
{
    setup();
    struct ftl__list list;
    struct ftl__batch *first = batch_of(1), *second = batch_of(1);
    ftl__list_init(&list);
    ftl__ledger_done(&ledger, first, 0, 0);
    ftl__ledger_done(&ledger, second, 0, 0);
    ck_assert_uint_eq(ftl__ledger_take_ready(&ledger, &list, 10), 2);
    ck_assert_uint_eq(ftl__ledger_take_ready(&ledger, &list, 10), 0);
    ck_assert_ptr_eq(find(first->seq), NULL);
    ftl__ledger_give_back(&ledger, &list);
    ck_assert(first->resent && second->resent);
    ck_assert_ptr_eq(find(second->seq), second);
    ftl__ledger_free(&ledger);
}
END_TEST

START_TEST(another_registration_owns_nothing_of_the_last)
{
    setup();
    struct ftl__batch *batch = batch_of(1);
    ck_assert(ftl__ledger_owns(&ledger, batch));
    ftl__ledger_fenced(&ledger);
    ck_assert(!ftl__ledger_owns(&ledger, batch));
    ftl__ledger_registered(&ledger, "host:1:def");
    ck_assert(!ftl__ledger_owns(&ledger, batch));
    ck_assert_uint_eq(ledger.next_seq, 1);
    ck_assert_ptr_eq(find(batch->seq), NULL);
    ftl__ledger_free(&ledger);
}
END_TEST

static struct ftl__batch *next_batch(uint32_t size)
{
    uint64_t seq = ftl__ledger_next_seq(&ledger);
    struct ftl__batch *batch = ftl__ledger_add(&ledger, NULL, seq, seq * 1000, size, 0);
    ck_assert_ptr_ne(batch, NULL);
    return batch;
}

/* An end that is no success, as settle tells it: with `size` bytes for `retry`. */
static void end_badly(struct ftl__batch *batch, uint32_t index, size_t size, int64_t now)
{
    struct ftl__retry_result result = {.fate = FTL__FATE_RETRY, .score = index, .size = size};

    result.bytes = malloc(size);
    ck_assert_ptr_ne(result.bytes, NULL);
    ftl__ledger_open(&ledger, batch, index);
    ftl__ledger_keep(&ledger, batch, index, false, &result, now);
    ck_assert_ptr_eq(result.bytes, NULL);
    ftl__ledger_gone(&ledger, batch, index, true);
}

static void drop(struct ftl__past *past)
{
    free(past->result.bytes);
    free(past);
}

START_TEST(how_a_batch_has_ended_is_known_for_a_while)
{
    setup();
    struct ftl__batch *good = next_batch(1), *mixed = next_batch(2), *lost = next_batch(2);
    (void)ftl__ledger_next_seq(&ledger); /* not over */
    ftl__ledger_done(&ledger, good, 0, 1);
    ck_assert(!ftl__ledger_knows(&ledger, 1));
    ftl__ledger_acked(&ledger, take_one());
    ftl__ledger_done(&ledger, mixed, 0, 1);
    end_badly(mixed, 1, 10, 1);
    ftl__ledger_acked(&ledger, take_one());
    ftl__ledger_done(&ledger, lost, 0, 1);
    ftl__ledger_open(&ledger, lost, 1);
    ftl__ledger_lose(lost); /* others have it */
    ftl__ledger_gone(&ledger, lost, 1, false);
    ftl__ledger_acked(&ledger, take_one());
    ck_assert(ftl__ledger_knows(&ledger, 1));
    ck_assert(ftl__ledger_knows(&ledger, 2));
    ck_assert(!ftl__ledger_knows(&ledger, 3));
    ck_assert(!ftl__ledger_knows(&ledger, 4));
    ck_assert(!ftl__ledger_knows(&ledger, 1 + FTL__HISTORY_SEQS));
    while (ledger.next_seq <= FTL__HISTORY_SEQS)
        (void)ftl__ledger_next_seq(&ledger);
    ck_assert(ftl__ledger_knows(&ledger, 1));
    (void)ftl__ledger_next_seq(&ledger);
    ck_assert(!ftl__ledger_knows(&ledger, 1));
    ck_assert(!ftl__ledger_knows(&ledger, 1 + FTL__HISTORY_SEQS));
    ftl__ledger_registered(&ledger, "host:1:def");
    ck_assert(!ftl__ledger_knows(&ledger, 2));
    ck_assert_ptr_eq(ftl__history_take(&ledger.history, 2), NULL);
    ftl__ledger_free(&ledger);
}
END_TEST

/* Two periods of audits, 16 MiB. */
START_TEST(what_is_too_old_or_too_much_is_forgotten)
{
    enum { MIB = 1 << 20, MANY = 20 };
    setup();
    end_badly(next_batch(1), 0, 10, 1);
    ck_assert(ftl__ledger_knows(&ledger, 1));
    ftl__history_expire(&ledger.history, 1 + FTL__HISTORY_KEEP);
    ck_assert(ftl__ledger_knows(&ledger, 1));
    ftl__history_expire(&ledger.history, 2 + FTL__HISTORY_KEEP);
    ck_assert(!ftl__ledger_knows(&ledger, 1));
    ck_assert_uint_eq(ledger.history.bytes, 0);

    for (int i = 0; i < MANY; i++) {
        end_badly(next_batch(1), 0, MIB, FTL__HISTORY_KEEP);
        ck_assert_uint_le(ledger.history.bytes, FTL__HISTORY_BYTES);
    }
    ck_assert(!ftl__ledger_knows(&ledger, 2));
    ck_assert(ftl__ledger_knows(&ledger, 1 + MANY));
    ftl__ledger_free(&ledger);
    ck_assert_uint_eq(ledger.history.bytes, 0);
}
END_TEST

START_TEST(what_failed_is_told_again_before_the_rest_is_acked)
{
    setup();
    struct ftl__batch *batch = next_batch(4);
    end_badly(batch, 2, 10, 1);
    end_badly(batch, 0, 10, 1);
    ftl__ledger_done(&ledger, batch, 1, 2);
    ftl__ledger_done(&ledger, batch, 3, 2);
    ck_assert_int_eq(batch->place, FTL__BATCH_READY);
    for (int i = 0; i < 2; i++) {
        struct ftl__past *past = ftl__ledger_reopen(&ledger, batch);
        ck_assert_ptr_ne(past, NULL);
        ck_assert(past->index == 0 || past->index == 2);
        ck_assert_int_eq(batch->place, FTL__BATCH_HELD);
        end_badly(batch, past->index, 10, 3);
        drop(past);
        if (i == 0)
            ck_assert_int_eq(batch->place, FTL__BATCH_READY);
    }
    ck_assert(!batch->doubtful);
    ftl__ledger_acked(&ledger, take_one());
    ck_assert(ftl__ledger_knows(&ledger, 1));
    ftl__ledger_free(&ledger);
}
END_TEST

/* Of the failure nothing is left: an ack would delete what Redis may have of it. */
START_TEST(a_doubtful_batch_is_told_entry_by_entry)
{
    setup();
    struct ftl__batch *batch = next_batch(3);
    end_badly(batch, 2, 10, 1);
    ftl__ledger_done(&ledger, batch, 0, 1);
    ftl__ledger_done(&ledger, batch, 1, 1);
    ck_assert_int_eq(batch->place, FTL__BATCH_READY);
    ftl__history_expire(&ledger.history, INT64_MAX);
    ck_assert_ptr_eq(ftl__ledger_reopen(&ledger, batch), NULL);
    ck_assert(batch->doubtful);
    ck_assert_ptr_eq(ftl__ledger_overdue(&ledger, 0), batch);
    for (uint32_t i = 0; i < 2; i++) {
        ftl__ledger_open(&ledger, batch, i);
        ck_assert(!ftl__ledger_gone(&ledger, batch, i, false));
        ck_assert_uint_eq(ledger.batches, i == 0);
    }
    ck_assert(!ftl__ledger_knows(&ledger, 1));
    ftl__ledger_free(&ledger);
}
END_TEST

/* It waits for its ack, and nothing is known of its end any more: it is left to the next audit. */
START_TEST(a_doubtful_batch_of_which_all_is_gone_is_given_up)
{
    setup();
    struct ftl__batch *batch = next_batch(2);
    end_badly(batch, 1, 10, 1);
    ftl__ledger_open(&ledger, batch, 0);
    ftl__ledger_lose(batch);
    ck_assert(ftl__ledger_gone(&ledger, batch, 0, false));
    ftl__history_expire(&ledger.history, INT64_MAX);
    ck_assert_ptr_eq(ftl__ledger_reopen(&ledger, batch), NULL);
    ck_assert_ptr_eq(find(1), NULL);
    ck_assert(ledger.batches == 0 && !ftl__ledger_knows(&ledger, 1));
    ftl__ledger_free(&ledger);
}
END_TEST

/* What an audit may still ask for: whoever knows that there is none expires it. */
START_TEST(an_end_that_is_added_expires_no_other)
{
    setup();
    end_badly(next_batch(1), 0, 10, 1);
    end_badly(next_batch(1), 0, 10, 2 * FTL__HISTORY_KEEP);
    ck_assert(ftl__ledger_knows(&ledger, 1) && ftl__ledger_knows(&ledger, 2));
    ftl__ledger_free(&ledger);
}
END_TEST

/* Any order of ends: each batch goes exactly once, and only when all of it is settled. */
START_TEST(random_walks_lose_nothing)
{
    enum { BATCHES = 40, SIZE = 9 };
    unsigned seed = (unsigned)time(NULL);
    printf("# seed %u\n", seed);
    srandom(seed);
    setup();
    for (int b = 0; b < BATCHES; b++) {
        struct ftl__batch *batch = batch_of(SIZE);
        bool freed = false;
        while (!freed) {
            uint32_t i = (uint32_t)random() % SIZE;
            int what = (int)(random() % 4);
            if (batch->place == FTL__BATCH_READY)
                break;
            if (batch->entry[i] == FTL__ENTRY_LIVE && what < 2)
                ftl__ledger_done(&ledger, batch, i, b);
            else if (batch->entry[i] <= FTL__ENTRY_DONE && what == 2)
                ftl__ledger_open(&ledger, batch, i);
            else if (batch->entry[i] == FTL__ENTRY_OPEN) {
                freed = batch->count[FTL__ENTRY_GONE] == SIZE - 1;
                ftl__ledger_gone(&ledger, batch, i, true);
            }
        }
        if (!freed) {
            ck_assert_uint_eq(batch->count[FTL__ENTRY_LIVE] + batch->count[FTL__ENTRY_OPEN], 0);
            ck_assert_ptr_eq(take_one(), batch);
            ftl__ledger_remove(&ledger, batch);
        }
        ck_assert_uint_eq(ledger.batches, 0);
        ck_assert_int_eq(emptied, b + 1);
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, a_batch_of_successes_is_acked_at_its_last);
    UNIT_CASE(suite, a_success_waits_five_ms_for_its_batch);
    UNIT_CASE(suite, a_failure_holds_the_ack_until_it_is_settled);
    UNIT_CASE(suite, the_last_settle_may_delete_the_batch);
    UNIT_CASE(suite, a_refused_operation_is_done_again);
    UNIT_CASE(suite, a_failed_ack_is_repeated);
    UNIT_CASE(suite, another_registration_owns_nothing_of_the_last);
    UNIT_CASE(suite, how_a_batch_has_ended_is_known_for_a_while);
    UNIT_CASE(suite, what_is_too_old_or_too_much_is_forgotten);
    UNIT_CASE(suite, what_failed_is_told_again_before_the_rest_is_acked);
    UNIT_CASE(suite, a_doubtful_batch_is_told_entry_by_entry);
    UNIT_CASE(suite, a_doubtful_batch_of_which_all_is_gone_is_given_up);
    UNIT_CASE(suite, an_end_that_is_added_expires_no_other);
    UNIT_CASE(suite, random_walks_lose_nothing);
}

UNIT_MAIN("ledger", add_cases)
