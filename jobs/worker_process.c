/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A worker process has one life after another. One that was of use is followed at once; after lives
 * that came to nothing there is a pause, which doubles, so that a program that cannot run does not
 * keep the machine busy with starting it. One that is for one run has no life after that. */
#include "jobs/worker_process.h"

#define PAUSE_FIRST (100 * FTL_MS)
#define PAUSE_MOST  (30 * FTL_S)

static bool is_stopped(struct ftl__worker_process *process)
{
    bool stopping;

    ftl__lock_take(&process->pool->lock);
    stopping = process->pool->stopping;
    ftl__lock_drop(&process->pool->lock);
    return stopping;
}

static void tell(const struct ftl__worker_process *process, const struct ftl__worker_life *life,
                 enum ftl__worker_event_kind kind, int64_t pause)
{
    const struct ftl__worker_event event = {.kind = kind,
                                            .name = process->pool->name,
                                            .pid = life->pid,
                                            .text = life->ending,
                                            .runs = life->lost,
                                            .time = pause};

    process->pool->host.on_worker(process->pool->host.arg, &event);
}

/* It has had the run for which it was there. */
static bool is_over(const struct ftl__worker_process *process, const struct ftl__worker_life *life)
{
    return process->pool->alone && life->runs > 0;
}

static int64_t next_pause(const struct ftl__worker_life *life, int64_t pause)
{
    if (life->of_use) {
        return 0;
    }
    return pause == 0 ? PAUSE_FIRST : pause < PAUSE_MOST / 2 ? 2 * pause : PAUSE_MOST;
}

static void await(struct ftl__worker_process *process, int64_t until)
{
    while (!is_stopped(process) && ftl_now() < until) {
        if (ftl_notify_wait(process->changed, until) == FTL_ECANCELED) {
            return;
        }
    }
}

void *ftl__worker_process_main(void *arg)
{
    struct ftl__worker_process *process = arg;
    struct ftl__worker_life life;
    int64_t pause = 0;
    int rc = 0;

    while (rc == 0 && !is_stopped(process)) {
        rc = ftl__worker_live(process, &life);
        if (rc != 0) {
            break;
        }
        if (life.wanted) {
            tell(process, &life, FTL__WORKER_STOPPED, 0);
            continue;
        }
        if (is_over(process, &life)) {
            tell(process, &life, FTL__WORKER_DIED, -1);
            break;
        }
        pause = next_pause(&life, pause);
        tell(process, &life, FTL__WORKER_DIED, pause);
        if (!life.of_use) {
            ftl__worker_pool_failed(process, life.ending);
        }
        await(process, ftl_deadline(pause));
    }
    return NULL;
}
