/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Each record is two functions that append commands, and one that reads what a claim
 * brought. The acknowledgement of a batch and the claim of the next are one write and one read, as
 * in fettled. `list` is fettled's own: claim.lua and ack.lua as shipped. `list-bare`, `hash` and
 * `string` have a claim script of equal care (destination before source, fencing, a number for each
 * job) without its other duties (several queues, paused, tokens, bounds of bytes): these three
 * compare the records, `list` shows what the duties cost. */
#include "bench/record.h"

#include <stdio.h>
#include <string.h>

#include "bench/private.h"
#include "daemon/scripts.h"

#define ID "bench:1:0123456789ab"
#define BATCHES "fettle:batches:" ID
#define BATCH "fettle:batch:" ID ":"
#define MAX_BYTES "8388608"

/* KEYS queue hash number owners  ARGV ID count → [first number, RAW…], the oldest first */
static const char hash_claim[] =
    "if redis.call('HEXISTS', KEYS[4], ARGV[1]) == 0 then return redis.error_reply('FENCED') end\n"
    "local jobs = redis.call('LRANGE', KEYS[1], -ARGV[2], -1)\n"
    "if #jobs == 0 then return {} end\n"
    "local first = redis.call('INCRBY', KEYS[3], #jobs) - #jobs\n"
    "local reply, pairs = { first }, {}\n"
    "for i = #jobs, 1, -1 do\n"
    "    reply[#reply + 1] = jobs[i]\n"
    "    pairs[#pairs + 1] = first + #jobs - i\n"
    "    pairs[#pairs + 1] = jobs[i]\n"
    "    if #pairs == 4000 then redis.call('HSET', KEYS[2], unpack(pairs)) pairs = {} end\n"
    "end\n"
    "if #pairs > 0 then redis.call('HSET', KEYS[2], unpack(pairs)) end\n"
    "redis.call('LTRIM', KEYS[1], 0, -#jobs - 1)\n"
    "return reply\n";

/* KEYS queue batch batches owners  ARGV ID count SEQ → [RAW…], the oldest first. The batch is one
 * string: the sizes, then the bytes. */
static const char string_claim[] =
    "if redis.call('HEXISTS', KEYS[4], ARGV[1]) == 0 then return redis.error_reply('FENCED') end\n"
    "local jobs = redis.call('LRANGE', KEYS[1], -ARGV[2], -1)\n"
    "if #jobs == 0 then return {} end\n"
    "local reply, sizes = {}, {}\n"
    "for i = #jobs, 1, -1 do\n"
    "    reply[#reply + 1] = jobs[i]\n"
    "    sizes[#sizes + 1] = #jobs[i]\n"
    "end\n"
    "redis.call('HSET', KEYS[3], ARGV[3], #jobs)\n"
    "redis.call('SET', KEYS[2], table.concat(sizes, ' ') .. '\\n' .. table.concat(reply))\n"
    "redis.call('LTRIM', KEYS[1], 0, -#jobs - 1)\n"
    "return reply\n";

/* The same, the batch being a list. */
static const char bare_claim[] =
    "if redis.call('HEXISTS', KEYS[4], ARGV[1]) == 0 then return redis.error_reply('FENCED') end\n"
    "local jobs = redis.call('LRANGE', KEYS[1], -ARGV[2], -1)\n"
    "if #jobs == 0 then return {} end\n"
    "local reply = {}\n"
    "for i = #jobs, 1, -1 do reply[#reply + 1] = jobs[i] end\n"
    "redis.call('HSET', KEYS[3], ARGV[3], #jobs)\n"
    "redis.call('RPUSH', KEYS[2], unpack(reply))\n"
    "redis.call('LTRIM', KEYS[1], 0, -#jobs - 1)\n"
    "return reply\n";

/* KEYS owners batches batch  ARGV ID SEQ */
static const char bare_ack_text[] =
    "if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return redis.error_reply('FENCED') end\n"
    "redis.call('HDEL', KEYS[2], ARGV[2])\n"
    "return redis.call('DEL', KEYS[3])\n";

static char sha_claim[48], sha_ack[48], sha_settle[48], sha_hash[48], sha_string[48],
    sha_bare[48], sha_bare_ack[48];
static char numbers[RECORD_BATCH_MAX][12]; /* "0", "1", … */

static void load(redisContext *context, const char *text, size_t size, char ret_sha[48])
{
    redisReply *reply = bench_call(context, "SCRIPT LOAD %b", text, size);
    snprintf(ret_sha, 48, "%s", reply->str);
    freeReplyObject(reply);
}

static void load_named(redisContext *context, const char *name, char ret_sha[48])
{
    for (size_t i = 0; i < ftl__script_source_count; i++) {
        const struct ftl__script_source *source = &ftl__script_sources[i];
        if (strcmp(source->name, name) == 0) {
            load(context, source->text, source->size, ret_sha);
            return;
        }
    }
    bench_die("no script %s", name);
}

void record_prepare(redisContext *context)
{
    load_named(context, "claim", sha_claim);
    load_named(context, "ack", sha_ack);
    load_named(context, "settle", sha_settle);
    load(context, hash_claim, sizeof hash_claim - 1, sha_hash);
    load(context, string_claim, sizeof string_claim - 1, sha_string);
    load(context, bare_claim, sizeof bare_claim - 1, sha_bare);
    load(context, bare_ack_text, sizeof bare_ack_text - 1, sha_bare_ack);
    (void)bench_integer(context, "HSET fettle:owners " ID " %s", "1 15000");
    for (int i = 0; i < RECORD_BATCH_MAX; i++)
        snprintf(numbers[i], sizeof numbers[i], "%d", i);
}

static void append_words(struct loop *loop, int argc, const char **argv, const size_t *sizes)
{
    if (redisAppendCommandArgv(loop->context, argc, argv, sizes) != REDIS_OK)
        bench_die("redis: %s", loop->context->errstr);
}

#define APPEND(loop, ...)                                                                          \
    do {                                                                                           \
        if (redisAppendCommand((loop)->context, __VA_ARGS__) != REDIS_OK)                          \
            bench_die("redis: %s", (loop)->context->errstr);                                       \
    } while (0)

/* ---- rpop ------------------------------------------------------------------------------------ */

static int rpop_claim(struct loop *loop)
{
    APPEND(loop, "RPOP queue:q %d", loop->batch);
    return 1;
}

static int no_ack(struct loop *loop)
{
    (void)loop;
    return 0;
}

static size_t array_count(const struct loop *loop)
{
    return loop->replies[0]->elements; /* 0 where it is nil */
}

/* ---- hash ------------------------------------------------------------------------------------ */

static int hash_claim_append(struct loop *loop)
{
    APPEND(loop, "EVALSHA %s 4 queue:q hash number fettle:owners " ID " %d", sha_hash, loop->batch);
    return 1;
}

static int hash_ack(struct loop *loop)
{
    static char fields[RECORD_BATCH_MAX][24];
    static const char *argv[RECORD_BATCH_MAX + 2] = {"HDEL", "hash"};
    long long first = loop->replies[0]->element[0]->integer;
    for (size_t i = 0; i < loop->count; i++) {
        snprintf(fields[i], sizeof fields[i], "%lld", first + (long long)i);
        argv[2 + i] = fields[i];
    }
    append_words(loop, (int)loop->count + 2, argv, NULL);
    return 1;
}

static size_t hash_count(const struct loop *loop)
{
    return loop->replies[0]->elements > 0 ? loop->replies[0]->elements - 1 : 0;
}

/* ---- list: fettled's record ---------------------------------------------------------------- */

static int list_claim(struct loop *loop)
{
    loop->claimed = loop->seq++;
    APPEND(loop,
           "EVALSHA %s 9 fettle:token fettle:owners " BATCHES " paused fettle:recoveries "
           "queue:q fettle:front:q " BATCH "%lu fettle:cancelled " ID " %d " MAX_BYTES " q %lu %d 0",
           sha_claim, loop->claimed, loop->batch, loop->claimed, loop->batch);
    return 1;
}

static int list_ack(struct loop *loop)
{
    APPEND(loop, "EVALSHA %s 3 fettle:owners " BATCHES " " BATCH "%lu " ID " %lu", sha_ack,
           loop->claimed, loop->claimed);
    return 1;
}

/* One settle call with an operation for each job. */
static int settle_ack(struct loop *loop)
{
    static const char *argv[13 + 4 * RECORD_BATCH_MAX];
    char batch[96], seq[24];
    int argc = 0;
    snprintf(batch, sizeof batch, BATCH "%lu", loop->claimed);
    snprintf(seq, sizeof seq, "%lu", loop->claimed);
    const char *head[] = {"EVALSHA", sha_settle, "6",   "fettle:owners", BATCHES, "retry",
                          "dead",    "queues",   batch, ID,              "1",     seq};
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        argv[argc++] = head[i];
    for (size_t i = 0; i < loop->count; i++) {
        argv[argc++] = "1";
        argv[argc++] = numbers[i];
        argv[argc++] = "done";
        argv[argc++] = i + 1 == loop->count ? "1" : "0";
    }
    append_words(loop, argc, argv, NULL);
    return 1;
}

/* One settle call for each job. */
static int single_ack(struct loop *loop)
{
    for (size_t i = 0; i < loop->count; i++)
        APPEND(loop,
               "EVALSHA %s 6 fettle:owners " BATCHES " retry dead queues " BATCH "%lu " ID
               " 1 %lu 1 %s done %d",
               sha_settle, loop->claimed, loop->claimed, numbers[i], i + 1 == loop->count);
    return (int)loop->count;
}

static size_t list_count(const struct loop *loop)
{
    const redisReply *reply = loop->replies[0];
    return reply->elements > 1 ? reply->element[1]->element[3]->elements : 0;
}

/* ---- bare scripts: string, list-bare ------------------------------------------------------- */

static void append_bare(struct loop *loop, const char *sha)
{
    loop->claimed = loop->seq++;
    APPEND(loop, "EVALSHA %s 4 queue:q " BATCH "%lu " BATCHES " fettle:owners " ID " %d %lu", sha,
           loop->claimed, loop->batch, loop->claimed);
}

static int string_claim_append(struct loop *loop)
{
    append_bare(loop, sha_string);
    return 1;
}

static int bare_claim_append(struct loop *loop)
{
    append_bare(loop, sha_bare);
    return 1;
}

static int bare_ack(struct loop *loop)
{
    APPEND(loop, "EVALSHA %s 3 fettle:owners " BATCHES " " BATCH "%lu " ID " %lu", sha_bare_ack,
           loop->claimed, loop->claimed);
    return 1;
}

/* ---- lmove ----------------------------------------------------------------------------------- */

static int lmove_claim(struct loop *loop)
{
    for (int i = 0; i < loop->batch; i++)
        APPEND(loop, "LMOVE queue:q flight RIGHT LEFT");
    return loop->batch;
}

static int lmove_ack(struct loop *loop)
{
    for (size_t i = 0; i < loop->count; i++)
        APPEND(loop, "LREM flight -1 %b", loop->replies[i]->str, (size_t)loop->replies[i]->len);
    return (int)loop->count;
}

static size_t lmove_count(const struct loop *loop)
{
    size_t count = 0;
    while (count < loop->reply_count && loop->replies[count]->type == REDIS_REPLY_STRING)
        count++;
    return count;
}

/* ---- all of them ----------------------------------------------------------------------------- */

const struct record records[] = {
    {"rpop", "RPOP COUNT, unsafe", false, no_ack, rpop_claim, array_count},
    {"hash", "Lua claim into a hash, HDEL of each job", true, hash_ack, hash_claim_append,
     hash_count},
    {"list", "claim.lua, one list for each batch, ack.lua", true, list_ack, list_claim, list_count},
    {"list-settle", "the same, one settle.lua with an operation for each job", true, settle_ack,
     list_claim, list_count},
    {"list-single", "the same, one settle.lua for each job", true, single_ack, list_claim,
     list_count},
    {"list-bare", "Lua claim, one list for each batch, DEL", true, bare_ack, bare_claim_append,
     array_count},
    {"string", "Lua claim, one string for each batch, DEL", true, bare_ack, string_claim_append,
     array_count},
    {"lmove", "LMOVE and LREM of each job", true, lmove_ack, lmove_claim, lmove_count},
};
const size_t record_count = sizeof records / sizeof *records;

const struct record *record_find(const char *name, size_t size)
{
    for (size_t i = 0; i < record_count; i++)
        if (strlen(records[i].name) == size && memcmp(records[i].name, name, size) == 0)
            return &records[i];
    return NULL;
}

static redisReply *next_reply(redisContext *context)
{
    void *reply = NULL;
    if (redisGetReply(context, &reply) != REDIS_OK)
        bench_die("redis: %s", context->errstr);
    const redisReply *got = reply;
    if (got->type == REDIS_REPLY_ERROR)
        bench_die("redis: %s", got->str);
    return reply;
}

static void forget(struct loop *loop)
{
    for (size_t i = 0; i < loop->reply_count; i++)
        freeReplyObject(loop->replies[i]);
    loop->reply_count = loop->count = 0;
}

size_t record_run(const struct record *record, redisContext *context, int batch)
{
    static struct loop loop;
    size_t total = 0;
    loop = (struct loop){.context = context, .batch = batch, .seq = 1};
    do {
        int acks = loop.count > 0 ? record->ack(&loop) : 0;
        forget(&loop);
        int claims = record->claim(&loop);
        for (int i = 0; i < acks; i++)
            freeReplyObject(next_reply(context));
        for (int i = 0; i < claims; i++)
            loop.replies[loop.reply_count++] = next_reply(context);
        loop.count = record->count(&loop);
        total += loop.count;
    } while (loop.count > 0);
    forget(&loop);
    return total;
}
