/* SPDX-License-Identifier: MIT
 *
 * A strand: one flow of control with a stack of its own. A task begins as one strand, embedded in
 * it, its root; the branches of a join (join.h) are further ones. A foreign thread that waits on
 * our primitives is represented by a strand without a task. */
#ifndef FETTLE_RUNTIME_STRAND_H
#define FETTLE_RUNTIME_STRAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <fettle/task.h>

#include "runtime/sanitizer.h"
#include "runtime/stack.h"

struct ftl__strand {
    void *sp;                      /* while suspended */
    struct ftl__stack *stack;      /* NULL before the first run */
    struct ftl_task *task;         /* NULL: a foreign thread */
    struct ftl__place *place;      /* among those of its task (strands.h); NULL: it is alone */
    _Atomic uint32_t parked;       /* threads only: futex word, 1 = woken */
    uint16_t mask;                 /* > 0: abort waits */
    bool shielded : 1;             /* a branch of a masked strand: the task's abort waits */
    bool aborted : 1;              /* a branch that its join does not want any more */
    bool unwound : 1;              /* a panic or an abort has taken effect */
    bool panicked : 1;
    bool heeding : 1;              /* has heard of the task's abort: waits till the grace ends */
    struct ftl_defer *defers;      /* armed, newest first; touched by the strand itself only */
    struct ftl__strand *wake_next; /* in a list of claimed strands (wait.h) */
    struct ftl__shadow shadow;
};

/* The strand that runs on this thread: of the current task, or the thread's own. Never NULL. */
struct ftl__strand *ftl__strand_current(void);

/* Arms a node on top of *list, which must not move while it stands there. */
void ftl__defer_push(struct ftl_defer **list, struct ftl_defer *node, void (*fn)(void *arg),
                     void *arg);
/* Puts all of one list on top of another. */
void ftl__defers_move(struct ftl_defer **from, struct ftl_defer **to);
/* Runs all of a list, newest first. */
void ftl__defers_run(struct ftl_defer **list);

/* The record of a panic for which there is no memory: static. */
struct ftl_panic *ftl__panic_no_memory(void);
/* Adds the frames of those whose branch the strand is. */
void ftl__panic_add_callers(struct ftl_panic *panic, const struct ftl__strand *strand);
/* The first of a task is kept, the others are freed. */
void ftl__panic_keep(struct ftl_task *task, struct ftl_panic *panic);

/* First function of a root's stack (ftl__context_entry). */
void *ftl__strand_main(void *strand);

/* Runs the open defers, masked, newest first, then ends the strand: does not return. For panics and
 * aborts, on top of the frames that are given up. */
FTL_NORETURN void ftl__strand_unwind(struct ftl__strand *strand);

/* Suspends the calling task's strand until somebody wakes it; may return without a wake-up. */
void ftl__strand_suspend(struct ftl__strand *strand);

/* Blocks a foreign thread until it is granted something or `deadline` has passed. */
void ftl__thread_park(struct ftl__strand *strand, int64_t deadline);

/* An abort of the task, or of this branch, has come, is not masked, and must be honoured by the
 * wait that is about to begin. */
bool ftl__abort_pending(const struct ftl__strand *strand);

/* When a wait of the strand that may last until `deadline` is to look for an abort again: not later
 * than the grace ends that it heeds. */
int64_t ftl__strand_limit(const struct ftl__strand *strand, int64_t deadline);

/* What a waiting function returns: 0 and errors as they are; FTL_ECANCELED only during the grace of
 * the abort, after it this does not return. A branch has no grace. */
int ftl__wait_result(struct ftl__strand *strand, int rc);

/* At the start of each operation that may wait: uses up one unit of the budget and yields when
 * there is none left. 0 or FTL_ECANCELED (then through ftl__wait_result already). */
int ftl__coop(struct ftl__strand *strand);
/* The same, for who has something to give back before FTL_ECANCELED goes through
 * ftl__wait_result(). */
int ftl__coop_only(struct ftl__strand *strand);

#endif
