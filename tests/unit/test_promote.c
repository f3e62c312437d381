/* SPDX-License-Identifier: MIT
 *
 * Tests of daemon/promote and due: what is due comes to its queue in time, what cannot goes to
 * dead. */
#include "daemon/promote.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/tick.h"
#include "tests/unit/parts.h"
#include "tests/unit/unit.h"

static struct unit_parts parts;
static struct ftl__marks cancels = {.generation = "0"}, faulted = {.generation = "0"};
static struct unit_redis *redis = &parts.redis;

/* A daemon in small: its lease, on a link of its own as there, since large members keep the other
 * one busy for seconds, and its promoter. */
struct worker {
    struct ftl__link *beat;
    struct ftl__lease *lease;
    struct ftl__promote *promote;
    uint64_t max_jobs;
    double max_age;
};
static struct worker one, two;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void on_turn(void *arg, const struct ftl__tick *tick)
{
    struct worker *worker = arg;
    if (tick != NULL && worker->promote != NULL)
        ftl__promote_told(worker->promote, tick);
}

static void *open_task(void *arg)
{
    struct worker *worker = arg;
    struct ftl__link_options beat = {.runtime = redis->control,
                                     .address = &redis->address,
                                     .name = "beat",
                                     .on_up = ftl__scripts_on_up,
                                     .arg = parts.scripts};
    ftl_assert(ftl__link_open(&beat, &worker->beat) == 0);
    struct ftl__lease_options lease = {.runtime = redis->control,
                                       .cancels = &cancels,
                                       .faulted = &faulted,
                                       .link = worker->beat,
                                       .scripts = parts.scripts,
                                       .keys = parts.keys,
                                       .ttl = 15,
                                       .on_turn = on_turn,
                                       .arg = worker};
    ftl_assert(ftl__lease_open(&lease, &worker->lease) == 0);
    struct ftl__promote_options options = {.runtime = redis->control,
                                           .cancels = &cancels,
                                           .link = parts.link,
                                           .scripts = parts.scripts,
                                           .keys = parts.keys,
                                           .lease = worker->lease,
                                           .dead_max_jobs = worker->max_jobs,
                                           .dead_max_age = worker->max_age};
    ftl_assert(ftl__promote_open(&options, &worker->promote) == 0);
    return NULL;
}

static void *close_task(void *arg)
{
    struct worker *worker = arg;
    ftl_assert(ftl__link_wait_up(worker->beat, ftl_deadline(60 * FTL_S)) == 0);
    ftl_assert(ftl__lease_retire(worker->lease, ftl_deadline(60 * FTL_S)) == 0);
    ftl__promote_close(worker->promote);
    worker->promote = NULL;
    ftl__lease_close(worker->lease);
    ftl__link_close(worker->beat);
    return NULL;
}

static void open_worker(struct worker *worker)
{
    unit_on_control(redis, open_task, worker);
}

static void close_worker(struct worker *worker)
{
    unit_on_control(redis, close_task, worker);
}

static void add_member(const char *set, double score, const char *bytes)
{
    freeReplyObject(unit_redis_call(redis, "ZADD %s %f %s", set, score, bytes));
}

/* The next job of a queue, waited for; in static storage. */
static const char *next_of(const char *queue)
{
    static char text[4096];
    redisReply *reply = unit_redis_call(redis, "BRPOP queue:%s 60", queue);
    ck_assert_int_eq(reply->type, REDIS_REPLY_ARRAY);
    snprintf(text, sizeof text, "%s", reply->element[1]->str);
    freeReplyObject(reply);
    return text;
}

START_TEST(what_is_due_comes_to_its_queue)
{
    add_member("retry", 1, "{\"class\":\"A\",\"x\":1.10,\"queue\":\"low\",\"retry_count\":3}");
    add_member("schedule", 2, "{\"class\":\"B\",\"at\":2,\"big\":12345678901234567890}");
    open_worker(&one);
    const char *job = next_of("low");
    ck_assert_ptr_nonnull(
        strstr(job, "{\"class\":\"A\",\"x\":1.10,\"queue\":\"low\",\"retry_count\":3"));
    ck_assert_ptr_nonnull(strstr(job, "\"enqueued_at\":"));
    job = next_of("default");
    ck_assert_ptr_nonnull(strstr(job, "12345678901234567890"));
    ck_assert_ptr_null(strstr(job, "\"at\""));
    ck_assert_int_eq(unit_redis_int(redis, "EXISTS retry schedule"), 0);
    ck_assert_int_eq(unit_redis_int(redis, "SCARD queues"), 2);
    close_worker(&one);
}
END_TEST

START_TEST(it_comes_in_time_and_not_before)
{
    open_worker(&one);
    unit_redis_await(redis, 1, "EXISTS fettle:promoter");
    double due = now() + 1.5;
    add_member("schedule", due, "{\"class\":\"A\"}");
    (void)next_of("default");
    double late = now() - due;
    ck_assert_msg(late >= 0 && late * FTL_S < (double)unit_limit(300 * FTL_MS),
                  "late by %f s", late);
    close_worker(&one);
}
END_TEST

START_TEST(many_are_moved_at_once)
{
    for (int i = 0; i < 2500; i++) {
        char job[64];
        snprintf(job, sizeof job, "{\"class\":\"A\",\"n\":%d,\"queue\":\"q%d\"}", i, i % 5);
        add_member("retry", 1 + i, job);
    }
    open_worker(&one);
    unit_redis_await(redis, 0, "ZCARD retry");
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(unit_redis_int(redis, "LLEN queue:q%d", i), 500);
        char name[16], expected[32];
        snprintf(name, sizeof name, "q%d", i);
        snprintf(expected, sizeof expected, "\"n\":%d,", i);
        ck_assert_ptr_nonnull(strstr(next_of(name), expected));
    }
    close_worker(&one);
}
END_TEST

START_TEST(what_is_no_job_goes_to_dead_as_it_is)
{
    add_member("retry", 1, "no job at all");
    add_member("retry", 2, "{\"class\":\"A\",\"queue\":\"no such name!\"}");
    add_member("retry", 3, "{\"class\":\"A\"}");
    open_worker(&one);
    (void)next_of("default");
    unit_redis_await(redis, 2, "ZCARD dead");
    ck_assert_int_eq(unit_redis_int(redis, "EXISTS retry"), 0);
    ck_assert_int_gt(unit_redis_int(redis, "ZSCORE dead %s", "no job at all"), 1600000000);
    close_worker(&one);
}
END_TEST

/* Whose limits it exceeds, its claim finds out. */
START_TEST(what_is_large_or_deep_is_promoted)
{
    const int deep = 5000;
    const size_t size = 40 << 20;
    char *job = malloc(size + 1);
    int begun = snprintf(job, size, "{\"class\":\"A\",\"args\":[");
    memset(job + begun, '[', deep);
    memset(job + begun + deep, ']', deep);
    snprintf(job + begun + 2 * deep, size - (size_t)begun - 2 * (size_t)deep, "]}");
    add_member("retry", 1, job);
    memset(job + begun, 'x', size - (size_t)begun);
    job[begun] = '"';
    memcpy(job + size - 3, "\"]}", 4);
    add_member("retry", 2, job);
    free(job);
    open_worker(&one);
    unit_redis_await(redis, 2, "LLEN queue:default");
    ck_assert_int_eq(unit_redis_int(redis, "EXISTS retry dead"), 0);
    close_worker(&one);
}
END_TEST

START_TEST(a_queue_of_a_wrong_type_holds_nobody_up)
{
    freeReplyObject(unit_redis_call(redis, "SET queue:wrong x"));
    for (int i = 0; i < 600; i++) {
        char job[64];
        snprintf(job, sizeof job, "{\"class\":\"A\",\"n\":%d,\"queue\":\"wrong\"}", i);
        add_member("schedule", 1, job);
    }
    add_member("schedule", 2, "{\"class\":\"A\"}");
    open_worker(&one);
    (void)next_of("default");
    unit_redis_await(redis, 600, "ZCARD dead");
    ck_assert_str_eq(unit_redis_text(redis, "GET queue:wrong"), "x");
    close_worker(&one);
}
END_TEST

START_TEST(a_set_of_a_wrong_type_does_not_stop_the_other)
{
    freeReplyObject(unit_redis_call(redis, "SET retry x"));
    add_member("schedule", 1, "{\"class\":\"A\"}");
    open_worker(&one);
    (void)next_of("default");
    close_worker(&one);
}
END_TEST

START_TEST(one_at_a_time_and_the_next_takes_over)
{
    open_worker(&one);
    unit_redis_await(redis, 1, "EXISTS fettle:promoter");
    char holder[FTL__ID_MAX + 1];
    snprintf(holder, sizeof holder, "%s", unit_redis_text(redis, "GET fettle:promoter"));
    open_worker(&two);
    add_member("schedule", 1, "{\"class\":\"A\"}");
    (void)next_of("default");
    ck_assert_str_eq(unit_redis_text(redis, "GET fettle:promoter"), holder);
    close_worker(&one);
    ck_assert_str_ne(unit_redis_text(redis, "GET fettle:promoter"), holder); /* given back */
    add_member("schedule", 1, "{\"class\":\"B\"}");
    (void)next_of("default");
    ck_assert_str_ne(unit_redis_text(redis, "GET fettle:promoter"), holder);
    close_worker(&two);
}
END_TEST

static struct ftl__promote_stats stats;

static void *stats_task(void *arg)
{
    struct worker *worker = arg;
    stats = ftl__promote_stats(worker->promote);
    return NULL;
}

static void *has_id(void *arg)
{
    *(bool *)arg = ftl__lease_id(one.lease)[0] != '\0';
    return NULL;
}

static void await_id(bool expected)
{
    int64_t limit = ftl_deadline(60 * FTL_S);
    bool has = !expected;
    while (has != expected && ftl_now() < limit)
        unit_on_control(redis, has_id, &has);
    ck_assert_msg(has == expected, expected ? "no ID has come" : "the ID has not gone");
}

/* As a tick that was on its way when the ID went. What the promoter sends because of it is executed
 * before the PING, on the same link. */
static void *tell_due(void *arg)
{
    const struct ftl__tick tick = {.promoter = true, .next = 1, .now = 2, .dead_oldest = INFINITY};
    struct redisReply *reply;
    (void)arg;
    ftl__promote_told(one.promote, &tick);
    for (int i = 0; i < 10; i++)
        ftl_assert(ftl_yield() == 0);
    ftl_assert(ftl__link_callf(parts.link, ftl_deadline(60 * FTL_S), &reply, "PING") == 0);
    ftl__reply_free(reply);
    return NULL;
}

START_TEST(without_an_id_it_stands_still)
{
    open_worker(&one);
    unit_redis_await(redis, 1, "EXISTS fettle:promoter");
    /* Fenced, and it cannot register anew. */
    freeReplyObject(unit_redis_call(redis, "SET fettle:beat x"));
    freeReplyObject(unit_redis_call(redis, "DEL fettle:owners fettle:promoter"));
    await_id(false);
    add_member("schedule", 1, "{\"class\":\"A\"}");
    unit_on_control(redis, tell_due, NULL);
    ck_assert_int_eq(unit_redis_int(redis, "ZCARD schedule"), 1);
    ck_assert_int_eq(unit_redis_int(redis, "EXISTS fettle:promoter queue:default"), 0);
    freeReplyObject(unit_redis_call(redis, "DEL fettle:beat"));
    (void)next_of("default");
    await_id(true);
    close_worker(&one);
}
END_TEST

START_TEST(dead_is_trimmed_to_its_bounds)
{
    for (int i = 0; i < 250; i++) {
        char job[64];
        snprintf(job, sizeof job, "{\"class\":\"A\",\"jid\":\"%d\"}", i);
        add_member("dead", now() - (i < 200 ? 1000 : 100) + i * 0.001, job);
    }
    one.max_jobs = 100;
    one.max_age = 800; /* the first 200 are older */
    open_worker(&one);
    unit_redis_await(redis, 50, "ZCARD dead");
    /* Redis has dropped them before the reply that counts them is here. */
    int64_t deadline = ftl_deadline(60 * FTL_S);
    do
        unit_on_control(redis, stats_task, &one);
    while (stats.dropped < 200 && ftl_now() < deadline);
    ck_assert_uint_eq(stats.dropped, 200);
    ck_assert_ptr_nonnull(
        strstr(unit_redis_text(redis, "EVAL %s 0", "return redis.call('ZRANGE','dead',0,0)[1]"),
               "\"200\""));
    close_worker(&one);
}
END_TEST

START_TEST(dead_is_never_trimmed_without_bounds)
{
    add_member("dead", 1, "{\"class\":\"Old\"}");
    add_member("schedule", 1, "{\"class\":\"A\"}");
    open_worker(&one);
    (void)next_of("default");
    add_member("schedule", 1, "{\"class\":\"B\"}"); /* a second look */
    (void)next_of("default");
    ck_assert_int_eq(unit_redis_int(redis, "ZCARD dead"), 1);
    close_worker(&one);
}
END_TEST

static void set_up(void)
{
    one = two = (struct worker){0};
    unit_parts_open(&parts);
}

static void tear_down(void)
{
    unit_parts_close(&parts);
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
    CASE(suite, what_is_due_comes_to_its_queue);
    CASE(suite, it_comes_in_time_and_not_before);
    CASE(suite, many_are_moved_at_once);
    CASE(suite, what_is_no_job_goes_to_dead_as_it_is);
    CASE(suite, what_is_large_or_deep_is_promoted);
    CASE(suite, a_queue_of_a_wrong_type_holds_nobody_up);
    CASE(suite, a_set_of_a_wrong_type_does_not_stop_the_other);
    CASE(suite, one_at_a_time_and_the_next_takes_over);
    CASE(suite, without_an_id_it_stands_still);
    CASE(suite, dead_is_trimmed_to_its_bounds);
    CASE(suite, dead_is_never_trimmed_without_bounds);
}

UNIT_MAIN("promote", add_cases)
