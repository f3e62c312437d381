/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * One stored wake-up and a queue of waiters under a lock. A wake-up that was granted to a waiter
 * whom an abort or a deadline reached first is passed on. */
#include <fettle/channel.h>

#include <stdlib.h>

#include "runtime/wait.h"

struct ftl_notify {
    struct ftl__lock lock; /* guards all below */
    bool stored;
    struct ftl__list waiters;
};

struct ftl_notify *ftl_notify_new(void)
{
    struct ftl_notify *notify = calloc(1, sizeof *notify);
    if (notify)
        ftl__list_init(&notify->waiters);
    return notify;
}

void ftl_notify_free(struct ftl_notify *notify)
{
    free(notify);
}

static void wake(struct ftl_notify *notify, bool all)
{
    struct ftl__wakes wakes;
    struct ftl__list *node;
    ftl__wakes_init(&wakes);
    ftl__lock_take(&notify->lock);
    if (!all && ftl__list_is_empty(&notify->waiters))
        notify->stored = true;
    while ((node = ftl__list_pop_front(&notify->waiters)) != NULL) {
        struct ftl__waiter *waiter = ftl__container(node, struct ftl__waiter, link);
        waiter->count = !all; /* a single wake-up is passed on if it comes too late */
        ftl__waiter_grant(waiter, &wakes);
        if (!all)
            break;
    }
    ftl__lock_drop(&notify->lock);
    ftl__wakes_submit(&wakes);
}

void ftl_notify_one(struct ftl_notify *notify)
{
    wake(notify, false);
}

void ftl_notify_all(struct ftl_notify *notify)
{
    wake(notify, true);
}

int ftl_notify_wait(struct ftl_notify *notify, int64_t deadline)
{
    struct ftl__strand *strand = ftl__strand_current();
    struct ftl__waiter waiter;
    int rc = ftl__coop(strand);
    if (rc != 0)
        return rc;
    ftl__waiter_init(&waiter, strand);
    ftl__lock_take(&notify->lock);
    bool stored = notify->stored;
    notify->stored = false;
    if (!stored)
        ftl__list_push_back(&notify->waiters, &waiter.link);
    ftl__lock_drop(&notify->lock);
    if (stored)
        return 0;
    rc = ftl__waiter_wait(&waiter, deadline);
    if (rc == 0)
        return 0;
    ftl__lock_take(&notify->lock);
    bool standing = ftl__list_is_linked(&waiter.link);
    if (standing)
        ftl__list_unlink(&waiter.link);
    ftl__lock_drop(&notify->lock);
    if (!standing && waiter.count)
        wake(notify, false);
    return ftl__wait_result(strand, rc);
}
