/* SPDX-License-Identifier: MIT
 *
 * The marks of what is cancelled: taken in, looked up, over. */
#include "daemon/cancels.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/unit.h"

#define NOW 1795190000.0
#define LONG_JID                                                                                   \
    "0123456789012345678901234567890123456789012345678901234567890123456789"                       \
    "012345678901234567890123456789012345678901234567890123456" /* 127 bytes */

static struct ftl__marks cancels;
static int changes;

static void count(void *arg)
{
    (void)arg;
    changes++;
}

static struct redisReply string(const char *text)
{
    struct redisReply reply = {.type = REDIS_REPLY_STRING, .len = strlen(text)};
    memcpy(&reply.str, &text, sizeof text); /* hiredis has no const */
    return reply;
}

/* Fields and values up to a NULL. */
static void take(const char *generation, const char *const *texts)
{
    struct redisReply items[32], *pointers[32], first = string(generation);
    struct redisReply fields = {.type = REDIS_REPLY_ARRAY, .element = pointers};
    for (; texts[fields.elements] != NULL; fields.elements++) {
        items[fields.elements] = string(texts[fields.elements]);
        pointers[fields.elements] = &items[fields.elements];
    }
    ck_assert(ftl__marks_is_reply(&first, &fields));
    ftl__marks_take(&cancels, &first, &fields);
}

static bool has(const char *jid, uint64_t token, double now)
{
    const struct ftl__job_limits limits = {.max_bytes = 4096, .max_depth = 8};
    struct ftl__job_error error;
    struct ftl__job job;
    char text[512];
    int size = snprintf(text, sizeof text, "{\"class\":\"A\",\"jid\":%s}", jid);
    ck_assert_int_eq(ftl__job_scan(text, (size_t)size, &limits, &job, &error), 0);
    return ftl__cancels_has(&cancels, &job, token, now);
}

static void setup(void)
{
    ftl__marks_init(&cancels);
    cancels.on_change = count;
    changes = 0;
}

START_TEST(finds_by_jid_and_by_token)
{
    const char *texts[] = {"jid:b", "1795190060", "generation", "7", "token:5", "1795190060",
                           "jid:a", "1795190060", "jid:" LONG_JID, "1795190060", NULL};
    setup();
    ck_assert(!ftl__marks_any(&cancels));
    take("7", texts);
    ck_assert(ftl__marks_any(&cancels) && changes == 1);
    ck_assert_str_eq(cancels.generation, "7");
    ck_assert(has("\"a\"", 1, NOW) && has("\"b\"", 1, NOW) && has("\"\\u0061\"", 1, NOW));
    ck_assert(!has("\"c\"", 1, NOW) && !has("\"ab\"", 1, NOW) && !has("\"\"", 1, NOW));
    ck_assert(!has("null", 1, NOW) && !has("[\"a\"]", 1, NOW));
    ck_assert(has("\"c\"", 5, NOW) && !has("\"c\"", 0, NOW) && !has("\"c\"", 50, NOW));
    ck_assert(has("\"" LONG_JID "\"", 1, NOW) && !has("\"" LONG_JID "7\"", 1, NOW));
    ftl__marks_free(&cancels);
}
END_TEST

START_TEST(a_mark_ends)
{
    setup();
    take("1", (const char *[]){"jid:a", "1795190060", NULL});
    ck_assert(has("\"a\"", 1, NOW + 59.9) && !has("\"a\"", 1, NOW + 60));
    ftl__marks_free(&cancels);
}
END_TEST

START_TEST(another_generation_takes_the_place_of_the_last)
{
    setup();
    take("1", (const char *[]){"jid:a", "1795190060", NULL});
    take("1", (const char *[]){"jid:b", "1795190060", NULL}); /* known */
    ck_assert(has("\"a\"", 1, NOW) && !has("\"b\"", 1, NOW) && changes == 1);
    take("2", (const char *[]){"jid:b", "1795190060", NULL});
    ck_assert(!has("\"a\"", 1, NOW) && has("\"b\"", 1, NOW) && changes == 2);
    take("0", (const char *[]){NULL});
    ck_assert(!ftl__marks_any(&cancels) && !has("\"b\"", 1, NOW) && changes == 3);
    ck_assert_str_eq(cancels.generation, "0");
    ftl__marks_free(&cancels);
}
END_TEST

/* Claims and beats ask over connections of their own: their answers may overtake each other. */
START_TEST(an_older_answer_is_no_news)
{
    setup();
    take("10", (const char *[]){"jid:a", "1795190060", NULL});
    take("9", (const char *[]){"jid:b", "1795190060", NULL});
    ck_assert_str_eq(cancels.generation, "10");
    ck_assert(has("\"a\"", 1, NOW) && !has("\"b\"", 1, NOW) && changes == 1);
    take("18446744073709551615", (const char *[]){"generation", "18446744073709551615", NULL});
    ck_assert(!ftl__marks_any(&cancels) && changes == 2); /* taken away */
    take("0", (const char *[]){NULL}); /* it is over in Redis, too: there was none left */
    ck_assert_str_eq(cancels.generation, "18446744073709551615");
    ftl__marks_free(&cancels);
}
END_TEST

/* Asked with what is known still, Redis says that it has another one: it has gone back in time. */
START_TEST(an_older_redis_is_believed)
{
    struct redisReply old = string("9"), name = string("jid:b"), until = string("1795190060");
    struct redisReply *items[] = {&name, &until};
    struct redisReply fields = {.type = REDIS_REPLY_ARRAY, .elements = 2, .element = items};
    setup();
    take("10", (const char *[]){"jid:a", "1795190060", NULL});
    ftl__marks_take_from(&cancels, "8", &old, &fields); /* it was on its way when "10" came */
    ck_assert(has("\"a\"", 1, NOW) && changes == 1);
    ftl__marks_take_from(&cancels, "10", &old, &fields);
    ck_assert(has("\"b\"", 1, NOW) && !has("\"a\"", 1, NOW) && changes == 2);
    ck_assert_str_eq(cancels.generation, "9");
    ftl__marks_take_from(&cancels, "9", &old, &fields);
    ck_assert_int_eq(changes, 2);
    ftl__marks_free(&cancels);
}
END_TEST

START_TEST(other_replies_are_none)
{
    struct redisReply good = string("7"), number = {.type = REDIS_REPLY_INTEGER}, *one = &number;
    struct redisReply too_long = string("123456789012345678901234");
    struct redisReply none = {.type = REDIS_REPLY_ARRAY};
    struct redisReply odd = {.type = REDIS_REPLY_ARRAY, .elements = 1, .element = &one};
    ck_assert(ftl__marks_is_reply(&good, &none));
    ck_assert(!ftl__marks_is_reply(&number, &none) && !ftl__marks_is_reply(&too_long, &none));
    ck_assert(!ftl__marks_is_reply(&good, &good) && !ftl__marks_is_reply(&good, &odd));
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, finds_by_jid_and_by_token);
    UNIT_CASE(suite, a_mark_ends);
    UNIT_CASE(suite, another_generation_takes_the_place_of_the_last);
    UNIT_CASE(suite, an_older_answer_is_no_news);
    UNIT_CASE(suite, an_older_redis_is_believed);
    UNIT_CASE(suite, other_replies_are_none);
}

UNIT_MAIN("cancels", add_cases)
