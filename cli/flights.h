/* SPDX-License-Identifier: MIT
 *
 * Jobs that are in flight: in the records of daemons, those that have died among them. */
#ifndef FETTLE_CLI_FLIGHTS_H
#define FETTLE_CLI_FLIGHTS_H

#include <stdint.h>

#include "cli/redis.h"
#include "jobs/job.h"

struct ftl__flight {
    char *batch, *owner; /* the key of its batch, and whose it is */
    size_t index;        /* in the batch */
    uint64_t token;
    int tag;    /* as match() has said */
    bool ended; /* its run is settled, or back in its queue */
    bool counted; /* for the caller */
};

struct ftl__flights {
    struct ftl__flight *items;
    size_t count, room;
};

/* Adds those for which match() returns 0 or more. 0 or an exit code. */
int ftl__flights_find(struct ftl__redis *redis,
                      int (*match)(void *arg, const struct ftl__job *job, uint64_t token),
                      void *arg, struct ftl__flights *flights);

/* Which have ended? *ret_left: how many have not. 0 or an exit code. */
int ftl__flights_look(struct ftl__redis *redis, struct ftl__flights *flights, size_t *ret_left);

void ftl__flights_clear(struct ftl__flights *flights);

#endif
