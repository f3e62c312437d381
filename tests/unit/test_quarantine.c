/* SPDX-License-Identifier: MIT
 *
 * Tests of daemon/quarantine: what has crashed here is told, what others tell is taken in, and both end. */
#include "daemon/quarantine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/parts.h"
#include "tests/unit/unit.h"

#define TTL 3600
#define STATE "FETTLE_QUARANTINE"

static struct unit_parts parts;
static struct ftl__clock clock_of_redis;
static struct ftl__marks marks;
static struct ftl__quarantine *quarantine;
static bool refuses;
static char told[1024]; /* "+CLASS " and "-CLASS " of what was news to the handlers */
static char in[512];    /* " CLASS " of each that is with them */

/* Handlers know all classes but those that begin with an N. */
static bool isolate(void *arg, const char *class, bool isolated)
{
    char word[64], *at;
    (void)arg;
    snprintf(word, sizeof word, " %s ", class);
    at = strstr(in, word);
    if (refuses || class[0] == 'N' || (at != NULL) == isolated)
        return false;
    if (isolated)
        strcat(in, word);
    else
        memset(at, '_', strlen(word));
    snprintf(told + strlen(told), sizeof told - strlen(told), "%c%s ", isolated ? '+' : '-', class);
    return true;
}

static void on_change(void *arg)
{
    (void)arg;
    if (quarantine != NULL)
        ftl__quarantine_marked(quarantine);
}

static void *open_task(void *arg)
{
    const struct ftl__quarantine_options options = {.runtime = parts.redis.control,
                                                    .link = parts.link,
                                                    .scripts = parts.scripts,
                                                    .keys = parts.keys,
                                                    .clock = &clock_of_redis,
                                                    .marks = &marks,
                                                    .ttl = TTL,
                                                    .isolate = isolate};
    (void)arg;
    ftl_assert(ftl__quarantine_open(&options, &quarantine) == 0);
    ftl__quarantine_apply(quarantine);
    return NULL;
}

static void *close_task(void *arg)
{
    (void)arg;
    ftl__quarantine_close(quarantine);
    quarantine = NULL;
    return NULL;
}

static void on_control(void *(*fn)(void *arg), const void *arg)
{
    unit_on_control(&parts.redis, fn, (void *)(uintptr_t)arg);
}

static void setup(void)
{
    unsetenv(STATE);
    memset(told, 0, sizeof told);
    memset(in, 0, sizeof in);
    ftl__clock_init(&clock_of_redis);
    ftl__marks_init(&marks);
    marks.on_change = on_change;
    unit_parts_open(&parts);
    on_control(open_task, NULL);
}

static void teardown(void)
{
    on_control(close_task, NULL);
    ftl__marks_free(&marks);
    unit_parts_close(&parts);
}

static void *add_task(void *class)
{
    ftl__quarantine_add(quarantine, class, "SIGSEGV");
    return NULL;
}

static void *look_task(void *arg)
{
    (void)arg;
    ftl__quarantine_look(quarantine);
    return NULL;
}

static void *leave_task(void *arg)
{
    (void)arg;
    ftl__quarantine_leave(quarantine);
    return NULL;
}

static void *take_task(void *arg)
{
    redisReply **reply = arg;
    ftl_assert(ftl__marks_is_reply(reply[0], reply[1]));
    ftl__marks_take(&marks, reply[0], reply[1]);
    return NULL;
}

/* What a tick would bring. */
static void take_marks(void)
{
    redisReply *reply[2] = {
        unit_redis_call(&parts.redis, "HGET fettle:faulted generation"),
        unit_redis_call(&parts.redis, "HGETALL fettle:faulted")};
    on_control(take_task, reply);
    freeReplyObject(reply[0]);
    freeReplyObject(reply[1]);
}

static void await_mark(const char *class)
{
    unit_redis_await(&parts.redis, 1, "HEXISTS fettle:faulted class:%s", class);
}

static void pass(double seconds)
{
    clock_of_redis.offset_us += (int64_t)(seconds * 1e6);
}

static void expect(const char *text)
{
    ck_assert_str_eq(told, text);
}

START_TEST(a_crash_is_told_once)
{
    long long ttl;
    char generation[32];
    setup();
    on_control(add_task, "A");
    await_mark("A");
    ttl = unit_redis_int(&parts.redis, "TTL fettle:faulted");
    ck_assert_msg(ttl > TTL - 600 && ttl <= TTL + 2, "%lld", ttl);
    snprintf(generation, sizeof generation, "%s",
             unit_redis_text(&parts.redis, "HGET fettle:faulted generation"));
    on_control(add_task, "A");
    on_control(add_task, "B");
    await_mark("B");
    take_marks();
    expect("+A +B ");
    pass(TTL * 0.1); /* it goes on crashing: more than a sixteenth of its time is over */
    on_control(add_task, "A");
    for (int i = 0; strcmp(unit_redis_text(&parts.redis, "HGET fettle:faulted generation"),
                           marks.generation) == 0 && i < 60000; i++)
        usleep(1000);
    ck_assert_str_ne(unit_redis_text(&parts.redis, "HGET fettle:faulted generation"), generation);
    pass(TTL * 0.95);
    on_control(look_task, NULL);
    expect("+A +B -B ");
    teardown();
}
END_TEST

/* There was no child for them. */
START_TEST(what_could_not_be_moved_is_tried_again)
{
    setup();
    refuses = true;
    unit_redis_int(&parts.redis, "HSET fettle:faulted generation 5 class:A 9999999999 class:B 9999999999");
    take_marks();
    on_control(look_task, NULL);
    expect("");
    refuses = false;
    on_control(add_task, "B");
    expect("+B ");
    on_control(look_task, NULL);
    expect("+B +A ");
    teardown();
}
END_TEST

START_TEST(what_no_handler_here_moves_is_not_told)
{
    setup();
    on_control(add_task, "Nobody");
    on_control(add_task, "A");
    await_mark("A");
    ck_assert_int_eq(unit_redis_int(&parts.redis, "HEXISTS fettle:faulted class:Nobody"), 0);
    expect("+A ");
    teardown();
}
END_TEST

START_TEST(what_others_tell_comes_and_goes)
{
    double now;
    setup();
    now = ftl__clock_epoch(&clock_of_redis, ftl_now());
    unit_redis_int(&parts.redis, "HSET fettle:faulted generation 5 class:A %d class:Over %d class:B %d jid:C %d",
                   (int)now + 60, (int)now - 1, (int)now + 600, (int)now + 60);
    take_marks();
    expect("+A +B ");
    pass(61); /* that of A is over */
    on_control(look_task, NULL);
    expect("+A +B -A ");
    unit_redis_int(&parts.redis, "HDEL fettle:faulted class:B");
    unit_redis_int(&parts.redis, "HSET fettle:faulted generation 6 class:D %d", (int)now + 600);
    take_marks();
    expect("+A +B -A -B +D ");
    unit_redis_int(&parts.redis, "HSET fettle:faulted generation 7 class:D %d", (int)now + 6000);
    take_marks();
    pass(700); /* it was renewed */
    on_control(look_task, NULL);
    expect("+A +B -A -B +D ");
    teardown();
}
END_TEST

/* A mark that Redis was not told of yet, or that did not come back yet, is not one that is gone. */
START_TEST(what_is_known_here_alone_stays)
{
    setup();
    on_control(add_task, "A");
    await_mark("A");
    unit_redis_int(&parts.redis, "DEL fettle:faulted");
    unit_redis_int(&parts.redis, "HSET fettle:faulted generation 5 class:B 9999999999");
    take_marks();
    expect("+A +B ");
    teardown();
}
END_TEST

START_TEST(it_is_handed_to_the_next_program)
{
    char state[64];
    setup();
    unit_redis_kill(&parts.redis); /* it cannot be told */
    on_control(add_task, "A");
    on_control(add_task, "A\nB"); /* no line has room for that */
    on_control(leave_task, NULL);
    snprintf(state, sizeof state, "%s", getenv(STATE));
    ck_assert_ptr_nonnull(strstr(state, " A\n"));
    ck_assert_ptr_null(strstr(state, "B"));
    setenv(STATE, "x\n1 \n\n1 2\n1 2 \n", 1); /* none of these is a class */
    on_control(close_task, NULL);
    on_control(open_task, NULL);
    on_control(close_task, NULL);
    setenv(STATE, state, 1);
    memset(told, 0, sizeof told);
    memset(in, 0, sizeof in);
    on_control(open_task, NULL);
    expect("+A ");
    ck_assert_ptr_null(getenv(STATE));
    unit_redis_start(&parts.redis, NULL);
    for (int i = 0; i < 600 && !unit_redis_int(&parts.redis, "HEXISTS fettle:faulted class:A"); i++) {
        on_control(look_task, NULL);
        usleep(100000);
    }
    await_mark("A");
    teardown();
}
END_TEST

static void add_cases(Suite *suite)
{
    unit_redis_require();
    UNIT_CASE(suite, a_crash_is_told_once);
    UNIT_CASE(suite, what_could_not_be_moved_is_tried_again);
    UNIT_CASE(suite, what_no_handler_here_moves_is_not_told);
    UNIT_CASE(suite, what_others_tell_comes_and_goes);
    UNIT_CASE(suite, what_is_known_here_alone_stays);
    UNIT_CASE(suite, it_is_handed_to_the_next_program);
}

UNIT_MAIN("quarantine", add_cases)
