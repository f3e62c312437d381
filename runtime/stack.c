/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Stacks of a few size classes are carved from slabs of address space. What a stack costs is what
 * it touches: slabs are mapped without reserve and without huge pages.
 *
 * Guards. Below each stack lie 32 KiB, or two pages where that is more, that fault. Where the kernel
 * has lightweight guards (MADV_GUARD_INSTALL, Linux 6.13) they are marks in the page table and cost
 * no mapping, so their number is unbounded. Elsewhere a guard is a PROT_NONE mapping, two entries
 * of vm.max_map_count each: up to 45 % of that limit, then stacks go unguarded, and are counted,
 * rather than failing a task that another may be joining. Such a stack has a canary at its low end,
 * at the price of that page, and the unused room of the guard below it. All but the last page of a
 * guard is also a reserve: a strand that has overflowed inside of the C library goes on there until
 * it has left it (fault.c).
 *
 * Recycling. A worker keeps a few warm stacks for itself; the rest are in the depot, last in, first
 * out, under one lock. Beyond WARM_MAX free stacks of a class the depot gives the pages back to the
 * system. The descriptors lie in an array beside the slab, so that a cold stack has no resident
 * page at all. Stacks of strands that have faulted wait in a row of their own, 16 of them and 2 MiB
 * at most.
 *
 * Stack tops are coloured (shifted by multiples of 320 bytes), since equal low address bits of all
 * stacks would make their hot frames compete for the same cache sets. */
#include <config.h>

#include "runtime/stack.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/sanitizer.h"

/* Without these, valgrind takes a switch for a large step of one stack. They are a few instructions
 * without effect outside of it, and made when a stack is carved, never at a switch. */
#ifdef HAVE_VALGRIND_VALGRIND_H
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) 0
#define VALGRIND_STACK_DEREGISTER(number) ((void)(number))
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

enum {
    GUARD = 32 << 10,
    CACHE_MAX = 64, /* stacks in a worker's cache */
    WARM_MAX = 1024,
    COLOURS = 7,
    COLOUR_STEP = 320,
    CANARY_WORDS = 8,
    BURIED_MAX = 16,
    BURIED_BYTES = 2 << 20, /* more only for a single one */
};

static const uint64_t canary = UINT64_C(0x57a4b1ed0c0ffee5);

static const size_t class_size[FTL__STACK_CLASSES] = {16u << 10, 64u << 10, 256u << 10, 1u << 20,
                                                      8u << 20};
enum { DEFAULT_CLASS = 1 };

static const size_t slab_bytes = (size_t)64 << 20;

struct ftl__stack_slab {
    struct ftl__stack_slab *next;
    char *base;
    size_t bytes;
    uint32_t carved, count; /* stacks handed out for the first time; in all */
    struct ftl__stack stacks[];
};

int ftl__stack_class(size_t size)
{
    if (size == 0)
        return DEFAULT_CLASS;
    for (int class = 0; class < FTL__STACK_CLASSES; class ++)
        if (size <= class_size[class])
            return class;
    return -1;
}

/* As many pages as hold `bytes`: a page may have 64 KiB (aarch64). */
static size_t whole_pages(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

static size_t guard_size(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return GUARD > 2 * page ? GUARD : 2 * page;
}

size_t ftl__stack_size(int class)
{
    return whole_pages(class_size[class]);
}

static uint64_t max_map_count(void)
{
    unsigned long limit = 65530; /* the kernel's default */
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    if (file) {
        if (fscanf(file, "%lu", &limit) != 1)
            limit = 65530;
        fclose(file);
    }
    return limit;
}

/* Emulators that take any advice for a hint do not know this one either. */
static bool probe_light_guards(void)
{
    enum { NO_ADVICE = 0x7ffffff };
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *probe = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe == MAP_FAILED)
        return false;
    bool works = madvise(probe, page, MADV_GUARD_INSTALL) == 0 &&
                 madvise(probe, page, NO_ADVICE) != 0;
    munmap(probe, page);
    return works;
}

void ftl__stack_pool_init(struct ftl__stack_pool *pool, bool light)
{
    *pool = (struct ftl__stack_pool){0};
    pool->light_guards = light && probe_light_guards();
    pool->protected_max = max_map_count() * 45 / 100 / 2;
    pool->last_buried = &pool->buried;
}

void ftl__stack_pool_destroy(struct ftl__stack_pool *pool)
{
    while (pool->slabs) {
        struct ftl__stack_slab *slab = pool->slabs;
        pool->slabs = slab->next;
        for (uint32_t i = 0; i < slab->carved; i++) {
            ftl__shadow_forget(slab->stacks[i].fiber);
            VALGRIND_STACK_DEREGISTER(slab->stacks[i].registered);
        }
        munmap(slab->base, slab->bytes);
        free(slab);
    }
}

static struct ftl__stack_slab *slab_new(int class)
{
    size_t slot = guard_size() + ftl__stack_size(class);
    uint32_t count = (uint32_t)(slab_bytes / slot);
    size_t bytes = count * slot;
    struct ftl__stack_slab *slab = calloc(1, sizeof *slab + count * sizeof slab->stacks[0]);
    if (!slab)
        return NULL;
    slab->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (slab->base == MAP_FAILED) {
        free(slab);
        return NULL;
    }
    (void)madvise(slab->base, bytes, MADV_NOHUGEPAGE); /* refused where there are none: as well */
    slab->bytes = bytes;
    slab->count = count;
    return slab;
}

/* With the pool's lock held. */
static bool install_guard(struct ftl__stack_pool *pool, char *guard)
{
    size_t size = guard_size();
    if (pool->light_guards)
        return madvise(guard, size, MADV_GUARD_INSTALL) == 0;
    if (pool->protected_guards >= pool->protected_max || mprotect(guard, size, PROT_NONE) != 0)
        return false;
    pool->protected_guards++;
    return true;
}

/* A stack that was never used, with the pool's lock held. */
static struct ftl__stack *carve(struct ftl__stack_pool *pool, int class)
{
    struct ftl__stack_slab *slab = pool->carving[class];
    if (!slab || slab->carved == slab->count) {
        slab = slab_new(class);
        if (!slab)
            return NULL;
        slab->next = pool->slabs;
        pool->slabs = pool->carving[class] = slab;
    }
    uint32_t index = slab->carved++;
    char *guard = slab->base + index * (guard_size() + ftl__stack_size(class));
    struct ftl__stack *stack = &slab->stacks[index];
    stack->low = guard + guard_size();
    stack->top = stack->low + ftl__stack_size(class) - (size_t)(index % COLOURS) * COLOUR_STEP;
    stack->class = (uint8_t)class;
    stack->guarded = install_guard(pool, guard);
    stack->registered = VALGRIND_STACK_REGISTER(stack->low, stack->low + ftl__stack_size(class));
    pool->mapped++;
    if (!stack->guarded)
        pool->unguarded++;
    return stack;
}

static void plant_canary(struct ftl__stack *stack)
{
    uint64_t *words = (uint64_t *)stack->low;
    for (int i = 0; i < CANARY_WORDS; i++)
        words[i] = canary;
}

/* The stack is its task's, and to sanitizers out of bounds. */
__attribute__((no_sanitize("address", "thread"))) bool
ftl__stack_canary_lives(const struct ftl__stack *stack)
{
    const uint64_t *words = (const uint64_t *)stack->low;
    for (int i = 0; i < CANARY_WORDS; i++)
        if (words[i] != canary)
            return false;
    return true;
}

struct ftl__stack *ftl__stack_take(struct ftl__stack_pool *pool, struct ftl__stack_cache *cache,
                                   int class)
{
    struct ftl__stack *stack = cache->free;
    if (class == DEFAULT_CLASS && stack) {
        cache->free = stack->next;
        cache->count--;
        return stack;
    }
    ftl__lock_take(&pool->lock);
    if ((stack = pool->warm[class]) != NULL) {
        pool->warm[class] = stack->next;
        pool->warm_count[class]--;
    } else if ((stack = pool->cold[class]) != NULL) {
        pool->cold[class] = stack->next;
    } else {
        stack = carve(pool, class);
    }
    ftl__lock_drop(&pool->lock);
    if (stack && !stack->guarded)
        plant_canary(stack);
    return stack;
}

static void give_to_depot(struct ftl__stack_pool *pool, struct ftl__stack *stack)
{
    ftl__lock_take(&pool->lock);
    bool cold = pool->warm_count[stack->class] >= WARM_MAX;
    if (!cold) {
        pool->warm_count[stack->class]++;
        stack->next = pool->warm[stack->class];
        pool->warm[stack->class] = stack;
    }
    ftl__lock_drop(&pool->lock);
    if (!cold)
        return;

    /* The system call is made outside of the lock. */
    (void)madvise(stack->low, ftl__stack_size(stack->class), MADV_DONTNEED);
    ftl__lock_take(&pool->lock);
    stack->next = pool->cold[stack->class];
    pool->cold[stack->class] = stack;
    ftl__lock_drop(&pool->lock);
}

void ftl__stack_give(struct ftl__stack_pool *pool, struct ftl__stack_cache *cache,
                     struct ftl__stack *stack)
{
    if (stack->reserve_open) {
        ftl__stack_bury(pool, stack);
        return;
    }
    if (stack->class == DEFAULT_CLASS && cache->count < CACHE_MAX) {
        stack->next = cache->free;
        cache->free = stack;
        cache->count++;
        return;
    }
    give_to_depot(pool, stack);
}

/* ---- faults ---- */

bool ftl__stack_guards(const struct ftl__stack *stack, const void *address)
{
    const char *at = address;
    return stack->guarded && at < stack->low && at >= stack->low - guard_size();
}

/* All but the last page. */
static size_t reserve_size(void)
{
    return guard_size() - (size_t)sysconf(_SC_PAGESIZE);
}

const char *ftl__stack_floor(const struct ftl__stack *stack)
{
    return stack->reserve_open ? stack->low - reserve_size() : stack->low;
}

bool ftl__stack_open_reserve(const struct ftl__stack_pool *pool, struct ftl__stack *stack)
{
    size_t size = reserve_size();
    if (!stack->guarded || stack->reserve_open)
        return false;
    if (pool->light_guards ? madvise(stack->low - size, size, MADV_GUARD_REMOVE) != 0
                           : mprotect(stack->low - size, size, PROT_READ | PROT_WRITE) != 0)
        return false;
    stack->reserve_open = true;
    return true;
}

/* As it was when it was carved, its pages given back. False: its guard cannot be had again. */
static bool renew(const struct ftl__stack_pool *pool, struct ftl__stack *stack)
{
    size_t size = reserve_size();
    char *reserve = stack->low - size;
    (void)madvise(stack->low, ftl__stack_size(stack->class), MADV_DONTNEED);
    if (!stack->reserve_open)
        return true;
    (void)madvise(reserve, size, MADV_DONTNEED);
    if (pool->light_guards ? madvise(reserve, size, MADV_GUARD_INSTALL) != 0
                           : mprotect(reserve, size, PROT_NONE) != 0)
        return false;
    stack->reserve_open = false;
    return true;
}

/* The oldest, if there are too many. With the lock held. */
static struct ftl__stack *dig_out(struct ftl__stack_pool *pool)
{
    struct ftl__stack *stack = pool->buried;
    if (pool->buried_count <= BURIED_MAX &&
        (pool->buried_bytes <= BURIED_BYTES || pool->buried_count <= 1))
        return NULL;
    pool->buried = stack->next;
    if (!pool->buried)
        pool->last_buried = &pool->buried;
    pool->buried_count--;
    pool->buried_bytes -= ftl__stack_size(stack->class);
    return stack;
}

void ftl__stack_bury(struct ftl__stack_pool *pool, struct ftl__stack *stack)
{
    stack->next = NULL;
    ftl__lock_take(&pool->lock);
    *pool->last_buried = stack;
    pool->last_buried = &stack->next;
    pool->buried_count++;
    pool->buried_bytes += ftl__stack_size(stack->class);
    while ((stack = dig_out(pool)) != NULL) {
        ftl__lock_drop(&pool->lock);
        bool usable = renew(pool, stack); /* one that is not is forgotten */
        ftl__lock_take(&pool->lock);
        if (usable) {
            stack->next = pool->cold[stack->class];
            pool->cold[stack->class] = stack;
        }
    }
    ftl__lock_drop(&pool->lock);
}

void ftl__stack_cache_flush(struct ftl__stack_pool *pool, struct ftl__stack_cache *cache)
{
    while (cache->free) {
        struct ftl__stack *stack = cache->free;
        cache->free = stack->next;
        give_to_depot(pool, stack);
    }
    cache->count = 0;
}
