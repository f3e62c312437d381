/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The monitor's thread must not wait, so it leaves a copy of its report in a short row and
 * wakes a task of control. That one looks whose run it is, tells the handler, which may move the
 * class to the blocking pool, and logs both. A class that stalls is told of once a minute, however
 * many of its runs do.
 *
 * The report names a task by its argument, which is the run. By the time it is looked at, that run
 * may have ended and its slot may hold another one: which one it is, its start tells, since whoever
 * came later started later. */
#include "daemon/stalls.h"

#include <stdio.h>
#include <string.h>

#include <fettle/time.h>

#include "daemon/complaint.h"
#include "daemon/dispatch.h"
#include "daemon/part.h"
#include "daemon/report.h"
#include "jobs/handler.h"

void ftl__stalls_post(struct ftl__stalls *stalls, const struct ftl_stall *stall)
{
    int64_t began = ftl_now() - stall->duration;

    pthread_mutex_lock(&stalls->lock);
    if (stalls->count < FTL__STALLS_KEPT) {
        stalls->kept[stalls->count].stall = *stall;
        stalls->kept[stalls->count].began = began;
        stalls->count++;
    }
    pthread_mutex_unlock(&stalls->lock);
    ftl_notify_one(stalls->posted);
}

/* False: there is none. */
static bool take(struct ftl__stalls *stalls, struct ftl_stall *ret_stall, int64_t *ret_began)
{
    bool any;

    pthread_mutex_lock(&stalls->lock);
    any = stalls->count > 0;
    if (any) {
        *ret_stall = stalls->kept[0].stall;
        *ret_began = stalls->kept[0].began;
        stalls->count--;
        memmove(&stalls->kept[0], &stalls->kept[1], stalls->count * sizeof stalls->kept[0]);
    }
    pthread_mutex_unlock(&stalls->lock);
    return any;
}

static void tell(const struct ftl__slot *slot, const struct ftl_stall *stall)
{
    const char *what = slot != NULL ? slot->run.class : stall->task_name;
    char text[320];

    snprintf(text, sizeof text, "stall %s %s", slot != NULL ? "of" : "task",
             what != NULL ? what : "");
    if (ftl__complaint_is_news(text))
        ftl__report_stalled(slot, stall);
}

static void look_at(const struct ftl__stalls *stalls, const struct ftl_stall *stall, int64_t began)
{
    struct ftl__slot *slot =
        stall->task_arg != NULL
            ? ftl__dispatch_find(stalls->dispatch, stall->task_arg, began)
            : NULL;
    struct ftl__handler *handler = slot != NULL ? slot->run.handler : NULL;

    tell(slot, stall);
    if (handler != NULL && handler->kind->stalled != NULL &&
        handler->kind->stalled(handler, slot->run.class))
        ftl__report_moved(slot);
}

static void *stalls_main(void *arg)
{
    struct ftl__stalls *stalls = arg;
    struct ftl_stall stall;
    int64_t began;

    while (ftl_notify_wait(stalls->posted, FTL_FOREVER) != FTL_ECANCELED)
        while (take(stalls, &stall, &began))
            look_at(stalls, &stall, began);
    return NULL;
}

int ftl__stalls_init(struct ftl__stalls *stalls)
{
    memset(stalls, 0, sizeof *stalls);
    stalls->posted = ftl_notify_new();
    if (stalls->posted == NULL || pthread_mutex_init(&stalls->lock, NULL) != 0) {
        ftl_notify_free(stalls->posted);
        stalls->posted = NULL;
        return FTL_ENOMEM;
    }
    return 0;
}

void ftl__stalls_fini(struct ftl__stalls *stalls)
{
    if (stalls->posted == NULL)
        return;
    ftl_notify_free(stalls->posted);
    pthread_mutex_destroy(&stalls->lock);
}

int ftl__stalls_open(struct ftl__stalls *stalls, struct ftl_runtime *control,
                     struct ftl__dispatch *dispatch)
{
    stalls->dispatch = dispatch;
    return ftl__part_start(control, stalls_main, stalls, "stalls", &stalls->task);
}

void ftl__stalls_close(struct ftl__stalls *stalls)
{
    ftl__part_stop(&stalls->task, FTL_S);
}
