/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Joins: what their branches are, when they begin, how they end. A join lies in the frame of its
 * caller, its parent, and a branch, once begun, at the top of its own stack: nothing is allocated.
 * All of it belongs to whoever has the task, so that there are no atomics here.
 *
 * A join with branches to start is queued among the task's strands as one entry, its starter, until
 * all have begun: they begin in their order, ahead of whatever is woken later. A branch that
 * returns goes on with the next one of its join on the same stack.
 *
 * A join is *settled* when it needs no more branches: by the one that decides it, by a panic, by
 * the deadline, or because its parent is itself a branch that was aborted. Those that have not
 * begun are dropped, the others aborted, each at its next wait; the parent goes on when the last
 * has ended. The abort of the task settles nothing (in its grace branches go on), but nothing
 * begins any more. */
#include <fettle/join.h>

#include "runtime/fork.h"
#include "runtime/strands.h"
#include "runtime/timer.h"
#include "runtime/worker.h"

enum kind { ALL, UNTIL_FAILURE, UNTIL_RETURN };

struct join {
    enum kind kind;
    struct ftl__strand *parent;
    struct ftl__place starter;
    struct ftl_branch *branches;
    size_t count, first, begun; /* those that are dropped count as begun */
    struct ftl__list running;   /* branches on a stack, in the order of their begin */
    size_t decider;             /* the branch that settled it; count: none */
    bool settled;
    bool cancelled;             /* an abort kept a branch from returning */
    bool panicked;
    bool starved;               /* there was no stack for a branch */
};

/* A branch that has begun. */
struct limb {
    _Alignas(16) struct ftl__strand strand; /* what lies below it on the stack is aligned */
    struct ftl__place place;
    struct ftl__list sibling; /* in the join's `running` */
    struct join *join;
    struct ftl_branch *branch;
};

static struct limb *limb_of(const struct ftl__strand *strand)
{
    return ftl__container((uintptr_t)strand, struct limb, strand);
}

struct ftl__strand *ftl__branch_parent(const struct ftl__strand *strand)
{
    bool root = !strand->task || strand == &strand->task->root;
    return root ? NULL : limb_of(strand)->join->parent;
}

static bool is_over(const struct join *join)
{
    return join->begun == join->count && ftl__list_is_empty(&join->running);
}

/* ---- settling ---- */

/* Those that have not begun never do. */
static void drop_rest(struct join *join)
{
    if (join->begun == join->count)
        return;
    join->begun = join->count;
    ftl__place_leave(&join->starter);
}

static void settle(struct join *join)
{
    if (join->settled)
        return;
    join->settled = true;
    drop_rest(join);
    for (struct ftl__list *node = join->running.next; node != &join->running; node = node->next) {
        struct limb *limb = ftl__container(node, struct limb, sibling);
        limb->strand.aborted = true;
        ftl__place_wake(&limb->place);
    }
}

/* The parent's own abort, or the task's. */
static void heed_abort(struct join *join)
{
    if (join->settled || !ftl__abort_pending(join->parent))
        return;
    join->cancelled |= join->begun < join->count;
    drop_rest(join);
    if (join->parent->aborted) {
        join->cancelled = true;
        settle(join);
    }
}

static void decide(struct join *join, const struct ftl_branch *branch)
{
    if (join->settled || join->kind == ALL || (join->kind == UNTIL_FAILURE && branch->result >= 0))
        return;
    join->decider = (size_t)(branch - join->branches);
    settle(join);
}

static void wake_parent_at_the_end(struct join *join)
{
    if (is_over(join))
        ftl__place_wake(join->parent->place);
}

/* ---- a branch ---- */

static void returned(struct limb *limb, int result)
{
    struct join *join = limb->join;
    ftl__fork_check();
    ftl__list_unlink(&limb->sibling);
    ftl__defers_move(&limb->strand.defers, &join->parent->defers);
    limb->branch->result = result;
    limb->branch->returned = true;
    decide(join, limb->branch);
}

static struct ftl_branch *next_branch(struct join *join)
{
    struct ftl_branch *branch = &join->branches[(join->first + join->begun++) % join->count];
    if (join->begun == join->count)
        ftl__place_leave(&join->starter);
    return branch;
}

static void begin(struct limb *limb, struct ftl_branch *branch)
{
    limb->branch = branch;
    limb->strand.mask = 0;
    limb->strand.heeding = limb->join->parent->heeding;
    ftl__list_push_back(&limb->join->running, &limb->sibling);
}

/* The next branch takes over the stack of one that has returned: false = there is none. */
static bool go_on(struct limb *limb)
{
    struct join *join = limb->join;
    heed_abort(join);
    if (join->begun == join->count)
        return false;
    begin(limb, next_branch(join));
    return true;
}

/* The last thing on a branch's stack, but for the switch. */
static void leave(struct limb *limb)
{
    ftl__place_leave(&limb->place);
    wake_parent_at_the_end(limb->join);
}

void ftl__branch_end(struct ftl__strand *strand)
{
    struct limb *limb = limb_of(strand);
    struct join *join = limb->join;
    ftl__list_unlink(&limb->sibling);
    if (strand->panicked) {
        join->panicked = true;
        settle(join);
    }
    join->cancelled |= !join->settled; /* then it was the task's abort */
    leave(limb);
}

FTL__UNTRACKED void *ftl__branch_main(void *strand)
{
    struct limb *limb = limb_of(strand);
    struct ftl__worker *worker = ftl__worker_current();
    ftl__shadow_arrive(&limb->strand.shadow, &worker->stack_low, &worker->stack_size);
    ftl__shadow_take(limb->strand.stack);
    ftl__shadow_take(ftl__task_turn(limb->strand.task));
    do {
        int result = limb->branch->fn(limb->branch->arg);
        ftl__fork_check(); /* before the next one of the join begins */
        returned(limb, result);
    } while (go_on(limb));
    leave(limb);
    return ftl__worker_leave();
}

static struct limb *put_on_stack(struct join *join, struct ftl__stack *stack)
{
    struct ftl__strand *parent = join->parent;
    struct limb *limb = (struct limb *)(void *)stack->top - 1;
    *limb = (struct limb){.strand = {.stack = stack,
                                     .task = parent->task,
                                     .shielded = parent->shielded || parent->mask > 0},
                          .join = join};
    ftl__place_enter(&limb->place, parent->place->strands, &limb->strand);
    ftl__shadow_begin(&limb->strand.shadow, &stack->fiber);
    return limb;
}

static void starve(struct join *join, struct ftl_branch *branch)
{
    branch->result = FTL_ENOMEM;
    join->starved = true;
    decide(join, branch);
    wake_parent_at_the_end(join);
}

struct ftl__strand *ftl__branch_start(struct ftl__place *starter)
{
    struct join *join = ftl__container(starter, struct join, starter);
    const struct ftl_task *task = join->parent->task;
    struct ftl__worker *worker = ftl__worker_current();
    heed_abort(join);
    if (join->begun == join->count) {
        wake_parent_at_the_end(join);
        return NULL;
    }
    struct ftl__stack *stack =
        ftl__stack_take(&worker->runtime->stacks, &worker->stacks, task->stack_class);
    struct ftl_branch *branch = next_branch(join);
    if (!stack) {
        starve(join, branch);
        return NULL;
    }
    struct limb *limb = put_on_stack(join, stack);
    begin(limb, branch);
    return &limb->strand;
}

/* ---- the parent ---- */

static void init(struct join *join, struct ftl_branch *branches, size_t count)
{
    ftl__list_init(&join->running);
    join->branches = branches;
    join->count = join->decider = count;
    for (size_t i = 0; i < count; i++) {
        branches[i].result = FTL_ECANCELED;
        branches[i].returned = false;
    }
}

static void wait_for_the_end(struct join *join)
{
    for (heed_abort(join); !is_over(join); heed_abort(join))
        ftl__strand_suspend(join->parent);
}

static void wait_until(struct join *join, int64_t deadline)
{
    struct ftl__timer timer;
    ftl__timer_arm(&timer, join->parent, deadline);
    for (heed_abort(join); !is_over(join); heed_abort(join)) {
        ftl__strand_suspend(join->parent);
        if (!join->settled && ftl__timer_is_due(&timer, deadline))
            settle(join);
    }
    ftl__timer_cancel(&timer);
}

static void run_branches(struct join *join, int64_t deadline)
{
    ftl__place_enter(&join->starter, join->parent->place->strands, NULL);
    ftl__place_wake(&join->starter);
    if (deadline == FTL_FOREVER)
        wait_for_the_end(join);
    else
        wait_until(join, deadline);
}

/* 0: it came to its end, by itself or settled. */
static int run(struct join *join, struct ftl_branch *branches, size_t count, int64_t deadline)
{
    struct ftl__strand *strand = ftl__strand_current();
    if (!strand->task)
        return FTL_EINVAL;
    init(join, branches, count);
    if (count == 0)
        return 0;
    int rc = ftl__coop(strand);
    if (rc != 0)
        return rc;
    join->parent = strand;
    if (strand->place) {
        run_branches(join, deadline);
    } else {
        struct ftl__strands strands;
        ftl__strands_begin(&strands, strand);
        run_branches(join, deadline);
        ftl__strands_end(&strands);
    }
    if (join->panicked) {
        strand->unwound = strand->panicked = true;
        ftl__strand_unwind(strand);
    }
    return join->cancelled ? ftl__wait_result(strand, FTL_ECANCELED) : 0;
}

int ftl_join(struct ftl_branch *branches, size_t count)
{
    struct join join = {.kind = ALL};
    int rc = run(&join, branches, count, FTL_FOREVER);
    return rc == 0 && join.starved ? FTL_ENOMEM : rc;
}

int ftl_try_join(struct ftl_branch *branches, size_t count, size_t *ret_failed)
{
    struct join join = {.kind = UNTIL_FAILURE};
    int rc = run(&join, branches, count, FTL_FOREVER);
    if (rc == 0 && join.decider < count)
        rc = branches[join.decider].result;
    if (rc != 0 && join.branches && ret_failed)
        *ret_failed = join.cancelled ? count : join.decider;
    return rc;
}

/* The fractions of multiples of the golden ratio: even over any stride of them, so that two selects
 * that take turns do not each get every other one. */
static size_t rotate(struct ftl_task *task, size_t count)
{
    uint32_t fraction = task->selects++ * UINT32_C(0x9e3779b9);
    return (size_t)(((uint64_t)fraction * count) >> 32);
}

int ftl_select(struct ftl_branch *branches, size_t count, size_t *ret_winner)
{
    struct ftl_task *task = ftl_task_current();
    if (!task || count == 0)
        return FTL_EINVAL;
    struct join join = {.kind = UNTIL_RETURN, .first = rotate(task, count)};
    int rc = run(&join, branches, count, FTL_FOREVER);
    if (rc != 0 || join.starved)
        return rc != 0 ? rc : FTL_ENOMEM;
    *ret_winner = join.decider;
    return 0;
}

int ftl_timeout(int (*fn)(void *arg), void *arg, int64_t deadline, int *ret_result)
{
    struct ftl_branch branch = {.fn = fn, .arg = arg};
    struct join join = {.kind = UNTIL_RETURN};
    int rc = run(&join, &branch, 1, deadline);
    if (rc != 0 || join.starved)
        return rc != 0 ? rc : FTL_ENOMEM;
    if (!branch.returned)
        return FTL_ETIMEDOUT;
    *ret_result = branch.result;
    return 0;
}
