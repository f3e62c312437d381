/* SPDX-License-Identifier: MIT
 *
 * DESIGN. From a claimed job to its run. Bounds of queues and handlers are semaphores: a job gets the
 * permits of both or none; they travel with the task and are back before its outcome is seen. Where
 * the run goes is its handler's choice for its class: a task, the blocking pool, or a child process,
 * which is another handler in its place.
 *
 * A suspect, a job of a module that was in flight at two deaths, goes to a child process of its own where its handler
 * can have one: then it is a job like others, but that only so many of them are there at a time (the
 * park's shelter). Elsewhere, and if there is no process to be had, it is left to dispatch.c, to be
 * run alone. */
#include "daemon/dispatch_state.h"

#include "daemon/queues.h"
#include "daemon/report.h"
#include "daemon/route.h"
#include "jobs/handler.h"

#define REST FTL_S /* of a queue whose jobs found no room to park */
#define SLOT(node) ftl__container(node, struct ftl__slot, link)

/* ---- starting ---------------------------------------------------------------------------- */

static void wake_keeper(struct ftl__dispatch *dispatch, int64_t at)
{
    if (at < dispatch->keeper_until) {
        dispatch->keeper_until = at;
        ftl_notify_one(dispatch->changed);
    }
}

/* Puts the handler of a child process in the place of its own, if that is where it goes. */
static int choose_place(struct ftl__slot *slot)
{
    struct ftl__handler *handler = slot->run.handler, *other = NULL;
    int code = 0;

    if (slot->shelter != NULL)
        code = slot->run.place == FTL__PLACE_CHILD ? 0 : handler->kind->alone(handler, &other);
    else if (handler->kind->place == NULL)
        return 0;
    else if ((slot->run.place = handler->kind->place(handler, slot->run.class)) ==
             FTL__PLACE_CHILD)
        other = handler->kind->children(handler);
    if (other != NULL) {
        slot->run.place = FTL__PLACE_CHILD;
        slot->run.handler = other;
        ftl__handler_unref(handler);
    }
    return code;
}

static int spawn(struct ftl__dispatch *dispatch, struct ftl__slot *slot)
{
    struct ftl_spawn_options options = {
        .name = "run",
        .stack_size = slot->run.handler->stack_size,
        .migratable = slot->run.handler->kind->migratable,
        .blocking = slot->run.place == FTL__PLACE_POOL,
    };
    bool timed = slot->run.deadline != FTL_FOREVER;
    int code;

    if (slot->queue_permit.semaphore != NULL)
        ftl_permit_move(&slot->queue_permit, &options.held);
    if (slot->bound_permit.semaphore != NULL)
        ftl_permit_move(&slot->bound_permit, &options.held);
    if (slot->shelter_permit.semaphore != NULL)
        ftl_permit_move(&slot->shelter_permit, &options.held);
    code = ftl_task_set_spawn(dispatch->set, dispatch->options.jobs, ftl__run_main, &slot->run,
                              &options, slot, timed ? &slot->task : NULL);
    if (code != 0) {
        ftl__slot_give_permits(slot); /* they are in `options` still */
        return code;
    }
    if (timed && slot->run.deadline < dispatch->next_deadline) {
        dispatch->next_deadline = slot->run.deadline;
        wake_keeper(dispatch, slot->run.deadline);
    }
    return 0;
}

int ftl__dispatch_start(struct ftl__dispatch *dispatch, struct ftl__slot *slot, int64_t now)
{
    int code;

    if (!ftl__slot_take_permits(slot))
        return FTL_EAGAIN;
    ftl__slot_set_deadline(slot, dispatch->options.clock, now);
    if (!slot->moved)
        ftl__report_started(slot);
    code = choose_place(slot);
    if (code == 0)
        code = spawn(dispatch, slot);
    if (code != 0) {
        ftl__slot_give_permits(slot);
        return code;
    }
    if (slot->state == FTL__SLOT_PARKED)
        ftl__park_remove(&dispatch->park, slot);
    ftl__slot_set(slot, FTL__SLOT_RUNNING);
    slot->since = now;
    ftl__list_push_back(&dispatch->running, &slot->link);
    if (dispatch->in_flight++ == 0) {
        ftl_notify_one(dispatch->spawned);
        dispatch->options.on_busy(dispatch->options.arg);
    }
    return 0;
}

void ftl__dispatch_start_parked(struct ftl__dispatch *dispatch, int64_t now)
{
    struct ftl__list *bounds = &dispatch->park.bounds;

    if (dispatch->park.count == 0)
        return;
    for (struct ftl__list *node = bounds->next; node != bounds; node = node->next) {
        struct ftl__bound *bound = ftl__container(node, struct ftl__bound, link);
        struct ftl__slot *slot;
        while ((slot = ftl__park_first(bound)) != NULL && ftl__dispatch_room_left(dispatch) > 0 &&
               ftl__dispatch_start(dispatch, slot, now) == 0)
            continue;
    }
}

void ftl__dispatch_put_back(struct ftl__dispatch *dispatch, struct ftl__slot *slot,
                            const char *reason)
{
    dispatch->stats.returned++;
    ftl__settle_end(dispatch->options.settle, slot, FTL__END_RETURNED, NULL, reason);
}

/* The newest first, so that the oldest ends at the very front. */
void ftl__dispatch_put_back_list(struct ftl__dispatch *dispatch, struct ftl__list *list,
                                 const char *reason)
{
    struct ftl__list *node;

    ftl__slots_sort(list);
    while ((node = ftl__list_pop_front(list)) != NULL)
        ftl__dispatch_put_back(dispatch, SLOT(node), reason);
}

void ftl__dispatch_put_back_parked(struct ftl__dispatch *dispatch, int64_t before)
{
    struct ftl__list list;
    struct ftl__slot *slot;

    ftl__list_init(&list);
    while ((slot = ftl__park_take(&dispatch->park, before)) != NULL)
        ftl__list_push_back(&list, &slot->link);
    ftl__dispatch_put_back_list(dispatch, &list, "parked");
}

void ftl__dispatch_start_alone(struct ftl__dispatch *dispatch, struct ftl__slot *slot, int64_t now)
{
    slot->shelter = NULL;
    if (dispatch->quiet || dispatch->alone) {
        ftl__dispatch_start_or_park(dispatch, slot, now); /* which it cannot: it goes back */
        return;
    }
    dispatch->suspect = slot;
    dispatch->alone = true;
    ftl__dispatch_put_back_parked(dispatch, INT64_MAX);
}

/* ---- a claimed job ------------------------------------------------------------------------ */

void ftl__dispatch_start_or_park(struct ftl__dispatch *dispatch, struct ftl__slot *slot,
                                 int64_t now)
{
    bool may_park = ftl__slot_bound(slot) != NULL && ftl__dispatch_park_room(dispatch) > 0;
    bool stopped = dispatch->quiet || dispatch->alone;
    int code = stopped ? FTL_EAGAIN : ftl__dispatch_start(dispatch, slot, now);

    if (code == 0)
        return;
    if (code == FTL_EAGAIN && !stopped && may_park) {
        ftl__park_add(&dispatch->park, slot, now);
        wake_keeper(dispatch, now + FTL__PARK_TIME);
    } else {
        ftl__list_push_front(&dispatch->overflow, &slot->link);
    }
}

/* Can what the handler does end this process? Commands, workers and requests run elsewhere anyway. */
static bool may_kill(const struct ftl__handler *handler)
{
    return handler->isolates || handler->kind->place != NULL;
}

void ftl__dispatch_job(struct ftl__dispatch *dispatch, struct ftl__batch *batch, uint32_t index,
                       const char *bytes, size_t size, uint32_t recoveries, int64_t now)
{
    struct ftl__slot *slot = ftl__slots_take(dispatch->options.slots);
    struct ftl__bound *bound;
    struct ftl__route route;
    bool suspect;
    int code;

    ftl__slot_enter(slot, batch, index);
    slot->run.runtime = dispatch->options.jobs;
    slot->run.on_line = ftl__report_line;
    if (ftl__slot_set_bytes(slot, bytes, size) != 0) {
        ftl__list_push_front(&dispatch->overflow, &slot->link);
        return;
    }
    code = ftl__route(slot, dispatch->options.registry, dispatch->options.max_payload, recoveries,
                      &route);
    if (ftl__marks_any(dispatch->options.cancels) && (code == 0 || route.end != FTL__END_RAW) &&
        ftl__dispatch_is_cancelled(dispatch, slot, now)) {
        ftl__settle_end(dispatch->options.settle, slot, FTL__END_CANCELLED, NULL, NULL);
        return;
    }
    if (code != 0) {
        ftl__settle_end(dispatch->options.settle, slot, route.end, route.error_class,
                        route.message);
        return;
    }
    slot->bound = ftl__park_bound(&dispatch->park, slot->run.handler);
    suspect = recoveries + 1 >= FTL__LEASE_RECOVERIES && may_kill(slot->run.handler);
    if (suspect && slot->run.handler->isolates)
        slot->shelter = dispatch->park.shelter;
    dispatch->wary = suspect && slot->shelter == NULL;
    if (dispatch->wary && !dispatch->alone && !dispatch->quiet) {
        dispatch->suspect = slot;
        dispatch->alone = true;
        return;
    }
    /* Who is parked came first. */
    bound = ftl__slot_bound(slot);
    if (!dispatch->alone && bound != NULL && ftl__park_first(bound) != NULL &&
        ftl__dispatch_park_room(dispatch) > 0)
        ftl__park_add(&dispatch->park, slot, now);
    else
        ftl__dispatch_start_or_park(dispatch, slot, now);
}

void ftl__dispatch_return(struct ftl__dispatch *dispatch, struct ftl__batch *batch, uint32_t index,
                          const char *reason)
{
    struct ftl__slot *slot = ftl__slots_take(dispatch->options.slots);

    ftl__slot_enter(slot, batch, index);
    slot->resent = true; /* Redis may have heard of its end */
    ftl__dispatch_put_back(dispatch, slot, reason);
}

bool ftl__dispatch_pushed(struct ftl__dispatch *dispatch, int64_t now)
{
    struct ftl__list *node;
    bool any = !ftl__list_is_empty(&dispatch->overflow);

    while ((node = ftl__list_pop_front(&dispatch->overflow)) != NULL) {
        struct ftl__slot *slot = SLOT(node);
        if (!dispatch->alone) {
            slot->queue->rests_until = now + REST;
            slot->queue->rest_room = (dispatch->park.max + 1) / 2;
        }
        ftl__dispatch_put_back(dispatch, slot, dispatch->quiet ? "quiet" : "parked");
    }
    if (dispatch->suspect != NULL)
        ftl__dispatch_put_back_parked(dispatch, INT64_MAX);
    return any;
}

