/* SPDX-License-Identifier: MIT
 *
 * The task control block and its state word.
 *
 * One atomic word holds the life cycle and the references (as in Tokio's task state):
 *
 *     NOTIFIED ──run──> RUNNING|STARTED ──wait──> STARTED ──wake──> NOTIFIED|STARTED ──run──> …
 *                            └──end──> COMPLETE
 *
 * NOTIFIED   is in exactly one queue, or about to be put there by whoever set the bit; while
 *            RUNNING: a wake-up came, go round again
 * RUNNING    a worker (or an aborter that ends it unstarted, or a dump) has it for itself; also
 *            while it stands in a queue because it has yielded (`yielded`): a yield writes nothing
 *            here
 * COMPLETE   the outcome is published; nothing but references changes any more
 * CANCELLED  an abort was asked for
 * STARTED    has, or had, a stack
 * JOINING    `joiner` is set: the completer grants it
 *
 * References: one of the task itself until it is complete (a set inherits it), one for each handle,
 * and one of a queue that still holds a task which was ended by an aborter (a ghost). The memory of
 * a control block stays a control block as long as the runtime lives. */
#ifndef FETTLE_RUNTIME_TCB_H
#define FETTLE_RUNTIME_TCB_H

#include <stdatomic.h>

#include <fettle/semaphore.h>

#include "runtime/list.h"
#include "runtime/strand.h"

struct ftl__task_hub;
struct ftl__waiter;
struct ftl__worker;

#define FTL__RUNNING UINT64_C(1)
#define FTL__NOTIFIED UINT64_C(2)
#define FTL__COMPLETE UINT64_C(4)
#define FTL__CANCELLED UINT64_C(8)
#define FTL__STARTED UINT64_C(16)
#define FTL__JOINING UINT64_C(32)
#define FTL__REF UINT64_C(256)
#define FTL__REFS(state) ((state) / FTL__REF)

/* What a switch reads comes first. */
struct ftl_task {
    _Atomic uint64_t state;
    struct ftl_task *queue_next; /* whichever queue holds it */
    uint16_t selects; /* how many there were: where the next one begins */
    uint8_t stack_class;
    bool migratable;
    bool taken;     /* the outcome was moved to a joiner */
    bool cancelled; /* how it ended, if not by panic */
    _Atomic bool yielded; /* stands in a queue and is RUNNING; written by who has it, published by
                             the queue */
    struct ftl__strand root;
    struct ftl__worker *worker; /* pinned to it; written at the first run */
    union {
        struct ftl_runtime *runtime;
        struct ftl_task *batch_next; /* of a free block: tcb.c */
    };
    ftl_task_fn fn;
    void *arg;
    void (*arg_free)(void *arg);
    void (*value_free)(void *value);
    void *value;             /* published by COMPLETE */
    struct ftl_panic *panic; /* published by COMPLETE */
    union {
        struct ftl__waiter *joiner; /* published by JOINING */
        void *tag;                  /* of a set's member: never joined */
    };
    struct ftl__task_hub *hub; /* of the set it is a member of, or NULL */
    struct ftl__list member;   /* the owner of the set's */
    struct ftl_task *hub_next; /* in the hub's list of ended members */
    struct ftl_semaphore *permit_of; /* a permit that was moved into it, or NULL */
    const char *name;
    uint64_t id;
    _Atomic int64_t abort_at; /* end of the grace; INT64_MAX: no abort */
    uint32_t permit_count;
};

/* The worker it is pinned to; NULL: none yet. Plain memory, handed on by the queues; to
 * ThreadSanitizer atomic, for the same reason as the slots of a ring (queue.c). */
static inline struct ftl__worker *ftl__task_home(const struct ftl_task *task)
{
#ifdef FTL__TSAN
    return __atomic_load_n(&task->worker, __ATOMIC_RELAXED);
#else
    return task->worker;
#endif
}

static inline void ftl__task_pin(struct ftl_task *task, struct ftl__worker *worker)
{
#ifdef FTL__TSAN
    __atomic_store_n(&task->worker, worker, __ATOMIC_RELAXED);
#else
    task->worker = worker;
#endif
}

/* ---- allocation: tcb.c ------------------------------------------------------------------ */

/* A worker's own free control blocks, linked by queue_next. Owner thread only. */
struct ftl__tcb_cache {
    struct ftl_task *free;
    unsigned count;         /* of them */
    struct ftl_task *batch; /* a full batch in reserve, or NULL */
};

struct ftl__tcb_chunk;

struct ftl__tcb_pool {
    struct ftl__lock lock; /* guards all below */
    struct ftl__tcb_chunk *chunks;
    struct ftl_task *batches; /* the first of each, linked by batch_next */
    struct ftl_task *loose;   /* free ones that are no batch yet */
    unsigned loose_count;
};

void ftl__tcb_pool_destroy(struct ftl__tcb_pool *pool);
/* A zeroed block with state 0, or NULL. `cache` NULL: a foreign thread's. */
struct ftl_task *ftl__tcb_take(struct ftl__tcb_pool *pool, struct ftl__tcb_cache *cache);
void ftl__tcb_give(struct ftl__tcb_pool *pool, struct ftl__tcb_cache *cache, struct ftl_task *task);

/* Calls each(arg, task) for every block that holds a task which is not complete, with a reference
 * held during the call. (A complete one is never given a reference here: whoever has its last one
 * has it for himself.) */
void ftl__tcb_each(struct ftl__tcb_pool *pool, void (*each)(void *arg, struct ftl_task *task),
                   void *arg);

/* ---- transitions: task.c ------------------------------------------------------------------ */

/* A worker popped it: true = now RUNNING, run it; false = a ghost, whose reference was dropped. */
bool ftl__task_begin(struct ftl_task *task);
/* After it has switched out to wait: true = it was woken meanwhile, reschedule. */
bool ftl__task_idle(struct ftl_task *task);
/* Sets NOTIFIED: true = the caller must schedule it. */
bool ftl__task_notify(struct ftl_task *task);
/* Ends it: publishes the outcome, wakes the joiner or the set, drops the task's own reference. */
void ftl__task_complete(struct ftl_task *task);
void ftl__task_unref(struct ftl_task *task);

/* ftl_spawn() for single tasks and members of sets (`hub`). *ret_task, if not NULL, is a handle; of a
 * member, whose one reference its hub will have, only a pointer. FTL_EINVAL: the stack is too large. */
int ftl__task_spawn(struct ftl_runtime *runtime, ftl_task_fn fn, void *arg,
                    const struct ftl_spawn_options *options, struct ftl__task_hub *hub, void *tag,
                    struct ftl_task **ret_task);
/* Moves a permit into a task that nobody knows yet / gives it back, if there is one. In
 * semaphore.c. */
void ftl__permit_into_task(struct ftl_permit *permit, struct ftl_task *task);
void ftl__permit_of_task(struct ftl_task *task);
/* Moves the outcome of a complete task out. */
void ftl__task_outcome(struct ftl_task *task, struct ftl_outcome *ret_outcome);
/* From the completer: a member has ended; the hub inherits its reference. In task_set.c. */
void ftl__task_hub_push(struct ftl__task_hub *hub, struct ftl_task *task);

#endif
