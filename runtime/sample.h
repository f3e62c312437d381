/* SPDX-License-Identifier: MIT
 *
 * What a worker is doing right now: the task it runs and where in it, without its help. */
#ifndef FETTLE_RUNTIME_SAMPLE_H
#define FETTLE_RUNTIME_SAMPLE_H

#include <stdatomic.h>
#include <stdint.h>

#include <fettle/task.h>

struct ftl_stall;
struct ftl__worker;

/* One question at a time, from the monitor to a worker's signal handler. */
struct ftl__sample {
    _Atomic uint32_t state; /* futex word; sample.c */
    struct ftl__worker *worker;
    uint32_t frame_count;
    void *frames[FTL_PANIC_FRAMES];
};

/* Fills in the frames, as far as they can be known. Monitor's thread only. */
void ftl__sample_take(struct ftl__worker *worker, struct ftl_stall *stall);

/* Installs the signal's handler, once in the process. 0 or an errno value. */
int ftl__sample_install(void);

/* Around what a worker's thread does: gives it a stack for signal handlers, since a task's may be
 * full. Without memory it goes without. */
void ftl__sample_enter(struct ftl__worker *worker);
void ftl__sample_exit(struct ftl__worker *worker);

/* The signal of ftl__sample_take(). */
int ftl__sample_signal(void);

#endif
