/* SPDX-License-Identifier: MIT
 *
 * DESIGN. One rule for all kinds of handlers: at its timeout a run is asked to end, by an abort
 * whose grace is the handler's kill_after. What it makes of it is its kind's business: a function
 * in C sees its waits return FTL_ECANCELED, a command gets TERM, then KILL, a worker is told, then gets
 * both, with a kill_after before each.
 *
 * Runs in flight stand in one list in the order of their starts, not of their deadlines: a
 * look goes through all of it, and is taken when the next deadline comes. So a run without a
 * timeout pays nothing, and one that ends in time only the comparison when its deadline was set. */
#include "daemon/overdue.h"

#include "jobs/handler.h"

static int64_t grace(const struct ftl__handler *handler)
{
    int64_t asked = handler->kind->asks_twice ? 2 * handler->kill_after : handler->kill_after;

    return asked + handler->kind->wind_up; /* kill_after is an hour at most */
}

int64_t ftl__overdue_end(struct ftl__list *running, int64_t now)
{
    int64_t next = FTL_FOREVER;

    for (struct ftl__list *node = running->next; node != running; node = node->next) {
        struct ftl__slot *slot = ftl__container(node, struct ftl__slot, link);
        if (slot->task == NULL || slot->timed_out)
            continue;
        if (slot->run.deadline <= now) {
            slot->timed_out = true;
            ftl_abort(slot->task, grace(slot->run.handler));
        } else if (slot->run.deadline < next) {
            next = slot->run.deadline;
        }
    }
    return next;
}
