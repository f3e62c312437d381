/* SPDX-License-Identifier: MIT
 *
 * The strands of one task, while it has more than one. They never run in parallel, since whoever
 * has the task (RUNNING, tcb.h) runs one after the other; they run in the order in which they were
 * woken.
 *
 * A strand that is woken is queued once, however often it is woken. By a strand of the same task:
 * into `ready`, without the task's state word. By anyone else: into `woken`, from where it is
 * collected, and then the task is notified as ever. */
#ifndef FETTLE_RUNTIME_STRANDS_H
#define FETTLE_RUNTIME_STRANDS_H

#include "runtime/list.h"
#include "runtime/strand.h"

struct ftl__strands;

/* What can be queued: a strand, or a join that has branches to start. It must have left before its
 * memory goes. */
struct ftl__place {
    struct ftl__list link;         /* in `ready` */
    struct ftl__place *woken_next; /* in `woken` */
    _Atomic bool queued;           /* in one of the two: whoever sets it puts it there */
    struct ftl__strand *strand;    /* NULL: the starter of a join */
    struct ftl__strands *strands;
    struct ftl__list all;
};

/* In the frame of the outermost join. All but `woken` belongs to whoever has the task. */
struct ftl__strands {
    _Atomic(struct ftl__place *) woken; /* newest first; anyone pushes */
    struct ftl__list ready;             /* the next one to run first */
    struct ftl__list all;               /* places of strands, not of starters */
    bool abort_seen;                    /* every strand has been woken for the task's abort */
    struct ftl__place root;
};

/* The calling root is from now on one of several / alone again. */
void ftl__strands_begin(struct ftl__strands *strands, struct ftl__strand *root);
void ftl__strands_end(struct ftl__strands *strands);

void ftl__place_enter(struct ftl__place *place, struct ftl__strands *strands,
                      struct ftl__strand *strand);
void ftl__place_leave(struct ftl__place *place);

/* By whoever has the task. */
void ftl__place_wake(struct ftl__place *place);
/* By anyone, who then notifies the task. */
void ftl__place_post(struct ftl__place *place);

/* By the worker that has the task: the strand to run next, a fresh one perhaps; NULL: none is
 * ready. */
struct ftl__strand *ftl__strands_next(struct ftl__strands *strands);

/* ---- branches: join.c ------------------------------------------------------------------- */

/* Puts the next branch of a join on a stack; NULL: there is none to start any more, or no memory
 * for this one. Takes the starter out of `ready` with the last. */
struct ftl__strand *ftl__branch_start(struct ftl__place *starter);
/* First function of a branch's stack (ftl__context_entry), below the strand. */
void *ftl__branch_main(void *strand);
/* A branch that did not return has run its defers: nothing is left but to switch out. */
void ftl__branch_end(struct ftl__strand *strand);
/* The strand that waits for this branch; NULL: it is a root. */
struct ftl__strand *ftl__branch_parent(const struct ftl__strand *strand);

#endif
