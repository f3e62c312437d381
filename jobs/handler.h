/* SPDX-License-Identifier: MIT
 *
 * A handler: what runs a class of jobs, and where. Native (a function of a C module, in a task) and
 * command (a child process per run); further kinds are further vtables. */
#ifndef FETTLE_JOBS_HANDLER_H
#define FETTLE_JOBS_HANDLER_H

#include <stdatomic.h>

#include "jobs/run.h"

struct ftl__handler;

struct ftl__handler_kind {
    const char *name;      /* "module", "command" */
    bool migratable;       /* scheduling class of its runs */
    int64_t wind_up;       /* ns that a run needs after kill_after, to tell how it ended */
    /* Of kinds whose functions may keep their thread, else NULL: do runs of the class go to the
     * blocking pool? A run of it has kept its worker: true if they do from now on. Control. */
    bool (*blocks)(const struct ftl__handler *handler, const char *class);
    bool (*stalled)(struct ftl__handler *handler, const char *class);
    int (*run)(struct ftl__handler *handler, struct ftl_run *run); /* in the run's task: 0 or not */
    bool (*serves)(const struct ftl__handler *handler, const char *class, size_t size); /* NULL: all
                                                                     that the pattern matches */
    void (*destroy)(struct ftl__handler *handler);
};

/* Which runs go to the blocking pool: none, all, or those of classes that have kept a worker. */
enum ftl__blocking { FTL__BLOCKING_NEVER, FTL__BLOCKING_ALWAYS, FTL__BLOCKING_AUTO };

/* As configured; all strings are copied by the constructors. */
struct ftl__handler_settings {
    const char *pattern; /* shell pattern on the class */
    double timeout;      /* seconds; 0 = none */
    double kill_after;   /* seconds from when a run is asked to end to when it is ended */
    uint32_t concurrency; /* 0 = no bound of its own */
    size_t stack_size;    /* 0 = default */
    enum ftl__blocking blocking;
};

struct ftl__handler {
    const struct ftl__handler_kind *kind;
    char *pattern;
    bool exact; /* the pattern has no wildcard: a string compare will do */
    double timeout;
    int64_t kill_after; /* ns */
    uint32_t concurrency;
    size_t stack_size;
    enum ftl__blocking blocking;
    /* Counted up and down by control for each run, while workers read the rest, and what the kinds
     * have behind it: on a cache line of its own. */
    char before_refs[64];
    _Atomic uint32_t refs;
    char after_refs[64];
};

/* One more / one less reference; the last one destroys. Any thread. */
struct ftl__handler *ftl__handler_ref(struct ftl__handler *handler);
void ftl__handler_unref(struct ftl__handler *handler); /* NULL-safe */

/* ---- for the kinds: the common part. init copies the settings and makes one reference;
 * FTL_ENOMEM: nothing is held. fini frees what init has copied. ---- */
int ftl__handler_init(struct ftl__handler *handler, const struct ftl__handler_kind *kind,
                      const struct ftl__handler_settings *settings);
void ftl__handler_fini(struct ftl__handler *handler);

/* Seconds of the configuration in ns; very many are for ever. */
static inline int64_t ftl__seconds(double seconds)
{
    return seconds < 1e9 ? (int64_t)(seconds * (double)FTL_S) : FTL_FOREVER;
}

/* ---- native.c ---- Loads `module` (NAME.so on the path, or a path with a slash; dlopen RTLD_NOW
 * | RTLD_LOCAL), checks its ABI, and takes the class table. A handler serves each class of the
 * module that the pattern matches; FTL_EINVAL if it matches none. Errors: text into `error`, one
 * line. A module stays loaded, and a changed one takes effect in a new process only. */
int ftl__native_new(const struct ftl__handler_settings *settings, const char *module,
                    const char *const *module_path, size_t module_path_count,
                    struct ftl__handler **ret_handler, char *error, size_t error_size);

/* ---- command.c ---- */
struct ftl__command_settings {
    const char *const *argv; /* NULL-terminated, argv[0] found at once: absolute or in PATH */
    const char *const *env;  /* "NAME=value", NULL-terminated; on top of a clean environment
                                (PATH=/usr/local/bin:/usr/bin:/bin, LANG=C.UTF-8, HOME=/, FETTLE_*) */
    const char *cwd;         /* NULL = "/" */
    const int *dead_exit;    /* exit codes that mean never again */
    size_t dead_exit_count;
    struct ftl_process_limits limits;
    double later;      /* seconds for exit 75; 0 = 60 */
};

/* Between TERM and KILL when a run is aborted, at most; when it is asked to end, kill_after is. A
 * drain promises to be over 1 s after its timeout, when it aborts what still runs. */
#define FTL__STOP_GRACE (FTL_S / 2)

int ftl__command_new(const struct ftl__handler_settings *settings,
                     const struct ftl__command_settings *command, struct ftl__handler **ret_handler,
                     char *error, size_t error_size);

#endif
