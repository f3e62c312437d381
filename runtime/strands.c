/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The order in which the strands of a task run. Runs on the stacks of these strands and in the
 * scheduler of the worker that has the task; only ftl__place_post() is for everybody. Owns nothing:
 * all of it lies in the frame of the outermost join and on the branches' stacks.
 *
 * That a place may go when its strand ends: a wait does not end before its grant is complete, and
 * the grant posts the place before that. So whoever has ended is in `woken` or `ready`, or nobody
 * will put it there. */
#include "runtime/strands.h"

#include "runtime/tcb.h"

void ftl__place_enter(struct ftl__place *place, struct ftl__strands *strands,
                      struct ftl__strand *strand)
{
    place->link.prev = place->link.next = NULL;
    place->woken_next = NULL;
    atomic_init(&place->queued, false);
    place->strand = strand;
    place->strands = strands;
    place->all.prev = place->all.next = NULL;
    if (strand) {
        strand->place = place;
        ftl__list_push_back(&strands->all, &place->all);
    }
}

/* From `woken` to `ready`, oldest first. */
static void collect(struct ftl__strands *strands)
{
    struct ftl__place *place = atomic_load_explicit(&strands->woken, memory_order_relaxed);
    struct ftl__list *newest = strands->ready.prev;
    if (!place)
        return;
    /* acquire: pairs with the release in ftl__place_post() */
    place = atomic_exchange_explicit(&strands->woken, NULL, memory_order_acquire);
    for (; place; place = place->woken_next)
        ftl__list_push_front(newest, &place->link);
}

void ftl__place_leave(struct ftl__place *place)
{
    if (atomic_load_explicit(&place->queued, memory_order_relaxed)) {
        collect(place->strands);
        ftl__list_unlink(&place->link);
    }
    if (place->strand) {
        place->strand->place = NULL;
        ftl__list_unlink(&place->all);
    }
}

/* True: it was not queued, and the caller must see to that. */
static bool queue(struct ftl__place *place)
{
    /* acq_rel: pairs with the exchange in ftl__strands_next(): if it is queued already, whoever
     * takes it out sees what it was woken for now. */
    return !atomic_exchange_explicit(&place->queued, true, memory_order_acq_rel);
}

void ftl__place_wake(struct ftl__place *place)
{
    if (!queue(place))
        return;
    collect(place->strands); /* they were first */
    ftl__list_push_back(&place->strands->ready, &place->link);
}

void ftl__place_post(struct ftl__place *place)
{
    struct ftl__strands *strands = place->strands;
    if (!queue(place))
        return;
    struct ftl__place *head = atomic_load_explicit(&strands->woken, memory_order_relaxed);
    do {
        place->woken_next = head;
        /* release: publishes woken_next to collect() */
    } while (!atomic_compare_exchange_weak_explicit(&strands->woken, &head, place,
                                                    memory_order_release, memory_order_relaxed));
}

void ftl__strands_begin(struct ftl__strands *strands, struct ftl__strand *root)
{
    atomic_init(&strands->woken, NULL);
    ftl__list_init(&strands->ready);
    ftl__list_init(&strands->all);
    strands->abort_seen = false;
    ftl__place_enter(&strands->root, strands, root);
}

void ftl__strands_end(struct ftl__strands *strands)
{
    ftl__place_leave(&strands->root);
}

/* Every wait is to see the abort of the task, once: those that begin later look for it. */
static void wake_for_abort(struct ftl__strands *strands)
{
    const struct ftl_task *task = strands->root.strand->task;
    /* relaxed: each wait that is woken looks for itself, and acquires */
    if (strands->abort_seen ||
        !(atomic_load_explicit(&task->state, memory_order_relaxed) & FTL__CANCELLED))
        return;
    strands->abort_seen = true;
    for (struct ftl__list *node = strands->all.next; node != &strands->all; node = node->next)
        ftl__place_wake(ftl__container(node, struct ftl__place, all));
}

struct ftl__strand *ftl__strands_next(struct ftl__strands *strands)
{
    wake_for_abort(strands);
    collect(strands);
    while (!ftl__list_is_empty(&strands->ready)) {
        struct ftl__place *place =
            ftl__container(strands->ready.next, struct ftl__place, link);
        struct ftl__strand *strand = place->strand;
        if (strand) {
            ftl__list_unlink(&place->link);
            /* acq_rel: pairs with queue() */
            atomic_exchange_explicit(&place->queued, false, memory_order_acq_rel);
            return strand;
        }
        strand = ftl__branch_start(place);
        if (strand)
            return strand;
    }
    return NULL;
}
