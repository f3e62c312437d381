/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The joiner, a task on control: it takes the outcomes of the task set, hands each slot to the
 * settle, and lets parked jobs start in the room that came free. It sleeps until there is one. */
#include "daemon/dispatch_state.h"

#include <string.h>

#include "daemon/faults.h"
#include "daemon/report.h"

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

/* It did not come to its end: others have its job, or an operator, or a shutdown, did not want that. */
static void cut_off(struct ftl__dispatch *dispatch, struct ftl__slot *slot)
{
    if (slot->fenced) {
        ftl__settle_end(dispatch->options.settle, slot, FTL__END_RETURNED, NULL, "fenced");
        return;
    }
    if (!slot->cancelled) {
        ftl__list_push_back(&dispatch->cut_off, &slot->link);
        return;
    }
    dispatch->stats.processed++;
    dispatch->stats.failed++;
    ftl__settle_end(dispatch->options.settle, slot, FTL__END_CANCELLED, NULL, NULL);
}

/* In its task, or in a child process, whose end, or report, is the run's failure then. */
static bool has_crashed(const struct ftl__slot *slot, const struct ftl_outcome *outcome)
{
    const struct ftl_run *run = &slot->run;

    if (outcome->kind == FTL_PANICKED)
        return outcome->panic->fault != NULL;
    return outcome->kind == FTL_COMPLETED && run->place == FTL__PLACE_CHILD &&
           run->verdict == FTL__VERDICT_FAILED &&
           (run->lost || ftl__faults_is_crash(run->failure.error_class));
}

/* A suspect whose own child has died: it has seen two deaths, and this one is its own. */
static bool is_deadly(const struct ftl__slot *slot, const struct ftl_outcome *outcome)
{
    return slot->shelter != NULL && has_crashed(slot, outcome) && slot->run.lost;
}

static void ended(struct ftl__dispatch *dispatch, struct ftl__slot *slot,
                  const struct ftl_outcome *outcome)
{
    bool deadly = is_deadly(slot, outcome);
    /* Also one that was aborted, and whose worker's answer was faster. */
    bool done = outcome->kind != FTL_PANICKED && slot->run.verdict == FTL__VERDICT_DONE;

    if (has_crashed(slot, outcome))
        dispatch->options.on_fault(dispatch->options.arg, &slot->run,
                                   outcome->kind == FTL_PANICKED ? outcome->panic : NULL);
    else if (outcome->kind == FTL_PANICKED)
        ftl__report_panic(&slot->run, outcome->panic);
    /* An operator's wish counts however the run has failed since; and what others have by now is not
     * ours to judge. */
    if (((slot->cancelled || slot->fenced) && !done) ||
        (outcome->kind == FTL_CANCELLED && !done && !slot->timed_out && dispatch->aborting)) {
        cut_off(dispatch, slot);
        return;
    }
    dispatch->stats.processed++;
    if (done) {
        ftl__settle_success(dispatch->options.settle, slot);
    } else {
        explain(slot, outcome);
        slot->run.failure.never |= deadly;
        fail(dispatch, slot);
    }
}

/* No child process is to be had. It must not fail for that: whoever goes to `retry` is a job without
 * deaths again. Its handler may be another one by now. */
static bool take_back(struct ftl__dispatch *dispatch, struct ftl__slot *slot)
{
    struct ftl_run *run = &slot->run;
    struct ftl__handler *own =
        ftl__registry_find(dispatch->options.registry, run->class, strlen(run->class));

    if (own == NULL)
        return false;
    ftl__handler_unref(run->handler);
    run->handler = ftl__handler_ref(own);
    run->place = FTL__PLACE_TASK;
    slot->bound = ftl__park_bound(&dispatch->park, own);
    if (own->kind->place == NULL) /* it runs in children only, and there with others then */
        slot->shelter = NULL;
    return true;
}

/* Its class goes elsewhere by now, which was not known when it was spawned, or it has no child and is
 * to run here. Its permits are free by now, so it may have to wait for others. */
static void begin_again(struct ftl__dispatch *dispatch, struct ftl__slot *slot, int64_t now)
{
    bool refused = slot->run.verdict == FTL__VERDICT_REFUSED;

    if (slot->cancelled || slot->fenced || dispatch->aborting) {
        cut_off(dispatch, slot);
        return;
    }
    if (slot->task != NULL)
        ftl_task_detach(slot->task);
    slot->task = NULL;
    slot->run.verdict = FTL__VERDICT_NONE;
    slot->moved = true;
    slot->timed_out = false;
    slot->run.deadline = FTL_FOREVER; /* another handler may have none */
    slot->run.deadline_epoch = 0;
    ftl__slot_set(slot, FTL__SLOT_CLAIMED);
    if (refused && !take_back(dispatch, slot))
        ftl__dispatch_put_back(dispatch, slot, "no handler");
    else if (refused && slot->shelter != NULL)
        ftl__dispatch_start_alone(dispatch, slot, now);
    else
        ftl__dispatch_start_or_park(dispatch, slot, now);
}

static void take_outcome(struct ftl__dispatch *dispatch, struct ftl__slot *slot,
                         struct ftl_outcome *outcome, int64_t now)
{
    ftl_assert(slot->state == FTL__SLOT_RUNNING);
    ftl__list_unlink(&slot->link);
    dispatch->in_flight--;
    if (outcome->kind == FTL_COMPLETED && (slot->run.verdict == FTL__VERDICT_MOVED ||
                                           slot->run.verdict == FTL__VERDICT_REFUSED)) {
        begin_again(dispatch, slot, now);
        return;
    }
    slot->ended_at = now;
    dispatch->average += (now - slot->since - dispatch->average) / 16;
    ended(dispatch, slot, outcome);
    ftl_outcome_clear(outcome);
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
    ftl__dispatch_start_parked(dispatch, now);
    ftl__dispatch_nudge(dispatch);
    dispatch->options.on_free(dispatch->options.arg);
    if (dispatch->in_flight == 0)
        ftl_notify_all(dispatch->idle);
    return 0;
}

void *ftl__dispatch_join_main(void *arg)
{
    while (join(arg) != FTL_ECANCELED)
        continue;
    return NULL;
}

