/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Defers form a doubly linked list per strand, newest first, of nodes in the frames (or permits, …) that
 * own them. Only the strand itself touches its list. A node is armed as long as `fn` is set. */
#include <stddef.h>

#include "runtime/strand.h"

void ftl_defer_arm(struct ftl_defer *node, void (*fn)(void *arg), void *arg)
{
    struct ftl__strand *strand = ftl__strand_current();
    node->fn = fn;
    node->arg = arg;
    node->prev = NULL;
    node->next = strand->defers;
    if (node->next)
        node->next->prev = node;
    strand->defers = node;
}

void ftl_defer_disarm(struct ftl_defer *node)
{
    if (!node->fn)
        return;
    node->fn = NULL;
    if (node->prev)
        node->prev->next = node->next;
    else
        ftl__strand_current()->defers = node->next;
    if (node->next)
        node->next->prev = node->prev;
    node->prev = node->next = NULL;
}

void ftl_defer_run(struct ftl_defer *node)
{
    void (*fn)(void *arg) = node->fn;
    void *arg = node->arg;
    if (!fn)
        return;
    ftl_defer_disarm(node); /* first: it runs once, even if it panics */
    fn(arg);
}

void ftl__defers_run_held(struct ftl_defer *held)
{
    while (held) {
        struct ftl_defer *next = held->next;
        void (*fn)(void *arg) = held->fn;
        held->prev = held->next = NULL;
        held->fn = NULL;
        fn(held->arg);
        held = next;
    }
}
