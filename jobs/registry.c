/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Handlers in configured order, and in front of them a small cache from class to handler, since the
 * same few classes come again and again. The cache is as large as it ever gets: sets of four, the
 * oldest of which makes room, so that producers who invent classes can neither fill memory nor make
 * a lookup slower than the walk along the patterns. That no handler takes a class is remembered as
 * well.
 *
 * Its own data is not locked: the control runtime has one worker. It does not hold handlers beyond
 * its own life; who keeps one takes a reference. */
#include "jobs/registry.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_SETS 64 /* a power of two */
#define CACHE_WAYS 4

struct entry {
    char *class; /* owned, not NUL-terminated; NULL: unused */
    size_t size;
    uint32_t hash;
    struct ftl__handler *handler; /* NULL: none takes the class */
};

struct set {
    struct entry entries[CACHE_WAYS];
    unsigned oldest;
};

struct ftl__registry {
    struct ftl__handler **handlers;
    size_t count, room;
    struct set cache[CACHE_SETS];
};

/* ---- the cache -------------------------------------------------------------------------- */

/* FNV-1a */
static uint32_t hash_of(const char *text, size_t size)
{
    uint32_t hash = 2166136261;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619;
    return hash ^ hash >> 15; /* the low bits choose the set */
}

static const struct entry *cache_find(const struct set *set, uint32_t hash, const char *class,
                                      size_t size)
{
    for (size_t i = 0; i < CACHE_WAYS; i++) {
        const struct entry *entry = &set->entries[i];
        if (entry->class != NULL && entry->hash == hash && entry->size == size &&
            memcmp(entry->class, class, size) == 0)
            return entry;
    }
    return NULL;
}

static void cache_put(struct set *set, uint32_t hash, const char *class, size_t size,
                      struct ftl__handler *handler)
{
    char *copy = malloc(size);
    if (copy == NULL)
        return; /* the next lookup walks again */
    memcpy(copy, class, size);
    struct entry *entry = &set->entries[set->oldest++ % CACHE_WAYS];
    free(entry->class);
    *entry = (struct entry){copy, size, hash, handler};
}

static void cache_clear(struct ftl__registry *registry)
{
    for (size_t i = 0; i < CACHE_SETS; i++)
        for (size_t k = 0; k < CACHE_WAYS; k++)
            free(registry->cache[i].entries[k].class);
    memset(registry->cache, 0, sizeof(registry->cache));
}

/* ---- matching --------------------------------------------------------------------------- */

static bool takes(const struct ftl__handler *handler, const char *class, size_t size)
{
    bool matches = handler->exact ? strcmp(handler->pattern, class) == 0
                                  : fnmatch(handler->pattern, class, 0) == 0;
    return matches &&
           (handler->kind->serves == NULL || handler->kind->serves(handler, class, size));
}

/* `class` is NUL-terminated. */
static struct ftl__handler *walk(const struct ftl__registry *registry, const char *class,
                                 size_t size)
{
    for (size_t i = 0; i < registry->count; i++)
        if (takes(registry->handlers[i], class, size))
            return registry->handlers[i];
    return NULL;
}

struct ftl__handler *ftl__registry_find(struct ftl__registry *registry, const char *class,
                                        size_t size)
{
    if (size == 0 || size > FTL__CLASS_MAX)
        return NULL;
    uint32_t hash = hash_of(class, size);
    struct set *set = &registry->cache[hash % CACHE_SETS];
    const struct entry *known = cache_find(set, hash, class, size);
    if (known != NULL)
        return known->handler;

    char text[FTL__CLASS_MAX + 1];
    memcpy(text, class, size);
    text[size] = '\0';
    if (strlen(text) != size)
        return NULL; /* a NUL inside: no pattern can mean it */
    struct ftl__handler *handler = walk(registry, text, size);
    cache_put(set, hash, class, size, handler);
    return handler;
}

/* ---- the list --------------------------------------------------------------------------- */

struct ftl__registry *ftl__registry_new(void)
{
    return calloc(1, sizeof(struct ftl__registry));
}

void ftl__registry_free(struct ftl__registry *registry)
{
    if (registry == NULL)
        return;
    cache_clear(registry);
    for (size_t i = 0; i < registry->count; i++)
        ftl__handler_unref(registry->handlers[i]);
    free(registry->handlers);
    free(registry);
}

int ftl__registry_add(struct ftl__registry *registry, struct ftl__handler *handler)
{
    if (registry->count == registry->room) {
        size_t room = registry->room > 0 ? 2 * registry->room : 8;
        struct ftl__handler **handlers =
            reallocarray(registry->handlers, room, sizeof(struct ftl__handler *));
        if (handlers == NULL)
            return FTL_ENOMEM;
        registry->handlers = handlers;
        registry->room = room;
    }
    registry->handlers[registry->count++] = handler;
    cache_clear(registry); /* a class that nobody took may be taken now */
    return 0;
}

size_t ftl__registry_count(const struct ftl__registry *registry)
{
    return registry->count;
}

struct ftl__handler *ftl__registry_at(const struct ftl__registry *registry, size_t index)
{
    ftl_assert(index < registry->count);
    return registry->handlers[index];
}

/* ---- what runs on its own --------------------------------------------------------------- */

static bool has(const struct ftl__registry *registry, const struct ftl__handler *handler)
{
    for (size_t i = 0; i < registry->count; i++)
        if (registry->handlers[i] == handler)
            return true;
    return false;
}

void ftl__registry_keep(struct ftl__registry *registry, const struct ftl__registry *old)
{
    for (size_t i = 0; i < registry->count; i++) {
        struct ftl__handler *handler = registry->handlers[i];
        for (size_t k = 0; k < old->count && registry->handlers[i] == handler; k++) {
            struct ftl__handler *other = old->handlers[k];
            if (other->kind != handler->kind || handler->kind->same == NULL ||
                !handler->kind->same(handler, other) || has(registry, other))
                continue;
            registry->handlers[i] = ftl__handler_ref(other);
            ftl__handler_unref(handler);
        }
    }
    cache_clear(registry);
}

int ftl__registry_start(struct ftl__registry *registry, const struct ftl__handler_host *host)
{
    for (size_t i = 0; i < registry->count; i++) {
        struct ftl__handler *handler = registry->handlers[i];
        if (handler->kind->start == NULL || handler->started)
            continue;
        int rc = handler->kind->start(handler, host);
        if (rc != 0)
            return rc;
        handler->started = true;
    }
    return 0;
}

void ftl__registry_stop(struct ftl__registry *registry)
{
    for (size_t i = 0; i < registry->count; i++)
        if (registry->handlers[i]->started)
            registry->handlers[i]->kind->stop(registry->handlers[i]);
}

void ftl__registry_await(struct ftl__registry *registry, int64_t deadline)
{
    for (size_t i = 0; i < registry->count; i++)
        if (registry->handlers[i]->started)
            registry->handlers[i]->kind->await(registry->handlers[i], deadline);
}
