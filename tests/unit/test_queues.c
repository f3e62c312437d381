/* SPDX-License-Identifier: MIT
 *
 * The queues: strict and weighted order, how much a claim may take from each, and reloads. */
#include "daemon/queues.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <fettle/time.h>

#include "tests/unit/unit.h"

static struct ftl__keys *keys;
static struct ftl__queues queues;
static struct ftl__config *config;

static struct ftl__config *parse(const char *text)
{
    struct ftl__config *parsed;
    char error[256];
    ck_assert_msg(ftl__config_parse(text, "test", &parsed, error, sizeof error) == 0, "%s", error);
    return parsed;
}

static void setup(const char *text, uint64_t seed)
{
    ck_assert_int_eq(ftl__keys_open("p:", &keys), 0);
    config = parse(text);
    ck_assert_int_eq(ftl__queues_init(&queues, keys, config, seed), 0);
}

static void teardown(void)
{
    ftl__queues_free(&queues);
    ftl__config_free(config);
    ftl__keys_close(keys);
}

static void reload(const char *text)
{
    ftl__config_free(config);
    config = parse(text);
    ck_assert_int_eq(ftl__queues_configure(&queues, config), 0);
}

START_TEST(strict_order_is_the_configured_one)
{
    struct ftl__queue *order[3];
    setup("queues = ({name = \"c\";}, {name = \"a\";}, {name = \"b\";});", 1);
    for (int round = 0; round < 5; round++) {
        ftl__queues_order(&queues, order);
        ck_assert_str_eq(order[0]->name, "c");
        ck_assert_str_eq(order[1]->name, "a");
        ck_assert_str_eq(order[2]->name, "b");
    }
    ck_assert_str_eq(order[0]->key.text, "p:queue:c");
    ck_assert_str_eq(order[0]->front.text, "p:fettle:front:c");
    teardown();
}
END_TEST

START_TEST(weighted_order_follows_the_weights)
{
    enum { DRAWS = 6000 };
    uint64_t seed = (uint64_t)time(NULL);
    struct ftl__queue *order[3];
    int first[3] = {0}, last[3] = {0};
    printf("# seed %llu\n", (unsigned long long)seed);
    setup("order = \"weighted\"; queues = ({name = \"a\"; weight = 4;}, "
          "{name = \"b\"; weight = 1;}, {name = \"c\"; weight = 1;});", seed);
    for (int i = 0; i < DRAWS; i++) {
        ftl__queues_order(&queues, order);
        ck_assert(order[0] != order[1] && order[1] != order[2] && order[0] != order[2]);
        first[order[0]->name[0] - 'a']++;
        last[order[2]->name[0] - 'a']++;
    }
    /* 4/6 of the draws, ±6 standard deviations. */
    ck_assert_int_gt(first[0], DRAWS * 4 / 6 - 220);
    ck_assert_int_lt(first[0], DRAWS * 4 / 6 + 220);
    ck_assert_int_gt(first[1], DRAWS / 6 - 180);
    ck_assert_int_gt(first[2], DRAWS / 6 - 180);
    ck_assert_int_gt(last[0], 0);
    teardown();
}
END_TEST

START_TEST(a_bound_is_what_a_claim_may_take)
{
    setup("queues = ({name = \"a\"; concurrency = 5;}, {name = \"b\";});", 1);
    struct ftl__queue *a = queues.all[0], *b = queues.all[1];
    struct ftl_permit permit = {0};
    ck_assert_uint_eq(ftl__queue_room(a, 0, 8), 5);
    ck_assert_uint_eq(ftl__queue_room(b, 0, 8), FTL__QUEUE_UNBOUNDED);
    ck_assert_int_eq(ftl_semaphore_try_acquire(a->semaphore, 2, &permit), 0);
    a->asked = 1;
    ck_assert_uint_eq(ftl__queue_room(a, 0, 8), 2);
    a->asked = 4; /* more than is there: runs have started since */
    ck_assert_uint_eq(ftl__queue_room(a, 0, 8), 0);
    ftl_permit_release(&permit);
    teardown();
}
END_TEST

START_TEST(a_queue_with_parked_jobs_is_bounded_by_the_park)
{
    setup("queues = ({name = \"a\";}, {name = \"b\";});", 1);
    queues.all[0]->parked = 6;
    ck_assert_uint_eq(ftl__queue_room(queues.all[0], 0, 2), 2);
    ck_assert_uint_eq(ftl__queue_room(queues.all[0], 0, 0), 0);
    ck_assert_uint_eq(ftl__queue_room(queues.all[1], 0, 0), FTL__QUEUE_UNBOUNDED);
    teardown();
}
END_TEST

START_TEST(room_to_park_ends_a_rest_early)
{
    setup("queues = ({name = \"a\";});", 1);
    struct ftl__queue *a = queues.all[0];
    a->rests_until = 1000;
    a->rest_room = 4;
    ck_assert_uint_eq(ftl__queue_room(a, 999, 3), 0);
    ck_assert_uint_eq(ftl__queue_room(a, 999, 4), 4);
    a->asked = 3; /* may have to be parked, too */
    ck_assert_uint_eq(ftl__queue_room(a, 999, 4), 1);
    ck_assert_uint_eq(ftl__queue_room(a, 1000, 0), FTL__QUEUE_UNBOUNDED);
    a->asked = 0;
    ftl__queue_failed(a, 0); /* an error is not about room */
    ck_assert_uint_eq(ftl__queue_room(a, a->rests_until - 1, 8), 0);
    teardown();
}
END_TEST

START_TEST(an_error_lets_it_rest_longer_each_time)
{
    setup("queues = ({name = \"a\";});", 1);
    struct ftl__queue *a = queues.all[0];
    int64_t now = 1000, rest = 0;
    for (int i = 0; i < 8; i++) {
        ftl__queue_failed(a, now);
        ck_assert_int_ge(a->rests_until - now, rest);
        rest = a->rests_until - now;
        ck_assert_uint_eq(ftl__queue_room(a, now + rest - 1, 1), 0);
        ck_assert_uint_gt(ftl__queue_room(a, now + rest, 1), 0);
        now += rest;
    }
    ck_assert_int_eq(rest, 30 * FTL_S);
    ftl__queue_went_well(a);
    ftl__queue_failed(a, now);
    ck_assert_int_eq(a->rests_until - now, FTL_S);
    teardown();
}
END_TEST

START_TEST(a_reload_keeps_the_objects)
{
    setup("queues = ({name = \"a\"; concurrency = 5;}, {name = \"b\";});", 1);
    struct ftl__queue *a = queues.all[0], *b = queues.all[1];
    struct ftl_permit permit = {0};
    ck_assert_int_eq(ftl_semaphore_try_acquire(a->semaphore, 4, &permit), 0);
    reload("queues = ({name = \"c\";}, {name = \"a\"; concurrency = 3;});");
    ck_assert_uint_eq(queues.active, 2);
    ck_assert_str_eq(queues.all[0]->name, "c");
    ck_assert_ptr_eq(queues.all[1], a);
    ck_assert_ptr_eq(queues.all[2], b);
    ck_assert(a->active && !b->active);
    ck_assert_uint_eq(ftl__queue_room(a, 0, 1), 0); /* 4 are out, 3 are allowed */
    ftl_permit_release(&permit);
    ck_assert_uint_eq(ftl__queue_room(a, 0, 1), 3);
    reload("queues = ({name = \"a\";});");
    ck_assert_uint_eq(ftl__queue_room(a, 0, 1), FTL__QUEUE_UNBOUNDED);
    ck_assert_uint_eq(queues.count, 3);
    teardown();
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, strict_order_is_the_configured_one);
    UNIT_CASE(suite, weighted_order_follows_the_weights);
    UNIT_CASE(suite, a_bound_is_what_a_claim_may_take);
    UNIT_CASE(suite, a_queue_with_parked_jobs_is_bounded_by_the_park);
    UNIT_CASE(suite, room_to_park_ends_a_rest_early);
    UNIT_CASE(suite, an_error_lets_it_rest_longer_each_time);
    UNIT_CASE(suite, a_reload_keeps_the_objects);
}

UNIT_MAIN("queues", add_cases)
