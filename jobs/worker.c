/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A handler whose runs go to processes that stay: started ahead, each for several runs at once,
 * spoken to in JSON lines. This file is the run's side: it waits for a place, hands the job over,
 * waits for the answer, and passes on that it is to end. Where the
 * runs are is jobs/worker_pool.c; what becomes of a process, jobs/worker_life.c.
 *
 * A run that was asked to end and does not is ended with its process, which cannot be spared: the
 * others in it that were not asked are tried again in a second, their counts untouched. The task of a
 * run returns, or is unwound, only when its process has answered or is gone.
 *
 * An answer counts whenever it comes: a run that was done is done, also behind its deadline, and
 * when a shutdown has aborted it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/execution.h"
#include "jobs/worker_message.h"
#include "jobs/worker_pool.h"

#define DOWN_LATER 15.0 /* seconds, for a run that finds no process */

struct worker {
    struct ftl__handler base;
    struct ftl__worker_pool *pool;
};

/* ---- a place ---------------------------------------------------------------------------- */

/* One that its own handler could run after all goes back there, and has not failed. */
static int refuse(struct ftl_run *run, const char *why)
{
    if (run->place == FTL__PLACE_CHILD) {
        run->verdict = FTL__VERDICT_REFUSED;
        return 1;
    }
    (void)ftl_run_fail(run, "WorkerError", "no worker process: %s", why);
    run->failure.later = DOWN_LATER;
    return 1;
}

/* It was asked to end before it has begun: if that is its timeout, it has done nothing wrong. */
static int give_up(struct ftl__worker_pool *pool, struct ftl_run *run)
{
    if (pool->alone) {
        return refuse(run, "it has not come");
    }
    (void)ftl_run_fail(run, "WorkerError", "its workers had no room for it in its time");
    run->failure.later = FTL__WORKER_INNOCENT;
    return 1;
}

/* Waits for a place and takes it. 0: begun, *place is held. 1: the run has failed. Or a code. */
static int begin(struct ftl__worker_pool *pool, struct ftl__worker_item *item, const char *line,
                 size_t size, struct ftl_permit *place)
{
    struct ftl_run *run = item->run;
    char why[FTL__WORKER_REASON];
    int rc;

    do {
        rc = ftl_semaphore_acquire(pool->permits, 1, FTL_FOREVER, place);
        if (rc != 0) {
            return rc == FTL_ECANCELED ? give_up(pool, run) : rc;
        }
        rc = ftl__worker_pool_submit(pool, item, line, size, why);
        if (rc != 0) {
            ftl_permit_release(place);
        }
        if (rc == FTL_EAGAIN && ftl_yield() != 0) {
            return give_up(pool, run);
        }
    } while (rc == FTL_EAGAIN);
    return rc == FTL_ENOENT ? refuse(run, why) : rc;
}

/* ---- the end ---------------------------------------------------------------------------- */

static int wait_for(struct ftl__worker_item *item, int64_t deadline)
{
    void *nothing;

    return ftl_oneshot_recv(&item->over, deadline, &nothing);
}

static int ask(struct ftl__worker_item *item, enum ftl__worker_cancel how, int64_t patience)
{
    ftl__worker_pool_cancel(item, how);
    return wait_for(item, ftl_deadline(patience));
}

static int force(struct ftl__worker_item *item, int64_t grace)
{
    ftl__worker_pool_force(item, grace);
    return wait_for(item, FTL_FOREVER);
}

/* The defer: the run is aborted, or has panicked. */
static void leave(void *arg)
{
    struct ftl__worker_item *item = arg;
    int64_t kill_after, grace = FTL__STOP_GRACE / 2;

    if (item->process == NULL || ftl_oneshot_is_sent(&item->over)) {
        return;
    }
    ftl_mask();
    kill_after = item->process->pool->kill_after;
    grace = kill_after < grace ? kill_after : grace;
    if (ask(item, FTL__WORKER_INSIST, grace) == FTL_ETIMEDOUT) {
        (void)force(item, grace);
    }
    ftl_unmask();
}

static int judge(struct ftl__worker_item *item)
{
    if (item->end == FTL__WORKER_HAS_DONE) {
        return 0;
    }
    if (item->end == FTL__WORKER_HAS_CANCELLED && item->cancelled > 0) {
        return FTL_ECANCELED;
    }
    if (item->end == FTL__WORKER_HAS_CANCELLED) {
        return ftl_run_fail(item->run, "Cancelled", "the worker has cut it off");
    }
    return 1; /* it has said why */
}

/* An abort with a grace is a request: it is passed on. A function in C is aborted when it has not
 * heeded that, as it would be as a task; that is told some time before its process is ended for it. */
static int await(struct ftl__worker_pool *pool, struct ftl__worker_item *item)
{
    int rc = wait_for(item, FTL_FOREVER);

    if (rc == FTL_ECANCELED) {
        ftl_heed();
        rc = ask(item, FTL__WORKER_ASK, pool->kill_after);
        if (rc == FTL_ETIMEDOUT && pool->insists) {
            rc = ask(item, FTL__WORKER_INSIST, FTL__WORKER_ABORT_TIME);
        }
        if (rc == FTL_ETIMEDOUT) {
            rc = force(item, pool->kill_after);
        }
    }
    return rc != 0 ? rc : judge(item);
}

/* ---- the run ---------------------------------------------------------------------------- */

static void free_string(void *string)
{
    free(*(void **)string);
}

/* The outermost defer: what the answer was, for a task that could not return it. A failure that
 * came of cutting the run off is none. */
static void keep_verdict(void *arg)
{
    struct ftl__worker_item *item = arg;

    if (item->end == FTL__WORKER_HAS_DONE) {
        item->run->verdict = FTL__VERDICT_DONE;
    }
}

static int worker_run(struct ftl__handler *handler, struct ftl_run *run)
{
    struct ftl__worker_pool *pool = ((struct worker *)handler)->pool;
    struct ftl__worker_item item;
    char *line = NULL;
    size_t size;
    int rc;

    memset(&item, 0, sizeof(item));
    item.run = run;
    ftl_oneshot_init(&item.over);
    FTL_DEFER(free_string, &line);
    FTL_DEFER(keep_verdict, &item);
    FTL_PERMIT(place);
    FTL_DEFER(leave, &item);
    rc = ftl__worker_message_run(run, &line, &size);
    if (rc == 0) {
        rc = begin(pool, &item, line, size, &place);
    }
    return rc != 0 ? rc : await(pool, &item);
}

bool ftl__workers_are_down(const struct ftl__handler *handler)
{
    struct ftl__worker_pool *pool = ((const struct worker *)handler)->pool;
    bool down;

    ftl__lock_take(&pool->lock);
    down = pool->down;
    ftl__lock_drop(&pool->lock);
    return down;
}

/* ---- configuration ---------------------------------------------------------------------- */

static int worker_start(struct ftl__handler *handler, const struct ftl__handler_host *host)
{
    return ftl__worker_pool_start(((struct worker *)handler)->pool, host);
}

static void worker_stop(struct ftl__handler *handler)
{
    ftl__worker_pool_stop(((struct worker *)handler)->pool, true);
}

static void worker_await(struct ftl__handler *handler, int64_t deadline)
{
    ftl__worker_pool_await(((struct worker *)handler)->pool, deadline);
}

static bool same_limits(const struct ftl_process_limits *a, const struct ftl_process_limits *b)
{
    return a->memory == b->memory && a->cpu_seconds == b->cpu_seconds && a->files == b->files &&
           a->nice == b->nice;
}

static bool worker_same(const struct ftl__handler *handler, const struct ftl__handler *other)
{
    const struct ftl__worker_pool *a = ((const struct worker *)handler)->pool;
    const struct ftl__worker_pool *b = ((const struct worker *)other)->pool;

    return ftl__handler_equal(handler, other) && a->count == b->count && a->alone == b->alone &&
           same_limits(&a->limits, &b->limits) && a->start_timeout == b->start_timeout &&
           ftl__invocation_equal(&a->program, &b->program);
}

/* Its processes end by themselves, when they have been told. */
static void worker_destroy(struct ftl__handler *handler)
{
    struct worker *worker = (struct worker *)handler;

    ftl__worker_pool_stop(worker->pool, false);
    ftl__worker_pool_unref(worker->pool);
    ftl__handler_fini(handler);
    free(worker);
}

static const struct ftl__handler_kind worker_kind = {
    .name = "worker",
    .migratable = true,
    .asks_twice = true,
    .wind_up = FTL__WORKER_ABORT_TIME + FTL__EXECUTION_WIND_UP,
    .run = worker_run,
    .destroy = worker_destroy,
    .start = worker_start,
    .stop = worker_stop,
    .await = worker_await,
    .same = worker_same,
};

static int fill(struct worker *worker, const struct ftl__handler_settings *settings,
                const struct ftl__worker_settings *from, struct ftl__invocation *program)
{
    int rc = ftl__worker_pool_new(settings, from, program, &worker->pool);

    if (rc != 0) {
        return rc;
    }
    rc = ftl__handler_init(&worker->base, &worker_kind, settings);
    if (rc != 0) {
        *program = worker->pool->program;
        worker->pool->program = (struct ftl__invocation){.argv = NULL};
        ftl__worker_pool_unref(worker->pool);
    }
    return rc;
}

int ftl__workers_new(const struct ftl__handler_settings *settings,
                     const struct ftl__worker_settings *worker_settings,
                     struct ftl__handler **ret_handler, char *error, size_t error_size)
{
    struct ftl__invocation program;
    struct worker *worker;
    int rc = ftl__invocation_init(&program, "worker", worker_settings->argv, worker_settings->env,
                                  worker_settings->cwd, error, error_size);

    if (rc != 0) {
        return rc;
    }
    worker = calloc(1, sizeof(*worker));
    rc = worker != NULL ? fill(worker, settings, worker_settings, &program) : FTL_ENOMEM;
    if (rc != 0) {
        ftl__invocation_fini(&program);
        free(worker);
        (void)snprintf(error, error_size, "%s", ftl_error_text(rc));
        return rc;
    }
    *ret_handler = &worker->base;
    return 0;
}
