/* SPDX-License-Identifier: MIT
 *
 * A runtime: a pool of worker threads, their queues, one driver for time and I/O. Any number of
 * them may live in a process; nothing here is process-global. */
#ifndef FETTLE_RUNTIME_H
#define FETTLE_RUNTIME_H

#include <stdbool.h>

#include <fettle/task.h>

struct ftl_runtime_options {
    const char *name; /* of the threads: "NAME/0"…, at most 10 bytes count; NULL = "ftl"  */
    unsigned workers; /* 0 = one per usable core; at most FTL_WORKERS_MAX                  */

    /* Told of a panic that nobody will join (the task was detached). Runs on whichever thread gives
     * up the last reference, must neither wait nor panic. NULL: one line on stderr. */
    void (*on_detached_panic)(void *arg, const char *task_name, const struct ftl_panic *panic);
    void *hook_arg;

    /* Its tasks take turns: one worker, ever (`workers` 0 or 1, else FTL_EINVAL), so that between
     * two waits a task has for itself what only tasks of this runtime touch. ThreadSanitizer takes
     * what tasks of other runtimes do for concurrent, also where they happen to take turns. */
    bool serial;
};

#define FTL_WORKERS_MAX 256

/* Starts a runtime. `options` may be NULL; it is copied, `name` included.
 * FTL_ENOMEM, FTL_ESYS (errno tells), FTL_EINVAL: nothing was started. */
FTL_API int ftl_runtime_start(const struct ftl_runtime_options *options,
                              struct ftl_runtime **ret_runtime);

/* Refuses new tasks, aborts those that are left, waits until they have ended or `deadline` has
 * passed. Returns the number of tasks still there: 0 means that ftl_runtime_free() may be called.
 * From a foreign thread or a task of another runtime, one at a time. May be repeated with a later
 * deadline. */
FTL_API size_t ftl_runtime_shutdown(struct ftl_runtime *runtime, int64_t deadline);

/* Joins the worker threads and frees the runtime. Only after a shutdown that returned 0, when every
 * handle to its tasks has been given up, and when every call on another thread that woke one of
 * them (a send, a release, an abort) has returned. From a foreign thread. NULL-safe. */
FTL_API void ftl_runtime_free(struct ftl_runtime *runtime);

FTL_API unsigned ftl_runtime_workers(const struct ftl_runtime *runtime);

/* Counters since the start. A snapshot: each is exact, together they may be from different
 * instants. Any thread. */
struct ftl_runtime_stats {
    uint64_t spawned, ended, panicked, cancelled, stolen, parked;
    uint64_t stacks_mapped, stacks_unguarded;
};
FTL_API void ftl_runtime_stats(const struct ftl_runtime *runtime, struct ftl_runtime_stats *ret);

/* Calls `each` for every task that has started and not ended, with the return addresses of its
 * suspended stack, innermost first (none for one that is running or ready to). The task cannot be
 * resumed while `each` looks at it; `each` must be quick and must not wait. Any thread. */
FTL_API void ftl_runtime_dump(struct ftl_runtime *runtime,
                              void (*each)(void *arg, const char *task_name, uint64_t task_id,
                                           void *const *frames, size_t frame_count),
                              void *arg);

#endif
