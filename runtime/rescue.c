/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The end of a strand that has faulted, from the moment at which its worker is back in the scheduler
 * (fault.c). It goes on as one that has panicked does: what it holds is given back, its defers run, a
 * branch tells its join, a root ends its task. But not on its own stack, which may be full: on a
 * fresh one, beside which the old one stays as it is until the strand has ended, since what its
 * defers point to lies there. A further fault on the way, in a defer, is dealt with in the same way;
 * so there may be a row of stacks, each of which knows the one before.
 *
 * Where memory may be damaged only what the runtime itself has armed is run, that is defers whose
 * function is the runtime's own (permits, held mutexes, descriptors), and arg_free. Those of users are
 * dropped.
 *
 * All of it runs on the worker, the first part in its scheduler and the second on the fresh stack.
 * Without a fresh stack there is nothing that could be done: the process ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/context.h"
#include "runtime/fault.h"
#include "runtime/strands.h"
#include "runtime/worker.h"

/* At the top of the fresh stack. */
struct grave {
    _Alignas(16) struct ftl__stack *dead; /* what lies below it is aligned */
};

static struct grave *grave_of(const struct ftl__stack *stack)
{
    return (struct grave *)(void *)stack->top - 1;
}

/* ---- what is told ---- */

static void describe(const struct ftl__fault *fault, char *message, size_t size)
{
    size_t stack = (size_t)(fault->strand->stack->top - fault->strand->stack->low);
    if (fault->overflow)
        snprintf(message, size, "the stack of %zu KiB is full", (stack + 1023) >> 10);
    else if (fault->signal == 0)
        snprintf(message, size, "a function has written over the end of an array on its stack");
    else if (fault->frame_count == 0)
        snprintf(message, size, "%s", fault->class);
    else if (fault->address == fault->frames[0])
        snprintf(message, size, "%s at %p", fault->class, fault->frames[0]);
    else
        snprintf(message, size, "%s at %p, address %p", fault->class, fault->frames[0],
                 fault->address);
}

/* With the allocator not to be trusted, what was set aside; else, or if that is gone, a new one. */
static struct ftl_panic *take_record(struct ftl__fault *fault)
{
    struct ftl_panic *panic = fault->spare;
    if (panic && fault->tainted) {
        fault->spare = NULL;
        return panic;
    }
    panic = malloc(sizeof *panic);
    return panic ? panic : ftl__panic_no_memory();
}

static struct ftl_panic *make_panic(struct ftl__fault *fault)
{
    struct ftl_panic *panic = take_record(fault);
    if (panic == ftl__panic_no_memory())
        return panic;
    panic->signal = fault->signal;
    panic->fault = fault->class;
    panic->tainted = fault->tainted;
    panic->frame_count = fault->frame_count;
    memcpy(panic->frames, fault->frames, fault->frame_count * sizeof panic->frames[0]);
    ftl__panic_add_callers(panic, fault->strand);
    describe(fault, panic->message, sizeof panic->message);
    return panic;
}

/* ---- the fresh stack ---- */

/* Drops the defers of users, the list's links being all that is read of them. */
static void drop_defers(struct ftl_defer **list)
{
    struct ftl_defer **at = list;
    while (*at) {
        struct ftl_defer *node = *at;
        if (ftl__fault_is_ours((const void *)(uintptr_t)node->fn))
            at = &node->next;
        else
            ftl_defer_disarm(node);
    }
}

static void *end_of_strand(void *arg)
{
    struct ftl__strand *strand = arg;
    strand->unwound = strand->panicked = true;
    ftl__strand_unwind(strand);
}

static void change_stack(struct ftl__worker *worker, struct ftl__strand *strand)
{
    struct ftl__stack *dead = strand->stack, *fresh;
    fresh = ftl__stack_take(&worker->runtime->stacks, &worker->stacks, dead->class);
    if (!fresh) {
        fputs("fettle: no memory to end a task that has faulted\n", stderr);
        abort();
    }
    fresh->rescue = true;
    grave_of(fresh)->dead = dead;
    strand->stack = fresh;
    strand->sp = ftl__context_make(grave_of(fresh), end_of_strand, strand);
}

void ftl__rescue(struct ftl__worker *worker)
{
    struct ftl__fault *fault = worker->fault;
    struct ftl__strand *strand = fault->strand;
    struct ftl_task *task = strand->task;
    struct ftl__worker *calling = ftl__worker_call_begin(); /* the monitor sees it if malloc hangs */
    struct ftl_panic *panic = make_panic(fault);
    fault->stage = FTL__FAULT_NONE;
    ftl__fault_tell(task, fault->class, fault->tainted, panic);
    ftl__panic_keep(task, panic);
    if (fault->tainted)
        drop_defers(&strand->defers);
    change_stack(worker, strand);
    ftl__worker_call_end(calling);
    if (strand->place)
        ftl__place_wake(strand->place);
}

void ftl__rescue_provide(struct ftl__worker *worker)
{
    struct ftl__fault *fault = worker->fault;
    if (fault->spare)
        return;
    struct ftl__worker *calling = ftl__worker_call_begin(); /* the monitor sees it if it is stuck */
    fault->spare = malloc(sizeof *fault->spare);
    ftl__worker_call_end(calling);
}

void ftl__rescue_end(struct ftl__worker *worker, struct ftl__stack *stack)
{
    if (!stack->rescue)
        return;
    struct ftl__stack *dead = grave_of(stack)->dead;
    stack->rescue = false;
    ftl__rescue_end(worker, dead);
    ftl__stack_bury(&worker->runtime->stacks, dead);
}
