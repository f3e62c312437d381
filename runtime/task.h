/* SPDX-License-Identifier: MIT
 *
 * Tasks: what a runtime schedules. A task is a function on a stack of its own. The semantics are
 * those of Tokio's tasks: it starts without anyone waiting for it, its end is an outcome, a panic
 * in it ends it and nothing else, and an abort takes effect where it waits.
 *
 * A `struct ftl_task *` in the hands of a user is a join handle: one counted reference, consumed by
 * ftl_task_join() or given up by ftl_task_detach(). */
#ifndef FETTLE_TASK_H
#define FETTLE_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fettle/error.h>
#include <fettle/export.h>
#include <fettle/time.h>

struct ftl_runtime;
struct ftl_task;
struct ftl_task_set;
struct ftl_defer;
struct ftl_permit;

/* ---- outcome ---------------------------------------------------------------------------- */

enum ftl_outcome_kind {
    FTL_COMPLETED, /* the function returned: value                                             */
    FTL_PANICKED,  /* ftl_panic(), a failed ftl_assert(), or a contained fault: panic           */
    FTL_CANCELLED, /* an abort took effect                                                      */
};

#define FTL_PANIC_FRAMES 48
#define FTL_PANIC_MESSAGE 512

/* What a panic leaves behind. Frames are return addresses, innermost first; of a fault the first one
 * is the place itself. */
struct ftl_panic {
    int signal;        /* of a contained hardware fault, else 0 */
    bool tainted;      /* such a fault may have left damage behind */
    const char *fault; /* static: "StackOverflow", "SIGFPE", … (ftl_fault); NULL: no fault */
    uint32_t frame_count;
    void *frames[FTL_PANIC_FRAMES];
    char message[FTL_PANIC_MESSAGE]; /* NUL-terminated, cut at the limit */
};

/* How a task ended. The receiver owns it: `value` is the function's result, now the receiver's;
 * `panic` is released by ftl_outcome_clear(). */
struct ftl_outcome {
    enum ftl_outcome_kind kind;
    void *value;             /* FTL_COMPLETED */
    struct ftl_panic *panic; /* FTL_PANICKED; never NULL then */
};

/* Frees what the outcome owns besides `value`, and zeroes it. NULL-safe members. Any thread. */
FTL_API void ftl_outcome_clear(struct ftl_outcome *outcome);

/* Writes one line per frame, "#0 0xADDR symbol+0xOFF (object)", to `buf`, cut at `size`,
 * NUL-terminated. Returns the bytes written. Slow: looks up symbols. Any thread. */
FTL_API size_t ftl_panic_format(const struct ftl_panic *panic, char *buf, size_t size);

/* ---- spawn ------------------------------------------------------------------------------ */

typedef void *(*ftl_task_fn)(void *arg);

struct ftl_spawn_options {
    void (*arg_free)(void *arg);     /* run exactly once, however the task ends; must not wait   */
    void (*value_free)(void *value); /* of a value that nobody joined; must neither wait nor
                                        panic: it may run where there is no task             */
    const char *name;                /* static storage; for dumps and reports; may be NULL       */
    size_t stack_size;               /* bytes, rounded up to 16, 64 or 256 KiB, 1 or 8 MiB;
                                        more is FTL_EINVAL; 0 = 64 KiB                       */
    bool migratable;                 /* may be resumed on another worker than the one it started
                                        on. Only for code whose compiler-cached thread-local
                                        addresses do no harm. Default: pinned at first run.      */
    bool blocking;                   /* runs on a thread of the runtime's blocking pool, which runs
                                        nothing else till it has ended: for calls that block, for
                                        long computations. All else is as with any pinned task:
                                        waits, abort (at its waits; at once while it is queued),
                                        panics, defers, joins. Beyond the bound of the pool tasks
                                        queue, first in, first out. What it spawns runs on the
                                        ordinary workers. `migratable` is ignored.           */
    struct ftl_defer *held;          /* resources moved into the task (ftl_permit_move() makes
                                        such a list): released when it ends, before arg_free.
                                        Their storage must live until then; arg may hold it.     */
    struct ftl_permit *permit;       /* the same for one permit that the caller holds, which needs no
                                        storage: after the spawn *permit is empty              */
};

/* Starts `fn(arg)` as a task of `runtime`: never inline, without anyone joining it. From any
 * thread, or from a task of any runtime. `options` may be NULL; it is copied.
 * On success the task owns `arg`, `*permit` and what `held` lists, and *ret_task (if not NULL, written
 * before the task runs) is a join handle; with NULL the task is detached at once.
 * FTL_ENOMEM, FTL_ESHUTDOWN, FTL_EINVAL (the stack is too large), FTL_ESYS (errno tells: the
 * blocking pool has no thread and could not start one): nothing happened, `arg`, `held` and
 * `permit` are still the caller's. */
FTL_API int ftl_spawn(struct ftl_runtime *runtime, ftl_task_fn fn, void *arg,
                      const struct ftl_spawn_options *options, struct ftl_task **ret_task);

/* The runtime of the calling task or worker thread; NULL on a foreign thread. */
FTL_API struct ftl_runtime *ftl_runtime_current(void);

/* Between the two, or until the calling task waits, tasks that it makes ready on other runtimes are
 * handed over together: one lock and one wake-up for up to 64 of them. For a row of spawns; not for
 * code that goes on computing in between. No-ops on a foreign thread. */
FTL_API void ftl_cork(void);
FTL_API void ftl_uncork(void);

/* ---- join handle ------------------------------------------------------------------------ */

/* Waits until the task has ended, moves its outcome to *ret_outcome and consumes the handle.
 * `deadline`: ftl_now() clock, FTL_FOREVER for none. From a task it suspends, from a foreign thread
 * it blocks the thread. One joiner at a time: to join while another waits is a panic. A task that
 * joins itself waits in vain.
 * FTL_ETIMEDOUT, FTL_ECANCELED: the handle is still the caller's, *ret_outcome is untouched. */
FTL_API int ftl_task_join(struct ftl_task *task, int64_t deadline, struct ftl_outcome *ret_outcome);

/* Gives the handle up; the task runs on. Its value, if nobody else takes it, goes to value_free. */
FTL_API void ftl_task_detach(struct ftl_task *task);

/* Another reference, to be given up with ftl_task_detach(); it may abort and ask, and join if no
 * other reference has joined. Cannot fail. Any thread that holds a reference. */
FTL_API struct ftl_task *ftl_task_ref(struct ftl_task *task);

/* It has ended, however: a join would not wait, and what it did is seen. Any thread that holds a
 * reference. */
FTL_API bool ftl_task_is_finished(const struct ftl_task *task);

/* Asks the task to end. During `grace` ns every wait of it returns FTL_ECANCELED; after that the
 * next wait does not return: the open defers run, and the outcome is FTL_CANCELLED. grace 0 is
 * Tokio's abort. A waiting task is reached at once; one that never started ends here, in the
 * caller, without ever having had a stack; a finished one stays as it is. One that completes first
 * stays completed. Many aborts are one (the earliest end of grace counts). Never waits. */
FTL_API void ftl_abort(struct ftl_task *task, int64_t grace);

/* ---- inside a task ---------------------------------------------------------------------- */

/* The calling task, or NULL on a foreign thread. No reference is taken. */
FTL_API struct ftl_task *ftl_task_current(void);

/* Lets the other ready tasks run first. FTL_ECANCELED as every wait; 0 otherwise. On a foreign
 * thread: sched_yield(). */
FTL_API int ftl_yield(void);

/* For long computations: yields if the task's time slice (about 10 ms from the first checkpoint of
 * its turn) is used up, and honours an abort. Cheap otherwise. */
FTL_API int ftl_checkpoint(void);

/* After a wait has returned FTL_ECANCELED: what the caller does from here on is its answer to the
 * abort. Its waits (and those of branches that it begins) wait again until the grace is over, which
 * may come earlier if somebody aborts again; then the one that it is in, or the next, does not
 * return. Without an abort, and on a foreign thread: nothing. */
FTL_API void ftl_heed(void);

/* Between the two, abort waits: calls behave as if it had not come. They nest; an unmask without its
 * mask is a panic. On a foreign thread, which nobody aborts, they change nothing. */
FTL_API void ftl_mask(void);
FTL_API void ftl_unmask(void);

/* Ends the calling task: the open defers run (masked; they may wait), the outcome is FTL_PANICKED
 * with this message and a backtrace. On a foreign thread it prints the message and aborts the
 * process. */
FTL_API FTL_NORETURN void ftl_panic(const char *format, ...) FTL_PRINTF(1, 2);

#define ftl_assert(expr)                                                                           \
    ((expr) ? (void)0 : ftl_panic("assertion failed: %s (%s:%d)", #expr, __FILE__, __LINE__))

/* ---- defer ------------------------------------------------------------------------------ */

/* A cleanup that is due at the end of its block, or when the task panics or is aborted inside it.
 * Open ones run last in, first out; masked in either case, so that one that waits is not cut
 * off. */
struct ftl_defer {
    struct ftl_defer **link; /* what points to it: the list's head or the `next` before it; NULL: no
                                list */
    struct ftl_defer *next;
    void (*fn)(void *arg); /* NULL: not armed */
    void *arg;
};

/* Arms a node on top of the calling strand's list / takes it out without running it / takes it out
 * and runs it. On a foreign thread they link nothing, and run works alike. Not armed: disarm and
 * run do nothing. */
FTL_API void ftl_defer_arm(struct ftl_defer *node, void (*fn)(void *arg), void *arg);
FTL_API void ftl_defer_disarm(struct ftl_defer *node);
FTL_API void ftl_defer_run(struct ftl_defer *node);

#define FTL__CAT2(a, b) a##b
#define FTL__CAT(a, b) FTL__CAT2(a, b)

/* FTL_DEFER(fn, arg); in a block: fn(arg) runs when the block is left, however it is left (return,
 * break, goto, panic, abort; not longjmp). `fn` takes a void *. One in a line of source. */
#define FTL_DEFER(fn, arg)                                                                         \
    __attribute__((cleanup(ftl_defer_run))) struct ftl_defer FTL__CAT(ftl__defer_, __LINE__);      \
    ftl_defer_arm(&FTL__CAT(ftl__defer_, __LINE__), (fn), (arg))

#endif
