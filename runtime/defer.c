/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Defers form a linked list per strand, newest first, of nodes in the frames (or permits, …) that
 * own them; what was moved out of a strand stands in a list of its own until a task has it. Each
 * node knows what points to it, and so leaves whichever list it is in. Only the strand itself
 * touches its list. A node is armed as long as `fn` is set. */
#include <stddef.h>

#include "runtime/strand.h"

void ftl__defer_push(struct ftl_defer **list, struct ftl_defer *node, void (*fn)(void *arg),
                     void *arg)
{
    node->fn = fn;
    node->arg = arg;
    node->link = list;
    node->next = *list;
    if (node->next)
        node->next->link = &node->next;
    *list = node;
}

void ftl__defers_move(struct ftl_defer **from, struct ftl_defer **to)
{
    struct ftl_defer *first = *from, *last = first;
    if (!first)
        return;
    while (last->next)
        last = last->next;
    last->next = *to;
    if (*to)
        (*to)->link = &last->next;
    *to = first;
    first->link = to;
    *from = NULL;
}

void ftl_defer_arm(struct ftl_defer *node, void (*fn)(void *arg),
                     void *arg)
{
    struct ftl__strand *strand = ftl__strand_current();
    if (strand->task)
        ftl__defer_push(&strand->defers, node, fn, arg);
    else
        *node = (struct ftl_defer){.fn = fn, .arg = arg};
}

void ftl_defer_disarm(struct ftl_defer *node)
{
    if (!node->fn)
        return;
    node->fn = NULL;
    if (node->link)
        *node->link = node->next;
    if (node->next)
        node->next->link = node->link;
    node->link = NULL;
    node->next = NULL;
}

void ftl_defer_run(struct ftl_defer *node)
{
    void (*fn)(void *arg) = node->fn;
    void *arg = node->arg;
    if (!fn)
        return;
    struct ftl__strand *strand = ftl__strand_current();
    ftl_defer_disarm(node); /* first: it runs once, even if it panics */
    strand->mask++;
    fn(arg);
    strand->mask--;
}

void ftl__defers_run(struct ftl_defer **list)
{
    while (*list)
        ftl_defer_run(*list);
}
