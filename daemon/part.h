/* SPDX-License-Identifier: MIT
 *
 * A part: a task that belongs to an object of the daemon for as long as that is open. */
#ifndef FETTLE_DAEMON_PART_H
#define FETTLE_DAEMON_PART_H

#include <stdbool.h>
#include <stdint.h>

#include <fettle/task.h>

/* Starts `fn(arg)` on `runtime`; `name` is static. Errors as ftl_spawn(). */
int ftl__part_start(struct ftl_runtime *runtime, ftl_task_fn fn, void *arg, const char *name,
                    struct ftl_task **ret_task);

/* Asks the task to end: for `grace` ns its waits return FTL_ECANCELED, then it is cut off. Waits
 * for its end, whatever happens to the caller, reports a panic, and sets *task to NULL. *task NULL:
 * nothing. */
void ftl__part_stop(struct ftl_task **task, int64_t grace);

/* Has the task ended without being asked to? That is a fault of ours. Then it is reported, and *task
 * is NULL: the answer is yes once. */
bool ftl__part_has_failed(struct ftl_task **task);

/* Lets it end by itself until `deadline`; one that has not is stopped. */
void ftl__part_await(struct ftl_task **task, int64_t deadline, int64_t grace);

#endif
