/* SPDX-License-Identifier: MIT
 *
 * The queues that this daemon serves: their keys, bounds and the order in which a claim looks at
 * them. A queue object outlives its place in the configuration, since runs and batches refer to it.
 * Control runtime only; nothing here waits. */
#ifndef FETTLE_DAEMON_QUEUES_H
#define FETTLE_DAEMON_QUEUES_H

#include <fettle/semaphore.h>

#include "daemon/config.h"
#include "daemon/keys.h"

#define FTL__QUEUE_UNBOUNDED UINT32_MAX

struct ftl__queue {
    char name[129];
    struct ftl__key key, front;
    bool active; /* configured now */
    bool paused; /* as the last claim that asked for it, or the last tick, has found */
    uint32_t weight;
    uint32_t concurrency;            /* 0 = no bound of its own */
    struct ftl_semaphore *semaphore; /* made with the first bound, then kept */
    uint32_t asked;                  /* of its bound, by claims on their way */
    uint32_t parked;                 /* jobs of it that are parked */
    int64_t rests_until;
    uint32_t rest_room; /* as much room to park ends the rest early; 0: only time does */
    int64_t backoff; /* ns; doubles with each error of a claim, 0 after a good one */
    uint32_t place_in_call, call; /* scratch of the settle that is being built */
};

struct ftl__queues {
    const struct ftl__keys *keys;
    enum ftl__order order;
    struct ftl__queue **all; /* the active ones first, in configured order */
    size_t active, count;
    uint64_t random; /* state of the weighted draw */
};

/* FTL_ENOMEM. `keys` outlives it. */
int ftl__queues_init(struct ftl__queues *queues, const struct ftl__keys *keys,
                     const struct ftl__config *config, uint64_t seed);
/* No permit of a queue may be out. */
void ftl__queues_free(struct ftl__queues *queues);

/* Takes the queues, weights, bounds and the order of a configuration over. FTL_ENOMEM: nothing has
 * changed. */
int ftl__queues_configure(struct ftl__queues *queues, const struct ftl__config *config);

/* Fills `ret_order` (room for `active`) with the active queues in the order of the next claim: as
 * configured, or drawn by weight without replacement. */
void ftl__queues_order(struct ftl__queues *queues, struct ftl__queue **ret_order);

/* How many jobs a claim may take from the queue now, as far as its own bound and rest go;
 * FTL__QUEUE_UNBOUNDED without a bound. `park_room`: how many more may be parked in this daemon,
 * which bounds a queue that has parked jobs. */
uint32_t ftl__queue_room(const struct ftl__queue *queue, int64_t now, uint32_t park_room);

/* A claim from the queue has failed, or has gone well. */
void ftl__queue_failed(struct ftl__queue *queue, int64_t now);
void ftl__queue_went_well(struct ftl__queue *queue);

#endif
