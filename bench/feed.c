/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A push is one LPUSH of many jobs, made once: its bytes are sent as they are, so that the
 * producer costs little beside what it measures. All jobs of a push of the same size are the same
 * but for their place in it, since nothing that is measured here tells two jobs apart. */
#include "bench/feed.h"

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

long long feed_hold(redisContext *context, long long depth, long long count, long long *ret_least)
{
    long long before = feed_waiting(context), pushed = 0, waiting = before, least = depth;
    while (pushed < count) {
        long long missing = depth - waiting;
        if (missing >= PUSH_HELD) {
            /* All that is missing, since whoever claims does not wait for us. The reply of a push
             * says how many wait now: no call is made for it. */
            long some = missing < PUSH_MAX ? (long)missing : PUSH_MAX;
            append_push(context, some);
            waiting = next_integer(context);
            pushed += some;
            least = waiting - some < least ? waiting - some : least;
        } else {
            bench_sleep(LOOK_EVERY_NS);
            waiting = bench_integer(context, "LLEN queue:default");
        }
    }
    *ret_least = least;
    return before + pushed - feed_waiting(context);
}
