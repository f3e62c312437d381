/* SPDX-License-Identifier: MIT
 *
 * The injection queue: where tasks arrive that no worker of the runtime has at hand. */
#ifndef FETTLE_RUNTIME_INJECT_H
#define FETTLE_RUNTIME_INJECT_H

#include <stdatomic.h>
#include <stdint.h>

#include "runtime/futex.h"

struct ftl_task;

struct ftl__inject {
    struct ftl__lock lock;       /* guards first, last */
    struct ftl_task *first, *last;
    _Atomic uint32_t len; /* written under the lock; read as a hint without it */
};

/* Appends the chain first…last (linked by queue_next, NULL at the end), `count` tasks. Any
 * thread. */
void ftl__inject_push(struct ftl__inject *inject, struct ftl_task *first, struct ftl_task *last,
                      uint32_t count);
/* Takes up to `max` from the front as a chain; NULL: empty. Any thread. */
struct ftl_task *ftl__inject_take(struct ftl__inject *inject, uint32_t max);

static inline uint32_t ftl__inject_len(const struct ftl__inject *inject)
{
    return atomic_load_explicit(&inject->len, memory_order_relaxed);
}

#endif
