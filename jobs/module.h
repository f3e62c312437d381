/* SPDX-License-Identifier: MIT
 *
 * Jobs in C. A module is a shared object that exports one table of class name → function:
 *
 *     #include <fettle/module.h>
 *
 *     static int hello(struct ftl_run *run)
 *     {
 *         const char *name;
 *         if (json_unpack(ftl_run_args(run), "[s]", &name) != 0)
 *             return ftl_run_fail(run, "ArgumentError", "expected [name]");
 *         ftl_run_log(run, "hello, %s", name);
 *         return 0;
 *     }
 *
 *     FTL_MODULE("hello", {"Hello", hello});
 *
 * A function runs as a task: it may use the whole runtime (<fettle/runtime.h>, …), wait, spawn,
 * panic. It must not rely on errno or on addresses of thread-local variables across a call that
 * may wait.
 *
 * When the time of a run is over, its waits return FTL_ECANCELED (ftl_abort()): return then, or say
 * ftl_heed() and clean up. `kill_after` later the wait that it is in, or the next, does not return
 * any more. */
#ifndef FETTLE_MODULE_H
#define FETTLE_MODULE_H

#include <jansson.h>

#include <fettle/export.h>
#include <fettle/process.h>
#include <fettle/runtime.h>
#include <fettle/semaphore.h>
#include <fettle/task.h>
#include <fettle/task_set.h>
#include <fettle/time.h>

struct ftl_run; /* one attempt at one job; lives until the function has returned */

/* 0 = success. Anything else fails the run; say how by returning the value of one of the ftl_run_*
 * functions below, else the class is "Failed". */
typedef int (*ftl_job_fn)(struct ftl_run *run);

struct ftl_class {
    const char *name;
    ftl_job_fn fn;
};

#define FTL_MODULE_ABI 1
struct ftl_module {
    uint32_t abi;
    const char *name;
    const struct ftl_class *classes; /* ends with a NULL name */
};

#define FTL_MODULE(module_name, ...)                                                               \
    static const struct ftl_class ftl__module_classes[] = {__VA_ARGS__, {NULL, NULL}};             \
    FTL_API const struct ftl_module ftl_module = {FTL_MODULE_ABI, module_name, ftl__module_classes}

/* ---- the job: valid as long as the run; strings are NUL-terminated ---------------------- */

FTL_API const char *ftl_run_class(const struct ftl_run *run); /* the class that was matched */
FTL_API const char *ftl_run_jid(const struct ftl_run *run);   /* "" if the job has none      */
FTL_API const char *ftl_run_queue(const struct ftl_run *run);
FTL_API uint64_t ftl_run_token(const struct ftl_run *run);   /* grows with every claim: a fencing token */
FTL_API uint32_t ftl_run_attempt(const struct ftl_run *run); /* 1 + failures + recoveries     */
FTL_API int64_t ftl_run_deadline(const struct ftl_run *run); /* ftl_now() clock, or FTL_FOREVER */

/* The whole job, and its args, as the bytes in Redis (not NUL-terminated). */
FTL_API const char *ftl_run_job_text(const struct ftl_run *run, size_t *ret_size);
FTL_API const char *ftl_run_args_text(const struct ftl_run *run, size_t *ret_size);

/* The args as a JSON value, parsed at the first call and owned by the run. Never NULL: an absent
 * `args` is an empty array. If an integer needs more than 64 bits, all integers become reals: the
 * text has them exact. Args that nest deeper than FTL_ARGS_DEPTH, or that a JSON value cannot hold
 * (a real beyond double, a NUL in a member's name, no memory), panic the run. */
#define FTL_ARGS_DEPTH 100
FTL_API json_t *ftl_run_args(struct ftl_run *run);

/* ---- verdicts: each returns a number for the function to return ------------------------- */

/* They may be called by the run's own task only; of several the last counts. */

/* Failed: the retry rule decides. */
FTL_API int ftl_run_fail(struct ftl_run *run, const char *error_class, const char *format, ...)
    FTL_PRINTF(3, 4);
/* Never again: to the dead set at once. */
FTL_API int ftl_run_fail_forever(struct ftl_run *run, const char *error_class, const char *format,
                                 ...) FTL_PRINTF(3, 4);
/* Not now: again in `seconds` ≥ 0, no attempt is used up. */
FTL_API int ftl_run_later(struct ftl_run *run, double seconds);

/* One line to the daemon's log under the job's id (event job.log); from any task or thread as long
 * as the run lasts. Newlines make it several lines, and so does every 8 KiB. After 1 MiB of a run one
 * line says that the rest is dropped. */
FTL_API void ftl_run_log(struct ftl_run *run, const char *format, ...) FTL_PRINTF(2, 3);

#endif
