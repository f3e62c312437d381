/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A job whose handler is at its bound must not keep a slot of the process from others, so
 * it waits here, first come first served for each handler. The number of bounds is what the
 * configuration has, so lists are walked. A parked slot holds no permit at all. Who starts or
 * returns parked jobs is dispatch's business. */
#include "daemon/park.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/queues.h"

#define BOUND(node) ftl__container(node, struct ftl__bound, link)
#define SLOT(node) ftl__container(node, struct ftl__slot, link)

void ftl__park_init(struct ftl__park *park, uint32_t max)
{
    memset(park, 0, sizeof *park);
    ftl__list_init(&park->bounds);
    park->max = max;
}

static void bound_free(struct ftl__bound *bound)
{
    if (bound == NULL)
        return;
    ftl_semaphore_free(bound->semaphore);
    free(bound->pattern);
    free(bound);
}

void ftl__park_free(struct ftl__park *park)
{
    struct ftl__list *node;
    while ((node = ftl__list_pop_front(&park->bounds)) != NULL)
        bound_free(BOUND(node));
}

static struct ftl__bound *bound_new(const char *pattern)
{
    struct ftl__bound *bound = calloc(1, sizeof *bound);

    if (bound == NULL)
        return NULL;
    ftl__list_init(&bound->parked);
    bound->pattern = strdup(pattern);
    bound->semaphore = ftl_semaphore_new(0);
    if (bound->pattern == NULL || bound->semaphore == NULL) {
        bound_free(bound);
        return NULL;
    }
    return bound;
}

/* How many bounds, and how many handlers up to `end`, have this pattern. */
static size_t bounds_of(const struct ftl__park *park, const char *pattern)
{
    size_t count = 0;
    for (struct ftl__list *node = park->bounds.next; node != &park->bounds; node = node->next)
        count += strcmp(BOUND(node)->pattern, pattern) == 0;
    return count;
}

static size_t handlers_of(const struct ftl__registry *registry, size_t end, const char *pattern)
{
    size_t count = 0;
    for (size_t i = 0; i < end; i++) {
        const struct ftl__handler *handler = ftl__registry_at(registry, i);
        count += handler->concurrency > 0 && strcmp(handler->pattern, pattern) == 0;
    }
    return count;
}

static int make_shelter(struct ftl__park *park)
{
    struct ftl__bound *bound;

    if (park->shelter != NULL)
        return 0;
    bound = bound_new("");
    if (bound == NULL)
        return FTL_ENOMEM;
    ftl_semaphore_adjust(bound->semaphore, FTL__SHELTER);
    ftl__list_push_back(&park->bounds, &bound->link);
    park->shelter = bound;
    return 0;
}

/* Everything that can fail: a bound for each bounded handler, and the shelter. */
static int prepare(struct ftl__park *park, const struct ftl__registry *registry)
{
    if (make_shelter(park) != 0)
        return FTL_ENOMEM;
    for (size_t i = 0; i < ftl__registry_count(registry); i++) {
        const struct ftl__handler *handler = ftl__registry_at(registry, i);
        struct ftl__bound *bound;

        if (handler->concurrency == 0 ||
            bounds_of(park, handler->pattern) >= handlers_of(registry, i + 1, handler->pattern))
            continue;
        bound = bound_new(handler->pattern);
        if (bound == NULL)
            return FTL_ENOMEM;
        ftl__list_push_back(&park->bounds, &bound->link);
    }
    return 0;
}

static void assign(struct ftl__park *park, const struct ftl__handler *handler)
{
    for (struct ftl__list *node = park->bounds.next; node != &park->bounds; node = node->next) {
        struct ftl__bound *bound = BOUND(node);

        if (bound->handler != NULL || strcmp(bound->pattern, handler->pattern) != 0)
            continue;
        bound->handler = handler;
        ftl_semaphore_adjust(bound->semaphore, (int32_t)handler->concurrency -
                                                   (int32_t)bound->concurrency);
        bound->concurrency = handler->concurrency;
        return;
    }
    ftl_panic("park: no bound for %s", handler->pattern);
}

int ftl__park_configure(struct ftl__park *park, const struct ftl__registry *registry)
{
    int code = prepare(park, registry);

    if (code != 0)
        return code;
    for (struct ftl__list *node = park->bounds.next; node != &park->bounds; node = node->next)
        BOUND(node)->handler = NULL;
    for (size_t i = 0; i < ftl__registry_count(registry); i++)
        if (ftl__registry_at(registry, i)->concurrency > 0)
            assign(park, ftl__registry_at(registry, i));
    return 0;
}

struct ftl__bound *ftl__park_bound(const struct ftl__park *park,
                                   const struct ftl__handler *handler)
{
    if (handler->concurrency == 0)
        return NULL;
    for (struct ftl__list *node = park->bounds.next; node != &park->bounds; node = node->next)
        if (BOUND(node)->handler == handler)
            return BOUND(node);
    return NULL;
}

void ftl__park_add(struct ftl__park *park, struct ftl__slot *slot, int64_t now)
{
    ftl_assert(park->count < park->max);
    ftl__slot_set(slot, FTL__SLOT_PARKED);
    slot->since = now;
    ftl__list_push_back(&ftl__slot_bound(slot)->parked, &slot->link);
    slot->queue->parked++;
    park->count++;
}

void ftl__park_remove(struct ftl__park *park, struct ftl__slot *slot)
{
    ftl_assert(slot->state == FTL__SLOT_PARKED && park->count > 0 && slot->queue->parked > 0);
    ftl__list_unlink(&slot->link);
    slot->queue->parked--;
    park->count--;
}

struct ftl__slot *ftl__park_first(const struct ftl__bound *bound)
{
    return ftl__list_is_empty(&bound->parked) ? NULL : SLOT(bound->parked.next);
}

int64_t ftl__park_until(const struct ftl__park *park)
{
    int64_t until = INT64_MAX;

    for (struct ftl__list *node = park->bounds.next; node != &park->bounds; node = node->next) {
        struct ftl__slot *first = ftl__park_first(BOUND(node));
        if (first != NULL && first->since + FTL__PARK_TIME < until)
            until = first->since + FTL__PARK_TIME;
    }
    return until;
}

struct ftl__slot *ftl__park_take(struct ftl__park *park, int64_t before)
{
    for (struct ftl__list *node = park->bounds.next; node != &park->bounds; node = node->next) {
        struct ftl__slot *first = ftl__park_first(BOUND(node));
        if (first != NULL && first->since <= before) {
            ftl__park_remove(park, first);
            return first;
        }
    }
    return NULL;
}
