/* SPDX-License-Identifier: MIT
 *
 * Stacks: bound to a task at its first run, recycled after its end. */
#ifndef FETTLE_RUNTIME_STACK_H
#define FETTLE_RUNTIME_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/futex.h"

#define FTL__STACK_DEFAULT ((size_t)64 << 10)
#define FTL__STACK_MAX ((size_t)8 << 20)
enum { FTL__STACK_CLASSES = 5 }; /* 16 KiB, 64 KiB, 256 KiB, 1 MiB, 8 MiB */

/* One stack; the struct lies outside of it. */
struct ftl__stack {
    struct ftl__stack *next; /* in whichever list holds it */
    char *low;               /* lowest usable byte; the guard is below */
    char *top;               /* where execution begins; 16-byte aligned */
    void *fiber;             /* the sanitizer's; sanitizer.h */
    unsigned registered;     /* with valgrind: its number there; stack.c */
    uint8_t class;
    bool guarded;
    bool reserve_open; /* of its guard only the last page is left */
    bool rescue;       /* the strand that is on it began on another one: rescue.c */
};

struct ftl__stack_slab;

/* All stacks of a runtime: the depot. Thread-safe. */
struct ftl__stack_pool {
    struct ftl__lock lock; /* guards all below */
    struct ftl__stack_slab *slabs;
    struct ftl__stack_slab *carving[FTL__STACK_CLASSES];
    struct ftl__stack *warm[FTL__STACK_CLASSES]; /* free ones whose pages are resident */
    struct ftl__stack *cold[FTL__STACK_CLASSES]; /* free ones whose pages were given back */
    size_t warm_count[FTL__STACK_CLASSES];
    uint64_t mapped, unguarded;
    uint64_t protected_guards, protected_max; /* PROT_NONE guards, where there are no light ones */
    struct ftl__stack *buried, **last_buried; /* of strands that have faulted, the oldest first */
    uint32_t buried_count;
    size_t buried_bytes;
    bool light_guards;                        /* MADV_GUARD_INSTALL works */
};

/* A worker's own few stacks of the default class: no lock, warm. Owner thread only. */
struct ftl__stack_cache {
    struct ftl__stack *free;
    unsigned count;
};

/* `light`: use lightweight guards where the kernel has them (false: as if it had none). */
void ftl__stack_pool_init(struct ftl__stack_pool *pool, bool light);
/* Unmaps everything; no stack may be in use. */
void ftl__stack_pool_destroy(struct ftl__stack_pool *pool);

/* The class that holds `size` usable bytes (0 = default); -1: more than FTL__STACK_MAX. */
int ftl__stack_class(size_t size);
size_t ftl__stack_size(int class);

/* A stack of `class`, from the cache, the depot or a fresh mapping. NULL: out of memory. */
struct ftl__stack *ftl__stack_take(struct ftl__stack_pool *pool, struct ftl__stack_cache *cache,
                                   int class);
/* False: the stack has no guard, and what was planted at its low end when it was taken has been
 * written over. */
bool ftl__stack_canary_lives(const struct ftl__stack *stack);
static inline bool ftl__stack_intact(const struct ftl__stack *stack)
{
    return stack->guarded || ftl__stack_canary_lives(stack);
}

/* Back to the cache or the depot, which returns the pages of what it holds beyond a bound. One
 * whose reserve is open is buried. */
void ftl__stack_give(struct ftl__stack_pool *pool, struct ftl__stack_cache *cache,
                     struct ftl__stack *stack);
/* A stack whose strand has faulted: it is kept as it is for a while, since others may have addresses
 * in it, and a core file shows it. Of many the oldest are used again. */
void ftl__stack_bury(struct ftl__stack_pool *pool, struct ftl__stack *stack);

/* Is `address` in its guard, or in the part of that which has been opened? */
bool ftl__stack_guards(const struct ftl__stack *stack, const void *address);
/* Makes its guard usable but for the last page. False: there is no more than that, or it is open
 * already. Async-signal-safe. */
bool ftl__stack_open_reserve(const struct ftl__stack_pool *pool, struct ftl__stack *stack);
/* Where what may be used of it begins. */
const char *ftl__stack_floor(const struct ftl__stack *stack);

/* Empties a cache into the depot. */
void ftl__stack_cache_flush(struct ftl__stack_pool *pool, struct ftl__stack_cache *cache);

#endif
