/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A mutex is a semaphore of one under another name. Fairness, the wait with its deadline, and the
 * defer node by which a panic or an abort gives it back are the semaphore's. */
#include <fettle/mutex.h>

/* Never defined: what the pointer names is a semaphore. */
static struct ftl_semaphore *semaphore_of(struct ftl_mutex *mutex)
{
    return (struct ftl_semaphore *)mutex;
}

struct ftl_mutex *ftl_mutex_new(void)
{
    return (struct ftl_mutex *)ftl_semaphore_new(1);
}

void ftl_mutex_free(struct ftl_mutex *mutex)
{
    ftl_semaphore_free(semaphore_of(mutex));
}

int ftl_mutex_lock(struct ftl_mutex *mutex, int64_t deadline, struct ftl_permit *held)
{
    return ftl_semaphore_acquire(semaphore_of(mutex), 1, deadline, held);
}

int ftl_mutex_try_lock(struct ftl_mutex *mutex, struct ftl_permit *held)
{
    return ftl_semaphore_try_acquire(semaphore_of(mutex), 1, held);
}

void ftl_mutex_unlock(struct ftl_permit *held)
{
    ftl_permit_release(held);
}

bool ftl_mutex_is_locked(const struct ftl_mutex *mutex)
{
    return ftl_semaphore_available((const struct ftl_semaphore *)mutex) == 0;
}
