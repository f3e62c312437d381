/* SPDX-License-Identifier: MIT
 *
 * DESIGN. What others may know of the dispatch: counts, and its runs. Nothing is changed here. */
#include "daemon/dispatch_state.h"

#define SLOT(node) ftl__container(node, struct ftl__slot, link)

uint32_t ftl__dispatch_running(const struct ftl__dispatch *dispatch)
{
    return dispatch->in_flight;
}

struct ftl__dispatch_stats ftl__dispatch_stats(const struct ftl__dispatch *dispatch)
{
    return dispatch->stats;
}

struct ftl__slot *ftl__dispatch_find(struct ftl__dispatch *dispatch, const void *run,
                                     int64_t since)
{
    struct ftl__list *list = &dispatch->running;

    for (struct ftl__list *node = list->next; node != list; node = node->next)
        if (&SLOT(node)->run == run)
            return SLOT(node)->since <= since ? SLOT(node) : NULL;
    return NULL;
}

void ftl__dispatch_each(struct ftl__dispatch *dispatch,
                        bool (*each)(void *arg, const struct ftl__slot *slot), void *arg)
{
    struct ftl__list *node = dispatch->running.next;

    while (node != &dispatch->running && each(arg, SLOT(node)))
        node = node->next;
}
