/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * An intrusive list under a lock, and its length beside it, so that whoever only wants to know
 * whether there is anything does not take the lock. Appending a whole chain costs as much as one
 * task. */
#include "runtime/inject.h"

#include <stddef.h>

#include "runtime/tcb.h"

void ftl__inject_push(struct ftl__inject *inject, struct ftl_task *first, struct ftl_task *last,
                      uint32_t count)
{
    ftl__lock_take(&inject->lock);
    if (inject->last)
        inject->last->queue_next = first;
    else
        inject->first = first;
    inject->last = last;
    uint32_t len = atomic_load_explicit(&inject->len, memory_order_relaxed);
    atomic_store_explicit(&inject->len, len + count, memory_order_relaxed);
    ftl__lock_drop(&inject->lock);
}

struct ftl_task *ftl__inject_take(struct ftl__inject *inject, uint32_t max)
{
    if (max == 0 || ftl__inject_len(inject) == 0)
        return NULL;
    ftl__lock_take(&inject->lock);
    struct ftl_task *first = inject->first, *last = NULL;
    uint32_t taken = 0;
    for (struct ftl_task *task = first; task && taken < max; task = task->queue_next) {
        last = task;
        taken++;
        ftl__shadow_pause(); /* of `arg` the strands are told, not the worker */
        __builtin_prefetch(task->arg); /* mostly written by another thread just before */
        ftl__shadow_resume();
    }
    if (last) {
        inject->first = last->queue_next;
        if (!inject->first)
            inject->last = NULL;
        last->queue_next = NULL;
        uint32_t len = atomic_load_explicit(&inject->len, memory_order_relaxed);
        atomic_store_explicit(&inject->len, len - taken, memory_order_relaxed);
    }
    ftl__lock_drop(&inject->lock);
    return first;
}
