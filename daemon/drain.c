/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A stop in steps, each with what is left of the time:
 *
 *   1. no more claims; nobody waits in BLMOVE any more; what claims on their way bring goes back;
 *      when all of them are answered, parked jobs do, which are older
 *   2. runs finish by themselves, until shutdown_timeout is over or a second signal comes
 *   3. those that have not are aborted; commands end their children in their own defers, processes
 *      that stay are ended when they have no run any more, and are waited for at the end
 *   4. jobs of runs that have really stopped go back to the front of their queues, in their old
 *      order
 *   5. Redis is told of every end; then the lease is retired and the dashboard's records go
 *
 * Steps 3 to 5 have one second in all, whatever happens: what could not be told is left to the
 * lease, and to whoever reaps it. Only where the processor has kept us waiting, each has what was
 * meant for it all the same. A run that cannot be ended (its thread does not come back) is
 * reported, and its job is left to the lease, too. Runs in the daemon's main task. */
#include "daemon/daemon.h"

#include "daemon/log.h"
#include "daemon/report.h"

#define EXTEND_EVERY (5 * FTL_S)
#define STUCK_SHOWN 100 /* runs */
#define TIME_TO_END (950 * FTL_MS)   /* of steps 3 to 5 */
#define TIME_TO_TELL (250 * FTL_MS)  /* of that, what is kept for step 5 */
#define TIME_TO_LEAVE (100 * FTL_MS) /* of that, what is kept for its end */

void ftl__daemon_quiet(struct ftl__daemon *daemon, const char *reason)
{
    if (daemon->quiet)
        return;
    daemon->quiet = true;
    ftl__claim_quiet(daemon->claim);
    ftl__dispatch_quiet(daemon->dispatch);
    /* Before anything is put back: a BLMOVE that still waits would take it to the front again. */
    ftl__wait_close(daemon->wait);
    daemon->wait = NULL;
    ftl__log(FTL__EV_DAEMON_QUIET, FTL__STR("reason", reason),
             FTL__UINT("running", ftl__dispatch_running(daemon->dispatch)));
    ftl__roster_refresh(daemon->roster);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The end of a step of which so much is the least. */
static int64_t at_least(int64_t deadline, int64_t least)
{
    int64_t late = ftl_deadline(least);

    return late > deadline ? late : deadline;
}

/* The rest of 1. A claim that is not answered in time may have taken jobs. */
static void await_claims(struct ftl__daemon *daemon, int64_t deadline)
{
    while (!ftl__claim_is_settled(daemon->claim) && !daemon->stop_now && ftl_now() < deadline) {
        ftl__notify_extend();
        (void)ftl_notify_wait(daemon->changed, earlier(deadline, ftl_deadline(EXTEND_EVERY)));
    }
    ftl__dispatch_unpark(daemon->dispatch);
}

/* 2. */
static void let_finish(struct ftl__daemon *daemon, int64_t deadline)
{
    int code = FTL_EAGAIN;

    while (code != 0 && !daemon->stop_now && ftl_now() < deadline) {
        ftl__notify_extend();
        code = ftl__dispatch_wait_idle(daemon->dispatch,
                                       earlier(deadline, ftl_deadline(EXTEND_EVERY)));
    }
}

/* 3 and 4. */
static void cut_off(struct ftl__daemon *daemon, int64_t deadline)
{
    if (ftl__dispatch_running(daemon->dispatch) > 0)
        ftl__dispatch_abort(daemon->dispatch);
    while (ftl__dispatch_wait_idle(daemon->dispatch, deadline) == FTL_EAGAIN)
        continue;
    ftl__dispatch_give_back(daemon->dispatch);
}

/* 5. Batches of runs that are stuck stay: then there is nothing to wait for but the ends. */
static void tell(struct ftl__daemon *daemon, int64_t deadline)
{
    ftl__settle_hurry(daemon->settle);
    while ((daemon->ledger.batches > 0 || !ftl__claim_is_settled(daemon->claim)) &&
           ftl_now() < deadline)
        if (ftl_notify_wait(daemon->changed, deadline) != 0)
            return;
}

static bool report_one(void *arg, const struct ftl__slot *slot)
{
    int *reported = arg;

    ftl__report_stuck(slot, ftl_now());
    return ++*reported < STUCK_SHOWN;
}

static void report_stuck(struct ftl__daemon *daemon)
{
    int reported = 0;

    daemon->stuck = true;
    ftl__dispatch_each(daemon->dispatch, report_one, &reported);
}

static void report_stopped(struct ftl__daemon *daemon, int exit_code, uint64_t left,
                           int64_t began)
{
    ftl__log(FTL__EV_DAEMON_STOPPED, FTL__INT("exit", exit_code),
             FTL__UINT("returned", ftl__dispatch_stats(daemon->dispatch).returned),
             FTL__UINT("left", left),
             FTL__REAL("duration_ms", (double)(ftl_now() - began) / 1e6));
}

/* Runs that are stuck are among them; what was not answered, an ack or a claim, counts as one. */
static uint64_t count_left(const struct ftl__daemon *daemon)
{
    uint64_t left = ftl__ledger_left(&daemon->ledger);
    bool unsure = daemon->ledger.batches > 0 || !ftl__claim_is_settled(daemon->claim);

    return left == 0 && unsure ? 1 : left;
}

/* Gives the registration up, or leaves it to its lease; if Redis refuses to take it, that is told by
 * who asked. Redis knows best: what it still has of ours is left, too. */
static void leave(struct ftl__daemon *daemon, int64_t deadline, uint64_t *left)
{
    (void)ftl__roster_leave(daemon->roster, deadline);
    if (*left == 0 && ftl__lease_retire(daemon->lease, deadline) == FTL_EAGAIN)
        *left = 1;
}

/* To the service manager it is no stop. The promoter would write jobs from memory. */
static void prepare_restart(struct ftl__daemon *daemon)
{
    ftl__notify_reloading();
    ftl__notify_status("Restarting: a job may have damaged memory");
    ftl__promote_close(daemon->promote);
    daemon->promote = NULL;
}

int ftl__daemon_drain(struct ftl__daemon *daemon, const char *reason)
{
    double timeout = daemon->config->shutdown_timeout;
    int64_t began = ftl_now(), deadline = began + (int64_t)(timeout * (double)FTL_S);
    int64_t end;
    uint64_t left;
    int exit_code;

    daemon->draining = true;
    ftl__log(FTL__EV_DAEMON_STOPPING, FTL__STR("reason", reason),
             FTL__UINT("running", ftl__dispatch_running(daemon->dispatch)),
             FTL__REAL("timeout", timeout));
    if (daemon->restart)
        prepare_restart(daemon);
    else
        ftl__notify_stopping();
    ftl__daemon_quiet(daemon, reason);
    await_claims(daemon, deadline);
    let_finish(daemon, deadline);
    end = ftl_deadline(TIME_TO_END);
    ftl__registry_stop(daemon->registry);
    cut_off(daemon, end - TIME_TO_TELL);
    tell(daemon, at_least(end - TIME_TO_LEAVE, TIME_TO_TELL - TIME_TO_LEAVE));
    left = count_left(daemon);
    if (ftl__dispatch_running(daemon->dispatch) > 0)
        report_stuck(daemon);
    ftl__registry_await(daemon->registry, at_least(end - TIME_TO_LEAVE, TIME_TO_LEAVE));
    leave(daemon, at_least(end, TIME_TO_LEAVE), &left);
    exit_code = daemon->refused[0] != '\0' ? FTL__EXIT_CONFIG : FTL__EXIT_OK;
    exit_code = left > 0 ? FTL__EXIT_LEFT : exit_code;
    ftl__faults_log(&daemon->faults);
    report_stopped(daemon, exit_code, left, began);
    if (daemon->restart)
        ftl__quarantine_leave(daemon->quarantine);
    return exit_code;
}
