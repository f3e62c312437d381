/* SPDX-License-Identifier: MIT
 *
 * A worker: one thread of a runtime, its queues, what it is running; and the runtime around it. */
#ifndef FETTLE_RUNTIME_WORKER_H
#define FETTLE_RUNTIME_WORKER_H

#include <pthread.h>

#include <fettle/runtime.h>

#include "runtime/blocking.h"
#include "runtime/cgroup.h"
#include "runtime/driver.h"
#include "runtime/fault.h"
#include "runtime/idle.h"
#include "runtime/inject.h"
#include "runtime/monitor.h"
#include "runtime/queue.h"
#include "runtime/spawner.h"
#include "runtime/tcb.h"

/* Why a strand has switched out. */
enum ftl__switch { FTL__SWITCH_WAIT, FTL__SWITCH_YIELD, FTL__SWITCH_END, FTL__SWITCH_FAULT };

enum ftl__park { FTL__PARK_EMPTY, FTL__PARK_FUTEX, FTL__PARK_DRIVER, FTL__PARK_NOTIFIED };

/* First in, first out, owner only. */
struct ftl__local {
    struct ftl_task *first, *last;
};

/* Tasks of another runtime that a corked worker hands over together. Owner only. */
struct ftl__outbox {
    struct ftl_runtime *runtime;
    struct ftl_task *first, *last;
    uint32_t count;
};

/* Written by the owner, read by anyone. */
struct ftl__worker_stats {
    _Atomic uint64_t spawned, ended, panicked, cancelled, stolen, parked;
};

struct ftl__worker {
    struct ftl_runtime *runtime;
    struct ftl_runtime *home; /* whose ready tasks it runs; NULL: a thread of the blocking pool */
    uint32_t index;
    pthread_t thread;
    _Atomic int tid;
    void *signal_stack; /* sample.c */
    struct ftl__fault *fault; /* NULL: none is contained */

    /* The owner's; `lifo` and `outbox` also the monitor's, when it has seized them: monitor.h. */
    _Atomic(struct ftl_task *) lifo; /* what was woken or spawned last: runs next, its data are
                                        warm */
    uint32_t lifo_runs;        /* in a row */
    struct ftl__local pinned;  /* ready tasks that are pinned to this worker */
    uint32_t turn;             /* alternates between pinned and queue */
    _Atomic uint32_t tick;     /* written by the owner only: how often it has come to choose */
    uint32_t random;
    bool searching;
    bool member;               /* searches and sleeps with the others; extra ones: while needed */
    _Atomic bool needed;       /* written by the monitor: shall it take part? */
    bool polling;              /* wake-ups made now are followed by one notify */
    int budget;                /* operations left to the running task before it must yield */
    int64_t slice_end;         /* ns; 0: not yet computed for the running task */
    _Atomic bool corked;
    _Atomic bool hands;        /* a task is at `lifo` or `outbox` right now */
    _Atomic uint32_t seized;   /* futex word: 1 = these two are the monitor's right now */
    struct ftl__outbox outbox;
    _Atomic(struct ftl__strand *) strand; /* running now; NULL: the scheduler */
    _Atomic bool calling;      /* the scheduler is in a destructor or a hook of the user's */
    enum ftl__switch why;
    void *sp;                  /* of the scheduler while a strand runs */
    struct ftl__shadow shadow;
    const void *stack_low;     /* of the scheduler, for ASan */
    size_t stack_size;
    struct ftl__stack_cache stacks;
    struct ftl__tcb_cache tcbs;
    uint64_t next_id, id_end;  /* what is left of its block of task ids */

    struct ftl__watch watch;        /* the monitor's */
    struct ftl__worker *spare_next; /* the blocking pool's */

    /* Everybody's. */
    struct ftl__queue queue;
    _Alignas(128) _Atomic(struct ftl_task *) inbox; /* pinned tasks woken elsewhere, newest first */
    _Alignas(128) _Atomic uint32_t park;            /* enum ftl__park; futex word */
    struct ftl__worker_stats stats;
};

struct ftl_runtime {
    char name[11];
    bool serial;           /* its tasks take turns */
    uint32_t worker_count; /* the regular ones: workers[0]… */
    uint32_t worker_max;   /* with the extra ones */
    _Atomic uint32_t worker_top; /* that many exist; grows, written by the monitor */
    struct ftl__driver driver;
    struct ftl__idle idle;
    struct ftl__inject inject;
    struct ftl__monitor monitor;
    struct ftl__blocking blocking;
    struct ftl__spawner spawner;
    struct ftl__cgroups cgroups;
    struct ftl__stack_pool stacks;
    struct ftl__tcb_pool tcbs;
    struct ftl__worker_stats foreign; /* what threads that are no workers of ours did */
    _Atomic uint64_t next_id;
    struct ftl__lock dump_lock;       /* guards who writes `dumped` */
    _Atomic(struct ftl_task *) dumped; /* a dump looks at it: who takes it to run it waits */
    _Atomic bool closing;             /* no new tasks */
    _Atomic bool stop;                /* workers leave */
    struct ftl__lock closer_lock;     /* guards closer */
    struct ftl__waiter *closer;       /* waits in shutdown until no task is left */
    bool barriers;                    /* membarrier(2) works */
    enum ftl_containment containment;
    _Atomic uint64_t faults;
    void (*on_fault)(void *arg, const struct ftl_fault *fault);
    void (*on_detached_panic)(void *arg, const char *task_name, const struct ftl_panic *panic);
    void (*on_stall)(void *arg, const struct ftl_stall *stall);
    void (*on_unguarded)(void *arg);
    _Atomic bool said_unguarded;
    void *hook_arg;
    struct ftl__worker *workers[];
};

/* The calling thread's worker, of whichever runtime; NULL: a foreign thread. Never cached across a
 * wait: that is why it is a function. In thread.c, with the project's only thread-local
 * variables. */
struct ftl__worker *ftl__worker_current(void);
void ftl__worker_set_current(struct ftl__worker *worker);
/* The strand that stands for the calling foreign thread. */
struct ftl__strand *ftl__thread_strand(void);

/* What ThreadSanitizer is told about instead of the task's switches; sanitizer.h. */
FTL__UNSEEN static inline void *ftl__task_turn(struct ftl_task *task)
{
    return task->runtime->serial ? (void *)task->runtime : (void *)&task->root;
}

/* The thread function. */
void *ftl__worker_main(void *worker);

/* Around what a worker's thread does. */
void ftl__worker_enter(struct ftl__worker *worker);
void ftl__worker_exit(struct ftl__worker *worker);

/* Runs one task from its beginning to its end, and nothing else; it is pinned to this worker. */
void ftl__worker_serve(struct ftl__worker *worker, struct ftl_task *task);

/* Allocates a worker that has no thread yet; NULL: no memory. `index`: UINT32_MAX for one of the
 * blocking pool. In runtime.c. */
struct ftl__worker *ftl__worker_new(struct ftl_runtime *runtime, uint32_t index);
void ftl__worker_delete(struct ftl__worker *worker);

/* Starts a thread, named and with asynchronous signals blocked: those are for others. 0 or an
 * errno value. In runtime.c. */
int ftl__thread_start(pthread_t *ret_thread, void *(*fn)(void *), void *arg, const char *name);

/* Around a destructor or a hook: if the scheduler calls it, the monitor watches over the worker as
 * over one with a task. What _begin returns goes to _end. */
struct ftl__worker *ftl__worker_call_begin(void);
void ftl__worker_call_end(struct ftl__worker *worker);

static inline struct ftl__strand *ftl__worker_strand(const struct ftl__worker *worker)
{
    return atomic_load_explicit(&worker->strand, memory_order_relaxed);
}

static inline uint32_t ftl__worker_top(const struct ftl_runtime *runtime)
{
    /* acquire: pairs with the release by which the monitor publishes an extra worker */
    return atomic_load_explicit(&runtime->worker_top, memory_order_acquire);
}

/* Switches from the running strand to its worker's scheduler. */
void ftl__worker_switch_out(struct ftl__strand *strand, enum ftl__switch why);
/* For a strand whose first function is about to return: what it returns, to end there. */
void *ftl__worker_leave(void);

/* While closing: a task has ended. In runtime.c. */
void ftl__runtime_ended(struct ftl_runtime *runtime);

static inline void ftl__count(_Atomic uint64_t *counter)
{
    /* Only the owner writes: no read-modify-write. release: who sees that a task has ended (sum()
     * in runtime.c) sees also that it, and all that were spawned before it, were spawned. */
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + 1, memory_order_release);
}

#endif
