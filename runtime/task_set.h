/* SPDX-License-Identifier: MIT
 *
 * A task set: a dynamic group of tasks whose outcomes come in completion order. One task (or
 * foreign thread) owns it and makes all calls, or several tasks that never run in parallel do, such
 * as those of a runtime with one worker; its members may run on any runtime. */
#ifndef FETTLE_TASK_SET_H
#define FETTLE_TASK_SET_H

#include <fettle/task.h>

/* A new, empty set; NULL: out of memory. */
FTL_API struct ftl_task_set *ftl_task_set_new(void);

/* As ftl_spawn(), as a member of the set. `tag` comes back with the outcome. *ret_task, if not
 * NULL, is an additional reference (for ftl_abort); it must not be joined. */
FTL_API int ftl_task_set_spawn(struct ftl_task_set *set, struct ftl_runtime *runtime,
                               ftl_task_fn fn, void *arg, const struct ftl_spawn_options *options,
                               void *tag, struct ftl_task **ret_task);

/* Waits for the next member to end. `ret_tag` may be NULL; what is returned is untouched unless the
 * call returns 0, here and below.
 * FTL_EEMPTY: the set has no members. FTL_ETIMEDOUT, FTL_ECANCELED: as every wait. */
FTL_API int ftl_task_set_join_next(struct ftl_task_set *set, int64_t deadline,
                                   struct ftl_outcome *ret_outcome, void **ret_tag);

/* The same without waiting: FTL_EAGAIN when no member has ended. */
FTL_API int ftl_task_set_try_join_next(struct ftl_task_set *set, struct ftl_outcome *ret_outcome,
                                       void **ret_tag);

/* Members whose outcome has not been taken. */
FTL_API size_t ftl_task_set_len(const struct ftl_task_set *set);

/* ftl_abort() for the members with this tag. Looks at all of them. */
FTL_API void ftl_task_set_abort(struct ftl_task_set *set, const void *tag, int64_t grace);

/* ftl_abort() for each member. */
FTL_API void ftl_task_set_abort_all(struct ftl_task_set *set, int64_t grace);

/* Abort all with no grace, wait until all have ended, drop their outcomes. FTL_ETIMEDOUT,
 * FTL_ECANCELED: some are still members. */
FTL_API int ftl_task_set_shutdown(struct ftl_task_set *set, int64_t deadline);

/* The members leave the set and run on, detached. */
FTL_API void ftl_task_set_detach_all(struct ftl_task_set *set);

/* Aborts what is left, without waiting for it, and frees the set. NULL-safe. */
FTL_API void ftl_task_set_free(struct ftl_task_set *set);

#endif
