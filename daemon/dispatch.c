/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Two tasks on control. The joiner takes the outcomes of the task set, hands each slot to
 * the settle, and lets parked jobs start in the room that came free. The keeper looks at the clock:
 * runs past their deadline are aborted, jobs parked for too long go back to their queue. Both sleep
 * until there is something to do.
 *
 * The claim hands jobs in, in its own task. The bound of the process is counted here, by what is in
 * flight and what is promised to claims. Bounds of queues and handlers are semaphores: a job gets
 * the permits of both or none; they travel with the task and are back before its outcome is seen.
 * A job that was in flight at two deaths is a suspect: it runs alone (look_at_suspect), and until
 * its end is told everything else goes back to its queue.
 *
 * Spawns and joins of the set come from different tasks of control, which never run in parallel. A
 * slot is in exactly one list: `running`, `cut_off` (its run was aborted by a shutdown and has
 * really ended), `overflow` (no room to park it), its bound's, or the settle's. */
#include "daemon/dispatch.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/dispatch_state.h"
#include "daemon/overdue.h"
#include "daemon/part.h"
#include "daemon/queues.h"
#include "daemon/report.h"
#include "daemon/route.h"

#define BRISK (4 * FTL_MS)    /* average run below which waiting for company pays */
#define REST FTL_S            /* of a queue whose jobs found no room to park */
#define SLOTS_PER_RUN 4       /* running, parked, and twice that many ends on their way to Redis */
#define SLOT(node) ftl__container(node, struct ftl__slot, link)

/* ---- room -------------------------------------------------------------------------------- */

static uint32_t left(uint32_t of, uint32_t used)
{
    return used < of ? of - used : 0;
}

static uint32_t room_of(const struct ftl__dispatch *dispatch)
{
    uint32_t concurrency = dispatch->options.concurrency;
    uint32_t room = left(concurrency, dispatch->in_flight + dispatch->promised);
    const struct ftl__slots *pool = dispatch->options.slots;
    uint32_t taken = (uint32_t)(pool->total - pool->free_count) + dispatch->promised;
    uint32_t slots = left(SLOTS_PER_RUN * concurrency, taken);

    room = room < slots ? room : slots;
    return dispatch->alone ? 0 : room;
}

uint32_t ftl__dispatch_room(const struct ftl__dispatch *dispatch)
{
    if (dispatch->wary && dispatch->promised > 0)
        return 0; /* one by one */
    return dispatch->wary ? room_of(dispatch) > 0 : room_of(dispatch);
}

uint32_t ftl__dispatch_park_room(const struct ftl__dispatch *dispatch)
{
    return dispatch->quiet ? 0 : ftl__park_room(&dispatch->park);
}

int ftl__dispatch_promise(struct ftl__dispatch *dispatch, uint32_t count)
{
    int code = ftl__slots_reserve(dispatch->options.slots, dispatch->promised + count);

    if (code == 0)
        dispatch->promised += count;
    return code;
}

void ftl__dispatch_redeem(struct ftl__dispatch *dispatch, uint32_t count)
{
    ftl_assert(count <= dispatch->promised);
    dispatch->promised -= count;
    ftl__dispatch_nudge(dispatch);
}

bool ftl__dispatch_is_brisk(const struct ftl__dispatch *dispatch)
{
    return dispatch->average < BRISK;
}

/* ---- starting ---------------------------------------------------------------------------- */

static void wake_keeper(struct ftl__dispatch *dispatch, int64_t at)
{
    if (at < dispatch->keeper_until) {
        dispatch->keeper_until = at;
        ftl_notify_one(dispatch->changed);
    }
}

static int spawn(struct ftl__dispatch *dispatch, struct ftl__slot *slot)
{
    const struct ftl__handler *handler = slot->run.handler;
    struct ftl_spawn_options options = {
        .name = "run",
        .stack_size = handler->stack_size,
        .migratable = handler->kind->migratable,
    };
    bool timed = slot->run.deadline != FTL_FOREVER;
    int code;

    slot->run.blocking = handler->kind->blocks != NULL &&
                         handler->kind->blocks(handler, slot->run.class);
    options.blocking = slot->run.blocking;

    if (slot->queue_permit.semaphore != NULL)
        ftl_permit_move(&slot->queue_permit, &options.held);
    if (slot->bound_permit.semaphore != NULL)
        ftl_permit_move(&slot->bound_permit, &options.held);
    code = ftl_task_set_spawn(dispatch->set, dispatch->options.jobs, ftl__run_main, &slot->run,
                              &options, slot, timed ? &slot->task : NULL);
    if (code != 0) {
        ftl__slot_give_permits(slot);
        return code;
    }
    if (timed && slot->run.deadline < dispatch->next_deadline) {
        dispatch->next_deadline = slot->run.deadline;
        wake_keeper(dispatch, slot->run.deadline);
    }
    return 0;
}

/* FTL_EAGAIN: a permit is missing. Others: the task could not be made. */
static int start(struct ftl__dispatch *dispatch, struct ftl__slot *slot, int64_t now)
{
    int code;

    if (!ftl__slot_take_permits(slot))
        return FTL_EAGAIN;
    ftl__slot_set_deadline(slot, dispatch->options.clock, now);
    if (!slot->moved)
        ftl__report_started(slot);
    code = spawn(dispatch, slot);
    if (code != 0)
        return code;
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

static void give_back(struct ftl__dispatch *dispatch, struct ftl__slot *slot, const char *reason)
{
    dispatch->stats.returned++;
    ftl__settle_end(dispatch->options.settle, slot, FTL__END_RETURNED, NULL, reason);
}

/* Puts the slots of a list back to the fronts of their queues, the newest first. */
static void give_back_list(struct ftl__dispatch *dispatch, struct ftl__list *list,
                           const char *reason)
{
    struct ftl__list *node;

    ftl__slots_sort(list);
    while ((node = ftl__list_pop_front(list)) != NULL)
        give_back(dispatch, SLOT(node), reason);
}

static void give_parked_back(struct ftl__dispatch *dispatch, int64_t before)
{
    struct ftl__list list;
    struct ftl__slot *slot;

    ftl__list_init(&list);
    while ((slot = ftl__park_take(&dispatch->park, before)) != NULL)
        ftl__list_push_back(&list, &slot->link);
    give_back_list(dispatch, &list, "parked");
}

/* ---- a claimed job ------------------------------------------------------------------------ */

static void start_or_park(struct ftl__dispatch *dispatch, struct ftl__slot *slot, int64_t now)
{
    bool may_park = slot->bound != NULL && ftl__dispatch_park_room(dispatch) > 0;
    bool stopped = dispatch->quiet || dispatch->alone;
    int code = stopped ? FTL_EAGAIN : start(dispatch, slot, now);

    if (code == 0)
        return;
    if (code == FTL_EAGAIN && !stopped && may_park) {
        ftl__park_add(&dispatch->park, slot, now);
        wake_keeper(dispatch, now + FTL__PARK_TIME);
    } else {
        ftl__list_push_front(&dispatch->overflow, &slot->link);
    }
}

void ftl__dispatch_job(struct ftl__dispatch *dispatch, struct ftl__batch *batch, uint32_t index,
                       const char *bytes, size_t size, uint32_t recoveries, int64_t now)
{
    struct ftl__slot *slot = ftl__slots_take(dispatch->options.slots);
    struct ftl__route route;
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
    if (ftl__cancels_any(dispatch->options.cancels) && (code == 0 || route.end != FTL__END_RAW) &&
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
    dispatch->wary = recoveries + 1 >= FTL__LEASE_RECOVERIES;
    if (dispatch->wary && !dispatch->alone && !dispatch->quiet) {
        dispatch->suspect = slot;
        dispatch->alone = true;
        return;
    }
    /* Who is parked came first. */
    if (!dispatch->alone && slot->bound != NULL && ftl__park_first(slot->bound) != NULL &&
        ftl__dispatch_park_room(dispatch) > 0)
        ftl__park_add(&dispatch->park, slot, now);
    else
        start_or_park(dispatch, slot, now);
}

void ftl__dispatch_return(struct ftl__dispatch *dispatch, struct ftl__batch *batch, uint32_t index,
                          const char *reason)
{
    struct ftl__slot *slot = ftl__slots_take(dispatch->options.slots);

    ftl__slot_enter(slot, batch, index);
    give_back(dispatch, slot, reason);
}

/* The newest first, so that the oldest ends at the very front. */
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
        give_back(dispatch, slot, dispatch->quiet ? "quiet" : "parked");
    }
    if (dispatch->suspect != NULL)
        give_parked_back(dispatch, INT64_MAX);
    return any;
}

/* ---- the end of a run ----------------------------------------------------------------------- */

static void fail(struct ftl__dispatch *dispatch, struct ftl__slot *slot)
{
    dispatch->stats.failed++;
    ftl__settle_end(dispatch->options.settle, slot, FTL__END_FAILED, NULL, NULL);
}

/* What it says itself is the failure, unless its time was over or it has said nothing. */
static void explain(struct ftl__slot *slot, const struct ftl_outcome *outcome)
{
    static const char message[] = "the run aborted itself";

    if (outcome->kind == FTL_PANICKED)
        ftl__run_panicked(&slot->run, outcome->panic);
    else if (slot->timed_out)
        ftl__run_timed_out(&slot->run);
    else if (outcome->kind == FTL_CANCELLED)
        ftl__run_failed(&slot->run, "Cancelled", message, sizeof message - 1);
}

/* It did not come to its end because an operator, or a shutdown, did not want that. */
static void cut_off(struct ftl__dispatch *dispatch, struct ftl__slot *slot)
{
    if (!slot->cancelled) {
        ftl__list_push_back(&dispatch->cut_off, &slot->link);
        return;
    }
    dispatch->stats.processed++;
    dispatch->stats.failed++;
    ftl__settle_end(dispatch->options.settle, slot, FTL__END_CANCELLED, NULL, NULL);
}

static void ended(struct ftl__dispatch *dispatch, struct ftl__slot *slot,
                  const struct ftl_outcome *outcome)
{
    /* Also one that was aborted, and whose worker's answer was faster. */
    bool done = outcome->kind != FTL_PANICKED && slot->run.verdict == FTL__VERDICT_DONE;

    if (outcome->kind == FTL_PANICKED && outcome->panic->fault != NULL)
        dispatch->options.on_fault(dispatch->options.arg, &slot->run, outcome->panic);
    else if (outcome->kind == FTL_PANICKED)
        ftl__report_panic(&slot->run, outcome->panic);
    /* An operator's wish counts however the run has failed since. */
    if ((slot->cancelled && !done) ||
        (outcome->kind == FTL_CANCELLED && !done && !slot->timed_out && dispatch->aborting)) {
        cut_off(dispatch, slot);
        return;
    }
    dispatch->stats.processed++;
    if (done) {
        ftl__settle_success(dispatch->options.settle, slot);
    } else {
        explain(slot, outcome);
        fail(dispatch, slot);
    }
}

/* Its class goes to the blocking pool, which was not known when it was spawned. Its permits are
 * free by now, so it may have to wait for others. */
static void begin_again(struct ftl__dispatch *dispatch, struct ftl__slot *slot, int64_t now)
{
    if (slot->cancelled || dispatch->aborting) {
        cut_off(dispatch, slot);
        return;
    }
    if (slot->task != NULL)
        ftl_task_detach(slot->task);
    slot->task = NULL;
    slot->run.verdict = FTL__VERDICT_NONE;
    slot->moved = true;
    slot->timed_out = false;
    ftl__slot_set(slot, FTL__SLOT_CLAIMED);
    start_or_park(dispatch, slot, now);
}

static void take_outcome(struct ftl__dispatch *dispatch, struct ftl__slot *slot,
                         struct ftl_outcome *outcome, int64_t now)
{
    ftl_assert(slot->state == FTL__SLOT_RUNNING);
    ftl__list_unlink(&slot->link);
    dispatch->in_flight--;
    if (outcome->kind == FTL_COMPLETED && slot->run.verdict == FTL__VERDICT_MOVED) {
        begin_again(dispatch, slot, now);
        return;
    }
    slot->ended_at = now;
    dispatch->average += (now - slot->since - dispatch->average) / 16;
    ended(dispatch, slot, outcome);
    ftl_outcome_clear(outcome);
}

/* Room came free: parked jobs are first in line, but what is promised to claims is not theirs. */
static void start_parked(struct ftl__dispatch *dispatch, int64_t now)
{
    struct ftl__list *bounds = &dispatch->park.bounds;

    if (dispatch->park.count == 0)
        return;
    for (struct ftl__list *node = bounds->next; node != bounds; node = node->next) {
        struct ftl__bound *bound = ftl__container(node, struct ftl__bound, link);
        struct ftl__slot *slot;
        while ((slot = ftl__park_first(bound)) != NULL && room_of(dispatch) > 0 &&
               start(dispatch, slot, now) == 0)
            continue;
    }
}

static int join(struct ftl__dispatch *dispatch)
{
    struct ftl_outcome outcome;
    void *slot;
    int64_t now;
    int code = ftl_task_set_join_next(dispatch->set, FTL_FOREVER, &outcome, &slot);

    if (code == FTL_EEMPTY)
        return ftl_notify_wait(dispatch->spawned, FTL_FOREVER);
    if (code != 0)
        return code;
    now = ftl_now();
    do
        take_outcome(dispatch, slot, &outcome, now);
    while (ftl_task_set_try_join_next(dispatch->set, &outcome, &slot) == 0);
    if (!ftl__list_is_empty(&dispatch->overflow))
        (void)ftl__dispatch_pushed(dispatch, now);
    start_parked(dispatch, now);
    ftl__dispatch_nudge(dispatch);
    dispatch->options.on_free(dispatch->options.arg);
    if (dispatch->in_flight == 0)
        ftl_notify_all(dispatch->idle);
    return 0;
}

static void *joiner_main(void *arg)
{
    while (join(arg) != FTL_ECANCELED)
        continue;
    return NULL;
}

/* ---- the keeper: deadlines, and what is parked too long ------------------------------------ */

static void end_overdue(struct ftl__dispatch *dispatch, int64_t now)
{
    if (now >= dispatch->next_deadline)
        dispatch->next_deadline = ftl__overdue_end(&dispatch->running, now);
}

/* A suspect begins when nothing else is held here, neither in a run nor in Redis: then its third
 * death is its own. Its end must be told before anything else begins. */
static void look_at_suspect(struct ftl__dispatch *dispatch, int64_t now)
{
    struct ftl__slot *slot = dispatch->suspect;

    if (dispatch->in_flight > 0 || dispatch->promised > 0 || !dispatch->alone)
        return;
    if (slot == NULL && dispatch->options.ledger->batches == 0) {
        dispatch->alone = false;
        dispatch->options.on_free(dispatch->options.arg);
    } else if (slot != NULL && ftl__ledger_holds_one(dispatch->options.ledger, slot->batch)) {
        dispatch->suspect = NULL;
        if (start(dispatch, slot, now) != 0)
            give_back(dispatch, slot, "parked");
    }
}

static void *keeper_main(void *arg)
{
    struct ftl__dispatch *dispatch = arg;

    for (;;) {
        int64_t until = ftl__park_until(&dispatch->park);
        int64_t now;

        dispatch->keeper_until = until < dispatch->next_deadline ? until : dispatch->next_deadline;
        if (ftl_notify_wait(dispatch->changed, dispatch->keeper_until) == FTL_ECANCELED)
            return NULL;
        now = ftl_now();
        end_overdue(dispatch, now);
        give_parked_back(dispatch, now - FTL__PARK_TIME);
        look_at_suspect(dispatch, now);
    }
}

/* ---- quiet, drain, roster ------------------------------------------------------------------ */

void ftl__dispatch_quiet(struct ftl__dispatch *dispatch)
{
    dispatch->quiet = true;
}

void ftl__dispatch_nudge(struct ftl__dispatch *dispatch)
{
    if (dispatch->alone)
        ftl_notify_one(dispatch->changed);
}

static void drop_suspect(struct ftl__dispatch *dispatch, const char *reason)
{
    struct ftl__slot *slot = dispatch->suspect;

    dispatch->suspect = NULL;
    if (slot != NULL)
        give_back(dispatch, slot, reason);
}

void ftl__dispatch_unpark(struct ftl__dispatch *dispatch)
{
    drop_suspect(dispatch, "quiet");
    give_parked_back(dispatch, INT64_MAX);
}

/* The settle finds that they are not ours any more. */
void ftl__dispatch_fenced(struct ftl__dispatch *dispatch)
{
    struct ftl__slot *slot;

    drop_suspect(dispatch, "fenced");
    while ((slot = ftl__park_take(&dispatch->park, INT64_MAX)) != NULL)
        ftl__settle_end(dispatch->options.settle, slot, FTL__END_RETURNED, NULL, "fenced");
}

void ftl__dispatch_abort(struct ftl__dispatch *dispatch)
{
    dispatch->aborting = true;
    ftl_task_set_abort_all(dispatch->set, 0);
}

int ftl__dispatch_wait_idle(struct ftl__dispatch *dispatch, int64_t deadline)
{
    int code = 0;

    while (dispatch->in_flight > 0 && !dispatch->interrupted && code == 0)
        code = ftl_notify_wait(dispatch->idle, deadline);
    if (dispatch->in_flight > 0 && dispatch->interrupted)
        code = FTL_EAGAIN;
    dispatch->interrupted = false;
    return dispatch->in_flight > 0 ? code : 0;
}

void ftl__dispatch_interrupt(struct ftl__dispatch *dispatch)
{
    dispatch->interrupted = true;
    ftl_notify_all(dispatch->idle);
}

void ftl__dispatch_give_back(struct ftl__dispatch *dispatch)
{
    give_back_list(dispatch, &dispatch->cut_off, "shutdown");
}

/* ---- life ----------------------------------------------------------------------------------- */

int ftl__dispatch_configure(struct ftl__dispatch *dispatch, struct ftl__registry *registry,
                            uint32_t concurrency, size_t max_payload)
{
    int code = ftl__park_configure(&dispatch->park, registry);

    if (code != 0)
        return code;
    dispatch->options.registry = registry;
    dispatch->options.concurrency = concurrency;
    dispatch->options.max_payload = max_payload;
    dispatch->park.max = concurrency;
    start_parked(dispatch, ftl_now());
    return 0;
}

static int start_tasks(struct ftl__dispatch *dispatch)
{
    struct ftl_runtime *control = dispatch->options.control;
    int code = ftl__part_start(control, joiner_main, dispatch, "joiner", &dispatch->joiner);

    if (code == 0)
        code = ftl__part_start(control, keeper_main, dispatch, "keeper", &dispatch->keeper);
    return code;
}

int ftl__dispatch_open(const struct ftl__dispatch_options *options,
                       struct ftl__dispatch **ret_dispatch)
{
    struct ftl__dispatch *dispatch = calloc(1, sizeof *dispatch);
    int code = FTL_ENOMEM;

    if (dispatch == NULL)
        return FTL_ENOMEM;
    dispatch->options = *options;
    dispatch->next_deadline = dispatch->keeper_until = FTL_FOREVER;
    ftl__park_init(&dispatch->park, options->concurrency);
    ftl__list_init(&dispatch->running);
    ftl__list_init(&dispatch->cut_off);
    ftl__list_init(&dispatch->overflow);
    dispatch->set = ftl_task_set_new();
    dispatch->spawned = ftl_notify_new();
    dispatch->changed = ftl_notify_new();
    dispatch->idle = ftl_notify_new();
    if (dispatch->set != NULL && dispatch->spawned != NULL && dispatch->changed != NULL &&
        dispatch->idle != NULL)
        code = ftl__park_configure(&dispatch->park, options->registry);
    if (code == 0)
        code = start_tasks(dispatch);
    if (code == 0)
        *ret_dispatch = dispatch;
    else
        ftl__dispatch_close(dispatch);
    return code;
}

void ftl__dispatch_close(struct ftl__dispatch *dispatch)
{
    if (dispatch == NULL)
        return;
    ftl_assert(dispatch->in_flight == 0);
    ftl__part_stop(&dispatch->joiner, FTL_S);
    ftl__part_stop(&dispatch->keeper, FTL_S);
    ftl_task_set_free(dispatch->set);
    ftl__park_free(&dispatch->park);
    ftl_notify_free(dispatch->spawned);
    ftl_notify_free(dispatch->changed);
    ftl_notify_free(dispatch->idle);
    free(dispatch);
}

bool ftl__dispatch_has_failed(struct ftl__dispatch *dispatch)
{
    bool joiner = ftl__part_has_failed(&dispatch->joiner);
    bool keeper = ftl__part_has_failed(&dispatch->keeper);

    return joiner || keeper;
}
