/* SPDX-License-Identifier: MIT
 *
 * Tests of daemon/roster and card: the records that dashboards read, and the signals that they
 * send. */
#include "daemon/roster.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/card.h"
#include "daemon/tick.h"
#include "tests/unit/parts.h"
#include "tests/unit/unit.h"

static struct unit_parts parts;
static struct ftl__marks cancels = {.generation = "0"}, faulted = {.generation = "0"};
static struct unit_redis *redis = &parts.redis;
static struct ftl__lease *lease;
static struct ftl__roster *roster;
static char id[FTL__ID_MAX + 1];

static char critical[] = "critical", low[] = "low";
static struct ftl__queue_config queues[] = {{.name = critical, .weight = 3},
                                            {.name = low, .weight = 1}};
static struct ftl__config config = {
    .concurrency = 7, .order = FTL__ORDER_WEIGHTED, .queues = queues, .queue_count = 2};

/* What the daemon would tell. */
static struct ftl__roster_state state;
static struct ftl__roster_run runs[FTL__ROSTER_RUNS];
static size_t run_count;
static int last_signal;
static struct ftl_notify *signalled;

static void tell_state(void *arg, struct ftl__roster_state *ret_state)
{
    (void)arg;
    *ret_state = state;
}

static size_t tell_runs(void *arg, struct ftl__roster_run *ret_runs, size_t max)
{
    (void)arg;
    size_t count = run_count < max ? run_count : max;
    memcpy(ret_runs, runs, count * sizeof *runs);
    return count;
}

static void on_signal(void *arg, int number)
{
    (void)arg;
    last_signal = number;
    ftl_notify_one(signalled);
}

static void on_turn(void *arg, const struct ftl__tick *tick)
{
    (void)arg;
    if (tick != NULL && roster != NULL)
        ftl__roster_told(roster, tick);
}

static void *open_task(void *arg)
{
    (void)arg;
    struct ftl__lease_options options = {.runtime = redis->control,
                                         .cancels = &cancels,
                                         .faulted = &faulted,
                                         .link = parts.link,
                                         .scripts = parts.scripts,
                                         .keys = parts.keys,
                                         .ttl = 15,
                                         .on_turn = on_turn};
    ftl_assert(ftl__lease_open(&options, &lease) == 0);
    signalled = ftl_notify_new();
    struct ftl__roster_options roster_options = {.runtime = redis->control,
                                                 .link = parts.link,
                                                 .scripts = parts.scripts,
                                                 .keys = parts.keys,
                                                 .lease = lease,
                                                 .config = &config,
                                                 .state = tell_state,
                                                 .runs = tell_runs,
                                                 .on_signal = on_signal};
    ftl_assert(ftl__roster_open(&roster_options, &roster) == 0);
    return NULL;
}

static void *close_task(void *arg)
{
    (void)arg;
    ftl__roster_close(roster);
    roster = NULL;
    ftl__lease_close(lease);
    ftl_notify_free(signalled);
    return NULL;
}

static void *refresh_task(void *arg)
{
    (void)arg;
    ftl__roster_refresh(roster);
    return NULL;
}

static void open_roster(void)
{
    unit_on_control(redis, open_task, NULL);
    unit_redis_await(redis, 1, "SCARD processes");
    redisReply *reply = unit_redis_call(redis, "SMEMBERS processes");
    snprintf(id, sizeof id, "%s", reply->element[0]->str);
    freeReplyObject(reply);
}

static void close_roster(void)
{
    unit_on_control(redis, close_task, NULL);
}

static void add_run(uint64_t token, const char *bytes, size_t size)
{
    runs[run_count++] = (struct ftl__roster_run){
        .token = token, .queue = "low", .bytes = bytes, .size = size, .started_at = 1700000000.5};
}

START_TEST(the_process_is_announced)
{
    state = (struct ftl__roster_state){.busy = 3, .quiet = true};
    open_roster();
    ck_assert_int_eq(unit_redis_int(redis, "HEXISTS fettle:owners %s", id), 1);
    ck_assert_int_eq(unit_redis_int(redis, "HGET %s busy", id), 3);
    ck_assert_int_eq(unit_redis_int(redis, "HGET %s concurrency", id), 7);
    ck_assert_str_eq(unit_redis_text(redis, "HGET %s quiet", id), "true");
    ck_assert_int_gt(unit_redis_int(redis, "HGET %s rss", id), 100);
    ck_assert_int_gt(unit_redis_int(redis, "HGET %s beat", id), 1600000000);
    ck_assert_int_eq(unit_redis_int(redis, "HEXISTS %s rtt_us", id), 1);
    ck_assert_int_gt(unit_redis_int(redis, "TTL %s", id), 50);
    close_roster();
}
END_TEST

START_TEST(its_queues_are_known)
{
    freeReplyObject(unit_redis_call(redis, "SADD queues other"));
    open_roster();
    ck_assert_int_eq(unit_redis_int(redis, "SISMEMBER queues critical"), 1);
    ck_assert_int_eq(unit_redis_int(redis, "SISMEMBER queues low"), 1);
    ck_assert_int_eq(unit_redis_int(redis, "SCARD queues"), 3);
    /* Whoever forgets them is told again. */
    freeReplyObject(unit_redis_call(redis, "DEL queues"));
    unit_on_control(redis, refresh_task, NULL);
    unit_redis_await(redis, 2, "SCARD queues");
    close_roster();
}
END_TEST

START_TEST(its_card_has_what_every_dashboard_wants)
{
    open_roster();
    json_t *info = json_loads(unit_redis_text(redis, "HGET %s info", id), 0, NULL);
    const char *identity, *mode;
    double started;
    int pid, concurrency, weight;
    ck_assert_int_eq(json_unpack(info,
                                 "{s:s s:F s:i s:i s:[ss] s:[{s:i}] s:s s:s s:s s:b s:[]"
                                 " s:{s:{s:s s:{}}}}",
                                 "identity", &identity, "started_at", &started, "pid", &pid,
                                 "concurrency", &concurrency, "queues", &mode, &mode, "weights",
                                 "critical", &weight, "hostname", &mode, "tag", &mode, "version",
                                 &mode, "embedded", &weight, "labels", "capsules", "default",
                                 "mode", &mode, "weights"),
                     0);
    ck_assert_str_eq(identity, id);
    ck_assert_str_eq(mode, "weighted");
    ck_assert_int_eq(pid, getpid());
    ck_assert_int_eq(concurrency, 7);
    json_decref(info);
    close_roster();
}
END_TEST

START_TEST(runs_are_shown_and_vanish)
{
    static const char job[] = "{\"class\":\"A\",\"args\":[\"\\u0000 \xc3\xa9\"]}";
    add_run(255, job, sizeof job - 1);
    open_roster();
    unit_redis_await(redis, 1, "HLEN %s:work", id);
    json_t *card = json_loads(unit_redis_text(redis, "HGET %s:work ff", id), 0, NULL);
    ck_assert_str_eq(json_string_value(json_object_get(card, "payload")), job);
    ck_assert_str_eq(json_string_value(json_object_get(card, "queue")), "low");
    ck_assert_int_eq(json_integer_value(json_object_get(card, "run_at")), 1700000000);
    json_decref(card);
    ck_assert_int_eq(unit_redis_int(redis, "HLEN %s:workers", id), 1);
    ck_assert_int_gt(unit_redis_int(redis, "TTL %s:work", id), 50);
    run_count = 0;
    unit_on_control(redis, refresh_task, NULL);
    unit_redis_await(redis, 0, "EXISTS %s:work %s:workers", id, id);
    close_roster();
}
END_TEST

START_TEST(the_record_of_runs_is_bounded)
{
    size_t size = 300000;
    char *job = malloc(size);
    memset(job, 'x', size);
    for (unsigned i = 0; i < FTL__ROSTER_RUNS; i++)
        add_run(i, job, i < 5 ? size : 10);
    open_roster();
    /* Three of the large ones are 0.9 of the 1 MiB; the small ones fit. */
    unit_redis_await(redis, 98, "HLEN %s:work", id);
    close_roster();
    free(job);
}
END_TEST

START_TEST(totals_grow_by_what_has_come)
{
    char day[16];
    time_t clock = time(NULL);
    freeReplyObject(unit_redis_call(redis, "SET stat:processed 1000"));
    state = (struct ftl__roster_state){.processed = 10, .failed = 2};
    open_roster();
    strftime(day, sizeof day, "%Y-%m-%d", gmtime(&clock));
    ck_assert_int_eq(unit_redis_int(redis, "GET stat:processed"), 1010);
    ck_assert_int_eq(unit_redis_int(redis, "GET stat:failed"), 2);
    ck_assert_int_eq(unit_redis_int(redis, "GET stat:processed:%s", day), 10);
    ck_assert_int_gt(unit_redis_int(redis, "TTL stat:failed:%s", day), 157000000);
    state.processed = 15;
    unit_on_control(redis, refresh_task, NULL);
    unit_redis_await(redis, 1015, "GET stat:processed");
    ck_assert_int_eq(unit_redis_int(redis, "GET stat:failed"), 2);
    close_roster();
}
END_TEST

static void *signal_task(void *arg)
{
    (void)arg;
    ftl_assert(ftl_notify_wait(signalled, ftl_deadline(60 * FTL_S)) == 0);
    return NULL;
}

START_TEST(signals_are_taken)
{
    open_roster();
    freeReplyObject(unit_redis_call(redis, "LPUSH %s-signals NONSENSE", id));
    freeReplyObject(unit_redis_call(redis, "LPUSH %s-signals TSTP", id));
    unit_on_control(redis, signal_task, NULL);
    ck_assert_int_eq(last_signal, SIGTSTP);
    ck_assert_int_eq(unit_redis_int(redis, "EXISTS %s-signals", id), 0);
    close_roster();
}
END_TEST

static void *leave_task(void *arg)
{
    (void)arg;
    ftl_assert(ftl__roster_leave(roster, ftl_deadline(60 * FTL_S)) == 0);
    return NULL;
}

START_TEST(it_leaves_nothing_but_the_totals)
{
    add_run(1, "{}", 2);
    open_roster();
    state.processed = 4;
    unit_on_control(redis, leave_task, NULL);
    ck_assert_int_eq(unit_redis_int(redis, "EXISTS processes %s %s:work %s:workers", id, id, id),
                     0);
    ck_assert_int_eq(unit_redis_int(redis, "GET stat:processed"), 4);
    close_roster();
}
END_TEST

START_TEST(who_died_without_a_word_is_pruned)
{
    freeReplyObject(unit_redis_call(redis, "SADD processes gone:1:x there:1:x"));
    freeReplyObject(unit_redis_call(redis, "HSET there:1:x info {}"));
    unit_on_control(redis, open_task, NULL);
    unit_redis_await(redis, 0, "SISMEMBER processes gone:1:x");
    ck_assert_int_eq(unit_redis_int(redis, "SISMEMBER processes there:1:x"), 1);
    ck_assert_int_eq(unit_redis_int(redis, "EXISTS process_cleanup"), 1);
    close_roster();
}
END_TEST

static void set_up(void)
{
    state = (struct ftl__roster_state){0};
    run_count = 0;
    last_signal = 0;
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
    CASE(suite, the_process_is_announced);
    CASE(suite, its_queues_are_known);
    CASE(suite, its_card_has_what_every_dashboard_wants);
    CASE(suite, runs_are_shown_and_vanish);
    CASE(suite, the_record_of_runs_is_bounded);
    CASE(suite, totals_grow_by_what_has_come);
    CASE(suite, signals_are_taken);
    CASE(suite, it_leaves_nothing_but_the_totals);
    CASE(suite, who_died_without_a_word_is_pruned);
}

UNIT_MAIN("roster", add_cases)
