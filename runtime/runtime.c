/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A runtime's beginning and end, and what one can ask it.
 *
 * Shutdown closes the door (`closing`), puts a barrier into every thread of the process, and aborts
 * all tasks there are: whoever was spawning at that moment either was seen, or sees the closed door
 * and aborts the task itself. Then it waits until no task is left. The count of tasks is the
 * difference of per-worker counters, so that spawning writes nothing that others write. */
#include <fettle/runtime.h>

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fettle/time.h>

#include "runtime/context.h"
#include "runtime/fork.h"
#include "runtime/park.h"
#include "runtime/sanitizer.h"
#include "runtime/schedule.h"
#include "runtime/strands.h"
#include "runtime/wait.h"

static void report_panic(void *arg, const char *task_name, const struct ftl_panic *panic)
{
    (void)arg;
    fprintf(stderr, "task %s panicked: %s\n", task_name ? task_name : "(unnamed)", panic->message);
}

static void ignore_unguarded(void *arg)
{
    (void)arg;
}

/* ---- start ---- */

static unsigned usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (unsigned)CPU_COUNT(&set);
    return 1;
}

static uint32_t extra_workers(const struct ftl_runtime_options *options, uint32_t workers)
{
    enum { LEAST = 4 };
    if (options->unmonitored || options->serial || options->extra_workers < 0 ||
        (options->workers == 1 && options->extra_workers == 0))
        return 0;
    if (options->extra_workers > 0)
        return (uint32_t)options->extra_workers;
    return workers < LEAST ? LEAST : workers;
}

static void init_worker(struct ftl__worker *worker, struct ftl_runtime *runtime, uint32_t index)
{
    memset(worker, 0, sizeof *worker);
    worker->runtime = runtime;
    worker->index = index;
    worker->random = 2463534242u + index * 2654435761u;
    worker->home = index == UINT32_MAX ? NULL : runtime;
    worker->member = index < runtime->worker_count;
    atomic_init(&worker->needed, worker->member);
    ftl__queue_init(&worker->queue);
}

struct ftl__worker *ftl__worker_new(struct ftl_runtime *runtime, uint32_t index)
{
    /* Its strands' fibers may be older than it (those of a blocking thread are) and are not ordered
     * after this: TSan would see a race in whatever they ask of their worker. */
    ftl__shadow_pause();
    struct ftl__worker *worker = aligned_alloc(128, sizeof *worker);
    if (worker)
        init_worker(worker, runtime, index);
    ftl__shadow_resume();
    return worker;
}

void ftl__worker_delete(struct ftl__worker *worker)
{
    free(worker);
}

static struct ftl_runtime *allocate(const struct ftl_runtime_options *options, uint32_t workers)
{
    uint32_t max = workers + extra_workers(options, workers);
    size_t size = sizeof(struct ftl_runtime) + max * sizeof(struct ftl__worker *);
    struct ftl_runtime *runtime = aligned_alloc(128, (size + 127) / 128 * 128);
    if (!runtime)
        return NULL;
    memset(runtime, 0, size);
    snprintf(runtime->name, sizeof runtime->name, "%s", options->name ? options->name : "ftl");
    runtime->worker_count = workers;
    runtime->serial = options->serial;
    runtime->worker_max = max;
    atomic_init(&runtime->worker_top, workers);
    runtime->on_detached_panic =
        options->on_detached_panic ? options->on_detached_panic : report_panic;
    runtime->on_unguarded = options->on_unguarded ? options->on_unguarded : ignore_unguarded;
    runtime->on_stall = options->on_stall;
    runtime->containment = options->containment;
    runtime->on_fault = options->on_fault;
    runtime->hook_arg = options->hook_arg;
    ftl__blocking_init(&runtime->blocking, options);
    ftl__idle_init(&runtime->idle, workers);
    ftl__stack_pool_init(&runtime->stacks, true);
    for (uint32_t i = 0; i < workers; i++) {
        runtime->workers[i] = ftl__worker_new(runtime, i);
        if (!runtime->workers[i])
            return runtime; /* the caller sees the gap */
    }
    return runtime;
}

static void deallocate(struct ftl_runtime *runtime)
{
    for (uint32_t i = 0; i < runtime->worker_max; i++)
        ftl__worker_delete(runtime->workers[i]);
    ftl__driver_destroy(&runtime->driver);
    ftl__stack_pool_destroy(&runtime->stacks);
    ftl__tcb_pool_destroy(&runtime->tcbs);
    free(runtime);
}

static void stop_threads(struct ftl_runtime *runtime, uint32_t count)
{
    atomic_store_explicit(&runtime->stop, true, memory_order_release);
    ftl__monitor_stop(runtime); /* first: it makes workers */
    ftl__blocking_stop(runtime);
    ftl__spawner_stop(runtime);
    if (count == runtime->worker_count)
        count = ftl__worker_top(runtime);
    for (uint32_t i = 0; i < count; i++)
        ftl__worker_unpark(runtime->workers[i]);
    for (uint32_t i = 0; i < count; i++)
        pthread_join(runtime->workers[i]->thread, NULL);
}

/* Asynchronous signals are for others; faults must reach the thread that caused them. */
static void worker_signals(sigset_t *set)
{
    sigfillset(set);
    static const int synchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < sizeof synchronous / sizeof synchronous[0]; i++)
        sigdelset(set, synchronous[i]);
    sigdelset(set, ftl__sample_signal());
}

int ftl__thread_start(pthread_t *ret_thread, void *(*fn)(void *), void *arg, const char *name)
{
    sigset_t blocked, saved;
    worker_signals(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &saved);
    int error = pthread_create(ret_thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    if (error == 0)
        (void)pthread_setname_np(*ret_thread, name); /* cosmetic */
    return error;
}

static int start_threads(struct ftl_runtime *runtime, const struct ftl_runtime_options *options)
{
    int error = 0;
    uint32_t started = 0;
    while (error == 0 && started < runtime->worker_count) {
        struct ftl__worker *worker = runtime->workers[started];
        char name[24];
        snprintf(name, sizeof name, "%.10s/%u", runtime->name, started);
        error = ftl__thread_start(&worker->thread, ftl__worker_main, worker, name);
        if (error == 0)
            started++;
    }
    if (error == 0)
        error = ftl__monitor_start(runtime, options);
    if (error == 0)
        return 0;
    stop_threads(runtime, started);
    errno = error;
    return FTL_ESYS;
}

int ftl_runtime_start(const struct ftl_runtime_options *options, struct ftl_runtime **ret_runtime)
{
    static const struct ftl_runtime_options defaults = {0};
    ftl__fork_check();
    if (!options)
        options = &defaults;
    unsigned workers = options->workers   ? options->workers
                       : options->serial ? 1
                                         : usable_cores();
    if (workers > (options->serial ? 1 : FTL_WORKERS_MAX) ||
        options->extra_workers > FTL_WORKERS_MAX)
        return FTL_EINVAL;
    struct ftl_runtime *runtime = allocate(options, workers);
    if (!runtime)
        return FTL_ENOMEM;
    runtime->driver.epoll = runtime->driver.event = -1;
    ftl__list_init(&runtime->driver.dead);
    int rc = runtime->workers[workers - 1] ? ftl__driver_init(&runtime->driver) : FTL_ENOMEM;
    if (rc == 0 && options->containment != FTL_CONTAIN_NOTHING) {
        errno = ftl__fault_install();
        rc = errno == 0 ? 0 : FTL_ESYS;
    }
    if (rc == 0) {
        runtime->barriers =
            syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
        rc = start_threads(runtime, options);
    }
    if (rc != 0) {
        int error = errno;
        deallocate(runtime);
        errno = error;
        return rc;
    }
    int forks = ftl__fork_begin();
    if (forks != 0) {
        stop_threads(runtime, runtime->worker_count);
        deallocate(runtime);
        errno = forks;
        return FTL_ESYS;
    }
    *ret_runtime = runtime;
    return 0;
}

/* ---- counting ---- */

static uint64_t sum(const struct ftl_runtime *runtime, size_t offset)
{
    const char *stats = (const char *)&runtime->foreign;
    uint64_t total = atomic_load((const _Atomic uint64_t *)(stats + offset));
    uint32_t n = ftl__worker_top(runtime);
    for (uint32_t i = 0; i < n; i++) {
        stats = (const char *)&runtime->workers[i]->stats;
        total += atomic_load((const _Atomic uint64_t *)(stats + offset));
    }
    return total;
}
#define SUM(runtime, what) sum((runtime), offsetof(struct ftl__worker_stats, what))

static size_t tasks_left(const struct ftl_runtime *runtime)
{
    uint64_t ended = SUM(runtime, ended); /* first: rather one too many than one too few */
    return (size_t)(SUM(runtime, spawned) - ended);
}

void ftl_runtime_stats(const struct ftl_runtime *runtime, struct ftl_runtime_stats *ret)
{
    struct ftl_runtime *mutable = (struct ftl_runtime *)(uintptr_t)runtime; /* for its lock */
    ret->ended = SUM(runtime, ended);
    ret->spawned = SUM(runtime, spawned);
    ret->panicked = SUM(runtime, panicked);
    ret->cancelled = SUM(runtime, cancelled);
    ret->stolen = SUM(runtime, stolen);
    ret->parked = SUM(runtime, parked);
    ftl__lock_take(&mutable->blocking.lock);
    ret->blocking_threads = runtime->blocking.threads;
    ret->blocking_idle = runtime->blocking.idle;
    ret->blocking_queued = runtime->blocking.queued;
    ftl__lock_drop(&mutable->blocking.lock);
    ret->faults = atomic_load_explicit(&runtime->faults, memory_order_relaxed);
    ret->stalls = atomic_load_explicit(&runtime->monitor.stalls, memory_order_relaxed);
    ret->extra_used = atomic_load_explicit(&runtime->monitor.extra_used, memory_order_relaxed);
    ret->extra_now = atomic_load_explicit(&runtime->monitor.extra_now, memory_order_relaxed);
    ftl__lock_take(&mutable->stacks.lock);
    ret->stacks_mapped = runtime->stacks.mapped;
    ret->stacks_unguarded = runtime->stacks.unguarded;
    ret->stacks_buried = runtime->stacks.buried_count;
    ftl__lock_drop(&mutable->stacks.lock);
}

unsigned ftl_runtime_workers(const struct ftl_runtime *runtime)
{
    return runtime->worker_count;
}

void ftl_runtime_set_blocking_max(struct ftl_runtime *runtime, unsigned blocking_max)
{
    ftl_assert(blocking_max > 0);
    ftl__blocking_set_max(runtime, blocking_max);
}

/* ---- shutdown ---- */

void ftl__runtime_ended(struct ftl_runtime *runtime)
{
    struct ftl__wakes wakes;
    ftl__wakes_init(&wakes);
    /* Pairs with itself on other workers: of several tasks that end at once the last one to pass
     * here sees the others' counts. */
    atomic_thread_fence(memory_order_seq_cst);
    ftl__lock_take(&runtime->closer_lock);
    if (runtime->closer && tasks_left(runtime) == 0) {
        ftl__waiter_grant(runtime->closer, &wakes);
        runtime->closer = NULL;
    }
    ftl__lock_drop(&runtime->closer_lock);
    ftl__wakes_submit(&wakes);
}

/* Waits until no task is left; 0, or as every wait. */
static int wait_empty(struct ftl_runtime *runtime, struct ftl__strand *strand, int64_t deadline)
{
    struct ftl__waiter waiter;
    ftl__waiter_init(&waiter, strand);
    ftl__lock_take(&runtime->closer_lock);
    bool empty = tasks_left(runtime) == 0;
    if (!empty)
        runtime->closer = &waiter;
    ftl__lock_drop(&runtime->closer_lock);
    if (empty)
        return 0;
    int rc = ftl__waiter_wait(&waiter, deadline);
    if (rc != 0) {
        ftl__lock_take(&runtime->closer_lock);
        if (runtime->closer == &waiter)
            runtime->closer = NULL;
        else
            rc = 0;
        ftl__lock_drop(&runtime->closer_lock);
    }
    return rc;
}

static void abort_one(void *arg, struct ftl_task *task)
{
    (void)arg;
    ftl_abort(task, 0);
}

size_t ftl_runtime_shutdown(struct ftl_runtime *runtime, int64_t deadline)
{
    struct ftl__strand *strand = ftl__strand_current();
    atomic_store(&runtime->closing, true);
    if (runtime->barriers)
        (void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    for (;;) {
        ftl__tcb_each(&runtime->tcbs, abort_one, NULL);
        /* Without barriers a task may have been overlooked: look again after a while. */
        int64_t until = deadline;
        if (!runtime->barriers && until > ftl_deadline(10 * FTL_MS))
            until = ftl_deadline(10 * FTL_MS);
        int rc = wait_empty(runtime, strand, until);
        if (rc == 0)
            return 0; /* and so it stays: what is counted now will be refused */
        if (rc == FTL_ETIMEDOUT && until < deadline)
            continue;
        size_t left = tasks_left(runtime);
        if (rc == FTL_ECANCELED)
            (void)ftl__wait_result(strand, rc);
        return left;
    }
}

void ftl_runtime_free(struct ftl_runtime *runtime)
{
    if (!runtime)
        return;
    ftl_assert(tasks_left(runtime) == 0);
    stop_threads(runtime, runtime->worker_count);
    deallocate(runtime);
    ftl__fork_end();
}

/* ---- dump ---- */

struct dump {
    void (*each)(void *arg, const char *name, uint64_t id, void *const *frames, size_t count);
    void *arg;
};

/* A task that waits is taken as a worker would take it, so that nobody resumes it meanwhile. acquire:
 * pairs with the release in ftl__task_idle(). */
static bool freeze(struct ftl_task *task)
{
    uint64_t state = atomic_load_explicit(&task->state, memory_order_relaxed);
    do {
        if (state & (FTL__RUNNING | FTL__NOTIFIED | FTL__COMPLETE))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&task->state, &state, state | FTL__RUNNING,
                                                    memory_order_acquire, memory_order_relaxed));
    return true;
}

static void let_go(struct ftl_runtime *runtime)
{
    /* release: pairs with the acquire in heed_dump(), worker.c */
    atomic_store_explicit(&runtime->dumped, NULL, memory_order_release);
}

/* One that is ready to run again may be taken at any time, but whoever takes it sees `dumped`, or
 * it is seen here that it was taken. */
static bool hold(struct ftl_task *task)
{
    struct ftl_runtime *runtime = task->runtime;
    if (!runtime->barriers)
        return false;
    atomic_store_explicit(&runtime->dumped, task, memory_order_relaxed);
    (void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    /* acquire: pairs with the store of `yielded` in run() / the release in ftl__task_idle() */
    bool yielded = atomic_load_explicit(&task->yielded, memory_order_acquire);
    uint64_t state = atomic_load_explicit(&task->state, memory_order_acquire);
    if ((state & FTL__STARTED) && !(state & FTL__COMPLETE) && (yielded || !(state & FTL__RUNNING)))
        return true;
    let_go(runtime);
    return false;
}

static void dump_strand(const struct dump *dump, const struct ftl__strand *strand)
{
    const struct ftl_task *task = strand->task;
    const struct ftl__stack *stack = strand->stack;
    void *frames[FTL_PANIC_FRAMES];
    size_t count = ftl__context_frames(strand->sp, stack->low, stack->top, frames, FTL_PANIC_FRAMES);
    dump->each(dump->arg, task->name, task->id, frames, count);
}

/* Its branches and their callers; those at the end began last. */
static void dump_strands(const struct dump *dump, const struct ftl__strands *strands)
{
    for (struct ftl__list *node = strands->all.prev; node != &strands->all; node = node->prev)
        dump_strand(dump, ftl__container(node, struct ftl__place, all)->strand);
}

static void dump_suspended(const struct dump *dump, struct ftl_task *task)
{
    ftl__shadow_take(ftl__task_turn(task));
    if (task->root.place)
        dump_strands(dump, task->root.place->strands);
    else
        dump_strand(dump, &task->root);
}

static bool is_alive(const struct ftl_task *task)
{
    uint64_t state = atomic_load_explicit(&task->state, memory_order_relaxed);
    return (state & FTL__STARTED) && !(state & FTL__COMPLETE);
}

static void dump_one(void *arg, struct ftl_task *task)
{
    struct dump *dump = arg;
    if (freeze(task)) {
        dump_suspended(dump, task);
        if (ftl__task_idle(task))
            ftl__schedule(task);
    } else if (is_alive(task) && hold(task)) {
        dump_suspended(dump, task);
        let_go(task->runtime);
    } else if (is_alive(task)) {
        dump->each(dump->arg, task->name, task->id, NULL, 0);
    }
}

void ftl_runtime_dump(struct ftl_runtime *runtime,
                      void (*each)(void *arg, const char *task_name, uint64_t task_id,
                                   void *const *frames, size_t frame_count),
                      void *arg)
{
    struct dump dump = {each, arg};
    ftl__lock_take(&runtime->dump_lock);
    ftl__tcb_each(&runtime->tcbs, dump_one, &dump);
    ftl__lock_drop(&runtime->dump_lock);
}
