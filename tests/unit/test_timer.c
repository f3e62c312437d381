/* SPDX-License-Identifier: MIT
 *
 * The timer wheel against a simple model, and sleeping. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/tcb.h"
#include "runtime/timer.h"
#include "tests/unit/task_fixture.h"

#define MS INT64_C(1000000)
#define REACH (INT64_C(1) << 35) /* ticks: what is farther fires there, and is armed again */

static struct ftl_task sleeper; /* RUNNING: granting it only marks the waiter */

static bool fired(const struct ftl__timer *timer)
{
    return atomic_load(&timer->waiter.state) == FTL__GRANTED;
}

/* ---- the wheel against a sorted list, with a clock of our own ---- */

enum { TIMERS = 256 };

/* Each timer is in `sorted`, by the tick at which it is due, or behind its end. */
struct model {
    struct ftl__wheel wheel;
    int64_t origin, now;
    unsigned seed;
    struct entry {
        struct ftl__timer *timer;
        int64_t tick;
    } sorted[TIMERS];
    int count;
    uint64_t fired, cancelled;
    struct ftl__timer timers[TIMERS];
};

static int64_t far_or_near(struct model *model)
{
    static const int64_t scale[] = {1, 1, 64, 4096, 262144, 16777216, 1073741824};
    int64_t ticks = rand_r(&model->seed) % 64 * scale[rand_r(&model->seed) % 7];
    return ticks * MS + rand_r(&model->seed) % MS;
}

static int64_t elapsed(const struct model *model)
{
    return (model->now - model->origin) / MS;
}

static void model_arm(struct model *model)
{
    int64_t deadline = model->now + far_or_near(model) - MS / 2, at = elapsed(model);
    int64_t tick = deadline > model->origin ? (deadline - model->origin + MS - 1) / MS : 0;
    tick = tick <= at ? at + 1 : tick > at + REACH - 1 ? at + REACH - 1 : tick;
    struct entry entry = {model->sorted[model->count].timer, tick};
    int i = model->count++;
    for (; i > 0 && model->sorted[i - 1].tick > tick; i--)
        model->sorted[i] = model->sorted[i - 1];
    model->sorted[i] = entry;
    ftl__waiter_init(&entry.timer->waiter, &sleeper.root);
    ck_assert(!ftl__wheel_arm(&model->wheel, entry.timer, deadline)); /* nobody sleeps */
}

static void model_cancel(struct model *model)
{
    int i = rand_r(&model->seed) % model->count;
    struct entry entry = model->sorted[i];
    ftl__wheel_cancel(&model->wheel, entry.timer);
    ck_assert(!fired(entry.timer));
    memmove(&model->sorted[i], &model->sorted[i + 1],
            (size_t)(--model->count - i) * sizeof entry);
    model->sorted[model->count] = entry;
    model->cancelled++;
}

static void model_advance(struct model *model, int64_t now)
{
    struct ftl__wakes wakes;
    int due = 0;
    ftl__wakes_init(&wakes);
    model->now = now;
    uint32_t n = ftl__wheel_advance(&model->wheel, now, &wakes);
    ck_assert_ptr_null(wakes.first);
    for (; due < model->count && model->sorted[due].tick <= elapsed(model); due++)
        ck_assert(fired(model->sorted[due].timer)); /* not late */
    ck_assert_uint_eq(n, due);                      /* and no other one is early */
    struct entry gone[TIMERS];
    memcpy(gone, model->sorted, (size_t)due * sizeof *gone);
    model->count -= due;
    memmove(model->sorted, &model->sorted[due], (size_t)model->count * sizeof *gone);
    memcpy(&model->sorted[model->count], gone, (size_t)due * sizeof *gone);
    model->fired += n;
}

/* Sleeps as the driver does, until the first timer fires: a few times, since each level that it
 * comes down is a time to wake. */
static void model_sleep(struct model *model)
{
    int64_t first = model->sorted[0].tick;
    for (int naps = 0; elapsed(model) < first; naps++) {
        int64_t until = ftl__wheel_sleep(&model->wheel);
        ck_assert_int_lt(naps, FTL__WHEEL_LEVELS);
        ck_assert_int_gt(until, model->now);
        ck_assert_int_le(until, model->origin + first * MS);
        model_advance(model, until);
    }
}

/* A new wheel, at the beginning of time; the timers of the old one are forgotten. */
static void model_begin(struct model *model)
{
    model->origin = model->now = 12345678;
    model->count = 0;
    ftl__wheel_init(&model->wheel, model->origin);
}

START_TEST(the_wheel_does_what_a_sorted_list_does)
{
    static struct model model;
    const char *given = getenv("FTL_SEED");
    int operations = 1000000 / unit_slow();
    model = (struct model){.seed = given ? (unsigned)atoi(given) : (unsigned)getpid()};
    printf("# FTL_SEED=%u\n", model.seed);
    model_begin(&model);
    for (int i = 0; i < TIMERS; i++)
        model.sorted[i].timer = &model.timers[i];
    atomic_store(&sleeper.state, FTL__RUNNING);
    sleeper.root.task = &sleeper;
    for (int i = 0; i < operations; i++) {
        int what = rand_r(&model.seed) % 16;
        if (model.now > INT64_MAX / 2)
            model_begin(&model);
        if (what < 8 && model.count < TIMERS)
            model_arm(&model);
        else if (what < 12 && model.count > 0)
            model_cancel(&model);
        else if (what < 14 && model.count > 0)
            model_sleep(&model);
        else
            model_advance(&model, model.now + far_or_near(&model) / (what == 14 ? 1 : 1000000));
    }
    ck_assert_uint_gt(model.fired, (uint64_t)operations / 10);
    ck_assert_uint_gt(model.cancelled, (uint64_t)operations / 10);
}
END_TEST

/* ---- waking whoever sleeps in the driver ---- */

static struct ftl__wheel wheel;
static struct ftl__timer timers[4];

static bool arm(int i, int64_t deadline)
{
    ftl__waiter_init(&timers[i].waiter, &sleeper.root);
    return ftl__wheel_arm(&wheel, &timers[i], deadline);
}

static void advance(int64_t now)
{
    struct ftl__wakes wakes;
    ftl__wakes_init(&wakes);
    ftl__wheel_advance(&wheel, now, &wakes);
}

START_TEST(arming_an_earlier_timer_wakes_the_sleeper)
{
    ftl__wheel_init(&wheel, 0);
    ck_assert(!arm(0, 100 * MS)); /* nobody sleeps */
    ck_assert_int_le(ftl__wheel_sleep(&wheel), 100 * MS);
    ck_assert(!arm(1, 200 * MS));
    ck_assert(arm(2, 10 * MS));
    ck_assert(!arm(3, 20 * MS)); /* it is being woken already */
    advance(1 * MS);
    ck_assert_int_le(ftl__wheel_sleep(&wheel), 10 * MS);
}
END_TEST

/* Limits that are never reached: one wake-up, however many of them come and go. */
START_TEST(timers_that_are_cancelled_do_not_wake_the_sleeper_again_and_again)
{
    int woken = 0;
    ftl__wheel_init(&wheel, 0);
    ftl__wheel_sleep(&wheel);
    for (int64_t now = 0; now < 9999 * MS; now += MS) {
        bool wake = arm(0, now + 10000 * MS);
        ftl__wheel_cancel(&wheel, &timers[0]);
        woken += wake;
        if (wake) {
            advance(now);
            ck_assert_int_le(ftl__wheel_sleep(&wheel), now + 10000 * MS);
        }
    }
    ck_assert_int_eq(woken, 1);
    ck_assert(arm(0, 9999 * MS)); /* what is earlier is told */
    advance(10000 * MS);
    ck_assert(fired(&timers[0]));
    ck_assert_int_eq(ftl__wheel_sleep(&wheel), INT64_MAX); /* and then all is forgotten */
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

/* Two of them run on the two workers. The one that wakes first keeps its worker until the other is
 * awake. */
static void *sleep_and_burn(void *arg)
{
    atomic_fetch_add(&running, 1);
    while (atomic_load(&running) < 2)
        ;
    ftl_sleep(*(int *)arg * FTL_MS);
    int64_t end = ftl_deadline(60 * FTL_S);
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
    UNIT_CASE(suite, the_wheel_does_what_a_sorted_list_does);
    UNIT_CASE(suite, arming_an_earlier_timer_wakes_the_sleeper);
    UNIT_CASE(suite, timers_that_are_cancelled_do_not_wake_the_sleeper_again_and_again);
    FIXTURE_CASE(suite, a_sleep_is_never_too_short);
    FIXTURE_CASE(suite, a_task_that_keeps_its_worker_keeps_no_timer_of_others);
    FIXTURE_CASE(suite, an_interval_does_not_drift);
    FIXTURE_CASE(suite, an_interval_treats_missed_ticks_as_it_is_told);
    FIXTURE_CASE(suite, an_interval_has_limits);
}

UNIT_MAIN("timer", add_cases)
