/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A push is one LPUSH of many jobs, made once: its bytes are sent as they are, so that the
 * producer costs little beside what it measures. All jobs of a push of the same size are the same
 * but for their place in it, since nothing that is measured here tells two jobs apart. */
#include "bench/feed.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PUSH_MAX = 1000, PUSH_HELD = 250, ENTRY = FEED_PAYLOAD + 16, LOOK_EVERY_NS = 100000 };

static struct {
    const char *class;
    char jobs[PUSH_MAX * ENTRY]; /* as they stand in a command, one after the other */
    size_t entry;                /* bytes of each */
} feed;

void feed_prepare(const char *class)
{
    feed.class = class;
    for (int i = 0; i < PUSH_MAX; i++) {
        char payload[FEED_PAYLOAD + 300], *at = feed.jobs + (size_t)i * feed.entry;
        int size = snprintf(payload, sizeof payload,
                            "{\"class\":\"%s\",\"args\":[],\"jid\":\"%024x\",\"retry\":true,"
                            "\"queue\":\"default\",\"created_at\":1795196280.022185,"
                            "\"enqueued_at\":1795196280.022185}",
                            class, (unsigned)i);
        if (size > FEED_PAYLOAD)
            bench_die("%s: the name of the class is too long", class);
        /* Space before the closing brace makes it as long as all. */
        memset(payload + size - 1, ' ', (size_t)(FEED_PAYLOAD - size));
        payload[FEED_PAYLOAD - 1] = '}';
        feed.entry = (size_t)snprintf(at, ENTRY, "$%d\r\n%.*s\r\n", (int)FEED_PAYLOAD,
                                      (int)FEED_PAYLOAD, payload);
    }
}

static void append_push(redisContext *context, long count)
{
    char head[64];
    int size = snprintf(head, sizeof head, "*%ld\r\n$5\r\nLPUSH\r\n$13\r\nqueue:default\r\n",
                        count + 2);
    if (redisAppendFormattedCommand(context, head, (size_t)size) != REDIS_OK)
        bench_die("redis: %s", context->errstr);
    /* The rest of the same command: it has no reply of its own. */
    if (redisAppendFormattedCommand(context, feed.jobs, (size_t)count * feed.entry) != REDIS_OK)
        bench_die("redis: %s", context->errstr);
}

static long long next_integer(redisContext *context)
{
    redisReply *reply = NULL;
    if (redisGetReply(context, (void **)&reply) != REDIS_OK)
        bench_die("redis: %s", context->errstr);
    if (reply->type != REDIS_REPLY_INTEGER)
        bench_die("redis: %s", reply->str != NULL ? reply->str : "no integer");
    long long value = reply->integer;
    freeReplyObject(reply);
    return value;
}

void feed_push(redisContext *context, long count)
{
    for (long some; count > 0; count -= some) {
        some = count < PUSH_MAX ? count : PUSH_MAX;
        append_push(context, some);
        (void)next_integer(context);
    }
}

long long feed_waiting(redisContext *context)
{
    return bench_integer(context, "LLEN queue:default") +
           bench_integer(context, "LLEN fettle:front:default");
}

/* The holding of a queue: what is on its way is counted, so that it is not pushed twice. */
struct hold {
    redisContext *const *producers;
    bool busy[FEED_PRODUCERS];
    long long depth, waiting, on_its_way, pushed, least;
    bool reached; /* the depth, for the first time */
};

static void send_push(struct hold *hold, int producer)
{
    redisContext *context = hold->producers[producer];
    int done = 0;
    append_push(context, PUSH_HELD);
    while (!done)
        if (redisBufferWrite(context, &done) != REDIS_OK)
            bench_die("redis: %s", context->errstr);
    hold->busy[producer] = true;
    hold->on_its_way += PUSH_HELD;
}

/* The reply says how many wait now: no call is made for it. */
static void take_reply(struct hold *hold, int producer)
{
    hold->waiting = next_integer(hold->producers[producer]);
    hold->busy[producer] = false;
    hold->on_its_way -= PUSH_HELD;
    hold->pushed += PUSH_HELD;
    hold->reached |= hold->waiting > hold->depth - PUSH_HELD;
    if (hold->reached && hold->waiting - PUSH_HELD < hold->least)
        hold->least = hold->waiting - PUSH_HELD;
}

static void take_replies(struct hold *hold)
{
    struct pollfd polled[FEED_PRODUCERS];
    for (int i = 0; i < FEED_PRODUCERS; i++)
        polled[i] = (struct pollfd){.fd = hold->busy[i] ? hold->producers[i]->fd : -1,
                                    .events = POLLIN};
    if (poll(polled, FEED_PRODUCERS, -1) < 0 && errno != EINTR)
        bench_die("poll: %s", strerror(errno));
    for (int i = 0; i < FEED_PRODUCERS; i++)
        if (hold->busy[i] && polled[i].revents != 0)
            take_reply(hold, i);
}

static void push_missing(struct hold *hold)
{
    for (int i = 0; i < FEED_PRODUCERS; i++)
        if (!hold->busy[i] && hold->depth - hold->waiting - hold->on_its_way >= PUSH_HELD)
            send_push(hold, i);
}

/* Redis reads 16 KiB of a connection at a time, between two claims: one connection alone would not
 * keep up with whoever claims. */
long long feed_hold(redisContext *const producers[FEED_PRODUCERS], long long depth,
                    long long count, long long *ret_least)
{
    long long before = feed_waiting(producers[0]);
    struct hold hold = {.producers = producers, .depth = depth, .waiting = before, .least = depth};
    while (hold.pushed < count) {
        push_missing(&hold);
        if (hold.on_its_way > 0) {
            take_replies(&hold);
        } else {
            bench_sleep(LOOK_EVERY_NS);
            hold.waiting = bench_integer(producers[0], "LLEN queue:default");
        }
    }
    while (hold.on_its_way > 0)
        take_replies(&hold);
    *ret_least = hold.least;
    return before + hold.pushed - feed_waiting(producers[0]);
}
