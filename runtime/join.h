/* SPDX-License-Identifier: MIT
 *
 * Several things at once inside one task. A branch is a function with a stack of its own, but not a
 * task: the branches of a call are concurrent and never parallel. One runs until it waits, then the
 * next, in the order in which they were woken, on one worker at a time. So they may use the
 * caller's locals and each other's without locks, and need no atomics.
 *
 * None of these calls returns before all of its branches have ended; a branch may join again. A
 * branch that has returned leaves to its caller what it still holds (permits, defers); one that is
 * cut off runs its defers first. It is cut off as a task is by ftl_abort() without grace: at a
 * wait, outside of masked sections; it may have returned before that.
 *
 * A panic in a branch, or in a defer of it, aborts its siblings and then panics the task, where it
 * called, with the branch's message and backtrace.
 *
 * The abort of the task reaches every wait in every branch, those of inner calls first, and after
 * the grace unwinds them before the caller. Branches that have not begun then never do. Calls made
 * in a masked section, or from a defer, are masked as a whole.
 *
 * All of them are for tasks: on a foreign thread they return FTL_EINVAL and run nothing. Branches
 * have stacks of the task's size, and share one as long as they do not wait. */
#ifndef FETTLE_JOIN_H
#define FETTLE_JOIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fettle/task.h>
#include <fettle/time.h>

/* The caller's: fn(arg) is to be run. A call writes the other two for each of its branches whenever
 * it returns anything but FTL_EINVAL. */
struct ftl_branch {
    int (*fn)(void *arg);
    void *arg;
    int result;    /* what fn returned; FTL_ECANCELED: it was cut off, or did not begin;
                      FTL_ENOMEM: there was no stack for it, and it did not begin */
    bool returned; /* fn has returned */
};

/* Runs all branches, to the end of each, whatever they return. They begin in the order given. With
 * none it returns at once.
 * 0: all have returned. FTL_ENOMEM: all that there was a stack for have. FTL_ECANCELED: an abort
 * came (in its grace); some have not returned. */
FTL_API int ftl_join(struct ftl_branch *branches, size_t count);

/* The same, but at the first one that fails (returns a negative number, or gets no stack) the
 * others are aborted; those that have not begun never do.
 * 0: all have returned, none failed. Else what the first one failed with, and *ret_failed is its
 * index. FTL_ECANCELED with *ret_failed = count: an abort came, as above. `ret_failed` may be NULL;
 * it is untouched on success and on a foreign thread. */
FTL_API int ftl_try_join(struct ftl_branch *branches, size_t count, size_t *ret_failed);

/* The first branch to return wins, whatever it returns; the others are aborted. What they were
 * being given meanwhile (a permit, a message) goes back. Each call begins with another branch, so
 * that none is always first.
 * 0: *ret_winner is its index. FTL_ENOMEM: there was no stack for one of them. FTL_ECANCELED: an
 * abort came before one won. FTL_EINVAL: no branches. *ret_winner is untouched on failure. */
FTL_API int ftl_select(struct ftl_branch *branches, size_t count, size_t *ret_winner);

/* Runs fn(arg) as a branch until `deadline` (ftl_now() clock), then aborts it. It always begins,
 * and if it never waits it is never late.
 * 0: it has returned, *ret_result is what; also when the deadline has passed while it could not be
 * cut off. FTL_ETIMEDOUT, FTL_ENOMEM, FTL_ECANCELED: it has not, *ret_result is untouched. */
FTL_API int ftl_timeout(int (*fn)(void *arg), void *arg, int64_t deadline, int *ret_result);

#endif
