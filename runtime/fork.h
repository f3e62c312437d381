/* SPDX-License-Identifier: MIT
 *
 * A process that was forked while there were runtimes has none of their threads: there they are
 * dead, and whoever calls one ends the process, by _exit(127). */
#ifndef FETTLE_RUNTIME_FORK_H
#define FETTLE_RUNTIME_FORK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

/* Set in a child while it has no other threads. */
extern _Atomic bool ftl__forked;

static inline void ftl__fork_check(void)
{
    /* relaxed: written before the child has threads */
    if (atomic_load_explicit(&ftl__forked, memory_order_relaxed))
        _exit(127);
}

/* A runtime begins / has ended. 0 or an errno value. */
int ftl__fork_begin(void);
void ftl__fork_end(void);

#endif
