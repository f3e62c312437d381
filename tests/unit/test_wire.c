/* SPDX-License-Identifier: MIT
 *
 * Tests of daemon/wire: commands to bytes, bytes to replies, and what a hostile server gets. */
#include "daemon/wire.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
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

static void feed_bytes(const char *bytes, size_t size)
{
    while (size > 0) {
        char *space;
        size_t room;
        ck_assert_int_eq(ftl__wire_space(wire, &space, &room), 0);
        room = room < size ? room : size;
        memcpy(space, bytes, room);
        ftl__wire_filled(wire, room);
        bytes += room;
        size -= room;
    }
}

static void feed(const char *text)
{
    feed_bytes(text, strlen(text));
}

static struct redisReply *next(void)
{
    struct redisReply *reply;
    ck_assert_int_eq(ftl__wire_next(wire, &reply), 0);
    return reply;
}

static int fails(const char *text)
{
    struct redisReply *reply;
    feed(text);
    return ftl__wire_next(wire, &reply);
}

/* `count` times ":1". */
static void feed_ones(int count)
{
    static char ones[40000];
    for (size_t i = 0; i < sizeof ones; i += 4)
        memcpy(ones + i, ":1\r\n", 4);
    for (; count > 0; count -= 10000)
        feed_bytes(ones, sizeof ones);
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
        feed_bytes(text + i, 1);
        int status = ftl__wire_next(wire, &reply);
        if (status == FTL_EAGAIN)
            continue;
        ck_assert_int_eq(status, 0);
        if (whole++ == 0) {
            ck_assert_uint_eq(reply->elements, 3);
            ck_assert_int_eq(reply->element[0]->integer, 7);
            ck_assert_str_eq(reply->element[1]->str, "hi");
        }
        ftl__reply_free(reply);
    }
    ck_assert_uint_eq(whole, 2);
}
END_TEST

START_TEST(each_type_is_what_it_was)
{
    feed("*8\r\n+OK\r\n-ERR no\r\n:-42\r\n$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
    struct redisReply *reply = next();
    static const int types[] = {REDIS_REPLY_STATUS, REDIS_REPLY_ERROR, REDIS_REPLY_INTEGER,
                                REDIS_REPLY_NIL,    REDIS_REPLY_NIL,   REDIS_REPLY_ARRAY,
                                REDIS_REPLY_STRING, REDIS_REPLY_STRING};
    ck_assert_uint_eq(reply->elements, 8);
    for (size_t i = 0; i < 8; i++)
        ck_assert_int_eq(reply->element[i]->type, types[i]);
    ck_assert_str_eq(reply->element[0]->str, "OK");
    ck_assert_str_eq(reply->element[1]->str, "ERR no");
    ck_assert_int_eq(reply->element[2]->integer, -42);
    ck_assert_uint_eq(reply->element[5]->elements, 0);
    ck_assert_str_eq(reply->element[6]->str, "");
    ck_assert_uint_eq(reply->element[7]->len, 4);
    ck_assert_str_eq(reply->element[7]->str, "a\r\nb");
    ftl__reply_free(reply);
}
END_TEST

/* Each has its place in a buffer that goes on being filled. */
START_TEST(a_reply_stays_while_others_come)
{
    enum { COUNT = 3000 };
    static struct redisReply *replies[COUNT];
    static char text[2000];
    for (int i = 0; i < COUNT; i++) {
        int size = snprintf(text, sizeof text, "*2\r\n:%d\r\n$%d\r\n%0*d\r\n", i, 1 + i % 1500,
                            1 + i % 1500, i % 10);
        feed_bytes(text, (size_t)size);
        replies[i] = next();
    }
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_eq(replies[i]->element[0]->integer, i);
        ck_assert_uint_eq(strlen(replies[i]->element[1]->str), (size_t)(1 + i % 1500));
        ck_assert_int_eq(replies[i]->element[1]->str[i % 1500], '0' + i % 10);
        ftl__reply_free(replies[i]);
    }
}
END_TEST

START_TEST(arrays_may_nest_so_deep_and_no_deeper)
{
    struct redisReply *reply;
    char text[4 * (FTL__REPLY_DEPTH + 1) + 5];
    for (size_t i = 0; i <= FTL__REPLY_DEPTH; i++)
        memcpy(text + 4 * i, "*1\r\n", 4);
    memcpy(text + sizeof text - 5, ":1\r\n", 5);
    feed(text + 4);
    reply = next();
    const struct redisReply *inner = reply;
    for (size_t i = 0; i < FTL__REPLY_DEPTH; i++)
        inner = inner->element[0];
    ck_assert_int_eq(inner->integer, 1);
    ftl__reply_free(reply);
    feed(text);
    ck_assert_int_eq(ftl__wire_next(wire, &reply), FTL_ELIMIT);
}
END_TEST

START_TEST(a_bulk_beyond_the_bound_is_refused_before_it_comes)
{
    ck_assert_int_eq(fails("$1000000000\r\n"), FTL_ELIMIT);
}
END_TEST

START_TEST(a_line_without_end_is_refused)
{
    static char line[1 << 16];
    struct redisReply *reply;
    int status = FTL_EAGAIN;
    memset(line, 'x', sizeof line);
    feed("-");
    for (size_t i = 0; i < 17 && status == FTL_EAGAIN; i++) {
        feed_bytes(line, sizeof line);
        status = ftl__wire_next(wire, &reply);
    }
    ck_assert_int_eq(status, FTL_ELIMIT);
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
        ftl__reply_free(reply);
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

static const char *const no_replies[] = {
    ":\r\n",   ":-\r\n",  ":1x\r\n",       ":1\rx",   ":1\n",   ":123456789012345678901",
    "$-2\r\n", "*-2\r\n", "$2\r\nabc\r\n", "+OK\n",   "\r\n",   ":9223372036854775808\r\n",
    "*1\r\n%", "$1 \r\n", ": 1\r\n",       "*+1\r\n", "$\r\n", "*1\r\n$1\r\nxx\r",
};

START_TEST(what_is_no_reply_is_an_error)
{
    ck_assert_int_eq(fails(no_replies[_i]), FTL_EPROTO);
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
    CASE(suite, each_type_is_what_it_was);
    CASE(suite, a_reply_stays_while_others_come);
    CASE(suite, arrays_may_nest_so_deep_and_no_deeper);
    CASE(suite, a_bulk_beyond_the_bound_is_refused_before_it_comes);
    CASE(suite, a_line_without_end_is_refused);
    CASE(suite, an_array_beyond_the_bound_is_refused_before_it_takes_memory);
    CASE(suite, nested_arrays_share_one_bound);
    CASE(suite, each_reply_has_the_whole_bound);
    CASE(suite, garbage_is_an_error);
    TCase *tcase = tcase_create("no replies");
    tcase_add_checked_fixture(tcase, open_wire, close_wire);
    tcase_add_loop_test(tcase, what_is_no_reply_is_an_error, 0,
                        sizeof no_replies / sizeof *no_replies);
    suite_add_tcase(suite, tcase);
    CASE(suite, more_than_the_bound_is_not_put);
}

UNIT_MAIN("wire", add_cases)
