/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Benches that wait and wake: yields, pairs over oneshots, a channel, a timeout; and the
 * bare switch of contexts below all of them, without a runtime. */
#include <stdatomic.h>

#include <fettle/channel.h>
#include <fettle/join.h>

#include "bench/runtime.h"
#include "runtime/context.h"

/* ---- yields ------------------------------------------------------------------------------- */

static void *yielder(void *arg)
{
    const uint32_t *yields = arg;
    for (uint32_t i = 0; i < *yields; i++)
        bench_must(ftl_yield());
    return NULL;
}

int64_t bench_yield_many(struct ftl_runtime *runtime, uint32_t operations)
{
    enum { TASKS = 200 };
    uint32_t yields = operations / TASKS;
    return bench_spawn_and_join(runtime, TASKS, yielder, &yields);
}

/* ---- pairs -------------------------------------------------------------------------------- */

struct pair {
    struct ftl_oneshot there, back;
};

struct countdown {
    _Atomic uint32_t left;
    struct ftl_oneshot done;
};

static void *pong(void *arg)
{
    struct pair *pair = arg;
    void *value;
    bench_must(ftl_oneshot_recv(&pair->there, FTL_FOREVER, &value));
    ftl_oneshot_send(&pair->back, value);
    return NULL;
}

static void *ping(void *arg)
{
    struct countdown *pairs = arg;
    struct pair pair;
    void *value;
    ftl_oneshot_init(&pair.there);
    ftl_oneshot_init(&pair.back);
    bench_spawn_detached(ftl_runtime_current(), pong, &pair);
    ftl_oneshot_send(&pair.there, NULL);
    bench_must(ftl_oneshot_recv(&pair.back, FTL_FOREVER, &value));
    if (atomic_fetch_sub(&pairs->left, 1) == 1)
        ftl_oneshot_send(&pairs->done, NULL);
    return NULL;
}

int64_t bench_ping_pong(struct ftl_runtime *runtime, uint32_t operations)
{
    struct countdown pairs;
    void *value;
    atomic_init(&pairs.left, operations);
    ftl_oneshot_init(&pairs.done);
    int64_t start = ftl_now();
    for (uint32_t i = 0; i < operations; i++)
        bench_spawn_detached(runtime, ping, &pairs);
    bench_must(ftl_oneshot_recv(&pairs.done, FTL_FOREVER, &value));
    return ftl_now() - start;
}

/* ---- a channel ---------------------------------------------------------------------------- */

struct stream {
    struct ftl_channel *channel;
    uint32_t messages;
};

static void *producer(void *arg)
{
    struct stream *stream = arg;
    for (uintptr_t i = 0; i < stream->messages; i++)
        bench_must(ftl_channel_send(stream->channel, (void *)i, FTL_FOREVER));
    return NULL;
}

static void consume(const struct stream *stream)
{
    void *message;
    for (uintptr_t i = 0; i < stream->messages; i++) {
        bench_must(ftl_channel_recv(stream->channel, FTL_FOREVER, &message));
        bench_must(message == (void *)i ? 0 : FTL_EPROTO);
    }
}

static void open_stream(struct stream *stream, uint32_t messages)
{
    enum { CAPACITY = 1024 };
    stream->channel = ftl_channel_new(CAPACITY, NULL);
    stream->messages = messages;
    bench_must(stream->channel ? 0 : FTL_ENOMEM);
}

int64_t bench_mpsc(struct ftl_runtime *runtime, uint32_t operations)
{
    struct stream stream;
    open_stream(&stream, operations);
    int64_t start = ftl_now();
    struct ftl_task *task = bench_spawn(runtime, producer, &stream);
    consume(&stream);
    bench_join(task);
    int64_t elapsed = ftl_now() - start;
    ftl_channel_unref(stream.channel);
    return elapsed;
}

/* Both have begun, hence on two workers, before the first message. */
static _Atomic int met;

static void meet(void)
{
    atomic_fetch_add(&met, 1);
    while (atomic_load(&met) < 2)
        ;
}

static void *meet_and_produce(void *arg)
{
    meet();
    return producer(arg);
}

static void *meet_and_consume(void *arg)
{
    meet();
    consume(arg);
    return NULL;
}

int64_t bench_mpsc_apart(struct ftl_runtime *runtime, uint32_t operations)
{
    struct stream stream;
    open_stream(&stream, operations);
    atomic_store(&met, 0);
    int64_t start = ftl_now();
    struct ftl_task *from = bench_spawn(runtime, meet_and_produce, &stream);
    struct ftl_task *to = bench_spawn(runtime, meet_and_consume, &stream);
    bench_join(from);
    bench_join(to);
    int64_t elapsed = ftl_now() - start;
    ftl_channel_unref(stream.channel);
    return elapsed;
}

/* ---- a timeout ---------------------------------------------------------------------------- */

static int yield_once(void *arg)
{
    (void)arg;
    return ftl_yield();
}

int64_t bench_timeout(struct ftl_runtime *runtime, uint32_t operations)
{
    (void)runtime;
    int64_t start = ftl_now();
    for (uint32_t i = 0; i < operations; i++) {
        int result;
        bench_must(ftl_timeout(yield_once, NULL, ftl_deadline(10 * FTL_S), &result));
        bench_must(result);
    }
    return ftl_now() - start;
}

/* ---- the switch --------------------------------------------------------------------------- */

static void *here, *there; /* stack pointers */

static void *switch_back(void *arg)
{
    const uint32_t *operations = arg;
    for (uint32_t i = 2; i < *operations; i += 2)
        ftl__context_switch(&there, here);
    return here;
}

int64_t bench_switch(struct ftl_runtime *runtime, uint32_t operations)
{
    static _Alignas(16) char stack[16 << 10];
    (void)runtime;
    there = ftl__context_make(stack + sizeof stack, switch_back, &operations);
    int64_t start = ftl_now();
    for (uint32_t i = 0; i < operations; i += 2)
        ftl__context_switch(&here, there);
    return ftl_now() - start;
}
