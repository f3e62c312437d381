/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Runs in flight stand in one list in the order of their starts, not of their deadlines: a
 * look goes through all of it, and is taken when the next deadline comes. So a run without a
 * timeout pays nothing, and one that ends in time only the comparison when its deadline was set. */
#include "daemon/overdue.h"

int64_t ftl__overdue_end(struct ftl__list *running, int64_t now)
{
    int64_t next = FTL_FOREVER;

    for (struct ftl__list *node = running->next; node != running; node = node->next) {
        struct ftl__slot *slot = ftl__container(node, struct ftl__slot, link);
        if (slot->task == NULL || slot->timed_out)
            continue;
        if (slot->run.deadline <= now) {
            slot->timed_out = true;
            ftl_abort(slot->task, 0);
        } else if (slot->run.deadline < next) {
            next = slot->run.deadline;
        }
    }
    return next;
}
