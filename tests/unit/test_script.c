/* SPDX-License-Identifier: MIT
 *
 * Tests of daemon/script: loading, calls with any bytes, and a server that forgets. */
#include "daemon/script.h"

#include <stdlib.h>
#include <string.h>

#include <fettle/time.h>

#include "tests/unit/redis.h"
#include "tests/unit/unit.h"

#define SOON (60 * FTL_S)

static struct unit_redis redis;
static struct ftl__scripts *scripts;
static struct ftl__link *link_;
static struct ftl__keys *keys;
static struct ftl__invoke invoke;

static void open_all(void)
{
    ftl_assert(ftl__scripts_open(&scripts) == 0);
    struct ftl__link_options options = {.runtime = redis.control,
                                        .address = &redis.address,
                                        .name = "test",
                                        .on_up = ftl__scripts_on_up,
                                        .arg = scripts};
    ftl_assert(ftl__link_open(&options, &link_) == 0);
    ftl_assert(ftl__link_wait_up(link_, ftl_deadline(SOON)) == 0);
    ftl_assert(ftl__keys_open("p:", &keys) == 0);
    ftl__invoke_init(&invoke);
}

static void close_all(void)
{
    ftl__invoke_free(&invoke);
    ftl__keys_close(keys);
    ftl__link_close(link_);
    ftl__scripts_close(scripts);
}

static void build_register(const char *id)
{
    ftl__invoke_start(&invoke, FTL__SCRIPT_REGISTER);
    ftl__invoke_key(&invoke, &keys->owners);
    ftl__invoke_key(&invoke, &keys->beat);
    ftl__invoke_text(&invoke, id);
    ftl__invoke_text(&invoke, "1");
    ftl__invoke_uint(&invoke, 15000);
}

static struct redisReply *run(void)
{
    struct redisReply *reply;
    ftl_assert(ftl__invoke_run(&invoke, scripts, link_, ftl_deadline(SOON), &reply) == 0);
    return reply;
}

static void *calls(void *arg)
{
    (void)arg;
    open_all();
    build_register("a:1:x");
    struct redisReply *reply = run();
    ftl_assert(ftl__reply_check(reply, REDIS_REPLY_STRING, "register") == 0);
    ftl_assert(strtoull(reply->str, NULL, 10) > 1600000000000000);
    ftl__reply_free(reply);
    reply = run(); /* the same again: the ID exists */
    ftl_assert(ftl__reply_is_error(reply, "BADARG") && !ftl__reply_is_error(reply, "BADAR"));
    ftl_assert(ftl__reply_check(reply, REDIS_REPLY_STRING, "register") == FTL_EPROTO);
    ftl__reply_free(reply);
    close_all();
    return NULL;
}

START_TEST(a_script_is_called_with_its_keys_and_arguments)
{
    unit_on_control(&redis, calls, NULL);
    ck_assert_str_eq(unit_redis_text(&redis, "HGET p:fettle:owners a:1:x"), "1 15000");
}
END_TEST

static void *forgets(void *arg)
{
    struct redisReply *reply;
    (void)arg;
    open_all();
    ftl_assert(ftl__link_callf(link_, ftl_deadline(SOON), &reply, "SCRIPT FLUSH") == 0);
    ftl__reply_free(reply);
    build_register("b:1:x");
    reply = run();
    ftl_assert(reply->type == REDIS_REPLY_STRING);
    ftl__reply_free(reply);
    close_all();
    return NULL;
}

START_TEST(a_server_that_has_forgotten_is_told_again)
{
    unit_on_control(&redis, forgets, NULL);
    ck_assert_int_eq(unit_redis_int(&redis, "HEXISTS p:fettle:owners b:1:x"), 1);
}
END_TEST

static void *is_fenced(void *arg)
{
    (void)arg;
    open_all();
    struct ftl__key batch;
    ftl__key_batch(keys, "nobody", 1, &batch);
    ftl__invoke_start(&invoke, FTL__SCRIPT_ACK);
    ftl__invoke_key(&invoke, &keys->owners);
    ftl__invoke_key(&invoke, &keys->beat);
    ftl__invoke_key(&invoke, &batch);
    ftl__invoke_text(&invoke, "nobody");
    ftl__invoke_uint(&invoke, 1);
    struct redisReply *reply = run();
    ftl_assert(ftl__reply_check(reply, REDIS_REPLY_ARRAY, "ack") == FTL_EFENCED);
    ftl__reply_free(reply);
    close_all();
    return NULL;
}

START_TEST(fenced_is_told_apart)
{
    unit_on_control(&redis, is_fenced, NULL);
}
END_TEST

/* promote: 700 operations, so that the words are moved while they grow; bytes of every kind. */
static void *moves(void *arg)
{
    enum { COUNT = 700 };
    static const char odd[] = "\0\r\n\xff{}";
    struct ftl__key queue;
    (void)arg;
    open_all();
    ftl__key_queue(keys, "q", &queue);
    ftl__invoke_start(&invoke, FTL__SCRIPT_PROMOTE);
    ftl__invoke_key(&invoke, &keys->schedule);
    ftl__invoke_key(&invoke, &keys->queues);
    ftl__invoke_key(&invoke, &keys->dead);
    ftl__invoke_key(&invoke, &queue);
    for (int i = 0; i < COUNT; i++) {
        ftl__invoke_bytes(&invoke, odd, sizeof odd - 1);
        ftl__invoke_uint(&invoke, 1);
        ftl__invoke_text(&invoke, "q");
        ftl__invoke_bytes(&invoke, i == 0 ? "new" : "", i == 0 ? 3 : 0);
    }
    struct redisReply *reply = run();
    ftl_assert(reply->type == REDIS_REPLY_ARRAY && reply->elements == COUNT);
    ftl_assert(reply->element[0]->integer == 1 && reply->element[COUNT - 1]->integer == 0);
    ftl__reply_free(reply);
    close_all();
    return NULL;
}

START_TEST(words_may_hold_any_bytes_and_be_many)
{
    freeReplyObject(unit_redis_call(&redis, "ZADD p:schedule 1 %b", "\0\r\n\xff{}", (size_t)6));
    unit_on_control(&redis, moves, NULL);
    ck_assert_str_eq(unit_redis_text(&redis, "LINDEX p:queue:q 0"), "new");
    ck_assert_int_eq(unit_redis_int(&redis, "ZCARD p:schedule"), 0);
}
END_TEST

static void set_up(void)
{
    unit_redis_open(&redis, NULL);
}

static void tear_down(void)
{
    unit_redis_close(&redis);
}

static void add(Suite *suite, const char *name, const TTest *test)
{
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, test);
    suite_add_tcase(suite, tcase);
}
#define CASE(suite, test) add((suite), #test, (test))

static void add_cases(Suite *suite)
{
    unit_redis_require();
    CASE(suite, a_script_is_called_with_its_keys_and_arguments);
    CASE(suite, a_server_that_has_forgotten_is_told_again);
    CASE(suite, fenced_is_told_apart);
    CASE(suite, words_may_hold_any_bytes_and_be_many);
}

UNIT_MAIN("script", add_cases)
