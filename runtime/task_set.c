/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Two parts. The set is its owner's: the list of members, which nobody else touches. The hub is
 * where members that end, on any thread of any runtime, push themselves: a stack that the owner
 * takes whole and turns around, which keeps the order of completion. When the owner waits, the head
 * of the stack says so (WAITS), and who replaces that mark wakes it: one compare-and-swap per end,
 * and nothing of the hub is touched after it. When the owner leaves, the head says ABANDONED for
 * ever, and the members that are still out count down to freeing the hub. */
#include <fettle/task_set.h>

#include <stdlib.h>

#include <fettle/time.h>

#include "runtime/wait.h"
#include "runtime/worker.h"

#define WAITS ((uintptr_t)1)
#define ABANDONED ((uintptr_t)2)

struct ftl__task_hub {
    _Atomic uintptr_t head;      /* newest ended member, 0, WAITS or ABANDONED */
    struct ftl__waiter *waiter;  /* published by WAITS */
    _Atomic int64_t outstanding; /* once abandoned: members that have not ended */
};

struct ftl_task_set {
    struct ftl__task_hub *hub; /* NULL until the first spawn, and after detach_all */
    struct ftl__list members;
    size_t len;
    struct ftl_task *ready; /* ended, in order, linked by hub_next */
};

struct ftl_task_set *ftl_task_set_new(void)
{
    struct ftl_task_set *set = calloc(1, sizeof *set);
    if (set)
        ftl__list_init(&set->members);
    return set;
}

/* ---- members' side ---- */

static void hub_leave(struct ftl__task_hub *hub, int64_t change)
{
    if (atomic_fetch_add_explicit(&hub->outstanding, change, memory_order_acq_rel) + change == 0)
        free(hub);
}

void ftl__task_hub_push(struct ftl__task_hub *hub, struct ftl_task *task)
{
    uintptr_t head = atomic_load_explicit(&hub->head, memory_order_relaxed);
    do {
        if (head == ABANDONED) {
            ftl__task_unref(task);
            hub_leave(hub, -1);
            return;
        }
        task->hub_next = head == WAITS ? NULL : (struct ftl_task *)head;
        /* release: publishes hub_next. acquire: sees `waiter`. */
    } while (!atomic_compare_exchange_weak_explicit(&hub->head, &head, (uintptr_t)task,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if (head == WAITS) {
        struct ftl__wakes wakes;
        ftl__wakes_init(&wakes);
        ftl__waiter_grant(hub->waiter, &wakes); /* the owner cannot go on, nor free, before this */
        ftl__wakes_submit(&wakes);
    }
}

/* ---- owner's side ---- */

int ftl_task_set_spawn(struct ftl_task_set *set, struct ftl_runtime *runtime, ftl_task_fn fn,
                       void *arg, const struct ftl_spawn_options *options, void *tag,
                       struct ftl_task **ret_task)
{
    if (!set->hub) {
        set->hub = calloc(1, sizeof *set->hub);
        if (!set->hub)
            return FTL_ENOMEM;
    }
    struct ftl_task *task;
    int rc = ftl__task_spawn(runtime, fn, arg, options, set->hub, tag, &task);
    if (rc != 0)
        return rc;
    ftl__list_push_back(&set->members, &task->member);
    set->len++;
    if (ret_task) /* nobody but this owner can free it */
        *ret_task = ftl_task_ref(task);
    return 0;
}

/* Oldest first. */
static struct ftl_task *turn_around(uintptr_t head)
{
    struct ftl_task *task = (struct ftl_task *)head, *ordered = NULL;
    while (task) {
        struct ftl_task *next = task->hub_next;
        task->hub_next = ordered;
        ordered = task;
        /* Written on another processor: what the owner looks at next comes meanwhile. */
        __builtin_prefetch(&task->state, 1);
        __builtin_prefetch(&task->value);
        __builtin_prefetch(&task->cancelled);
        __builtin_prefetch(task->tag);
        task = next;
    }
    return ordered;
}

static bool take_ready(struct ftl_task_set *set)
{
    if (!set->ready && set->hub &&
        atomic_load_explicit(&set->hub->head, memory_order_relaxed) != 0)
        /* acquire: pairs with the members' release */
        set->ready =
            turn_around(atomic_exchange_explicit(&set->hub->head, 0, memory_order_acquire));
    return set->ready != NULL;
}

static void remove_ready(struct ftl_task_set *set, struct ftl_outcome *ret_outcome, void **ret_tag)
{
    struct ftl_task *task = set->ready;
    set->ready = task->hub_next;
    ftl__list_unlink(&task->member);
    set->len--;
    if (ret_tag)
        *ret_tag = task->tag;
    ftl__task_outcome(task, ret_outcome);
    ftl__task_unref(task);
}

int ftl_task_set_try_join_next(struct ftl_task_set *set, struct ftl_outcome *ret_outcome,
                               void **ret_tag)
{
    if (!take_ready(set))
        return set->len == 0 ? FTL_EEMPTY : FTL_EAGAIN;
    remove_ready(set, ret_outcome, ret_tag);
    return 0;
}

/* Waits until a member has ended (or may have). */
static int wait_ended(struct ftl_task_set *set, struct ftl__strand *strand, int64_t deadline)
{
    struct ftl__task_hub *hub = set->hub;
    struct ftl__waiter waiter;
    ftl__waiter_init(&waiter, strand);
    hub->waiter = &waiter;
    uintptr_t head = 0;
    /* release: publishes `waiter` */
    if (!atomic_compare_exchange_strong_explicit(&hub->head, &head, WAITS, memory_order_release,
                                                 memory_order_relaxed))
        return 0;
    int rc = ftl__waiter_wait(&waiter, deadline);
    if (rc == 0)
        return 0;
    head = WAITS; /* relaxed: it takes back what nobody has looked at */
    if (atomic_compare_exchange_strong_explicit(&hub->head, &head, 0, memory_order_relaxed,
                                                memory_order_relaxed))
        return rc;
    ftl__waiter_settle(&waiter); /* somebody has ended meanwhile */
    return rc == FTL_ECANCELED ? rc : 0;
}

int ftl_task_set_join_next(struct ftl_task_set *set, int64_t deadline,
                           struct ftl_outcome *ret_outcome, void **ret_tag)
{
    struct ftl__strand *strand = ftl__strand_current();
    int rc = ftl__coop(strand);
    while (rc == 0) {
        if (take_ready(set)) {
            remove_ready(set, ret_outcome, ret_tag);
            return 0;
        }
        if (set->len == 0)
            return FTL_EEMPTY;
        rc = wait_ended(set, strand, deadline);
        if (rc != 0)
            rc = ftl__wait_result(strand, rc);
    }
    return rc;
}

size_t ftl_task_set_len(const struct ftl_task_set *set)
{
    return set->len;
}

void ftl_task_set_abort_all(struct ftl_task_set *set, int64_t grace)
{
    for (struct ftl__list *node = set->members.next; node != &set->members; node = node->next)
        ftl_abort(ftl__container(node, struct ftl_task, member), grace);
}

void ftl_task_set_abort(struct ftl_task_set *set, const void *tag, int64_t grace)
{
    for (struct ftl__list *node = set->members.next; node != &set->members; node = node->next) {
        struct ftl_task *task = ftl__container(node, struct ftl_task, member);
        if (task->tag == tag)
            ftl_abort(task, grace);
    }
}

static void drop(struct ftl_task_set *set, struct ftl_task *task)
{
    ftl__list_unlink(&task->member);
    set->len--;
    ftl__task_unref(task); /* a value goes to value_free, a panic to the runtime's hook */
}

int ftl_task_set_shutdown(struct ftl_task_set *set, int64_t deadline)
{
    struct ftl__strand *strand = ftl__strand_current();
    ftl_task_set_abort_all(set, 0);
    for (;;) {
        while (take_ready(set)) {
            struct ftl_task *task = set->ready;
            set->ready = task->hub_next;
            drop(set, task);
        }
        if (set->len == 0)
            return 0;
        int rc = wait_ended(set, strand, deadline);
        if (rc != 0)
            return ftl__wait_result(strand, rc);
    }
}

static size_t unref_all(struct ftl_task *task)
{
    size_t count = 0;
    while (task) {
        struct ftl_task *next = task->hub_next;
        ftl__task_unref(task);
        task = next;
        count++;
    }
    return count;
}

void ftl_task_set_detach_all(struct ftl_task_set *set)
{
    struct ftl__task_hub *hub = set->hub;
    if (!hub)
        return;
    /* From here on members may go at any moment: nothing is unlinked, since the neighbours may be
     * gone. */
    /* acquire: as in take_ready(). What orders the end of the hub is `outstanding`. */
    uintptr_t head = atomic_exchange_explicit(&hub->head, ABANDONED, memory_order_acquire);
    size_t ended = unref_all(set->ready) + unref_all(turn_around(head));
    hub_leave(hub, (int64_t)(set->len - ended));
    set->hub = NULL;
    set->ready = NULL;
    set->len = 0;
    ftl__list_init(&set->members);
}

void ftl_task_set_free(struct ftl_task_set *set)
{
    if (!set)
        return;
    ftl_task_set_abort_all(set, 0);
    ftl_task_set_detach_all(set);
    free(set);
}
