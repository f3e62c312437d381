/* SPDX-License-Identifier: MIT
 *
 * DESIGN. Two tasks on control. The joiner (dispatch_end.c) takes the outcomes of the task set, hands
 * each slot to the settle, and lets parked jobs start in the room that came free. The keeper looks at
 * the clock: runs past their deadline are aborted, jobs parked for too long go back to their queue.
 * Both sleep until there is something to do. The claim hands jobs in, in its own task
 * (dispatch_start.c). The bound of the process is counted here, by what is in flight and what is
 * promised to claims.
 *
 * A job that was in flight at two deaths is a suspect. Where its handler can give it a child process of
 * its own it runs there, beside all others. Elsewhere it runs alone (look_at_suspect), and until its
 * end is told everything else goes back to its queue.
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

#define BRISK (4 * FTL_MS)    /* average run below which waiting for company pays */
#define SLOTS_PER_RUN 4       /* running, parked, and twice that many ends on their way to Redis */

/* ---- room -------------------------------------------------------------------------------- */

static uint32_t left(uint32_t of, uint32_t used)
{
    return used < of ? of - used : 0;
}

uint32_t ftl__dispatch_room_left(const struct ftl__dispatch *dispatch)
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
    return dispatch->wary ? ftl__dispatch_room_left(dispatch) > 0
                          : ftl__dispatch_room_left(dispatch);
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
        if (ftl__dispatch_start(dispatch, slot, now) != 0)
            ftl__dispatch_put_back(dispatch, slot, "parked");
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
        ftl__dispatch_put_back_parked(dispatch, now - FTL__PARK_TIME);
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
        ftl__dispatch_put_back(dispatch, slot, reason);
}

void ftl__dispatch_unpark(struct ftl__dispatch *dispatch)
{
    drop_suspect(dispatch, "quiet");
    ftl__dispatch_put_back_parked(dispatch, INT64_MAX);
}

/* Others run them, now or soon: to go on would only be to do it twice. */
static void abort_fenced(struct ftl__dispatch *dispatch)
{
    struct ftl__list *list = &dispatch->running;

    for (struct ftl__list *node = list->next; node != list; node = node->next)
        ftl__container(node, struct ftl__slot, link)->fenced = true;
    ftl_task_set_abort_all(dispatch->set, FTL__CANCEL_GRACE);
}

/* The settle finds that they are not ours any more. */
void ftl__dispatch_fenced(struct ftl__dispatch *dispatch)
{
    struct ftl__slot *slot;

    abort_fenced(dispatch);
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
    ftl__dispatch_put_back_list(dispatch, &dispatch->cut_off, "shutdown");
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
    ftl__dispatch_start_parked(dispatch, ftl_now());
    return 0;
}

static int start_tasks(struct ftl__dispatch *dispatch)
{
    struct ftl_runtime *control = dispatch->options.control;
    int code = ftl__part_start(control, ftl__dispatch_join_main, dispatch, "joiner", &dispatch->joiner);

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
