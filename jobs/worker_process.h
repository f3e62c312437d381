/* SPDX-License-Identifier: MIT
 *
 * The task of one persistent worker process: starts it, listens and speaks to it, ends it, starts
 * it again. */
#ifndef FETTLE_JOBS_WORKER_PROCESS_H
#define FETTLE_JOBS_WORKER_PROCESS_H

#include "jobs/worker_pool.h"

/* The task function; runs until the pool is stopped. Returns NULL. */
void *ftl__worker_process_main(void *process);

/* How a life went. */
struct ftl__worker_life {
    pid_t pid;         /* 0: it did not start */
    bool of_use;       /* it was ready, and had a run or some time */
    bool wanted;       /* its end */
    uint32_t lost;     /* runs that were in it */
    uint64_t runs;     /* that it has had */
    int64_t duration;  /* ns */
    char ending[FTL__WORKER_REASON];
};

/* One life, from start to end (worker_life.c). All that it had is gone when it returns, or when its
 * task is aborted in it. FTL_ECANCELED: that came with a grace; else 0. */
int ftl__worker_live(struct ftl__worker_process *process, struct ftl__worker_life *ret_life);

#endif
