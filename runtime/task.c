/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The life of a task: spawn, the transitions of its state word, abort, the end, join. Any thread
 * may call in here; what holds the pieces together is the state word (tcb.h). No locks. */
#include <string.h>

#include <fettle/time.h>

#include "runtime/schedule.h"
#include "runtime/wait.h"

_Static_assert(sizeof(struct ftl_task) <= 256 || sizeof(struct ftl__shadow) > 0,
               "a queued task costs at most 256 bytes");

static struct ftl__worker *own_worker(const struct ftl_runtime *runtime)
{
    struct ftl__worker *worker = ftl__worker_current();
    return worker && worker->home == runtime ? worker : NULL;
}

/* ---- counting ---- */

static void count(struct ftl_runtime *runtime, struct ftl__worker *worker, size_t offset)
{
    if (worker)
        ftl__count((_Atomic uint64_t *)((char *)&worker->stats + offset));
    else
        atomic_fetch_add_explicit((_Atomic uint64_t *)((char *)&runtime->foreign + offset), 1,
                                  memory_order_release);
}
#define COUNT(runtime, worker, what)                                                               \
    count((runtime), (worker), offsetof(struct ftl__worker_stats, what))

/* The door of a shutdown. It has put a barrier into every thread after it closed it: whoever has
 * counted something before asking here either was seen by it, or sees it. */
static bool is_closing(struct ftl_runtime *runtime)
{
    atomic_signal_fence(memory_order_seq_cst);
    return atomic_load_explicit(&runtime->closing, memory_order_relaxed);
}

/* A spawn came to nothing, and a shutdown may be waiting for it. */
static void uncount_spawn(struct ftl_runtime *runtime, struct ftl__worker *worker)
{
    _Atomic uint64_t *spawned = worker ? &worker->stats.spawned : &runtime->foreign.spawned;
    atomic_fetch_sub_explicit(spawned, 1, memory_order_release);
    if (is_closing(runtime))
        ftl__runtime_ended(runtime);
}

static void count_end(struct ftl_runtime *runtime, bool panicked, bool cancelled)
{
    struct ftl__worker *worker = own_worker(runtime);
    if (panicked)
        COUNT(runtime, worker, panicked);
    else if (cancelled)
        COUNT(runtime, worker, cancelled);
    COUNT(runtime, worker, ended);
    if (is_closing(runtime))
        ftl__runtime_ended(runtime);
}

/* ---- spawn ---- */

/* Unique, in no order. A worker takes a block of them at a time, since all spawn at once. */
FTL__UNSEEN static uint64_t next_id(struct ftl_runtime *runtime, struct ftl__worker *worker)
{
    enum { BLOCK = 1024 };
    if (!worker)
        return atomic_fetch_add_explicit(&runtime->next_id, 1, memory_order_relaxed);
    if (worker->next_id == worker->id_end) {
        worker->next_id = atomic_fetch_add_explicit(&runtime->next_id, BLOCK, memory_order_relaxed);
        worker->id_end = worker->next_id + BLOCK;
    }
    return worker->next_id++;
}

static void fill(struct ftl_task *task, const struct ftl_spawn_options *options)
{
    task->arg_free = options->arg_free;
    task->value_free = options->value_free;
    task->name = options->name;
    task->migratable = options->migratable && !options->blocking;
    task->root.defers = options->held;
    if (options->held)
        options->held->link = &task->root.defers;
    if (options->permit)
        ftl__permit_into_task(options->permit, task);
}

static void schedule_first(struct ftl_task *task, bool blocking)
{
    if (blocking)
        ftl__blocking_push(task);
    else
        ftl__schedule(task);
}

/* The runtime is closing: it is aborted at once. */
static void schedule_late(struct ftl_task *task, bool blocking)
{
    ftl_task_ref(task); /* as soon as it is scheduled it may end */
    schedule_first(task, blocking);
    ftl_abort(task, 0);
    ftl__task_unref(task);
}

/* A control block, and a thread for it if it needs one of its own. */
static int reserve(struct ftl_runtime *runtime, struct ftl__worker *worker, bool blocking,
                   struct ftl_task **ret_task)
{
    if (is_closing(runtime))
        return FTL_ESHUTDOWN;
    int rc = blocking ? ftl__blocking_prepare(runtime) : 0;
    if (rc != 0)
        return rc;
    *ret_task = ftl__tcb_take(&runtime->tcbs, worker ? &worker->tcbs : NULL);
    if (*ret_task)
        return 0;
    if (blocking)
        ftl__blocking_cancel(runtime);
    return FTL_ENOMEM;
}

int ftl__task_spawn(struct ftl_runtime *runtime, ftl_task_fn fn, void *arg,
                    const struct ftl_spawn_options *options, struct ftl__task_hub *hub, void *tag,
                    struct ftl_task **ret_task)
{
    static const struct ftl_spawn_options defaults = {0};
    if (!options)
        options = &defaults;
    int class = ftl__stack_class(options->stack_size);
    if (class < 0)
        return FTL_EINVAL;
    struct ftl__worker *worker = own_worker(runtime);
    COUNT(runtime, worker, spawned); /* first: a shutdown does not end before this has */
    struct ftl_task *task;
    int rc = reserve(runtime, worker, options->blocking, &task);
    if (rc != 0) {
        uncount_spawn(runtime, worker);
        return rc;
    }

    fill(task, options);
    task->runtime = runtime;
    task->fn = fn;
    task->arg = arg;
    task->hub = hub;
    task->tag = tag;
    task->stack_class = (uint8_t)class;
    task->root.task = task;
    task->id = next_id(runtime, worker);
    atomic_store_explicit(&task->abort_at, FTL_FOREVER, memory_order_relaxed);
    /* The task's own reference, and the handle's. release: publishes the block to whoever walks
     * over all of them. */
    atomic_store_explicit(&task->state, FTL__NOTIFIED | (ret_task && !hub ? 2 : 1) * FTL__REF,
                          memory_order_release);

    if (ret_task) /* before it can run: it may look for itself there */
        *ret_task = task;

    /* A shutdown that began meanwhile may have walked past this block before it was alive. */
    if (is_closing(runtime))
        schedule_late(task, options->blocking);
    else
        schedule_first(task, options->blocking);
    return 0;
}

int ftl_spawn(struct ftl_runtime *runtime, ftl_task_fn fn, void *arg,
              const struct ftl_spawn_options *options, struct ftl_task **ret_task)
{
    return ftl__task_spawn(runtime, fn, arg, options, NULL, NULL, ret_task);
}

/* ---- transitions ---- */

FTL__UNSEEN static bool has_yielded(struct ftl_task *task)
{
    /* relaxed: the queue orders it, and a barrier before a dump (runtime.c) looks at it */
    bool yielded = atomic_load_explicit(&task->yielded, memory_order_relaxed);
    if (yielded)
        atomic_store_explicit(&task->yielded, false, memory_order_relaxed);
    return yielded;
}

bool ftl__task_begin(struct ftl_task *task)
{
    if (has_yielded(task))
        return true;
    uint64_t state = atomic_load_explicit(&task->state, memory_order_relaxed);
    do {
        if (state & (FTL__RUNNING | FTL__COMPLETE)) { /* ended by an aborter: a ghost */
            ftl__task_unref(task);
            return false;
        }
        /* acquire: pairs with the release of whoever had it last, and of who woke it */
    } while (!atomic_compare_exchange_weak_explicit(
        &task->state, &state, (state & ~FTL__NOTIFIED) | FTL__RUNNING | FTL__STARTED,
        memory_order_acq_rel, memory_order_relaxed));
    return true;
}

bool ftl__task_idle(struct ftl_task *task)
{
    /* release: the next one to run it sees all that it did */
    return atomic_fetch_and_explicit(&task->state, ~FTL__RUNNING, memory_order_acq_rel) &
           FTL__NOTIFIED;
}

bool ftl__task_notify(struct ftl_task *task)
{
    /* Always a read-modify-write: what was done before it is seen by whoever consumes NOTIFIED,
     * also if it was set already. */
    uint64_t old = atomic_fetch_or_explicit(&task->state, FTL__NOTIFIED, memory_order_acq_rel);
    return !(old & (FTL__NOTIFIED | FTL__RUNNING | FTL__COMPLETE));
}

/* ---- the end ---- */

static void free_value(struct ftl_task *task)
{
    if (!task->value_free)
        return;
    struct ftl__worker *worker = ftl__worker_call_begin();
    task->value_free(task->value);
    ftl__worker_call_end(worker);
}

static void report_panic(struct ftl_task *task)
{
    struct ftl_runtime *runtime = task->runtime;
    struct ftl_outcome outcome = {.kind = FTL_PANICKED, .panic = task->panic};
    struct ftl__worker *worker = ftl__worker_call_begin();
    runtime->on_detached_panic(runtime->hook_arg, task->name, task->panic);
    ftl__worker_call_end(worker);
    ftl_outcome_clear(&outcome);
}

static void destroy(struct ftl_task *task)
{
    struct ftl_runtime *runtime = task->runtime;
    if (!task->taken && task->panic)
        report_panic(task);
    else if (!task->taken && task->value)
        free_value(task);
    struct ftl__worker *worker = own_worker(runtime);
    atomic_store_explicit(&task->state, 0, memory_order_relaxed);
    ftl__tcb_give(&runtime->tcbs, worker ? &worker->tcbs : NULL, task);
}

void ftl__task_unref(struct ftl_task *task)
{
    /* The last one, of a task that is complete: nobody can take another (see ftl__tcb_each()), so
     * that it needs no read-modify-write. acquire: pairs with the release of those who left
     * before. */
    uint64_t old = atomic_load_explicit(&task->state, memory_order_acquire);
    if (FTL__REFS(old) == 1 && (old & FTL__COMPLETE)) {
        destroy(task);
        return;
    }
    old = atomic_fetch_sub_explicit(&task->state, FTL__REF, memory_order_acq_rel);
    if (FTL__REFS(old) == 1)
        destroy(task);
}

void ftl__task_complete(struct ftl_task *task)
{
    struct ftl_runtime *runtime = task->runtime;
    struct ftl__task_hub *hub = task->hub;
    bool panicked = task->panic != NULL, cancelled = task->cancelled && !panicked;
    if ((panicked || cancelled) && task->value) { /* its function had returned: nobody will take
                                                     it */
        free_value(task);
        task->value = NULL;
    }

    /* One step: COMPLETE is set and, unless a set inherits it, the task's own reference is given
     * up. release: publishes the outcome. acquire: sees the joiner. */
    uint64_t old = atomic_fetch_add_explicit(
        &task->state, hub ? FTL__COMPLETE : FTL__COMPLETE - FTL__REF, memory_order_acq_rel);
    if (old & FTL__JOINING) {
        struct ftl__wakes wakes;
        ftl__wakes_init(&wakes);
        ftl__waiter_grant(task->joiner, &wakes); /* its reference holds the task until this is
                                                    done */
        ftl__wakes_submit(&wakes);
    } else if (hub) {
        ftl__task_hub_push(hub, task);
    } else if (FTL__REFS(old) == 1) {
        destroy(task);
    }
    count_end(runtime, panicked, cancelled);
}

void ftl__task_outcome(struct ftl_task *task, struct ftl_outcome *ret_outcome)
{
    task->taken = true;
    *ret_outcome = (struct ftl_outcome){.kind = task->panic       ? FTL_PANICKED
                                                : task->cancelled ? FTL_CANCELLED
                                                                  : FTL_COMPLETED,
                                        .value = task->value,
                                        .panic = task->panic};
}

/* ---- abort ---- */

static void complete(void *task)
{
    ftl__task_complete(task);
}

/* It never ran, and the state word is the caller's. There is no stack: what was moved into it is
 * given back here. A panic of arg_free is the caller's, but the task ends all the same. */
static void end_unstarted(struct ftl_task *task)
{
    FTL_DEFER(complete, task);
    task->cancelled = true;
    ftl__defers_run(&task->root.defers);
    ftl__permit_of_task(task);
    if (task->arg_free)
        task->arg_free(task->arg);
}

static void set_grace(struct ftl_task *task, int64_t grace)
{
    int64_t at = grace <= 0 ? INT64_MIN : ftl_deadline(grace);
    int64_t old = atomic_load_explicit(&task->abort_at, memory_order_relaxed);
    while (at < old && !atomic_compare_exchange_weak_explicit(&task->abort_at, &old, at,
                                                              memory_order_relaxed,
                                                              memory_order_relaxed))
        ;
}

void ftl_abort(struct ftl_task *task, int64_t grace)
{
    uint64_t state = atomic_load_explicit(&task->state, memory_order_relaxed);
    if (state & FTL__COMPLETE)
        return;
    set_grace(task, grace);
    for (;;) {
        if (state & FTL__COMPLETE)
            return;
        bool unstarted = !(state & (FTL__STARTED | FTL__RUNNING));
        /* Unstarted: it stands in a queue, which gets a reference to the ghost. */
        uint64_t next = unstarted ? (state | FTL__RUNNING | FTL__CANCELLED) + FTL__REF
                                  : state | FTL__CANCELLED | FTL__NOTIFIED;
        /* release: pairs with ftl__abort_pending(). acquire: what it ends here was filled in. */
        if (!atomic_compare_exchange_weak_explicit(&task->state, &state, next, memory_order_acq_rel,
                                                   memory_order_relaxed))
            continue;
        if (unstarted)
            end_unstarted(task);
        else if (!(state & (FTL__RUNNING | FTL__NOTIFIED)))
            ftl__schedule(task);
        return;
    }
}

/* ---- join handle ---- */

/* JOINING, unless it is complete: false. */
static bool set_joiner(struct ftl_task *task, struct ftl__waiter *waiter)
{
    uint64_t state = atomic_load_explicit(&task->state, memory_order_acquire);
    do {
        if (state & FTL__COMPLETE)
            return false;
        ftl_assert(!(state & FTL__JOINING)); /* one at a time: `joiner` is the other's */
        task->joiner = waiter;
        /* release: publishes `joiner` to the completer */
    } while (!atomic_compare_exchange_weak_explicit(&task->state, &state, state | FTL__JOINING,
                                                    memory_order_acq_rel, memory_order_acquire));
    return true;
}

/* False: it is complete, and the completer has granted the waiter. */
static bool unset_joiner(struct ftl_task *task, struct ftl__waiter *waiter)
{
    /* relaxed: if it is complete, ftl__waiter_settle() acquires; else the mark is its own */
    uint64_t state = atomic_load_explicit(&task->state, memory_order_relaxed);
    do {
        if (state & FTL__COMPLETE) {
            ftl__waiter_settle(waiter);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&task->state, &state, state & ~FTL__JOINING,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

int ftl_task_join(struct ftl_task *task, int64_t deadline, struct ftl_outcome *ret_outcome)
{
    struct ftl__strand *strand = ftl__strand_current();
    int rc = ftl__coop(strand);
    if (rc != 0)
        return rc;
    struct ftl__waiter waiter;
    ftl__waiter_init(&waiter, strand);
    if (set_joiner(task, &waiter)) {
        rc = ftl__waiter_wait(&waiter, deadline);
        if (rc != 0 && (unset_joiner(task, &waiter) || rc == FTL_ECANCELED))
            return ftl__wait_result(strand, rc);
    }
    ftl__task_outcome(task, ret_outcome);
    ftl__task_unref(task);
    return 0;
}

void ftl_task_detach(struct ftl_task *task)
{
    if (task)
        ftl__task_unref(task);
}

struct ftl_task *ftl_task_ref(struct ftl_task *task)
{
    atomic_fetch_add_explicit(&task->state, FTL__REF, memory_order_relaxed);
    return task;
}

bool ftl_task_is_finished(const struct ftl_task *task)
{
    return atomic_load_explicit(&task->state, memory_order_acquire) & FTL__COMPLETE;
}

struct ftl_task *ftl_task_current(void)
{
    return ftl__strand_current()->task;
}

struct ftl_runtime *ftl_runtime_current(void)
{
    struct ftl__worker *worker = ftl__worker_current();
    return worker ? worker->runtime : NULL;
}
