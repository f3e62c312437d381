/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A stop in steps, each with what is left of the time:
 *
 *   1. no more claims; nobody waits in BLMOVE any more; parked jobs go back
 *   2. runs finish by themselves, until shutdown_timeout is over or a second signal comes
 *   3. those that have not are aborted; commands end their children in their own defers
 *   4. jobs of runs that have really stopped go back to the front of their queues, in their old
 *      order
 *   5. Redis is told of every end; then the lease is retired and the dashboard's records go
 *
 * Steps 3 to 5 have one second in all, whatever happens: what could not be told is left to the
 * lease, and to whoever reaps it. A run that cannot be ended (its thread does not come back) is
 * reported, and its job is left to the lease, too. Runs in the daemon's main task. */
#include "daemon/daemon.h"

#include "daemon/log.h"
#include "daemon/report.h"

#define EXTEND_EVERY (5 * FTL_S)
#define STUCK_SHOWN 100 /* runs */
#define TIME_TO_HAND_OUT (250 * FTL_MS)
#define TIME_TO_END (950 * FTL_MS)   /* of steps 3 to 5 */
#define TIME_TO_TELL (250 * FTL_MS)  /* of that, what is kept for step 5 */
#define TIME_TO_LEAVE (100 * FTL_MS) /* of that, what is kept for its end */

void ftl__daemon_quiet(struct ftl__daemon *daemon, const char *reason)
{
    if (daemon->quiet)
        return;
    daemon->quiet = true;
    ftl__claim_quiet(daemon->claim);
    /* Before anything is put back: what is still claimed is younger, and a BLMOVE that still waits
     * would take it to the front again. */
    (void)ftl__claim_wait_quiet(daemon->claim, ftl_deadline(TIME_TO_HAND_OUT));
    ftl__wait_close(daemon->wait);
    daemon->wait = NULL;
    ftl__log(FTL__EV_DAEMON_QUIET, FTL__STR("reason", reason),
             FTL__UINT("running", ftl__dispatch_running(daemon->dispatch)));
    ftl__dispatch_unpark(daemon->dispatch);
    ftl__roster_refresh(daemon->roster);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
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
    while (daemon->ledger.batches > 0 && ftl_now() < deadline)
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

/* Runs that are stuck are among them; a batch whose ack was not answered counts as one. */
static uint64_t count_left(const struct ftl__daemon *daemon)
{
    uint64_t left = ftl__ledger_left(&daemon->ledger);

    return left == 0 && daemon->ledger.batches > 0 ? 1 : left;
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
    ftl__notify_stopping();
    ftl__daemon_quiet(daemon, reason);
    let_finish(daemon, deadline);
    end = earlier(ftl_now(), deadline) + TIME_TO_END;
    cut_off(daemon, end - TIME_TO_TELL);
    tell(daemon, end - TIME_TO_LEAVE);
    left = count_left(daemon);
    if (ftl__dispatch_running(daemon->dispatch) > 0)
        report_stuck(daemon);
    exit_code = left > 0 ? FTL__EXIT_LEFT : FTL__EXIT_OK;
    if (ftl__roster_leave(daemon->roster, end) != 0 ||
        (left == 0 && ftl__lease_retire(daemon->lease, end) != 0))
        ftl__log(FTL__EV_REDIS_ERROR, FTL__STR("command", "retire"),
                 FTL__STR("reason", "the registration is left to its lease"));
    report_stopped(daemon, exit_code, left, began);
    return exit_code;
}
