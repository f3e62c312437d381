/* SPDX-License-Identifier: MIT
 *
 * Channels, oneshots and notifies: order, bounds, close, and nothing lost or doubled when waits end
 * early. */
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/channel.h>
#include <fettle/task_set.h>

#include "tests/unit/task_fixture.h"

static struct ftl_channel *channel;

enum { MESSAGES = 20000, SENDERS = 4 };

static void *send_numbers(void *arg)
{
    intptr_t sender = (intptr_t)arg;
    for (intptr_t i = 1; i <= MESSAGES; i++)
        ftl_assert(ftl_channel_send(channel, (void *)(i * SENDERS + sender), FTL_FOREVER) == 0);
    return NULL;
}

static void *receive_numbers(void *arg)
{
    intptr_t last[SENDERS] = {0};
    void *message;
    (void)arg;
    for (int i = 0; i < SENDERS * MESSAGES; i++) {
        ftl_assert(ftl_channel_recv(channel, FTL_FOREVER, &message) == 0);
        intptr_t number = (intptr_t)message / SENDERS, sender = (intptr_t)message % SENDERS;
        ftl_assert(number == last[sender] + 1); /* each sender's in order, none missing */
        last[sender] = number;
        ftl_assert(ftl_channel_len(channel) <= 16);
    }
    ftl_assert(ftl_channel_try_recv(channel, &message) == FTL_EAGAIN);
    return NULL;
}

START_TEST(messages_arrive_once_in_order_within_the_bound)
{
    channel = ftl_channel_new(16, NULL);
    struct ftl_task *receiver = fixture_spawn(receive_numbers, NULL), *senders[SENDERS];
    for (intptr_t i = 0; i < SENDERS; i++)
        senders[i] = fixture_spawn(send_numbers, (void *)i);
    for (int i = 0; i < SENDERS; i++)
        ck_assert_int_eq(fixture_join(senders[i]), FTL_COMPLETED);
    ck_assert_int_eq(fixture_join(receiver), FTL_COMPLETED);
    ftl_channel_unref(channel);
}
END_TEST

START_TEST(a_foreign_thread_sends_and_receives)
{
    void *message;
    channel = ftl_channel_new(16, NULL);
    struct ftl_task *receiver = fixture_spawn(receive_numbers, NULL), *senders[SENDERS];
    for (intptr_t i = 1; i < SENDERS; i++)
        senders[i] = fixture_spawn(send_numbers, (void *)i);
    send_numbers((void *)0);
    for (int i = 1; i < SENDERS; i++)
        ck_assert_int_eq(fixture_join(senders[i]), FTL_COMPLETED);
    ck_assert_int_eq(fixture_join(receiver), FTL_COMPLETED);
    ck_assert_int_eq(ftl_channel_recv(channel, ftl_deadline(FTL_MS), &message), FTL_ETIMEDOUT);
    ck_assert_int_eq(ftl_channel_try_send(channel, &channel), 0);
    ck_assert_int_eq(ftl_channel_recv(channel, ftl_deadline(FTL_S), &message), 0);
    ck_assert_ptr_eq(message, &channel);
    ftl_channel_unref(channel);
}
END_TEST

static void *receive_until_closed(void *arg)
{
    void *message;
    while (ftl_channel_recv(channel, FTL_FOREVER, &message) == 0)
        ++*(int *)arg;
    ftl_assert(ftl_channel_recv(channel, FTL_FOREVER, &message) == FTL_ECLOSED);
    return NULL;
}

static void *send_until_closed(void *arg)
{
    (void)arg;
    while (ftl_channel_send(channel, &channel, FTL_FOREVER) == 0)
        ;
    return NULL;
}

START_TEST(close_lets_out_what_is_in_and_nothing_more_in)
{
    int received = 0;
    channel = ftl_channel_new(4, NULL);
    struct ftl_task *sender = fixture_spawn(send_until_closed, NULL);
    while (ftl_channel_len(channel) < 4)
        sched_yield();
    ck_assert_int_eq(ftl_channel_try_send(channel, &channel), FTL_EAGAIN);
    ftl_channel_close(channel);
    ck_assert_int_eq(fixture_join(sender), FTL_COMPLETED);
    fixture_run(receive_until_closed, &received);
    ck_assert_int_eq(received, 4);
    ck_assert_int_eq(ftl_channel_try_send(channel, &channel), FTL_ECLOSED);
    ftl_channel_unref(channel);
}
END_TEST

static int freed_messages;

static void free_message(void *message)
{
    free(message);
    freed_messages++;
}

START_TEST(the_last_reference_frees_what_is_left)
{
    freed_messages = 0;
    channel = ftl_channel_new(4, free_message);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ftl_channel_try_send(channel, malloc(1)), 0);
    ftl_channel_unref(ftl_channel_ref(channel));
    ck_assert_int_eq(freed_messages, 0);
    ftl_channel_unref(channel);
    ck_assert_int_eq(freed_messages, 3);
}
END_TEST

static void *receive_one(void *arg)
{
    void *message = NULL;
    (void)arg;
    return ftl_channel_recv(channel, FTL_FOREVER, &message) == 0 ? message : NULL;
}

/* A receiver that is aborted at the moment of the hand-over: the message is in its hands or back. */
START_TEST(a_message_granted_to_an_aborted_receiver_goes_back)
{
    for (int i = 0; i < 3000; i++) {
        struct ftl_outcome outcome;
        void *message = NULL;
        channel = ftl_channel_new(1, NULL);
        struct ftl_task *receiver = fixture_spawn(receive_one, NULL);
        for (int spin = 0; spin < i % 500; spin++)
            __asm__ volatile("");
        ck_assert_int_eq(ftl_channel_try_send(channel, &channel), 0);
        ftl_abort(receiver, 0);
        ck_assert_int_eq(ftl_task_join(receiver, FTL_FOREVER, &outcome), 0);
        bool delivered = outcome.kind == FTL_COMPLETED && outcome.value == &channel;
        bool there = ftl_channel_try_recv(channel, &message) == 0 && message == &channel;
        ck_assert_int_eq(delivered + there, 1);
        ftl_channel_unref(channel);
    }
}
END_TEST

struct ping_pong {
    struct ftl_oneshot there, back;
};

static void *answer(void *arg)
{
    struct ping_pong *both = arg;
    void *value;
    ftl_assert(ftl_oneshot_recv(&both->there, FTL_FOREVER, &value) == 0);
    ftl_oneshot_send(&both->back, value);
    return NULL;
}

static void *ask(void *arg)
{
    struct ping_pong both;
    struct ftl_task *partner;
    struct ftl_outcome outcome;
    void *value;
    (void)arg;
    for (int i = 0; i < 5000; i++) {
        ftl_oneshot_init(&both.there);
        ftl_oneshot_init(&both.back);
        ftl_assert(ftl_spawn(fixture_runtime, answer, &both, NULL, &partner) == 0);
        ftl_oneshot_send(&both.there, &value);
        ftl_assert(ftl_oneshot_recv(&both.back, FTL_FOREVER, &value) == 0 && value == &value);
        ftl_assert(ftl_task_join(partner, FTL_FOREVER, &outcome) == 0);
    }
    return NULL;
}

START_TEST(oneshots_carry_one_value_each)
{
    struct ftl_task *tasks[4];
    for (int i = 0; i < 4; i++)
        tasks[i] = fixture_spawn(ask, NULL);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
}
END_TEST

START_TEST(a_oneshot_can_be_asked_again_after_a_deadline)
{
    struct ftl_oneshot oneshot;
    void *value;
    ftl_oneshot_init(&oneshot);
    ck_assert_int_eq(ftl_oneshot_recv(&oneshot, ftl_deadline(FTL_MS), &value), FTL_ETIMEDOUT);
    ck_assert(!ftl_oneshot_is_sent(&oneshot));
    ftl_oneshot_send(&oneshot, &oneshot);
    ck_assert(ftl_oneshot_is_sent(&oneshot));
    ck_assert_int_eq(ftl_oneshot_recv(&oneshot, FTL_FOREVER, &value), 0);
    ck_assert_ptr_eq(value, &oneshot);
}
END_TEST

static struct ftl_notify *notify;
static _Atomic int woken;

static void *wait_notified(void *arg)
{
    (void)arg;
    ftl_assert(ftl_notify_wait(notify, FTL_FOREVER) == 0);
    atomic_fetch_add(&woken, 1);
    return NULL;
}

START_TEST(a_notify_stores_one_wake_up)
{
    notify = ftl_notify_new();
    ftl_notify_one(notify);
    ftl_notify_one(notify);
    ck_assert_int_eq(ftl_notify_wait(notify, FTL_FOREVER), 0);
    ck_assert_int_eq(ftl_notify_wait(notify, ftl_deadline(FTL_MS)), FTL_ETIMEDOUT);
    ftl_notify_free(notify);
}
END_TEST

START_TEST(each_notify_wakes_one_waiter)
{
    struct ftl_task *tasks[100];
    notify = ftl_notify_new();
    atomic_store(&woken, 0);
    for (int i = 0; i < 100; i++)
        tasks[i] = fixture_spawn(wait_notified, NULL);
    for (int i = 1; i <= 100; i++) {
        ftl_notify_one(notify);
        while (atomic_load(&woken) < i)
            sched_yield();
        ck_assert_int_eq(atomic_load(&woken), i);
    }
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
    ftl_notify_free(notify);
}
END_TEST

static void *receive_first(void *arg)
{
    void *message;
    (void)ftl_channel_recv(arg, FTL_FOREVER, &message);
    ftl_panic("an aborted receiver went on");
}

/* There is one worker: the message comes after the abort, and before the aborted receiver runs again. */
static void *receive_after_aborted(void *arg)
{
    int message = 0;
    channel = ftl_channel_new(1, NULL);
    for (int waits = 0; waits < 2; waits++) {
        struct ftl_task *first;
        struct ftl_outcome outcome;
        void *got = NULL;
        ftl_assert(ftl_spawn(ftl_runtime_current(), receive_first, channel, NULL, &first) == 0);
        ftl_sleep(3 * FTL_MS); /* it waits */
        ftl_abort(first, 0);
        ftl_assert(ftl_channel_try_send(channel, &message) == 0);
        if (!waits) {
            ftl_assert(ftl_task_join(first, FTL_FOREVER, &outcome) == 0);
            ftl_assert(outcome.kind == FTL_CANCELLED);
        }
        ftl_assert(ftl_channel_recv(channel, ftl_deadline(60 * FTL_S), &got) == 0);
        ftl_assert(got == &message);
        if (waits)
            ftl_assert(ftl_task_join(first, FTL_FOREVER, &outcome) == 0);
    }
    ftl_channel_unref(channel);
    return arg;
}

static void on_one_worker(ftl_task_fn fn)
{
    const struct ftl_runtime_options options = {.workers = 1};
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, fn, NULL, NULL, &task), 0);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}

START_TEST(a_message_that_an_aborted_receiver_was_granted_goes_to_the_next)
{
    on_one_worker(receive_after_aborted);
}
END_TEST

static void *send_it(void *message)
{
    ftl_assert(ftl_channel_send(channel, message, FTL_FOREVER) == 0);
    return NULL;
}

/* One worker, as above: the channel is full, and somebody waits for room, when it comes back. */
static void *give_back_to_a_full_one(void *arg)
{
    int messages[3] = {0};
    struct ftl_task *aborted, *sender;
    struct ftl_outcome outcome;
    struct ftl_runtime *runtime = ftl_runtime_current();
    channel = ftl_channel_new(1, NULL);
    for (int around = 0; around < 5; around++) { /* wherever the ring begins */
        void *got;
        ftl_assert(ftl_spawn(runtime, receive_first, channel, NULL, &aborted) == 0);
        ftl_sleep(3 * FTL_MS); /* it waits */
        ftl_abort(aborted, 0);
        ftl_assert(ftl_channel_try_send(channel, &messages[0]) == 0);
        ftl_assert(ftl_channel_try_send(channel, &messages[1]) == 0);
        ftl_assert(ftl_channel_try_send(channel, &messages[2]) == FTL_EAGAIN);
        ftl_assert(ftl_spawn(runtime, send_it, &messages[2], NULL, &sender) == 0);
        ftl_assert(ftl_task_join(aborted, FTL_FOREVER, &outcome) == 0);
        ftl_assert(outcome.kind == FTL_CANCELLED);
        ftl_assert(ftl_channel_len(channel) == 2);
        for (int i = 0; i < 3; i++) {
            ftl_assert(ftl_channel_recv(channel, ftl_deadline(60 * FTL_S), &got) == 0);
            ftl_assert(got == &messages[i]);
        }
        ftl_assert(ftl_task_join(sender, FTL_FOREVER, &outcome) == 0);
    }
    ftl_channel_unref(channel);
    return arg;
}

START_TEST(what_goes_back_is_first_also_in_a_full_channel)
{
    on_one_worker(give_back_to_a_full_one);
}
END_TEST

/* ---- several messages out ---- */

/* A receiver on a worker of its own, which is kept busy from when the receiver waits until it is let
 * go: what it was handed is out as long. */
struct late_receiver {
    struct ftl_runtime *runtime;
    struct ftl_task *task;
    _Atomic bool waits, may_go;
    void *got;
};

static void *keep_busy(void *arg)
{
    struct late_receiver *late = arg;
    atomic_store(&late->waits, true);
    while (!atomic_load(&late->may_go))
        sched_yield();
    return NULL;
}

static void *receive_late(void *arg)
{
    struct late_receiver *late = arg;
    ftl_assert(ftl_spawn(late->runtime, keep_busy, late, NULL, NULL) == 0);
    ftl_assert(ftl_channel_recv(channel, FTL_FOREVER, &late->got) == 0);
    return NULL;
}

static void late_start(struct late_receiver *late, void *message)
{
    const struct ftl_runtime_options options = {.workers = 1};
    memset(late, 0, sizeof(*late));
    ck_assert_int_eq(ftl_runtime_start(&options, &late->runtime), 0);
    ck_assert_int_eq(ftl_spawn(late->runtime, receive_late, late, NULL, &late->task), 0);
    while (!atomic_load(&late->waits))
        sched_yield();
    ck_assert_int_eq(ftl_channel_try_send(channel, message), 0);
}

static void late_finish(struct late_receiver *late, enum ftl_outcome_kind expected)
{
    atomic_store(&late->may_go, true);
    ck_assert_int_eq(fixture_join(late->task), expected);
    ck_assert_uint_eq(ftl_runtime_shutdown(late->runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(late->runtime);
}

START_TEST(all_that_comes_back_finds_room)
{
    enum { MOST = 3 };
    struct late_receiver late[MOST];
    int messages[MOST + 1], seen[MOST + 1];
    void *got;
    for (size_t capacity = 1; capacity < MOST; capacity++) {
        size_t out = capacity + 1;
        memset(seen, 0, sizeof(seen));
        channel = ftl_channel_new(capacity, NULL);
        for (size_t i = 0; i < out; i++)
            late_start(&late[i], &messages[i]);
        ck_assert_int_eq(ftl_channel_try_send(channel, &messages[out]), FTL_EAGAIN);
        ck_assert_uint_eq(ftl_channel_len(channel), 0);
        for (size_t i = 0; i < out; i++)
            ftl_abort(late[i].task, 0);
        for (size_t i = 0; i < out; i++)
            late_finish(&late[i], FTL_CANCELLED);
        ck_assert_uint_eq(ftl_channel_len(channel), out);
        while (ftl_channel_try_recv(channel, &got) == 0)
            seen[(int *)got - messages]++;
        for (size_t i = 0; i < out; i++)
            ck_assert_int_eq(seen[i], 1);
        ftl_channel_unref(channel);
    }
}
END_TEST

START_TEST(what_is_taken_lets_the_next_sender_in)
{
    struct late_receiver late[2];
    int messages[3];
    void *got;
    channel = ftl_channel_new(1, NULL);
    late_start(&late[0], &messages[0]);
    late_start(&late[1], &messages[1]);
    struct ftl_task *sender = fixture_spawn(send_it, &messages[2]);
    ck_assert_int_eq(ftl_channel_try_send(channel, &messages[2]), FTL_EAGAIN);
    late_finish(&late[0], FTL_COMPLETED);
    ck_assert_ptr_eq(late[0].got, &messages[0]);
    ck_assert_int_eq(fixture_join(sender), FTL_COMPLETED);
    ck_assert_uint_eq(ftl_channel_len(channel), 1);
    late_finish(&late[1], FTL_COMPLETED);
    ck_assert_ptr_eq(late[1].got, &messages[1]);
    ck_assert_int_eq(ftl_channel_try_recv(channel, &got), 0);
    ck_assert_ptr_eq(got, &messages[2]);
    ftl_channel_unref(channel);
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, all_that_comes_back_finds_room);
    FIXTURE_CASE(suite, what_is_taken_lets_the_next_sender_in);
    UNIT_CASE(suite, a_message_that_an_aborted_receiver_was_granted_goes_to_the_next);
    UNIT_CASE(suite, what_goes_back_is_first_also_in_a_full_channel);
    FIXTURE_CASE(suite, messages_arrive_once_in_order_within_the_bound);
    FIXTURE_CASE(suite, a_foreign_thread_sends_and_receives);
    FIXTURE_CASE(suite, close_lets_out_what_is_in_and_nothing_more_in);
    UNIT_CASE(suite, the_last_reference_frees_what_is_left);
    FIXTURE_CASE(suite, a_message_granted_to_an_aborted_receiver_goes_back);
    FIXTURE_CASE(suite, oneshots_carry_one_value_each);
    UNIT_CASE(suite, a_oneshot_can_be_asked_again_after_a_deadline);
    UNIT_CASE(suite, a_notify_stores_one_wake_up);
    FIXTURE_CASE(suite, each_notify_wakes_one_waiter);
}

UNIT_MAIN("channel", add_cases)
