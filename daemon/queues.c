/* SPDX-License-Identifier: MIT
 *
 * DESIGN. `all` holds every queue this process has ever served: the configured ones first, those of
 * earlier configurations behind them, because batches and runs point to them until they have ended.
 * Their number is small and bounded by what an operator types. Weighted order is a draw without
 * replacement, anew for each claim: a queue of weight 2 comes first twice as often as one of weight
 * 1, and none is ever left out. */
#include "daemon/queues.h"

#include <stdlib.h>
#include <string.h>

#include <fettle/time.h>

#define BACKOFF_MIN FTL_S
#define BACKOFF_MAX (30 * FTL_S)

int ftl__queues_init(struct ftl__queues *queues, const struct ftl__keys *keys,
                     const struct ftl__config *config, uint64_t seed)
{
    memset(queues, 0, sizeof *queues);
    queues->keys = keys;
    queues->random = seed | 1;
    return ftl__queues_configure(queues, config);
}

void ftl__queues_free(struct ftl__queues *queues)
{
    for (size_t i = 0; i < queues->count; i++) {
        ftl_semaphore_free(queues->all[i]->semaphore);
        free(queues->all[i]);
    }
    free(queues->all);
    memset(queues, 0, sizeof *queues);
}

static struct ftl__queue *find(const struct ftl__queues *queues, const char *name)
{
    for (size_t i = 0; i < queues->count; i++)
        if (strcmp(queues->all[i]->name, name) == 0)
            return queues->all[i];
    return NULL;
}

static struct ftl__queue *queue_new(const struct ftl__keys *keys, const char *name)
{
    struct ftl__queue *queue = calloc(1, sizeof *queue);
    size_t size = strlen(name);

    if (queue == NULL)
        return NULL;
    ftl_assert(size < sizeof queue->name);
    memcpy(queue->name, name, size + 1);
    ftl__key_queue(keys, name, &queue->key);
    ftl__key_front(keys, name, &queue->front);
    return queue;
}

/* The queue of that name: known, or new and behind all others, inactive. */
static struct ftl__queue *obtain(struct ftl__queues *queues, const char *name)
{
    struct ftl__queue *queue = find(queues, name);
    struct ftl__queue **all;

    if (queue != NULL)
        return queue;
    all = realloc(queues->all, (queues->count + 1) * sizeof(struct ftl__queue *));
    if (all == NULL)
        return NULL;
    queues->all = all;
    queue = queue_new(queues->keys, name);
    if (queue != NULL)
        queues->all[queues->count++] = queue;
    return queue;
}

/* Everything that can fail comes first: the objects, and semaphores for the bounds. */
static int prepare(struct ftl__queues *queues, const struct ftl__config *config)
{
    for (size_t i = 0; i < config->queue_count; i++) {
        const struct ftl__queue_config *wanted = &config->queues[i];
        struct ftl__queue *queue = obtain(queues, wanted->name);

        if (queue == NULL)
            return FTL_ENOMEM;
        if (wanted->concurrency > 0 && queue->semaphore == NULL) {
            queue->semaphore = ftl_semaphore_new(0);
            if (queue->semaphore == NULL)
                return FTL_ENOMEM;
        }
    }
    return 0;
}

/* An unbounded queue with a semaphore has a total of 0 in it, which nobody asks for. */
static void set_bound(struct ftl__queue *queue, uint32_t concurrency)
{
    int64_t delta = (int64_t)concurrency - (int64_t)queue->concurrency;

    if (delta != 0)
        ftl_semaphore_adjust(queue->semaphore, (int32_t)delta);
    queue->concurrency = concurrency;
}

static void move_to(struct ftl__queues *queues, struct ftl__queue *queue, size_t place)
{
    size_t at = place;

    while (queues->all[at] != queue)
        at++;
    memmove(&queues->all[place + 1], &queues->all[place],
            (at - place) * sizeof(struct ftl__queue *));
    queues->all[place] = queue;
}

int ftl__queues_configure(struct ftl__queues *queues, const struct ftl__config *config)
{
    int code = prepare(queues, config);

    if (code != 0)
        return code;
    for (size_t i = 0; i < queues->count; i++)
        queues->all[i]->active = false;
    for (size_t i = 0; i < config->queue_count; i++) {
        struct ftl__queue *queue = find(queues, config->queues[i].name);
        queue->active = true;
        queue->weight = config->queues[i].weight;
        set_bound(queue, config->queues[i].concurrency);
        move_to(queues, queue, i);
    }
    queues->active = config->queue_count;
    queues->order = config->order;
    return 0;
}

/* splitmix64: good enough to be fair, and repeatable from its seed. */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void ftl__queues_order(struct ftl__queues *queues, struct ftl__queue **ret_order)
{
    uint64_t total = 0;

    for (size_t i = 0; i < queues->active; i++) {
        ret_order[i] = queues->all[i];
        total += ret_order[i]->weight;
    }
    if (queues->order != FTL__ORDER_WEIGHTED)
        return;
    for (size_t i = 0; i + 1 < queues->active; i++) {
        uint64_t ticket = draw(&queues->random) % total;
        size_t winner = i;
        while (ticket >= ret_order[winner]->weight)
            ticket -= ret_order[winner++]->weight;
        struct ftl__queue *first = ret_order[winner];
        memmove(&ret_order[i + 1], &ret_order[i], (winner - i) * sizeof(struct ftl__queue *));
        ret_order[i] = first;
        total -= first->weight;
    }
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

uint32_t ftl__queue_room(const struct ftl__queue *queue, int64_t now, uint32_t park_room)
{
    bool rests = now < queue->rests_until;
    uint32_t room = FTL__QUEUE_UNBOUNDED;

    if (rests && (queue->rest_room == 0 || park_room < queue->rest_room))
        return 0;
    if (queue->concurrency > 0) {
        uint32_t available = ftl_semaphore_available(queue->semaphore);
        room = available > queue->asked ? available - queue->asked : 0;
    }
    /* What is on its way may have to be parked, too. */
    if (queue->parked > 0 || rests)
        room = smaller(room, park_room > queue->asked ? park_room - queue->asked : 0);
    return room;
}

void ftl__queue_failed(struct ftl__queue *queue, int64_t now)
{
    queue->backoff = queue->backoff == 0 ? BACKOFF_MIN : queue->backoff * 2;
    if (queue->backoff > BACKOFF_MAX)
        queue->backoff = BACKOFF_MAX;
    queue->rests_until = now + queue->backoff;
    queue->rest_room = 0;
}

void ftl__queue_went_well(struct ftl__queue *queue)
{
    queue->backoff = 0;
}
