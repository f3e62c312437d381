/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Control blocks come in chunks and are recycled: through a small list of each worker, and a shared
 * one under a lock. A chunk is never given back before the runtime ends, and a free block has no
 * references in its state word; so anybody may walk over all blocks and take a reference to those
 * that are alive, and spawning keeps no list of tasks. */
#include "runtime/tcb.h"

#include <stdlib.h>
#include <string.h>

#ifndef FTL__TCB_CHUNK
#define FTL__TCB_CHUNK 128
#endif

enum { CHUNK = FTL__TCB_CHUNK, CACHE_MAX = 256 };

struct ftl__tcb_chunk {
    struct ftl__tcb_chunk *next;
    _Alignas(64) struct ftl_task tasks[CHUNK];
};

void ftl__tcb_pool_destroy(struct ftl__tcb_pool *pool)
{
    while (pool->chunks) {
        struct ftl__tcb_chunk *chunk = pool->chunks;
        pool->chunks = chunk->next;
#ifdef FTL__ASAN
        __asan_unpoison_memory_region(chunk, sizeof *chunk);
#endif
        free(chunk);
    }
    pool->free = NULL;
}

/* What may be looked at in a free block: the state, for walkers, and the link. ASan is told of the
 * rest. */
static void poison(struct ftl_task *task, bool free)
{
    (void)task, (void)free;
#ifdef FTL__ASAN
    char *from = (char *)&task->runtime;
    size_t size = sizeof *task - (size_t)(from - (char *)task);
    if (free)
        __asan_poison_memory_region(from, size);
    else
        __asan_unpoison_memory_region(from, size);
#endif
}

/* With the lock held. */
static bool grow(struct ftl__tcb_pool *pool)
{
    struct ftl__tcb_chunk *chunk = aligned_alloc(64, sizeof *chunk);
    if (!chunk)
        return false;
    memset(chunk, 0, sizeof *chunk);
    for (int i = CHUNK - 1; i >= 0; i--) {
        chunk->tasks[i].queue_next = pool->free;
        pool->free = &chunk->tasks[i];
        poison(&chunk->tasks[i], true);
    }
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    return true;
}

/* Moves up to half a cache of free blocks to the cache, and returns one more. */
static struct ftl_task *refill(struct ftl__tcb_pool *pool, struct ftl__tcb_cache *cache)
{
    struct ftl_task *task = NULL;
    ftl__lock_take(&pool->lock);
    if (pool->free || grow(pool)) {
        task = pool->free;
        pool->free = task->queue_next;
        while (cache && pool->free && cache->count < CACHE_MAX / 2) {
            struct ftl_task *more = pool->free;
            pool->free = more->queue_next;
            more->queue_next = cache->free;
            cache->free = more;
            cache->count++;
        }
    }
    ftl__lock_drop(&pool->lock);
    return task;
}

struct ftl_task *ftl__tcb_take(struct ftl__tcb_pool *pool, struct ftl__tcb_cache *cache)
{
    struct ftl_task *task;
    ftl__shadow_pause();
    if (cache && cache->free) {
        task = cache->free;
        cache->free = task->queue_next;
        cache->count--;
    } else {
        task = refill(pool, cache);
    }
    ftl__shadow_resume();
    if (!task)
        return NULL;
    ftl__shadow_take(task);
    poison(task, false);
    memset((char *)task + sizeof task->state, 0, sizeof *task - sizeof task->state);
    return task;
}

/* Half of a full cache goes to the shared list. */
static void spill(struct ftl__tcb_pool *pool, struct ftl__tcb_cache *cache)
{
    ftl__lock_take(&pool->lock);
    while (cache->count > CACHE_MAX / 2) {
        struct ftl_task *task = cache->free;
        cache->free = task->queue_next;
        cache->count--;
        task->queue_next = pool->free;
        pool->free = task;
    }
    ftl__lock_drop(&pool->lock);
}

void ftl__tcb_give(struct ftl__tcb_pool *pool, struct ftl__tcb_cache *cache, struct ftl_task *task)
{
    poison(task, true);
    ftl__shadow_pass(task);
    ftl__shadow_pause();
    if (cache) {
        task->queue_next = cache->free;
        cache->free = task;
        if (++cache->count > CACHE_MAX)
            spill(pool, cache);
    } else {
        ftl__lock_take(&pool->lock);
        task->queue_next = pool->free;
        pool->free = task;
        ftl__lock_drop(&pool->lock);
    }
    ftl__shadow_resume();
}

static bool try_ref(struct ftl_task *task)
{
    uint64_t state = atomic_load_explicit(&task->state, memory_order_relaxed);
    do {
        if (FTL__REFS(state) == 0 || (state & FTL__COMPLETE))
            return false;
        /* acquire: pairs with the release by which the block was filled in */
    } while (!atomic_compare_exchange_weak_explicit(&task->state, &state, state + FTL__REF,
                                                    memory_order_acquire, memory_order_relaxed));
    return true;
}

void ftl__tcb_each(struct ftl__tcb_pool *pool, void (*each)(void *arg, struct ftl_task *task),
                   void *arg)
{
    ftl__lock_take(&pool->lock);
    struct ftl__tcb_chunk *chunk = pool->chunks;
    ftl__lock_drop(&pool->lock);
    for (; chunk; chunk = chunk->next) {
        for (int i = 0; i < CHUNK; i++) {
            struct ftl_task *task = &chunk->tasks[i];
            if (!try_ref(task))
                continue;
            each(arg, task);
            ftl__task_unref(task);
        }
    }
}
