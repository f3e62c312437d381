/* SPDX-License-Identifier: MIT
 *
 * Tests of daemon/flight: replies go to the calls in their order, past the holes. */
#include "daemon/flight.h"

#include <hiredis/hiredis.h>
#include <stdio.h>

#include "daemon/link.h"
#include "tests/unit/unit.h"

static struct ftl__flight flight;
static struct ftl__call calls[1000];

static void push(struct ftl__call *call)
{
    *call = (struct ftl__call){.deadline = 0};
    ftl_oneshot_init(&call->done);
    ck_assert_int_eq(ftl__flight_reserve(&flight), 0);
    ftl__flight_push(&flight, call);
}

static int land(long long number)
{
    struct ftl__replies replies;
    struct redisReply *reply;
    char *space;
    size_t room;
    ftl__replies_init(&replies, 1, 100);
    ck_assert_int_eq(ftl__replies_space(&replies, &space, &room), 0);
    ftl__replies_filled(&replies, (size_t)snprintf(space, room, ":%lld\r\n", number));
    ck_assert_int_eq(ftl__replies_next(&replies, &reply), 0);
    ftl__replies_fini(&replies);
    return ftl__flight_land(&flight, reply);
}

static void assert_landed(struct ftl__call *call, long long number)
{
    ck_assert(!call->pending);
    ck_assert_int_eq(call->status, 0);
    ck_assert_int_eq(call->reply->integer, number);
    ftl__reply_free(call->reply);
}

static void tear_down(void)
{
    ftl__flight_free(&flight);
}

START_TEST(replies_go_to_the_calls_in_order)
{
    for (int i = 0; i < 1000; i++)
        push(&calls[i]);
    for (int i = 0; i < 1000; i++) {
        ck_assert(calls[i].pending);
        ck_assert_int_eq(land(i), 0);
        assert_landed(&calls[i], i);
    }
}
END_TEST

START_TEST(order_holds_while_it_grows_round_the_end)
{
    int begun = 0, landed = 0;
    for (int round = 0; begun < 1000; round++) {
        for (int i = 0; i < 3 + round && begun < 1000; i++)
            push(&calls[begun++]);
        for (int i = 0; i < 2; i++, landed++) {
            ck_assert_int_eq(land(landed), 0);
            assert_landed(&calls[landed], landed);
        }
    }
    for (; landed < begun; landed++) {
        ck_assert_int_eq(land(landed), 0);
        assert_landed(&calls[landed], landed);
    }
}
END_TEST

START_TEST(the_reply_of_a_dropped_call_is_nobodys)
{
    for (int i = 0; i < 3; i++)
        push(&calls[i]);
    ftl__flight_drop(&flight, &calls[1]);
    ck_assert(!calls[1].pending);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(land(i), 0);
    assert_landed(&calls[0], 0);
    assert_landed(&calls[2], 2);
    ck_assert_ptr_null(calls[1].reply);
}
END_TEST

START_TEST(a_reply_too_many_is_an_error)
{
    ck_assert_int_eq(land(0), FTL_EPROTO);
    push(&calls[0]);
    ck_assert_int_eq(land(1), 0);
    assert_landed(&calls[0], 1);
    ck_assert_int_eq(land(2), FTL_EPROTO);
}
END_TEST

START_TEST(all_that_are_left_fail_at_once)
{
    for (int i = 0; i < 100; i++)
        push(&calls[i]);
    ftl__flight_drop(&flight, &calls[50]);
    ck_assert_int_eq(land(0), 0);
    assert_landed(&calls[0], 0);
    ftl__flight_fail(&flight, FTL_ECONN);
    for (int i = 1; i < 100; i++)
        ck_assert_int_eq(calls[i].status, i == 50 ? 0 : FTL_ECONN);
    ck_assert_int_eq(land(1), FTL_EPROTO);
}
END_TEST

static void add(Suite *suite, const char *name, const TTest *test)
{
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, NULL, tear_down);
    tcase_add_test(tcase, test);
    suite_add_tcase(suite, tcase);
}
#define CASE(suite, test) add((suite), #test, (test))

static void add_cases(Suite *suite)
{
    CASE(suite, replies_go_to_the_calls_in_order);
    CASE(suite, order_holds_while_it_grows_round_the_end);
    CASE(suite, the_reply_of_a_dropped_call_is_nobodys);
    CASE(suite, a_reply_too_many_is_an_error);
    CASE(suite, all_that_are_left_fail_at_once);
}

UNIT_MAIN("flight", add_cases)
