/* SPDX-License-Identifier: MIT
 *
 * DESIGN. An operator's cancel, where the job is by then: one that is being handed in is refused by
 * dispatch.c, one that is parked or waits to run alone is taken out, one that runs is asked. What
 * has ended is the settle's already. A run that completes although it was asked stays completed;
 * however else it ends, its job goes to dead, also in a shutdown. The walk is as long as there are
 * jobs here, and is made only when the marks have changed. */
#include "daemon/dispatch_state.h"

#include "daemon/queues.h"

#define SLOT(node) ftl__container(node, struct ftl__slot, link)

bool ftl__dispatch_is_cancelled(const struct ftl__dispatch *dispatch, const struct ftl__slot *slot,
                                int64_t now)
{
    return ftl__cancels_has(dispatch->options.cancels, &slot->run.job, slot->run.token,
                            ftl__clock_epoch(dispatch->options.clock, now));
}

static void settle(struct ftl__dispatch *dispatch, struct ftl__slot *slot)
{
    ftl__settle_end(dispatch->options.settle, slot, FTL__END_CANCELLED, NULL, NULL);
}

static void cancel_parked(struct ftl__dispatch *dispatch, struct ftl__bound *bound, int64_t now)
{
    struct ftl__list *node = bound->parked.next;

    while (node != &bound->parked) {
        struct ftl__slot *slot = SLOT(node);
        node = node->next;
        if (!ftl__dispatch_is_cancelled(dispatch, slot, now))
            continue;
        ftl__park_remove(&dispatch->park, slot);
        slot->since = 0; /* it has not run */
        settle(dispatch, slot);
    }
}

static void cancel_running(struct ftl__dispatch *dispatch, int64_t now)
{
    struct ftl__list *list = &dispatch->running;

    for (struct ftl__list *node = list->next; node != list; node = node->next) {
        struct ftl__slot *slot = SLOT(node);
        if (slot->cancelled || !ftl__dispatch_is_cancelled(dispatch, slot, now))
            continue;
        slot->cancelled = true;
        ftl_task_set_abort(dispatch->set, slot, FTL__CANCEL_GRACE);
    }
}

void ftl__dispatch_cancel(struct ftl__dispatch *dispatch)
{
    struct ftl__list *bounds = &dispatch->park.bounds;
    int64_t now = ftl_now();

    if (dispatch->suspect != NULL &&
        ftl__dispatch_is_cancelled(dispatch, dispatch->suspect, now)) {
        settle(dispatch, dispatch->suspect);
        dispatch->suspect = NULL;
    }
    for (struct ftl__list *node = bounds->next; node != bounds; node = node->next)
        cancel_parked(dispatch, ftl__container(node, struct ftl__bound, link), now);
    cancel_running(dispatch, now);
}
