/* SPDX-License-Identifier: MIT
 *
 * The ring queue under thieves: each item is taken exactly once, whoever takes it. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/queue.h"
#include "runtime/tcb.h"
#include "tests/unit/unit.h"

enum { ITEMS = 3000000, THIEVES = 2 };

static struct ftl__queue shared;
static uint8_t *seen;          /* per item: how often it was taken */
static struct ftl_task *items; /* only their addresses and links are used */
static _Atomic bool done;

static void take(struct ftl_task *task)
{
    __atomic_fetch_add(&seen[task - items], 1, __ATOMIC_RELAXED);
}

static void *steal(void *arg)
{
    struct ftl__queue own;
    uint32_t moved;
    (void)arg;
    ftl__queue_init(&own);
    while (!atomic_load(&done)) {
        struct ftl_task *task = ftl__queue_steal(&shared, &own, &moved);
        if (!task)
            continue;
        take(task);
        while ((task = ftl__queue_pop(&own)) != NULL)
            take(task);
    }
    return NULL;
}

static void fill_and_empty(unsigned *seed, size_t count)
{
    struct ftl_task *first, *last;
    for (size_t i = 0; i < count;) {
        for (unsigned n = (unsigned)rand_r(seed) % 300; n > 0 && i < count;) {
            if (ftl__queue_push(&shared, &items[i])) {
                i++, n--;
                continue;
            }
            uint32_t shed = ftl__queue_shed(&shared, &first, &last);
            for (uint32_t j = 0; j < shed; j++, first = first->queue_next)
                take(first);
        }
        for (unsigned n = (unsigned)rand_r(seed) % 300; n > 0; n--) {
            struct ftl_task *task = ftl__queue_pop(&shared);
            if (!task)
                break;
            take(task);
        }
    }
    struct ftl_task *task;
    while ((task = ftl__queue_pop(&shared)) != NULL)
        take(task);
}

START_TEST(each_item_is_taken_exactly_once)
{
    const char *given = getenv("FTL_SEED");
    unsigned seed = given ? (unsigned)atoi(given) : (unsigned)getpid();
    size_t count = ITEMS / (size_t)unit_slow();
    pthread_t thieves[THIEVES];
    printf("# FTL_SEED=%u\n", seed);
    ftl__queue_init(&shared);
    items = calloc(count, sizeof *items);
    seen = calloc(count, 1);
    ck_assert(items && seen);
    atomic_store(&done, false);
    for (int i = 0; i < THIEVES; i++)
        ck_assert_int_eq(pthread_create(&thieves[i], NULL, steal, NULL), 0);
    fill_and_empty(&seed, count);
    while (ftl__queue_len(&shared) > 0)
        ;
    atomic_store(&done, true);
    for (int i = 0; i < THIEVES; i++)
        pthread_join(thieves[i], NULL);
    for (size_t i = 0; i < count; i++)
        ck_assert_msg(seen[i] == 1, "item %zu was taken %d times", i, seen[i]);
    free(items);
    free(seen);
}
END_TEST

START_TEST(first_in_first_out_and_bounded)
{
    struct ftl_task some[FTL__QUEUE_SIZE + 1], *first, *last;
    ftl__queue_init(&shared);
    for (uint32_t round = 0; round < 3; round++) {
        ck_assert_ptr_null(ftl__queue_pop(&shared));
        for (uint32_t i = 0; i < FTL__QUEUE_SIZE; i++)
            ck_assert(ftl__queue_push(&shared, &some[i]));
        ck_assert(!ftl__queue_push(&shared, &some[FTL__QUEUE_SIZE]));
        ck_assert_uint_eq(ftl__queue_len(&shared), FTL__QUEUE_SIZE);
        /* The newer half leaves, oldest first; the older half stays, in order. */
        ck_assert_uint_eq(ftl__queue_shed(&shared, &first, &last), FTL__QUEUE_SIZE / 2);
        ck_assert_ptr_eq(first, &some[FTL__QUEUE_SIZE / 2]);
        ck_assert_ptr_eq(last, &some[FTL__QUEUE_SIZE - 1]);
        for (uint32_t i = 0; i < FTL__QUEUE_SIZE / 2; i++)
            ck_assert_ptr_eq(ftl__queue_pop(&shared), &some[i]);
    }
}
END_TEST

START_TEST(a_thief_takes_the_older_half)
{
    struct ftl_task some[9];
    struct ftl__queue own;
    uint32_t moved = 0;
    ftl__queue_init(&shared);
    ftl__queue_init(&own);
    for (int i = 0; i < 9; i++)
        ck_assert(ftl__queue_push(&shared, &some[i]));
    struct ftl_task *task = ftl__queue_steal(&shared, &own, &moved);
    ck_assert_uint_eq(moved, 5);
    ck_assert_ptr_eq(task, &some[4]);
    for (int i = 0; i < 4; i++)
        ck_assert_ptr_eq(ftl__queue_pop(&own), &some[i]);
    for (int i = 5; i < 9; i++)
        ck_assert_ptr_eq(ftl__queue_pop(&shared), &some[i]);
    ck_assert_ptr_null(ftl__queue_steal(&shared, &own, &moved));
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, first_in_first_out_and_bounded);
    UNIT_CASE(suite, a_thief_takes_the_older_half);
    UNIT_CASE(suite, each_item_is_taken_exactly_once);
}

UNIT_MAIN("queue", add_cases)
