/* SPDX-License-Identifier: MIT
 *
 * A fair mutex that is waited for as tasks wait: whoever stood in line longest has it next.
 * Thread-safe, across runtimes and from foreign threads.
 *
 * It is a semaphore of one, and holding it is having its permit: it is given back when the strand
 * that took it ends, by return, panic or abort, and can be moved to another task
 * (ftl_permit_move()). There is no poisoning: who takes it after a panic sees what the panic left
 * behind.
 *
 *     FTL_PERMIT(held);
 *     int rc = ftl_mutex_lock(mutex, FTL_FOREVER, &held);
 *     …                                   // until the block is left, or ftl_mutex_unlock(&held)
 *
 * It is for sections that wait. What only computes for a moment needs no more than a thread's
 * mutex, or a single task that owns the data. */
#ifndef FETTLE_MUTEX_H
#define FETTLE_MUTEX_H

#include <fettle/semaphore.h>

struct ftl_mutex;

/* Unlocked. NULL: out of memory. */
FTL_API struct ftl_mutex *ftl_mutex_new(void);

/* Nobody may hold it, and no call on it be in progress. NULL-safe. */
FTL_API void ftl_mutex_free(struct ftl_mutex *mutex);

/* Waits until the mutex is the caller's; on success *held holds it. Not recursive: who has it and
 * asks again waits for itself. FTL_ETIMEDOUT (`deadline`: ftl_now() clock, FTL_FOREVER for none),
 * FTL_ECANCELED: *held is untouched. */
FTL_API int ftl_mutex_lock(struct ftl_mutex *mutex, int64_t deadline, struct ftl_permit *held);

/* The same without waiting: FTL_EAGAIN if it is held, by the caller too, or others wait. */
FTL_API int ftl_mutex_try_lock(struct ftl_mutex *mutex, struct ftl_permit *held);

/* Hands it to whoever waits longest. Holding nothing: no-op. By the strand that took it, or the
 * task that it was moved into; what a foreign thread took, anywhere. */
FTL_API void ftl_mutex_unlock(struct ftl_permit *held);

/* Somebody holds it, at this instant. */
FTL_API bool ftl_mutex_is_locked(const struct ftl_mutex *mutex);

#endif
