/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Control blocks come in chunks and are recycled: through a list of each worker, of up to two
 * batches, and a shared list of batches under a lock; a batch changes hands as a whole, without a
 * walk over its blocks, none of which is in a cache then. Threads without a worker take and give
 * single ones. A chunk is never given back before the runtime ends, and a free block has no
 * references in its state word; so anybody may walk over all blocks and take a reference to those
 * that are alive, and spawning keeps no list of tasks. */
#include "runtime/tcb.h"

#include <stdlib.h>
#include <string.h>

#ifndef FTL__TCB_CHUNK
#define FTL__TCB_CHUNK 128
#endif

enum { BATCH = FTL__TCB_CHUNK }; /* blocks in a chunk, too */

struct ftl__tcb_chunk {
    struct ftl__tcb_chunk *next;
    _Alignas(64) struct ftl_task tasks[BATCH];
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
    pool->batches = pool->loose = NULL;
    pool->loose_count = 0;
}

#ifdef FTL__ASAN
static void poison_between(const void *from, const void *to, bool free)
{
    size_t size = (size_t)((const char *)to - (const char *)from);
    if (free)
        __asan_poison_memory_region(from, size);
    else
        __asan_unpoison_memory_region(from, size);
}
#endif

/* What may be looked at in a free block: the state, for walkers, and the links. ASan is told of the
 * rest. */
static void poison(struct ftl_task *task, bool free)
{
    (void)task, (void)free;
#ifdef FTL__ASAN
    poison_between(&task->queue_next + 1, &task->batch_next, free);
    poison_between(&task->batch_next + 1, task + 1, free);
#endif
}

/* A batch of new blocks, or NULL. With the lock held. */
static struct ftl_task *grow(struct ftl__tcb_pool *pool)
{
    struct ftl__tcb_chunk *chunk = aligned_alloc(64, sizeof *chunk);
    if (!chunk)
        return NULL;
    memset(chunk, 0, sizeof *chunk);
    for (int i = 0; i < BATCH; i++) {
        chunk->tasks[i].queue_next = i + 1 < BATCH ? &chunk->tasks[i + 1] : NULL;
        poison(&chunk->tasks[i], true);
    }
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    return chunk->tasks;
}

/* With the lock held. */
static void put_batch(struct ftl__tcb_pool *pool, struct ftl_task *batch)
{
    batch->batch_next = pool->batches;
    pool->batches = batch;
}

/* Some blocks, at most a batch; NULL: no memory. With the lock held. */
static struct ftl_task *get_some(struct ftl__tcb_pool *pool, unsigned *ret_count)
{
    struct ftl_task *some = pool->batches;
    if (!some && pool->loose) {
        some = pool->loose;
        *ret_count = pool->loose_count;
        pool->loose = NULL;
        pool->loose_count = 0;
        return some;
    }
    if (some)
        pool->batches = some->batch_next;
    else
        some = grow(pool);
    *ret_count = some ? BATCH : 0;
    return some;
}

static struct ftl_task *take_loose(struct ftl__tcb_pool *pool)
{
    ftl__lock_take(&pool->lock);
    if (!pool->loose)
        pool->loose = get_some(pool, &pool->loose_count);
    struct ftl_task *task = pool->loose;
    if (task) {
        pool->loose = task->queue_next;
        pool->loose_count--;
    }
    ftl__lock_drop(&pool->lock);
    return task;
}

static void give_loose(struct ftl__tcb_pool *pool, struct ftl_task *task)
{
    ftl__lock_take(&pool->lock);
    task->queue_next = pool->loose;
    pool->loose = task;
    if (++pool->loose_count == BATCH) {
        put_batch(pool, pool->loose);
        pool->loose = NULL;
        pool->loose_count = 0;
    }
    ftl__lock_drop(&pool->lock);
}

static struct ftl_task *take_own(struct ftl__tcb_pool *pool, struct ftl__tcb_cache *cache)
{
    if (!cache->free && cache->batch) {
        cache->free = cache->batch;
        cache->count = BATCH;
        cache->batch = NULL;
    } else if (!cache->free) {
        ftl__lock_take(&pool->lock);
        cache->free = get_some(pool, &cache->count);
        ftl__lock_drop(&pool->lock);
    }
    struct ftl_task *task = cache->free;
    if (!task)
        return NULL;
    cache->free = task->queue_next;
    cache->count--;
    __builtin_prefetch(cache->free, 1); /* the next one, which may have lain there for long */
    return task;
}

static void clear(struct ftl_task *task)
{
    size_t size = sizeof *task - sizeof task->state;
    __asm__("" : "+r"(size)); /* a call of memset(): inlined it would be the slow `rep stos` */
    poison(task, false);
    memset((char *)task + sizeof task->state, 0, size);
}

struct ftl_task *ftl__tcb_take(struct ftl__tcb_pool *pool, struct ftl__tcb_cache *cache)
{
    ftl__shadow_pause();
    struct ftl_task *task = cache ? take_own(pool, cache) : take_loose(pool);
    if (task)
        clear(task);
    ftl__shadow_resume();
    if (task)
        ftl__shadow_take(task);
    return task;
}

static void give_own(struct ftl__tcb_pool *pool, struct ftl__tcb_cache *cache,
                     struct ftl_task *task)
{
    task->queue_next = cache->free;
    cache->free = task;
    if (++cache->count < BATCH)
        return;
    if (cache->batch) {
        ftl__lock_take(&pool->lock);
        put_batch(pool, cache->batch);
        ftl__lock_drop(&pool->lock);
    }
    cache->batch = cache->free;
    cache->free = NULL;
    cache->count = 0;
}

void ftl__tcb_give(struct ftl__tcb_pool *pool, struct ftl__tcb_cache *cache, struct ftl_task *task)
{
    poison(task, true);
    ftl__shadow_pass(task);
    ftl__shadow_pause();
    if (cache)
        give_own(pool, cache, task);
    else
        give_loose(pool, task);
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
        for (int i = 0; i < BATCH; i++) {
            struct ftl_task *task = &chunk->tasks[i];
            if (!try_ref(task))
                continue;
            each(arg, task);
            ftl__task_unref(task);
        }
    }
}
