/* SPDX-License-Identifier: MIT
 *
 * Oneshot, channel, semaphore and notify between threads, with deadlines that pass at any moment:
 * nothing is lost, nothing comes twice, and what was sent is seen whole. */
#include <stdlib.h>

#include <fettle/channel.h>
#include <fettle/semaphore.h>
#include <fettle/time.h>

#include "tests/model/model.h"

enum { SOON = 1000 };

static struct state {
    struct ftl_oneshot oneshot;
    struct ftl_channel *channel;
    struct ftl_semaphore *semaphore;
    struct ftl_notify *notify;
    struct ftl_permit permits[3];
    int sent[6]; /* what is sent: a pointer into it, the place holding 1 */
    int received, timeouts, inside, entered, closed;
} * state;

static void start(void)
{
    state = calloc(1, sizeof *state);
}

static void take(void *message)
{
    int *sent = message;
    model_check(sent >= state->sent && sent < state->sent + 6 && *sent == 1);
    *sent = 2;
    state->received++;
}

/* ---- oneshot ---- */

static void *oneshot_send(void *arg)
{
    state->sent[0] = 1;
    ftl_oneshot_send(&state->oneshot, &state->sent[0]);
    return arg;
}

/* The receiver owns the oneshot: it may be gone as soon as it has returned. */
static void *oneshot_receive(void *arg)
{
    void *message;
    int64_t deadline = ftl_now() + SOON;
    while (ftl_oneshot_recv(&state->oneshot, deadline, &message) == FTL_ETIMEDOUT)
        deadline = FTL_FOREVER;
    model_use_stack();
    take(message);
    return arg;
}

static void setup_oneshot(void)
{
    start();
    ftl_oneshot_init(&state->oneshot);
    model_thread(oneshot_send, NULL);
    model_thread(oneshot_receive, NULL);
}

static void finish_oneshot(void)
{
    model_check(model_has_returned(0) && model_has_returned(1) && state->received == 1);
}

extern const struct model_scenario model_oneshot;
const struct model_scenario model_oneshot = {
    .name = "oneshot",
    .promise = "the value arrives once, also after a deadline",
    .setup = setup_oneshot,
    .finish = finish_oneshot,
    .preemptions = 4,
    .stale = 4,
};

/* ---- channel ---- */

static void *channel_send(void *message)
{
    int *sent = message;
    *sent = 1;
    if (ftl_channel_send(state->channel, sent, FTL_FOREVER) != 0)
        state->closed++;
    return NULL;
}

static void *channel_send_until(void *message)
{
    int *sent = message;
    *sent = 1;
    int rc = ftl_channel_send(state->channel, sent, ftl_now() + SOON);
    model_check(rc == 0 || rc == FTL_ETIMEDOUT);
    if (rc != 0)
        state->timeouts++;
    return NULL;
}

static void *channel_receive(void *arg)
{
    void *message;
    if (ftl_channel_recv(state->channel, ftl_now() + SOON, &message) == 0)
        take(message);
    if (ftl_channel_recv(state->channel, FTL_FOREVER, &message) == 0)
        take(message);
    return arg;
}

static void setup_channel(void *(*second)(void *))
{
    start();
    state->channel = ftl_channel_new(1, NULL);
    model_thread(channel_send, &state->sent[0]);
    model_thread(second, &state->sent[1]);
    model_thread(channel_receive, NULL);
}

static void drain(void)
{
    void *message;
    while (ftl_channel_try_recv(state->channel, &message) == 0)
        take(message);
}

static void finish_channel(void)
{
    drain();
    model_check(model_has_returned(0) && model_has_returned(1));
    model_check(state->received + state->timeouts == 2);
}

static void setup_channel_deadline(void)
{
    setup_channel(channel_send_until);
}

extern const struct model_scenario model_channel;
const struct model_scenario model_channel = {
    .name = "channel",
    .promise = "two senders, deadlines on both ends: each message once",
    .setup = setup_channel_deadline,
    .finish = finish_channel,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

static void *channel_close(void *arg)
{
    ftl_channel_close(state->channel);
    return arg;
}

static void finish_close(void)
{
    drain();
    for (int i = 0; i < 3; i++)
        model_check(model_has_returned(i));
    model_check(state->received + state->closed == 1);
}

static void setup_close(void)
{
    setup_channel(channel_close);
}

extern const struct model_scenario model_channel_close;
const struct model_scenario model_channel_close = {
    .name = "channel_close",
    .promise = "a close wakes both ends, and loses no message",
    .setup = setup_close,
    .finish = finish_close,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

/* The ring's slots are used again, by who has looked at the other end's position and no more. */
static void *send_three(void *arg)
{
    for (int i = 3; i < 6; i++)
        channel_send(&state->sent[i]);
    return arg;
}

static void *receive_three(void *arg)
{
    void *message;
    for (int i = 0; i < 3; i++) {
        model_check(ftl_channel_recv(state->channel, FTL_FOREVER, &message) == 0);
        take(message);
    }
    return arg;
}

static void setup_around(void)
{
    start();
    state->channel = ftl_channel_new(3, NULL);
    for (int i = 0; i < 3; i++) {
        state->sent[i] = 1;
        model_check(ftl_channel_try_send(state->channel, &state->sent[i]) == 0);
    }
    model_thread(receive_three, NULL);
    model_thread(send_three, NULL);
}

static void finish_around(void)
{
    drain();
    model_check(model_has_returned(0) && model_has_returned(1) && state->received == 6);
}

extern const struct model_scenario model_channel_around;
const struct model_scenario model_channel_around = {
    .name = "channel_around",
    .promise = "a slot is written after it was read, and read after it was written",
    .setup = setup_around,
    .finish = finish_around,
    .preemptions = 3,
    .stale = 2,
    .sum = 3,
};

/* The last reference goes on any thread; what others did with theirs has happened before. */
static void *channel_leave(void *message)
{
    int *sent = message;
    *sent = 1;
    model_check(ftl_channel_try_send(state->channel, sent) == 0);
    ftl_channel_unref(state->channel);
    return NULL;
}

static void setup_leave(void)
{
    start();
    state->channel = ftl_channel_new(2, take);
    ftl_channel_ref(state->channel);
    model_thread(channel_leave, &state->sent[0]);
    model_thread(channel_leave, &state->sent[1]);
}

static void finish_leave(void)
{
    model_check(state->received == 2);
}

extern const struct model_scenario model_channel_unref;
const struct model_scenario model_channel_unref = {
    .name = "channel_unref",
    .promise = "the last reference frees it after all use",
    .setup = setup_leave,
    .finish = finish_leave,
    .preemptions = 3,
    .stale = 3,
};

/* ---- semaphore ---- */

static void *acquire(void *permit)
{
    if (ftl_semaphore_acquire(state->semaphore, 1, FTL_FOREVER, permit) != 0)
        return NULL;
    model_check(state->inside++ == 0);
    state->entered++;
    state->inside--;
    ftl_permit_release(permit);
    return NULL;
}

static void *acquire_until(void *permit)
{
    if (ftl_semaphore_acquire(state->semaphore, 1, ftl_now() + SOON, permit) == 0) {
        model_check(state->inside++ == 0);
        state->entered++;
        state->inside--;
        ftl_permit_release(permit);
    } else {
        state->timeouts++;
    }
    return NULL;
}

static void setup_semaphore(void)
{
    start();
    state->semaphore = ftl_semaphore_new(1);
    model_thread(acquire, &state->permits[0]);
    model_thread(acquire, &state->permits[1]);
    model_thread(acquire_until, &state->permits[2]);
}

static void finish_semaphore(void)
{
    model_check(state->entered + state->timeouts == 3);
    model_check(ftl_semaphore_available(state->semaphore) == 1);
}

extern const struct model_scenario model_semaphore;
const struct model_scenario model_semaphore = {
    .name = "semaphore",
    .promise = "one permit, three threads, one with a deadline: none is lost",
    .setup = setup_semaphore,
    .finish = finish_semaphore,
    .preemptions = 3,
    .stale = 1,
    .sum = 3,
};

/* One that asks for more than there is stands in the way of the other until it gives up. */
static void *acquire_two_until(void *permit)
{
    model_check(ftl_semaphore_acquire(state->semaphore, 2, ftl_now() + SOON, permit) ==
                FTL_ETIMEDOUT);
    state->timeouts++;
    return NULL;
}

static void setup_big(void)
{
    start();
    state->semaphore = ftl_semaphore_new(1);
    model_thread(acquire_two_until, &state->permits[0]);
    model_thread(acquire, &state->permits[1]);
}

static void finish_big(void)
{
    model_check(state->entered == 1 && state->timeouts == 1);
    model_check(ftl_semaphore_available(state->semaphore) == 1);
}

extern const struct model_scenario model_semaphore_big;
const struct model_scenario model_semaphore_big = {
    .name = "semaphore_big",
    .promise = "who gives up lets those behind it in",
    .setup = setup_big,
    .finish = finish_big,
    .preemptions = 3,
    .stale = 2,
};

/* ---- notify ---- */

static void *notify_wait(void *arg)
{
    model_check(ftl_notify_wait(state->notify, FTL_FOREVER) == 0);
    state->received++;
    return arg;
}

static void *notify_wait_until(void *arg)
{
    if (ftl_notify_wait(state->notify, ftl_now() + SOON) == 0)
        ftl_notify_one(state->notify); /* it was the other's */
    return arg;
}

static void *notify(void *arg)
{
    ftl_notify_one(state->notify);
    return arg;
}

static void setup_notify(void)
{
    start();
    state->notify = ftl_notify_new();
    model_thread(notify_wait, NULL);
    model_thread(notify_wait_until, NULL);
    model_thread(notify, NULL);
}

static void finish_notify(void)
{
    model_check(state->received == 1);
}

extern const struct model_scenario model_notify;
const struct model_scenario model_notify = {
    .name = "notify",
    .promise = "a wake-up that came too late for one is passed on",
    .setup = setup_notify,
    .finish = finish_notify,
    .preemptions = 3,
    .stale = 2,
    .sum = 3,
};
