/* SPDX-License-Identifier: MIT
 *
 * How workers sleep, and how they are woken. */
#ifndef FETTLE_RUNTIME_PARK_H
#define FETTLE_RUNTIME_PARK_H

#include <stdbool.h>

struct ftl__worker;
struct ftl_runtime;

/* Ends the sleep of a worker, or the next one. Any thread. */
void ftl__worker_unpark(struct ftl__worker *worker);
/* Work was made visible that any worker may take: wakes one if none looks for work. Any thread. */
void ftl__runtime_notify(struct ftl_runtime *runtime);

/* Polls the driver, asleep in it or not, and makes ready what that brought. False: another thread
 * has it. The worker's own thread. */
bool ftl__worker_poll(struct ftl__worker *worker, bool sleep);
/* Polls the driver without sleeping, makes ready what that brought, and sees to it that somebody
 * sleeps in it if anybody sleeps at all. False: another thread has it. Any thread. */
bool ftl__runtime_poll(struct ftl_runtime *runtime);

/* Until there is work for it, or it is called away. The worker's own thread. */
void ftl__worker_sleep(struct ftl__worker *worker);
/* For a worker that takes no part: until it is unparked. The worker's own thread. */
void ftl__worker_rest(struct ftl__worker *worker);

#endif
