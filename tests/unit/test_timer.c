/* SPDX-License-Identifier: MIT
 *
 * The timer wheel against a simple model, and sleeping. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/tcb.h"
#include "runtime/timer.h"
#include "tests/unit/task_fixture.h"

enum { TIMERS = 2000 };
#define MS INT64_C(1000000)
#define REACH ((INT64_C(1) << 35) * MS) /* what is farther fires there, and is armed again */

static struct ftl__wheel wheel;
static struct ftl__timer timers[TIMERS];
static int64_t due[TIMERS]; /* ns; 0: not armed */
static int64_t armed[TIMERS];
static struct ftl_task sleeper; /* RUNNING: granting it only marks the waiter */

static int64_t far_or_near(unsigned *seed)
{
    static const int64_t scale[] = {1, 64, 4096, 262144, 16777216, 1073741824};
    return (int64_t)rand_r(seed) % 64 * scale[rand_r(seed) % 6] * MS + rand_r(seed) % 1000000;
}

static bool fired(int i)
{
    return atomic_load(&timers[i].waiter.state) == FTL__GRANTED;
}

static int64_t model_next(void)
{
    int64_t next = INT64_MAX;
    for (int i = 0; i < TIMERS; i++)
        if (due[i] && due[i] < next)
            next = due[i];
    return next;
}

static void arm(int i, int64_t now)
{
    ftl__waiter_init(&timers[i].waiter, &sleeper.root);
    ftl__wheel_arm(&wheel, &timers[i], due[i]);
    armed[i] = now;
}

static void check_against_model(int64_t now)
{
    for (int i = 0; i < TIMERS; i++) {
        if (!due[i])
            continue;
        if (fired(i) && due[i] <= now) {
            due[i] = 0;
        } else if (fired(i)) {
            ck_assert_msg(now - armed[i] >= REACH - 2 * MS, "timer fired %ld ns early",
                          (long)(due[i] - now));
            arm(i, now);
        } else {
            ck_assert_msg(due[i] + MS > now, "timer is %ld ns late", (long)(now - due[i]));
        }
    }
}

START_TEST(timers_fire_on_time_never_early)
{
    const char *given = getenv("FTL_SEED");
    unsigned seed = given ? (unsigned)atoi(given) : (unsigned)getpid();
    int64_t now = 12345678;
    struct ftl__wakes wakes;
    printf("# FTL_SEED=%u\n", seed);
    ftl__wheel_init(&wheel, now);
    ftl__wakes_init(&wakes);
    atomic_store(&sleeper.state, FTL__RUNNING);
    sleeper.root.task = &sleeper;
    for (int step = 0; step < 3000; step++) {
        int i = rand_r(&seed) % TIMERS;
        if (due[i]) {
            ftl__wheel_cancel(&wheel, &timers[i]);
            ck_assert(!fired(i));
            due[i] = 0;
        } else {
            due[i] = now + 1 + far_or_near(&seed);
            arm(i, now);
        }
        int64_t wakes_at = ftl__wheel_sleep(&wheel);
        ftl__wheel_awake(&wheel);
        ck_assert(wakes_at <= model_next() + MS);
        if (step % 3 == 0) {
            now = step % 2 ? now + far_or_near(&seed) / 1000 : wakes_at == INT64_MAX ? now : wakes_at;
            ftl__wheel_advance(&wheel, now, &wakes);
            check_against_model(now);
        }
    }
    ck_assert_ptr_null(wakes.first);
}
END_TEST

START_TEST(arming_an_earlier_timer_wakes_the_sleeper)
{
    ftl__wheel_init(&wheel, 0);
    for (int i = 0; i < 4; i++)
        ftl__waiter_init(&timers[i].waiter, &sleeper.root);
    ck_assert(!ftl__wheel_arm(&wheel, &timers[0], 100 * MS)); /* nobody sleeps */
    ck_assert_int_le(ftl__wheel_sleep(&wheel), 100 * MS);
    ck_assert(!ftl__wheel_arm(&wheel, &timers[1], 200 * MS));
    ck_assert(ftl__wheel_arm(&wheel, &timers[2], 10 * MS));
    ck_assert(!ftl__wheel_arm(&wheel, &timers[3], 20 * MS)); /* it is being woken already */
    ftl__wheel_awake(&wheel);
}
END_TEST

static void *sleep_in_order(void *arg)
{
    int64_t before = ftl_now();
    (void)arg;
    for (int64_t ms = 1; ms <= 16; ms *= 2) {
        int64_t deadline = ftl_deadline(ms * FTL_MS);
        ftl_assert(ftl_sleep_until(deadline) == 0);
        ftl_assert(ftl_now() >= deadline);
    }
    ftl_assert(ftl_sleep(-1) == 0);
    ftl_assert(ftl_sleep_until(0) == 0);
    ftl_assert(ftl_now() - before >= 31 * FTL_MS);
    return NULL;
}

START_TEST(a_sleep_is_never_too_short)
{
    struct ftl_task *tasks[50];
    for (int i = 0; i < 50; i++)
        tasks[i] = fixture_spawn(sleep_in_order, NULL);
    sleep_in_order(NULL); /* a foreign thread, too */
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
}
END_TEST

static void *tick_on_time(void *arg)
{
    struct ftl_interval interval;
    int64_t start = ftl_now(), period = *(int64_t *)arg;
    ftl_interval_init(&interval, start, period);
    for (int i = 0; i < 3; i++)
        ftl_assert(ftl_interval_tick(&interval) == 0);
    ftl_assert(ftl_now() >= start + 2 * period); /* the first is due at the start */
    ftl_assert(interval.next == start + 3 * period);
    return NULL;
}

START_TEST(an_interval_does_not_drift)
{
    int64_t period = 50 * FTL_MS * unit_slow(); /* far above what a tick may come late */
    fixture_run(tick_on_time, &period);
    tick_on_time(&period);
}
END_TEST

/* A tick that is taken 34 to 35 periods late, and those after it. */
static void *tick_late(void *arg)
{
    enum ftl_missed missed = *(enum ftl_missed *)arg;
    struct ftl_interval interval;
    int64_t period = 10 * FTL_S, before = ftl_now(), first = before - 345 * FTL_S;
    ftl_interval_init(&interval, first, period);
    interval.missed = missed;
    ftl_assert(ftl_interval_tick(&interval) == 0); /* at once */
    int64_t after = ftl_now();
    ftl_assert(after - before < period);
    switch (missed) {
    case FTL_MISSED_BURST:
        ftl_assert(interval.next == first + period);
        for (int i = 1; i < 35; i++) /* the rest of those missed, at once, too */
            ftl_assert(ftl_interval_tick(&interval) == 0);
        ftl_assert(interval.next == first + 35 * period && interval.next > before);
        break;
    case FTL_MISSED_DELAY:
        ftl_assert(interval.next >= before + period && interval.next <= after + period);
        break;
    case FTL_MISSED_SKIP:
        ftl_assert(interval.next == first + 35 * period);
        break;
    }
    return NULL;
}

START_TEST(an_interval_treats_missed_ticks_as_it_is_told)
{
    struct ftl_interval interval;
    ftl_interval_init(&interval, 0, 1);
    ck_assert_int_eq(interval.missed, FTL_MISSED_BURST);
    for (enum ftl_missed missed = FTL_MISSED_BURST; missed <= FTL_MISSED_SKIP; missed++)
        fixture_run(tick_late, &missed);
}
END_TEST

static void *tick_for_ever(void *arg)
{
    struct ftl_interval interval;
    ftl_interval_init(&interval, ftl_now(), INT64_MAX);
    ftl_assert(ftl_interval_tick(&interval) == 0);
    ftl_assert(interval.next == FTL_FOREVER);
    *(int64_t *)arg = interval.next;
    ftl_interval_tick(&interval);
    return NULL;
}

static void *tick_of_nothing(void *arg)
{
    struct ftl_interval interval;
    ftl_interval_init(&interval, 0, 0);
    return arg;
}

START_TEST(an_interval_has_limits)
{
    int64_t next = 0;
    struct ftl_task *task = fixture_spawn(tick_for_ever, &next);
    ftl_sleep(2 * FTL_MS);
    ftl_abort(task, 0);
    enum ftl_outcome_kind kind = fixture_join(task);
    ck_assert_int_eq(kind, FTL_CANCELLED);
    ck_assert_int_eq(fixture_join(fixture_spawn(tick_of_nothing, NULL)), FTL_PANICKED);
}
END_TEST

static _Atomic int running, awake;

/* Two of them run on the two workers. The one that wakes first keeps its worker until the other is awake. */
static void *sleep_and_burn(void *arg)
{
    atomic_fetch_add(&running, 1);
    while (atomic_load(&running) < 2)
        ;
    ftl_sleep(*(int *)arg * FTL_MS);
    int64_t end = ftl_deadline(2 * FTL_S * unit_slow());
    for (atomic_fetch_add(&awake, 1); atomic_load(&awake) < 2;)
        ftl_assert(ftl_now() < end);
    return NULL;
}

START_TEST(a_task_that_keeps_its_worker_keeps_no_timer_of_others)
{
    int ms[2] = {3, 6};
    for (int i = 0; i < 20; i++) {
        atomic_store(&running, 0);
        atomic_store(&awake, 0);
        struct ftl_task *tasks[2] = {fixture_spawn(sleep_and_burn, &ms[0]),
                                     fixture_spawn(sleep_and_burn, &ms[1])};
        ck_assert_int_eq(fixture_join(tasks[0]), FTL_COMPLETED);
        ck_assert_int_eq(fixture_join(tasks[1]), FTL_COMPLETED);
    }
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, timers_fire_on_time_never_early);
    UNIT_CASE(suite, arming_an_earlier_timer_wakes_the_sleeper);
    FIXTURE_CASE(suite, a_sleep_is_never_too_short);
    FIXTURE_CASE(suite, a_task_that_keeps_its_worker_keeps_no_timer_of_others);
    FIXTURE_CASE(suite, an_interval_does_not_drift);
    FIXTURE_CASE(suite, an_interval_treats_missed_ticks_as_it_is_told);
    FIXTURE_CASE(suite, an_interval_has_limits);
}

UNIT_MAIN("timer", add_cases)
