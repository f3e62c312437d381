/* SPDX-License-Identifier: MIT
 *
 * The in-flight records that bench/ceiling compares: how a bare client claims a batch of jobs and
 * acknowledges it. A loop has one batch at a time; whatever goes wrong ends the bench. */
#ifndef FETTLE_BENCH_RECORD_H
#define FETTLE_BENCH_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include <hiredis/hiredis.h>

enum { RECORD_BATCH_MAX = 4000, RECORD_REPLIES_MAX = RECORD_BATCH_MAX };

struct loop {
    redisContext *context;
    int batch;             /* how many to claim at once */
    unsigned long seq;     /* of the next batch */
    unsigned long claimed; /* that of the batch in hand */
    size_t count;          /* jobs of the batch in hand */
    redisReply *replies[RECORD_REPLIES_MAX]; /* of its claim; its jobs' bytes are in them */
    size_t reply_count;
};

struct record {
    const char *name;
    const char *what;
    bool safe; /* survives the death of the client */
    /* Append commands without sending them; return how many replies will come. */
    int (*ack)(struct loop *loop);
    int (*claim)(struct loop *loop);
    /* How many jobs the replies of a claim brought. */
    size_t (*count)(const struct loop *loop);
};

extern const struct record records[];
extern const size_t record_count;

/* NULL: no such record. */
const struct record *record_find(const char *name, size_t size);

/* Loads the scripts and registers the loop as an owner. */
void record_prepare(redisContext *context);

/* Claims and acknowledges until nothing is left, both in one round trip; returns how many jobs. */
size_t record_run(const struct record *record, redisContext *context, int batch);

#endif
