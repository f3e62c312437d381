/* SPDX-License-Identifier: MIT
 *
 * Many operations at full speed on real threads: each item arrives exactly once, each task ends
 * exactly once, and what it owned is given back exactly once. FTL_STRESS multiplies the work: 20 makes
 * it ten million operations of each kind (minutes). Under sanitizers it is a twentieth. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <fettle/channel.h>
#include <fettle/semaphore.h>
#include <fettle/task_set.h>

#include "runtime/inject.h"
#include "runtime/queue.h"
#include "runtime/tcb.h"
#include "tests/unit/task_fixture.h"

static size_t operations(void)
{
    enum { SHORT = 500000, SANITIZED = 20 };
    const char *factor = getenv("FTL_STRESS");
    size_t count = factor && atoi(factor) > 0 ? (size_t)atoi(factor) * SHORT : SHORT;
    return unit_slow() > 1 ? count / SANITIZED : count;
}

/* ---- what has arrived: a byte for each item ---- */

static uint8_t *seen;
static size_t seen_count;

static void seen_begin(size_t count)
{
    seen_count = count;
    seen = calloc(count, 1);
    ck_assert_ptr_nonnull(seen);
}

static void see(size_t i)
{
    __atomic_fetch_add(&seen[i], 1, __ATOMIC_RELAXED);
}

static void seen_end(void)
{
    for (size_t i = 0; i < seen_count; i++)
        ck_assert_msg(seen[i] == 1, "item %zu arrived %d times", i, seen[i]);
    free(seen);
}

/* An item as a pointer that nobody follows. */
static void *item(size_t i)
{
    return (void *)(uintptr_t)(i + 1);
}

static size_t item_index(const void *item)
{
    return (size_t)(uintptr_t)item - 1;
}

/* ---- the ring: an owner and thieves ---- */

static struct ftl__queue ring;
static _Atomic bool done;

static void *steal(void *arg)
{
    struct ftl__queue own;
    uint32_t moved;
    ftl__queue_init(&own);
    while (!atomic_load(&done)) {
        struct ftl_task *task = ftl__queue_steal(&ring, &own, &moved);
        for (; task; task = ftl__queue_pop(&own))
            see(item_index(task));
    }
    return arg;
}

START_TEST(ring_with_thieves)
{
    enum { THIEVES = 2 };
    pthread_t thieves[THIEVES];
    size_t count = operations();
    struct ftl_task *task;
    seen_begin(count);
    ftl__queue_init(&ring);
    atomic_store(&done, false);
    for (int i = 0; i < THIEVES; i++)
        ck_assert_int_eq(pthread_create(&thieves[i], NULL, steal, NULL), 0);
    for (size_t i = 0; i < count;) {
        if (ftl__queue_push(&ring, item(i))) {
            i++;
            continue;
        }
        for (int n = 0; n < 16 && (task = ftl__queue_pop(&ring)) != NULL; n++)
            see(item_index(task));
    }
    while ((task = ftl__queue_pop(&ring)) != NULL)
        see(item_index(task));
    atomic_store(&done, true);
    for (int i = 0; i < THIEVES; i++)
        pthread_join(thieves[i], NULL);
    seen_end();
}
END_TEST

/* ---- the injection queue: chains in, handfuls out ---- */

enum { INJECTED = 8192, CHAIN = 16 };
static struct ftl__inject inject;
static struct ftl_task *injected;
static _Atomic size_t taken;

static void *push_chains(void *arg)
{
    size_t half = *(size_t *)arg;
    for (size_t i = half * INJECTED / 2; i < (half + 1) * INJECTED / 2; i += CHAIN) {
        for (size_t j = i; j < i + CHAIN; j++)
            injected[j].queue_next = j + 1 < i + CHAIN ? &injected[j + 1] : NULL;
        ftl__inject_push(&inject, &injected[i], &injected[i + CHAIN - 1], CHAIN);
    }
    return NULL;
}

static void *take_handfuls(void *arg)
{
    while (atomic_load(&taken) < INJECTED) {
        struct ftl_task *task = ftl__inject_take(&inject, 5);
        for (; task; task = task->queue_next) {
            see((size_t)(task - injected));
            atomic_fetch_add(&taken, 1);
        }
    }
    return arg;
}

START_TEST(injected_chains)
{
    size_t halves[2] = {0, 1};
    injected = calloc(INJECTED, sizeof *injected);
    ck_assert_ptr_nonnull(injected);
    for (size_t round = 0; round <= operations() / INJECTED; round++) {
        pthread_t threads[4];
        seen_begin(INJECTED);
        atomic_store(&taken, 0);
        for (int i = 0; i < 2; i++) {
            ck_assert_int_eq(pthread_create(&threads[i], NULL, push_chains, &halves[i]), 0);
            ck_assert_int_eq(pthread_create(&threads[2 + i], NULL, take_handfuls, NULL), 0);
        }
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        seen_end();
    }
    free(injected);
}
END_TEST

/* ---- the channel: senders on two runtimes and a thread, one receiver ---- */

static struct ftl_channel *channel;
static struct ftl_runtime *other;
static size_t share;

static void *send_share(void *arg)
{
    size_t first = (size_t)(uintptr_t)arg * share;
    for (size_t i = first; i < first + share; i++)
        if (ftl_channel_send(channel, item(i), FTL_FOREVER) != 0)
            return NULL;
    return NULL;
}

static void *receive_all(void *arg)
{
    void *message;
    for (size_t i = 0; i < 4 * share; i++) {
        ftl_assert(ftl_channel_recv(channel, FTL_FOREVER, &message) == 0);
        see(item_index(message));
    }
    return arg;
}

static void other_start(void)
{
    const struct ftl_runtime_options options = {.name = "other", .workers = 2};
    ck_assert_int_eq(ftl_runtime_start(&options, &other), 0);
}

static void other_stop(void)
{
    ck_assert_uint_eq(ftl_runtime_shutdown(other, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(other);
}

START_TEST(channel_across_runtimes)
{
    struct ftl_task *senders[3];
    pthread_t thread;
    share = operations() / 4;
    seen_begin(4 * share);
    channel = ftl_channel_new(64, NULL);
    ck_assert_ptr_nonnull(channel);
    other_start();
    struct ftl_task *receiver = fixture_spawn(receive_all, NULL);
    for (uintptr_t i = 0; i < 3; i++)
        ck_assert_int_eq(
            ftl_spawn(i ? other : fixture_runtime, send_share, (void *)i, NULL, &senders[i]),
            0);
    ck_assert_int_eq(pthread_create(&thread, NULL, send_share, (void *)(uintptr_t)3), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(fixture_join(senders[i]), FTL_COMPLETED);
    ck_assert_int_eq(fixture_join(receiver), FTL_COMPLETED);
    other_stop();
    ftl_channel_unref(channel);
    seen_end();
}
END_TEST

/* ---- the semaphore: what it guards needs no atomics ---- */

static struct ftl_semaphore *semaphore;
static size_t guarded, rounds;

static void *enter_and_leave(void *arg)
{
    struct ftl_permit permit;
    for (size_t i = 0; i < rounds; i++) {
        ftl_assert(ftl_semaphore_acquire(semaphore, 1, FTL_FOREVER, &permit) == 0);
        guarded++;
        ftl_permit_release(&permit);
    }
    return arg;
}

START_TEST(one_permit)
{
    struct ftl_task *tasks[8];
    semaphore = ftl_semaphore_new(1);
    ck_assert_ptr_nonnull(semaphore);
    guarded = 0;
    rounds = operations() / 8;
    for (int i = 0; i < 8; i++)
        tasks[i] = fixture_spawn(enter_and_leave, NULL);
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    ck_assert_uint_eq(guarded, 8 * rounds);
    ck_assert_uint_eq(ftl_semaphore_available(semaphore), 1);
    ftl_semaphore_free(semaphore);
}
END_TEST

/* ---- oneshots: each value to its receiver ---- */

struct pair {
    struct ftl_oneshot there, back;
};

static void *echo(void *arg)
{
    struct pair *pair = arg;
    void *value;
    ftl_assert(ftl_oneshot_recv(&pair->there, FTL_FOREVER, &value) == 0);
    ftl_oneshot_send(&pair->back, value);
    return NULL;
}

static void *exchange(void *arg)
{
    for (size_t i = 0; i < rounds; i++) {
        struct pair pair;
        struct ftl_task *partner;
        struct ftl_outcome outcome;
        void *value;
        ftl_oneshot_init(&pair.there);
        ftl_oneshot_init(&pair.back);
        ftl_assert(ftl_spawn(i % 2 ? other : fixture_runtime, echo, &pair, NULL, &partner) == 0);
        ftl_oneshot_send(&pair.there, item(i));
        ftl_assert(ftl_oneshot_recv(&pair.back, FTL_FOREVER, &value) == 0 && value == item(i));
        ftl_assert(ftl_task_join(partner, FTL_FOREVER, &outcome) == 0);
    }
    return arg;
}

START_TEST(oneshots_across_runtimes)
{
    struct ftl_task *tasks[4];
    rounds = operations() / 4;
    other_start();
    for (int i = 0; i < 4; i++)
        tasks[i] = fixture_spawn(exchange, NULL);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    other_stop();
}
END_TEST

/* ---- the set: each member once ---- */

static void *give_back(void *arg)
{
    return arg;
}

static void *run_set(void *arg)
{
    enum { WINDOW = 256 };
    struct ftl_task_set *set = ftl_task_set_new();
    struct ftl_outcome outcome;
    void *tag;
    size_t spawned = 0, ended = 0;
    ftl_assert(set);
    while (ended < rounds) {
        for (; spawned < rounds && spawned < ended + WINDOW; spawned++)
            ftl_assert(ftl_task_set_spawn(set, spawned % 2 ? other : fixture_runtime, give_back,
                                          item(spawned), NULL, item(spawned), NULL) == 0);
        ftl_assert(ftl_task_set_join_next(set, FTL_FOREVER, &outcome, &tag) == 0);
        ftl_assert(outcome.kind == FTL_COMPLETED && outcome.value == tag);
        see(item_index(tag));
        ended++;
    }
    ftl_task_set_free(set);
    return arg;
}

START_TEST(set_across_runtimes)
{
    rounds = operations();
    seen_begin(rounds);
    other_start();
    fixture_run(run_set, NULL);
    other_stop();
    seen_end();
}
END_TEST

/* ---- aborts that come at any moment ---- */

static _Atomic size_t freed;

static void free_one(void *arg)
{
    (void)arg;
    atomic_fetch_add(&freed, 1);
}

static void *linger(void *arg)
{
    for (int i = 0; i < 3; i++)
        ftl_yield();
    return arg;
}

static void *abort_and_join(void *arg)
{
    const struct ftl_spawn_options options = {.arg_free = free_one};
    for (size_t i = 0; i < rounds; i++) {
        struct ftl_task *task;
        struct ftl_outcome outcome;
        struct ftl_runtime *runtime = i % 3 ? fixture_runtime : other;
        ftl_assert(ftl_spawn(runtime, linger, item(i), &options, &task) == 0);
        for (size_t j = 0; j < i % 5; j++)
            ftl_yield();
        ftl_abort(task, 0);
        ftl_assert(ftl_task_join(task, FTL_FOREVER, &outcome) == 0);
        ftl_assert(outcome.kind == FTL_CANCELLED || outcome.value == item(i));
    }
    return arg;
}

START_TEST(abort_storm)
{
    struct ftl_task *tasks[4];
    rounds = operations() / 4;
    atomic_store(&freed, 0);
    other_start();
    for (int i = 0; i < 4; i++)
        tasks[i] = fixture_spawn(abort_and_join, NULL);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    other_stop();
    ck_assert_uint_eq(atomic_load(&freed), 4 * rounds);
}
END_TEST

/* ---- timers: each fires once, or is cancelled by what comes at about the same time ---- */

enum { SLEEPERS = 500 };
static uint32_t seed;

/* Some µs to some ms. */
static int64_t short_while(uint32_t *random)
{
    *random = *random * 1664525 + 1013904223;
    return (*random >> 8) % (1u << (8 + (*random >> 28))); /* the upper bits are the good ones */
}

static void *sleep_and_see(void *arg)
{
    size_t sleeper = item_index(arg);
    uint32_t random = seed + (uint32_t)sleeper;
    for (size_t i = sleeper; i < seen_count; i += SLEEPERS) {
        int64_t due = ftl_deadline(short_while(&random));
        ftl_assert(ftl_sleep_until(due) == 0 && ftl_now() >= due);
        see(i);
    }
    return NULL;
}

START_TEST(timers_that_fire)
{
    struct ftl_task *tasks[SLEEPERS];
    seen_begin(operations());
    for (size_t i = 0; i < SLEEPERS; i++)
        tasks[i] = fixture_spawn(sleep_and_see, item(i));
    for (int i = 0; i < SLEEPERS; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    seen_end();
}
END_TEST

/* Whoever is late keeps the other waiting: the message comes at about the deadline of its receiver. */
struct rendezvous {
    struct ftl_oneshot there, back;
    size_t index;
};

static struct rendezvous *meetings;

static void *send_about_then(void *arg)
{
    struct rendezvous *meeting = arg;
    uint32_t random = ~(seed + (uint32_t)meeting->index);
    void *value;
    for (size_t i = meeting->index; i < seen_count; i += SLEEPERS) {
        ftl_assert(ftl_sleep_until(ftl_deadline(short_while(&random))) == 0);
        ftl_oneshot_send(&meeting->there, item(i));
        ftl_assert(ftl_oneshot_recv(&meeting->back, FTL_FOREVER, &value) == 0);
        ftl_oneshot_init(&meeting->back);
        ftl_oneshot_send(value, NULL); /* the way is free again */
    }
    return NULL;
}

static void *receive_until_then(void *arg)
{
    struct rendezvous *meeting = arg;
    uint32_t random = seed + (uint32_t)meeting->index;
    void *value;
    for (size_t i = meeting->index; i < seen_count; i += SLEEPERS) {
        struct ftl_oneshot next;
        int64_t deadline = ftl_deadline(short_while(&random));
        while (ftl_oneshot_recv(&meeting->there, deadline, &value) == FTL_ETIMEDOUT)
            deadline = ftl_deadline(short_while(&random));
        ftl_assert(value == item(i));
        see(i);
        ftl_oneshot_init(&meeting->there);
        ftl_oneshot_init(&next);
        ftl_oneshot_send(&meeting->back, &next);
        ftl_assert(ftl_oneshot_recv(&next, FTL_FOREVER, &value) == 0);
    }
    return NULL;
}

START_TEST(timers_that_are_cancelled)
{
    struct ftl_task *tasks[2 * SLEEPERS];
    seen_begin(operations() / 4);
    meetings = calloc(SLEEPERS, sizeof *meetings);
    ck_assert_ptr_nonnull(meetings);
    other_start();
    for (size_t i = 0; i < SLEEPERS; i++) {
        meetings[i].index = i;
        tasks[2 * i] = fixture_spawn(receive_until_then, &meetings[i]);
        ck_assert_int_eq(
            ftl_spawn(other, send_about_then, &meetings[i], NULL, &tasks[2 * i + 1]), 0);
    }
    for (int i = 0; i < 2 * SLEEPERS; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    other_stop();
    free(meetings);
    seen_end();
}
END_TEST

static void add_cases(Suite *suite)
{
    seed = (uint32_t)time(NULL);
    printf("# seed %u\n", (unsigned)seed);
    UNIT_CASE(suite, ring_with_thieves);
    UNIT_CASE(suite, injected_chains);
    FIXTURE_CASE(suite, channel_across_runtimes);
    FIXTURE_CASE(suite, one_permit);
    FIXTURE_CASE(suite, oneshots_across_runtimes);
    FIXTURE_CASE(suite, set_across_runtimes);
    FIXTURE_CASE(suite, abort_storm);
    FIXTURE_CASE(suite, timers_that_fire);
    FIXTURE_CASE(suite, timers_that_are_cancelled);
}

UNIT_MAIN("stress", add_cases)
