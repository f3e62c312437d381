/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Owners, their batches, the entries of each: docs/design.md has the keys. An entry that is
 * settled was overwritten with the owner's ID. All of it may change while we look; an entry that we
 * have found stands where it stood until it is settled. */
#include "cli/flights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/error.h>

#include "cli/walk.h"

struct search {
    struct ftl__redis *redis;
    int (*match)(void *arg, const struct ftl__job *job, uint64_t token);
    void *arg;
    struct ftl__flights *flights;
};

static int no_memory(void)
{
    return ftl__cli_failed("%s", ftl_error_text(FTL_ENOMEM));
}

static int add(struct ftl__flights *flights, const char *batch, const char *owner, size_t index,
               uint64_t token, int tag)
{
    if (flights->count == flights->room) {
        size_t room = flights->room > 0 ? 2 * flights->room : 16;
        struct ftl__flight *items = realloc(flights->items, room * sizeof(*items));
        if (items == NULL)
            return no_memory();
        flights->items = items;
        flights->room = room;
    }
    struct ftl__flight *flight = &flights->items[flights->count];
    *flight = (struct ftl__flight){
        .batch = strdup(batch), .owner = strdup(owner), .index = index, .token = token, .tag = tag};
    flights->count++;
    return flight->batch != NULL && flight->owner != NULL ? 0 : no_memory();
}

static bool is_text(const redisReply *reply, const char *text)
{
    return reply->type == REDIS_REPLY_STRING && reply->len == strlen(text) &&
           memcmp(reply->str, text, reply->len) == 0;
}

/* `entry`: "TOKEN COUNT NAME". */
static int look_at_batch(struct search *search, const char *owner, const char *seq,
                         const char *entry)
{
    char part[FTL__REDIS_KEY], key[FTL__REDIS_KEY];
    uint64_t token = strtoull(entry, NULL, 10);
    struct ftl__job job;
    int rc = 0;
    snprintf(part, sizeof(part), "fettle:batch:%s:", owner);
    ftl__redis_key(search->redis, part, seq, key);
    redisReply *jobs = ftl__redis_call_on(search->redis, key, REDIS_REPLY_ARRAY,
                                          "LRANGE %s 0 -1", key);
    if (jobs == NULL)
        return FTL__EXIT_FAILED;
    for (size_t i = 0; rc == 0 && i < jobs->elements; i++) {
        if (is_text(jobs->element[i], owner) || !ftl__walk_scan(jobs->element[i], &job))
            continue;
        int tag = search->match(search->arg, &job, token + i);
        if (tag >= 0)
            rc = add(search->flights, key, owner, i, token + i, tag);
    }
    freeReplyObject(jobs);
    return rc;
}

/* Calls `fn` for each field of a hash and its value. */
static int each(struct search *search, const char *part, const char *more,
                int (*fn)(struct search *search, const char *of, const char *field,
                          const char *value))
{
    char key[FTL__REDIS_KEY];
    int rc = 0;
    ftl__redis_key(search->redis, part, more, key);
    redisReply *hash = ftl__redis_call_on(search->redis, key, REDIS_REPLY_ARRAY, "HGETALL %s",
                                          key);
    if (hash == NULL)
        return FTL__EXIT_FAILED;
    for (size_t i = 0; rc == 0 && i + 1 < hash->elements; i += 2)
        rc = fn(search, more, hash->element[i]->str, hash->element[i + 1]->str);
    freeReplyObject(hash);
    return rc;
}

static int look_at_owner(struct search *search, const char *of, const char *owner,
                         const char *value)
{
    (void)of;
    (void)value;
    return each(search, "fettle:batches:", owner, look_at_batch);
}

int ftl__flights_find(struct ftl__redis *redis,
                      int (*match)(void *arg, const struct ftl__job *job, uint64_t token),
                      void *arg, struct ftl__flights *flights)
{
    struct search search = {redis, match, arg, flights};
    int rc = each(&search, "fettle:owners", NULL, look_at_owner);
    return rc != 0 ? rc : each(&search, "fettle:fenced", NULL, look_at_owner);
}

int ftl__flights_look(struct ftl__redis *redis, struct ftl__flights *flights, size_t *ret_left)
{
    *ret_left = 0;
    for (size_t i = 0; i < flights->count; i++) {
        struct ftl__flight *flight = &flights->items[i];
        if (flight->ended)
            continue;
        redisReply *entry = ftl__redis_call_on(redis, flight->batch, REDIS_REPLY_STRING,
                                               "LINDEX %s %lu", flight->batch,
                                               (unsigned long)flight->index);
        if (entry == NULL)
            return FTL__EXIT_FAILED;
        flight->ended = entry->type == REDIS_REPLY_NIL || is_text(entry, flight->owner);
        *ret_left += !flight->ended;
        freeReplyObject(entry);
    }
    return 0;
}

void ftl__flights_clear(struct ftl__flights *flights)
{
    for (size_t i = 0; i < flights->count; i++) {
        free(flights->items[i].batch);
        free(flights->items[i].owner);
    }
    free(flights->items);
    *flights = (struct ftl__flights){.count = 0};
}
