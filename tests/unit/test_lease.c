/* SPDX-License-Identifier: MIT
 *
 * Tests of daemon/lease, watch and reap: keeping a lease, losing it, and taking over from the
 * dead. */
#include "daemon/lease.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/parts.h"
#include "tests/unit/unit.h"

#define TTL_MS 1500 /* a machine with much else to do lets a beat wait */

/* A lease and what it has told. */
struct holder {
    double ttl; /* seconds */
    struct ftl__lease *lease;
    int registered, fenced;
    char id[FTL__ID_MAX + 1], lost[FTL__ID_MAX + 1];
    struct ftl_notify *told;
};

static struct unit_parts parts;
static struct ftl__marks cancels = {.generation = "0"}, faulted = {.generation = "0"};
static struct unit_redis *redis = &parts.redis;
static struct holder one, two;

static void on_registered(void *arg, const char *id)
{
    struct holder *holder = arg;
    holder->registered++;
    snprintf(holder->id, sizeof holder->id, "%s", id);
    ftl_notify_one(holder->told);
}

static void on_fenced(void *arg, const char *id)
{
    struct holder *holder = arg;
    holder->fenced++;
    snprintf(holder->lost, sizeof holder->lost, "%s", id);
}

static void *open_task(void *arg)
{
    struct holder *holder = arg;
    struct ftl__lease_options options = {.runtime = parts.redis.control,
                                         .cancels = &cancels,
                                         .faulted = &faulted,
                                         .link = parts.link,
                                         .scripts = parts.scripts,
                                         .keys = parts.keys,
                                         .ttl = holder->ttl,
                                         .on_registered = on_registered,
                                         .on_fenced = on_fenced,
                                         .arg = holder};
    holder->told = ftl_notify_new();
    ftl_assert(ftl__lease_open(&options, &holder->lease) == 0);
    ftl_assert(ftl_notify_wait(holder->told, ftl_deadline(60 * FTL_S)) == 0);
    ftl_assert(strcmp(ftl__lease_id(holder->lease), holder->id) == 0);
    return NULL;
}

static void *close_task(void *arg)
{
    struct holder *holder = arg;
    ftl__lease_close(holder->lease);
    ftl_notify_free(holder->told);
    return NULL;
}

static void open_lease(struct holder *holder)
{
    unit_on_control(redis, open_task, holder);
}

static void close_lease(struct holder *holder)
{
    unit_on_control(redis, close_task, holder);
}

static void *wait_task(void *arg)
{
    struct holder *holder = arg;
    ftl_assert(ftl_notify_wait(holder->told, ftl_deadline(60 * FTL_S)) == 0);
    return NULL;
}

/* An owner who never beats, with one batch: jobs "a", "b" (settled), "c". */
static void plant(const char *id, const char *format, const char *queue)
{
    freeReplyObject(unit_redis_call(redis, "HSET fettle:owners %s %s", id, format));
    freeReplyObject(unit_redis_call(redis, "HSET fettle:beat %s 7", id));
    char entry[64];
    snprintf(entry, sizeof entry, "1000 3 %s", queue);
    freeReplyObject(unit_redis_call(redis, "HSET fettle:batches:%s 1 %s", id, entry));
    freeReplyObject(unit_redis_call(redis, "RPUSH fettle:batch:%s:1 a %s c", id, id));
}

START_TEST(it_registers_and_beats)
{
    open_lease(&one);
    ck_assert_int_eq(unit_redis_int(redis, "HLEN fettle:owners"), 1);
    ck_assert_str_eq(unit_redis_text(redis, "HGET fettle:owners %s", one.id), "1 1500");
    unit_redis_await(redis, 2, "HGET fettle:beat %s", one.id);
    const char *colon = strchr(one.id, ':');
    ck_assert_ptr_nonnull(colon);
    ck_assert_int_eq(atoi(colon + 1), getpid());
    close_lease(&one);
    ck_assert_int_eq(unit_redis_int(redis, "HLEN fettle:owners"), 1);
}
END_TEST

START_TEST(a_fenced_owner_goes_on_under_a_new_id)
{
    char before[FTL__ID_MAX + 1];
    open_lease(&one);
    memcpy(before, one.id, sizeof before);
    freeReplyObject(unit_redis_call(redis, "HDEL fettle:owners %s", before));
    unit_on_control(redis, wait_task, &one);
    ck_assert_int_eq(one.fenced, 1);
    ck_assert_int_eq(one.registered, 2);
    ck_assert_str_eq(one.lost, before);
    ck_assert_str_ne(one.id, before);
    ck_assert_int_eq(unit_redis_int(redis, "HEXISTS fettle:owners %s", one.id), 1);
    close_lease(&one);
}
END_TEST

/* As long as a daemon lives, that its jobs were taken is no death; what others are to blame for
 * stays. */
START_TEST(a_fenced_owner_takes_its_counts_back)
{
    open_lease(&one);
    freeReplyObject(unit_redis_call(redis, "HSET fettle:batches:%s 1 %s", one.id, "1 1 default"));
    freeReplyObject(unit_redis_call(redis, "RPUSH fettle:batch:%s:1 a", one.id));
    freeReplyObject(unit_redis_call(
        redis, "EVAL %s 1 fettle:recoveries %s",
        "for i = 1, 5000 do redis.call('HSET', KEYS[1], i, i % 3 + 1 .. ' ' .. ARGV[1]) end "
        "redis.call('HSET', KEYS[1], 'other', '2 dead:1:x', 'nobody', '2')",
        one.id));
    freeReplyObject(unit_redis_call(redis, "HSET fettle:fenced %s 1", one.id));
    freeReplyObject(unit_redis_call(redis, "HDEL fettle:owners %s", one.id));
    unit_on_control(redis, wait_task, &one);
    /* A third of them were counted once; and the job that is reaped now. */
    unit_redis_await(redis, 5002 - 1666, "HLEN fettle:recoveries");
    ck_assert_int_eq(unit_redis_int(redis, "LLEN queue:default"), 1);
    ck_assert_str_eq(unit_redis_text(redis, "HGET fettle:recoveries 1"), "1");
    ck_assert_str_eq(unit_redis_text(redis, "HGET fettle:recoveries 2"), "2");
    ck_assert_int_eq(unit_redis_int(redis, "HEXISTS fettle:recoveries 3"), 0);
    ck_assert_str_eq(unit_redis_text(redis, "HGET fettle:recoveries other"), "2 dead:1:x");
    ck_assert_str_eq(unit_redis_text(redis, "HGET fettle:recoveries nobody"), "2");
    close_lease(&one);
}
END_TEST

static void *suspect_task(void *arg)
{
    struct holder *holder = arg;
    int64_t began = ftl_now();
    ftl__lease_suspect(holder->lease, "somebody:1:else");
    ftl__lease_suspect(holder->lease, holder->id);
    ftl_assert(ftl_notify_wait(holder->told, ftl_deadline(60 * FTL_S)) == 0);
    ftl_assert(ftl_now() - began < unit_limit(FTL_S));
    return NULL;
}

START_TEST(a_suspicion_is_looked_into_at_once)
{
    one.ttl = 60; /* a beat every 20 s */
    open_lease(&one);
    freeReplyObject(unit_redis_call(redis, "HDEL fettle:owners %s", one.id));
    unit_on_control(redis, suspect_task, &one);
    ck_assert_int_eq(one.registered, 2);
    close_lease(&one);
}
END_TEST

START_TEST(a_dead_owner_is_reaped)
{
    plant("dead:1:x", "1 1500", "default");
    freeReplyObject(unit_redis_call(redis, "RPUSH queue:default later"));
    int64_t began = ftl_now();
    open_lease(&one);
    unit_redis_await(redis, 3, "LLEN queue:default");
    /* Its ttl at least, and not much more. */
    ck_assert_int_ge(ftl_now() - began, TTL_MS * FTL_MS);
    ck_assert_int_lt(ftl_now() - began, unit_limit(TTL_MS * FTL_MS + 5 * FTL_S));
    /* The oldest is next; what was settled is gone. */
    ck_assert_str_eq(unit_redis_text(redis, "LINDEX queue:default -1"), "a");
    ck_assert_str_eq(unit_redis_text(redis, "LINDEX queue:default -2"), "c");
    ck_assert_int_eq(unit_redis_int(redis, "HLEN fettle:recoveries"), 2);
    unit_redis_await(redis, 0, "EXISTS fettle:fenced fettle:batches:dead:1:x");
    ck_assert_int_eq(unit_redis_int(redis, "HLEN fettle:owners"), 1);
    ck_assert_int_eq(one.fenced, 0);
    close_lease(&one);
}
END_TEST

START_TEST(several_batches_come_back_in_their_order)
{
    plant("dead:1:x", "1 1500", "default");
    freeReplyObject(
        unit_redis_call(redis, "HSET fettle:batches:dead:1:x 10 %s", "2000 250 default"));
    for (int i = 0; i < 250; i++)
        freeReplyObject(unit_redis_call(redis, "RPUSH fettle:batch:dead:1:x:10 job%d", i));
    open_lease(&one);
    unit_redis_await(redis, 252, "LLEN queue:default");
    ck_assert_str_eq(unit_redis_text(redis, "LINDEX queue:default -1"), "a");
    ck_assert_str_eq(unit_redis_text(redis, "LINDEX queue:default -3"), "job0");
    ck_assert_str_eq(unit_redis_text(redis, "LINDEX queue:default 0"), "job249");
    close_lease(&one);
}
END_TEST

START_TEST(a_job_that_was_recovered_too_often_goes_to_dead)
{
    const char *id = "dead:1:x";
    plant(id, "1 1500", "default");
    freeReplyObject(unit_redis_call(redis, "EVAL %s 0",
                                    "redis.call('HSET','fettle:recoveries',redis.sha1hex('c'),2)"));
    freeReplyObject(unit_redis_call(redis, "LSET fettle:batch:%s:1 0 %s", id, id));
    open_lease(&one);
    unit_redis_await(redis, 1, "ZCARD dead");
    ck_assert_int_eq(unit_redis_int(redis, "LLEN queue:default"), 0);
    close_lease(&one);
}
END_TEST

START_TEST(one_that_was_not_alone_does_not)
{
    const char *id = "dead:1:x";
    plant(id, "1 1500", "default");
    freeReplyObject(unit_redis_call(redis, "HSET fettle:batches:%s 2 %s", id, "900 1 default"));
    freeReplyObject(unit_redis_call(redis, "RPUSH fettle:batch:%s:2 d", id));
    freeReplyObject(unit_redis_call(redis, "LSET fettle:batch:%s:1 0 %s", id, id));
    freeReplyObject(unit_redis_call(redis, "EVAL %s 0",
                                    "redis.call('HSET','fettle:recoveries',redis.sha1hex('c'),2)"));
    open_lease(&one);
    unit_redis_await(redis, 2, "LLEN queue:default");
    ck_assert_int_eq(unit_redis_int(redis, "ZCARD dead"), 0);
    close_lease(&one);
}
END_TEST

/* Two turns of one ttl each. */
static void *two_ttls_task(void *arg)
{
    (void)arg;
    ftl_assert(ftl_sleep(5 * TTL_MS * FTL_MS / 2) == 0);
    return NULL;
}

/* Three come before it whose keys are no hashes: already fenced ones, and one that is silent. */
START_TEST(an_owner_that_cannot_be_reaped_stops_no_other)
{
    static const char *const bad[] = {"bad:1:x", "bad:2:x", "bad:3:x"};
    for (int i = 0; i < 3; i++) {
        freeReplyObject(unit_redis_call(redis, "SET fettle:batches:%s text", bad[i]));
        if (i < 2)
            freeReplyObject(unit_redis_call(redis, "HSET fettle:fenced %s 1", bad[i]));
    }
    freeReplyObject(unit_redis_call(redis, "HSET fettle:owners bad:3:x %s", "1 1500"));
    freeReplyObject(unit_redis_call(redis, "HSET fettle:beat bad:3:x 7"));
    plant("dead:1:x", "1 1500", "silent");
    plant("dead:2:x", "1 1500", "fenced");
    freeReplyObject(unit_redis_call(redis, "HDEL fettle:owners dead:2:x"));
    freeReplyObject(unit_redis_call(redis, "HSET fettle:fenced dead:2:x 1"));
    open_lease(&one);
    unit_redis_await(redis, 2, "LLEN queue:fenced");
    unit_redis_await(redis, 2, "LLEN queue:silent");
    unit_redis_await(redis, 3, "HLEN fettle:fenced"); /* they stay, to be tried again */
    /* And whoever was fenced himself takes his counts back behind them. */
    freeReplyObject(unit_redis_call(redis, "EVAL %s 1 fettle:recoveries %s",
                                    "redis.call('HSET', KEYS[1], 'h', '1 ' .. ARGV[1])", one.id));
    freeReplyObject(unit_redis_call(redis, "HDEL fettle:owners %s", one.id));
    unit_on_control(redis, wait_task, &one);
    unit_redis_await(redis, 0, "HEXISTS fettle:recoveries h");
    close_lease(&one);
}
END_TEST

START_TEST(the_living_and_the_unknown_are_left_alone)
{
    plant("future:1:x", "2 1500", "default");
    open_lease(&one);
    open_lease(&two);
    unit_on_control(redis, two_ttls_task, NULL);
    ck_assert_int_eq(one.fenced + two.fenced, 0);
    ck_assert_int_eq(unit_redis_int(redis, "HLEN fettle:owners"), 3);
    ck_assert_int_eq(unit_redis_int(redis, "LLEN fettle:batch:future:1:x:1"), 3);
    close_lease(&two);
    close_lease(&one);
}
END_TEST

START_TEST(an_outage_of_redis_expires_nobody)
{
    open_lease(&one);
    plant("silent:1:x", "1 1500", "default");
    unit_redis_kill(redis);
    unit_on_control(redis, two_ttls_task, NULL);
    unit_redis_start(redis, NULL);
    int64_t back = ftl_now();
    unit_redis_await(redis, 0, "HEXISTS fettle:owners silent:1:x");
    /* He has had his whole ttl since. */
    ck_assert_int_ge(ftl_now() - back, TTL_MS * FTL_MS);
    ck_assert_int_eq(one.fenced, 0);
    ck_assert_int_eq(one.registered, 1);
    ck_assert_int_eq(unit_redis_int(redis, "HEXISTS fettle:owners %s", one.id), 1);
    close_lease(&one);
}
END_TEST

static int retired;

static void *retire_task(void *arg)
{
    struct holder *holder = arg;
    retired = ftl__lease_retire(holder->lease, ftl_deadline(60 * FTL_S));
    return NULL;
}

START_TEST(a_clean_exit_gives_the_lease_up)
{
    open_lease(&one);
    unit_on_control(redis, retire_task, &one);
    ck_assert_int_eq(retired, 0);
    ck_assert_int_eq(unit_redis_int(redis, "EXISTS fettle:owners fettle:beat"), 0);
    close_lease(&one);
}
END_TEST

START_TEST(it_is_kept_while_batches_are_left)
{
    open_lease(&one);
    freeReplyObject(unit_redis_call(redis, "HSET fettle:batches:%s 1 %s", one.id, "1 1 default"));
    unit_on_control(redis, retire_task, &one);
    ck_assert_int_eq(retired, FTL_EAGAIN);
    ck_assert_int_eq(unit_redis_int(redis, "HEXISTS fettle:owners %s", one.id), 1);
    close_lease(&one);
}
END_TEST

static void set_up(void)
{
    one = two = (struct holder){.ttl = TTL_MS / 1000.0};
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
    CASE(suite, it_registers_and_beats);
    CASE(suite, a_fenced_owner_goes_on_under_a_new_id);
    CASE(suite, a_fenced_owner_takes_its_counts_back);
    CASE(suite, a_suspicion_is_looked_into_at_once);
    CASE(suite, a_dead_owner_is_reaped);
    CASE(suite, several_batches_come_back_in_their_order);
    CASE(suite, a_job_that_was_recovered_too_often_goes_to_dead);
    CASE(suite, one_that_was_not_alone_does_not);
    CASE(suite, an_owner_that_cannot_be_reaped_stops_no_other);
    CASE(suite, the_living_and_the_unknown_are_left_alone);
    CASE(suite, an_outage_of_redis_expires_nobody);
    CASE(suite, a_clean_exit_gives_the_lease_up);
    CASE(suite, it_is_kept_while_batches_are_left);
}

UNIT_MAIN("lease", add_cases)
