/* SPDX-License-Identifier: MIT
 *
 * A fair counting semaphore with owned permits. Whoever waits longest is served first, also when
 * it asks for many. Thread-safe, across runtimes and from foreign threads. */
#ifndef FETTLE_SEMAPHORE_H
#define FETTLE_SEMAPHORE_H

#include <fettle/task.h>

struct ftl_semaphore;

/* A permit: `count` units, owned by the strand that took them or the task they were moved into,
 * given back when that ends, however it ends, or by ftl_permit_release(). The struct is the
 * caller's storage and must live until then; it must not be copied. Zeroed = holds nothing, and so
 * it must be before its first use.
 * One in a frame is declared with FTL_PERMIT(name), which gives it back when the block is left: a
 * frame that has returned is no storage. */
struct ftl_permit {
    struct ftl_defer defer;
    struct ftl_semaphore *semaphore;
    uint32_t count;
    uint32_t scoped; /* FTL_PERMIT's: says that it ends with its block */
};

#define FTL_PERMIT(name)                                                                           \
    __attribute__((cleanup(ftl__permit_end))) struct ftl_permit name = {                           \
        .scoped = ftl__permit_scoped(&name)}

/* NULL: out of memory. */
FTL_API struct ftl_semaphore *ftl_semaphore_new(uint32_t permits);

/* No call on it may be in progress and no permit of it be out. NULL-safe. */
FTL_API void ftl_semaphore_free(struct ftl_semaphore *semaphore);

/* Waits until `deadline` (ns of ftl_now(), FTL_FOREVER for none) for `count` units, which may be more
 * than there are now; on success *permit holds them. FTL_ECLOSED, FTL_ETIMEDOUT,
 * FTL_ECANCELED: *permit is untouched. */
FTL_API int ftl_semaphore_acquire(struct ftl_semaphore *semaphore, uint32_t count, int64_t deadline,
                                  struct ftl_permit *permit);

/* The same without waiting; FTL_EAGAIN if there are not enough or others wait. */
FTL_API int ftl_semaphore_try_acquire(struct ftl_semaphore *semaphore, uint32_t count,
                                      struct ftl_permit *permit);

/* Units that nobody has, at this instant. */
FTL_API uint32_t ftl_semaphore_available(const struct ftl_semaphore *semaphore);

/* Changes the total by `delta`. What is out stays out: the number of available units may be below
 * zero until enough came back. Wakes whom it can. */
FTL_API void ftl_semaphore_adjust(struct ftl_semaphore *semaphore, int32_t delta);

/* All waiting and future acquires fail with FTL_ECLOSED. Permits that are out come back as
 * usual. */
FTL_API void ftl_semaphore_close(struct ftl_semaphore *semaphore);

/* Gives the units back. Holding nothing: no-op. By the strand that took them, or whoever has the
 * list that they were moved to; those that a foreign thread took, anywhere. */
FTL_API void ftl_permit_release(struct ftl_permit *permit);

/* Takes the permit off the calling strand and puts it on the list *held, to be handed to
 * ftl_spawn_options.held. Until a spawn has succeeded the list is the caller's, and *held must
 * stay where it is: it releases each permit itself if it gives up.
 * It is the struct that goes on the list: one in the task's `arg`, say. Not one of FTL_PERMIT(),
 * which the end of its block would give back while the task runs (that panics):
 * ftl_spawn_options.permit is for those, and goes together with `held`. */
FTL_API void ftl_permit_move(struct ftl_permit *permit, struct ftl_defer **held);

/* What FTL_PERMIT is made of: a mark that no other permit has. */
static inline uint32_t ftl__permit_scoped(const struct ftl_permit *permit)
{
    return (uint32_t)(uintptr_t)permit ^ UINT32_C(0x5c09ed17);
}

static inline void ftl__permit_end(struct ftl_permit *permit)
{
    ftl_permit_release(permit);
    permit->scoped = 0;
}

#endif
