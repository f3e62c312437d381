/* SPDX-License-Identifier: MIT
 *
 * A runtime: a pool of worker threads, their queues, one driver for time and I/O. Any number of
 * them may live in a process; nothing here is process-global but the disposition of SIGURG (ftl_stall)
 * and a fork handler: in a child forked while there is a runtime, a call that spawns, waits or wakes,
 * ftl_runtime_start() and the return of the task's function are _exit(127). */
#ifndef FETTLE_RUNTIME_H
#define FETTLE_RUNTIME_H

#include <stdbool.h>

#include <fettle/task.h>

struct ftl_stall;

/* Hardware faults in tasks: SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, and the overflow of a stack, which is
 * a SIGSEGV. Contained, one is a panic with the signal and the place. */
enum ftl_containment {
    FTL_CONTAIN_NOTHING, /* no handler is installed by this runtime                          */
    FTL_CONTAIN_CLEAN,   /* what leaves memory and locks intact: SIGFPE, SIGILL and SIGTRAP in the
                            code of the task itself (the object that holds its function), and
                            overflow                                                     */
    FTL_CONTAIN_ALL,     /* all, but what happens in the runtime itself                      */
};

struct ftl_fault {
    const char *class; /* static: "StackOverflow", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL",
                          "SIGTRAP"                                                      */
    bool tainted;      /* what ended may have damaged memory, or left something locked: the
                          process should not go on for long                              */
    const char *task_name;
    uint64_t task_id;
    const struct ftl_panic *panic; /* frames and message; the task's outcome unless it has
                                      panicked before                                     */
};

struct ftl_runtime_options {
    const char *name; /* of the threads: "NAME/0"…, at most 10 bytes count; NULL = "ftl"  */
    unsigned workers; /* 0 = one per usable core; at most FTL_WORKERS_MAX                  */

    /* Told of a panic that nobody will join (the task was detached). Runs on whichever thread gives
     * up the last reference, must neither wait nor panic. NULL: one line on stderr. */
    void (*on_detached_panic)(void *arg, const char *task_name, const struct ftl_panic *panic);
    /* Told once, on a worker, when the first task gets a stack without a guard page (see
     * stacks_unguarded below). Must neither wait nor panic. NULL: nothing. */
    void (*on_unguarded)(void *arg);
    void *hook_arg; /* of all hooks */

    /* Its tasks take turns: one worker, ever (`workers` 0 or 1, else FTL_EINVAL), so that between
     * two waits a task has for itself what only tasks of this runtime touch. ThreadSanitizer takes
     * what tasks of other runtimes do for concurrent, also where they happen to take turns. */
    bool serial;

    /* The monitor: a thread that watches over workers whose task does not return (a loop, a call
     * that blocks). What such a worker keeps from others it hands to them, and when all workers are
     * stuck it adds extra ones for a while. */
    bool unmonitored;    /* there is no such thread, no extra worker and no report */
    int extra_workers;   /* at most so many; 0 = as many as workers, but at least 4, and none if
                            `workers` is 1; -1 = none. A serial runtime has none          */
    int64_t stall_after; /* ns after which on_stall is told; 0 = 100 ms */
    /* Told once of each task that keeps its worker for so long. Runs on the monitor's thread, which
     * does nothing else meanwhile; must neither wait nor panic. NULL: nobody is told. */
    void (*on_stall)(void *arg, const struct ftl_stall *stall);

    /* What is not FTL_CONTAIN_NOTHING installs handlers of these signals and of SIGABRT and SIGTRAP, in
     * the process, for good; what is not contained goes to those that were there before, or ends
     * the process by the same signal, after a record on stderr if it was one of our threads.
     * The task's defers run, on another stack, after a fault that does not taint; after one that
     * does only those that are the runtime's own (permits, mutexes, descriptors). Contains nothing
     * in a build with AddressSanitizer or ThreadSanitizer. */
    enum ftl_containment containment;
    /* Told of each that is contained, before the task ends. Runs on its worker; must neither wait nor
     * panic; if it is tainted, better not allocate either. NULL: nobody is told. */
    void (*on_fault)(void *arg, const struct ftl_fault *fault);

    /* The blocking pool: threads for tasks that are spawned with `blocking`. */
    unsigned blocking_max; /* threads; 0 = 512 */
    int64_t blocking_keep; /* ns that an idle one waits for the next task; 0 = 10 s */
};

/* A task, or the destructor of what one has left, that does not return to its worker. */
struct ftl_stall {
    const char *task_name; /* NULL: none, a destructor, or not known */
    uint64_t task_id;
    const void *task_arg; /* its argument, which may be freed by now: to compare, not to follow */
    int64_t duration;     /* ns so far, at least */
    unsigned worker;      /* "NAME/worker" is the thread's name */
    /* Innermost first, the place itself and then return addresses. One for a destructor, and if it
     * stands in a system call, which is not disturbed; none where they cannot be had
     * (ThreadSanitizer) or the thread has had no processor for 50 ms more. Functions without a frame pointer are missing. For a thread that computes
     * they are taken by SIGURG, whose handler passes what is not ours on to the one that was there at
     * the first start. */
    uint32_t frame_count;
    void *frames[FTL_PANIC_FRAMES];
};

#define FTL_WORKERS_MAX 256

/* Starts a runtime. `options` may be NULL; it is copied, `name` included. Name its members in an
 * initializer, so that those which later versions add are zero: zero is the default of each.
 * FTL_ENOMEM, FTL_ESYS (errno tells), FTL_EINVAL (too many workers, or more than one of a serial
 * one): nothing was started. Any thread. */
FTL_API int ftl_runtime_start(const struct ftl_runtime_options *options,
                              struct ftl_runtime **ret_runtime);

/* Refuses new tasks, aborts those that are left, waits until they have ended or `deadline` has
 * passed. Returns the number of tasks still there: 0 means that ftl_runtime_free() may be called,
 * under the other conditions that it has. From a foreign thread or a task of another runtime, one at
 * a time; an abort of that task ends the wait early. May be repeated with a later deadline. */
FTL_API size_t ftl_runtime_shutdown(struct ftl_runtime *runtime, int64_t deadline);

/* Joins the worker threads and frees the runtime. Only after a shutdown that returned 0, when every
 * handle to its tasks has been given up (and sets with members of it are freed), and when every
 * call on another thread that woke one of them (a send, a release, an abort) has returned. From a
 * foreign thread. NULL-safe. */
FTL_API void ftl_runtime_free(struct ftl_runtime *runtime);

/* How many workers it was started with, without the extra ones. Any thread. */
FTL_API unsigned ftl_runtime_workers(const struct ftl_runtime *runtime);

/* Another bound for the blocking pool, ≥ 1, as blocking_max. More tasks than a lower one allows run to
 * their end; the threads go when they have been idle for long. Any thread. */
FTL_API void ftl_runtime_set_blocking_max(struct ftl_runtime *runtime, unsigned blocking_max);

/* Counters since the start. A snapshot: each is exact, together they may be from different
 * instants. Any thread. */
struct ftl_runtime_stats {
    uint64_t spawned, ended, panicked, cancelled, stolen, parked;
    uint64_t stacks_mapped, stacks_unguarded;
    uint64_t faults;         /* contained ones */
    uint32_t stacks_buried;  /* of faulted tasks, that are kept for a while */
    uint64_t stalls;         /* tasks that kept their worker for stall_after */
    uint64_t extra_used;     /* how often an extra worker was sent to help */
    uint32_t extra_now;      /* extra workers that help now */
    uint32_t blocking_threads, blocking_idle, blocking_queued;
};
FTL_API void ftl_runtime_stats(const struct ftl_runtime *runtime, struct ftl_runtime_stats *ret);

/* Calls `each` for every task that has started and not ended, with the return addresses of its
 * suspended stack, innermost first (none for one that runs; without membarrier(2) also none for one
 * that is ready to). One in a join (join.h) is shown strand by strand, those that began last first.
 * The task cannot be resumed while `each` looks at it; `each` must be quick, and must neither wait
 * nor panic nor dump. One dump at a time: another thread's waits. Any thread. */
FTL_API void ftl_runtime_dump(struct ftl_runtime *runtime,
                              void (*each)(void *arg, const char *task_name, uint64_t task_id,
                                           void *const *frames, size_t frame_count),
                              void *arg);

#endif
