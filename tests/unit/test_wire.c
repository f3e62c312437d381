/* SPDX-License-Identifier: MIT
 *
 * Tests of daemon/wire: commands to bytes, bytes to replies, and what a hostile server gets. */
#include "daemon/wire.h"

#include <hiredis/hiredis.h>
#include <string.h>

#include <fettle/error.h>

#include "daemon/link.h"
#include "tests/unit/unit.h"

static struct ftl__wire *wire;

static void open_wire(void)
{
    ck_assert_int_eq(ftl__wire_open(&wire), 0);
}

static void close_wire(void)
{
    ftl__wire_close(wire);
}

static void put(const char *a, const char *b, size_t b_size)
{
    const char *argv[2] = {a, b};
    size_t argvlen[2] = {strlen(a), b_size};
    ck_assert_int_eq(ftl__wire_put(wire, 2, argv, argvlen), 0);
}

static void feed(const char *text)
{
    ck_assert_int_eq(ftl__wire_feed(wire, text, strlen(text)), 0);
}

/* `count` times ":1". */
static void feed_ones(int count)
{
    static char ones[40000];
    for (size_t i = 0; i < sizeof ones; i += 4)
        memcpy(ones + i, ":1\r\n", 4);
    for (; count > 0; count -= 10000)
        ck_assert_int_eq(ftl__wire_feed(wire, ones, sizeof ones), 0);
}

START_TEST(commands_are_collected_until_they_are_taken)
{
    const char *bytes;
    size_t size;
    ck_assert(!ftl__wire_take(wire, &bytes, &size));
    put("GET", "a\0b", 3);
    put("DEL", "", 0);
    ck_assert(ftl__wire_take(wire, &bytes, &size));
    static const char expected[] = "*2\r\n$3\r\nGET\r\n$3\r\na\0b\r\n*2\r\n$3\r\nDEL\r\n$0\r\n\r\n";
    ck_assert_uint_eq(size, sizeof expected - 1);
    ck_assert_mem_eq(bytes, expected, size);
    ck_assert(!ftl__wire_take(wire, &bytes, &size));
}
END_TEST

START_TEST(what_was_taken_stays_while_more_is_put)
{
    const char *bytes;
    size_t size;
    put("GET", "first", 5);
    ck_assert(ftl__wire_take(wire, &bytes, &size));
    for (int i = 0; i < 10000; i++)
        put("GET", "second", 6);
    ck_assert_uint_eq(size, 24);
    ck_assert_mem_eq(bytes, "*2\r\n$3\r\nGET\r\n$5\r\nfirst\r\n", 24);
}
END_TEST

START_TEST(a_reply_may_come_byte_by_byte)
{
    static const char text[] = "*3\r\n:7\r\n$2\r\nhi\r\n*-1\r\n+OK\r\n";
    struct redisReply *reply;
    size_t whole = 0;
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        ck_assert_int_eq(ftl__wire_feed(wire, text + i, 1), 0);
        int status = ftl__wire_next(wire, &reply);
        if (status == FTL_EAGAIN)
            continue;
        ck_assert_int_eq(status, 0);
        if (whole++ == 0) {
            ck_assert_uint_eq(reply->elements, 3);
            ck_assert_int_eq(reply->element[0]->integer, 7);
            ck_assert_str_eq(reply->element[1]->str, "hi");
        }
        freeReplyObject(reply);
    }
    ck_assert_uint_eq(whole, 2);
}
END_TEST

START_TEST(an_array_beyond_the_bound_is_refused_before_it_takes_memory)
{
    struct redisReply *reply;
    feed("*2147483647\r\n");
    ck_assert_int_eq(ftl__wire_next(wire, &reply), FTL_ELIMIT);
}
END_TEST

START_TEST(nested_arrays_share_one_bound)
{
    struct redisReply *reply;
    feed("*2\r\n*1000000\r\n");
    ck_assert_int_eq(ftl__wire_next(wire, &reply), FTL_EAGAIN);
    feed_ones(1000000);
    feed("*1000000\r\n");
    ck_assert_int_eq(ftl__wire_next(wire, &reply), FTL_ELIMIT);
}
END_TEST

START_TEST(each_reply_has_the_whole_bound)
{
    struct redisReply *reply;
    for (int round = 0; round < 3; round++) {
        feed("*600000\r\n");
        feed_ones(600000);
        ck_assert_int_eq(ftl__wire_next(wire, &reply), 0);
        freeReplyObject(reply);
    }
}
END_TEST

START_TEST(garbage_is_an_error)
{
    struct redisReply *reply;
    feed("HTTP/1.1 400 Bad Request\r\n");
    ck_assert_int_eq(ftl__wire_next(wire, &reply), FTL_EPROTO);
    ck_assert_int_eq(ftl__wire_next(wire, &reply), FTL_EPROTO);
}
END_TEST

START_TEST(more_than_the_bound_is_not_put)
{
    const char *argv[1] = {""};
    size_t argvlen[1] = {FTL__LINK_MAX_OUT};
    const char *bytes;
    size_t size;
    ck_assert_int_eq(ftl__wire_put(wire, 1, argv, argvlen), FTL_ELIMIT);
    ck_assert(!ftl__wire_take(wire, &bytes, &size));
}
END_TEST

static void add(Suite *suite, const char *name, const TTest *test)
{
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, open_wire, close_wire);
    tcase_add_test(tcase, test);
    suite_add_tcase(suite, tcase);
}
#define CASE(suite, test) add((suite), #test, (test))

static void add_cases(Suite *suite)
{
    CASE(suite, commands_are_collected_until_they_are_taken);
    CASE(suite, what_was_taken_stays_while_more_is_put);
    CASE(suite, a_reply_may_come_byte_by_byte);
    CASE(suite, an_array_beyond_the_bound_is_refused_before_it_takes_memory);
    CASE(suite, nested_arrays_share_one_bound);
    CASE(suite, each_reply_has_the_whole_bound);
    CASE(suite, garbage_is_an_error);
    CASE(suite, more_than_the_bound_is_not_put);
}

UNIT_MAIN("wire", add_cases)
