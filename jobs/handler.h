/* SPDX-License-Identifier: MIT
 *
 * A handler: what runs a class of jobs, and where. Native (a function of a C module, in a task),
 * command (a child process per run), worker (processes that stay) and HTTP (a request per run);
 * further kinds are further vtables. */
#ifndef FETTLE_JOBS_HANDLER_H
#define FETTLE_JOBS_HANDLER_H

#include <limits.h>
#include <stdatomic.h>

#include "jobs/run.h"

struct ftl__handler;

/* What a handler with processes of its own tells while it works. Texts hold for the call only. */
enum ftl__worker_event_kind {
    FTL__WORKER_UP,        /* a process is ready: for `runs` at once, `time` after its start       */
    FTL__WORKER_STOPPED,   /* one has ended, as it was told to                                     */
    FTL__WORKER_DIED,      /* one has ended by itself, or had to be ended: `text` says how, `runs`
                              were in it, it is started again `time` from now (below 0: it is not) */
    FTL__WORKER_FAULT,     /* one is being ended, `text` says why                                  */
    FTL__WORKER_COMPLAINT, /* one has said something wrong, `text` says what; it goes on           */
    FTL__WORKER_DOWN,      /* no process can be started: runs are refused                          */
    FTL__WORKER_STDOUT,    /* a line that belongs to no run                                        */
    FTL__WORKER_STDERR,
    FTL__WORKER_AT,        /* `run` is at `at` of `total` (below 0: not said)                      */
};

struct ftl__worker_event {
    enum ftl__worker_event_kind kind;
    const char *name; /* the handler's pattern */
    pid_t pid;        /* 0: there is none */
    const char *text; /* may be NULL */
    size_t size;      /* of a line */
    uint32_t runs;
    int64_t time; /* ns */
    const struct ftl_run *run;
    double at, total;
};

/* Where the processes of handlers live, and whom they tell. */
struct ftl__handler_host {
    struct ftl_runtime *runtime; /* the jobs runtime */
    /* On any thread; must not wait. */
    void (*on_worker)(void *arg, const struct ftl__worker_event *event);
    void *arg;
};

struct ftl__handler_kind {
    const char *name;      /* "module", "command", "worker", "http" */
    bool migratable;       /* scheduling class of its runs */
    bool asks_twice;       /* kill_after passes twice until a run that heeds nothing has ended */
    int64_t wind_up;       /* ns that it needs after that, to tell how it ended */
    /* Of kinds whose functions run here, else NULL: where does a run of the class go? A run of it has
     * kept its worker: true if they go to the blocking pool from now on. Control. */
    enum ftl__place (*place)(struct ftl__handler *handler, const char *class);
    bool (*stalled)(struct ftl__handler *handler, const char *class);
    /* Of handlers with `isolates`. From now on, or no more, runs of the class go to child processes,
     * which are there from the first such class to the last: true if that is new. NULL: they do
     * anyway. The handler of these processes, while place() says so. A handler of a process for one
     * run alone, started: 0 and a reference, or a code. Control, while it is started. */
    bool (*isolate)(struct ftl__handler *handler, const char *class, bool isolated);
    struct ftl__handler *(*children)(struct ftl__handler *handler);
    int (*alone)(struct ftl__handler *handler, struct ftl__handler **ret_handler);
    int (*run)(struct ftl__handler *handler, struct ftl_run *run); /* in the run's task: 0 or not */
    bool (*serves)(const struct ftl__handler *handler, const char *class, size_t size); /* NULL: all
                                                                     that the pattern matches */
    void (*destroy)(struct ftl__handler *handler);
    /* Of those that have processes of their own; NULL: nothing to start. start() comes once, before
     * the first run. stop() when there are no more runs and the daemon is about to end: they end in
     * FTL__STOP_GRACE, which await() waits for. (One that is destroyed ends them in their own time.) */
    int (*start)(struct ftl__handler *handler, const struct ftl__handler_host *host);
    void (*stop)(struct ftl__handler *handler);
    void (*await)(struct ftl__handler *handler, int64_t deadline);
    /* Was it made with the same settings as that other one of its kind? A reload keeps it then.
     * NULL: never. */
    bool (*same)(const struct ftl__handler *handler, const struct ftl__handler *other);
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
    bool isolates; /* its runs can go to child processes: isolate(), alone() */
    bool started;  /* by its registry */
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
/* The same kind, and the same settings as far as init copied them. */
bool ftl__handler_equal(const struct ftl__handler *a, const struct ftl__handler *b);

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

/* The absolute path of its module's file. */
void ftl__native_file(const struct ftl__handler *handler, char ret_file[PATH_MAX]);

/* ---- children.c ---- Child processes of this program that run the functions of a module. */
struct ftl__children_settings {
    uint32_t processes;   /* at least 1 */
    uint32_t concurrency; /* of all of them, where the handler has none; 0: 8 in each */
    double start_timeout; /* seconds */
    struct ftl_process_limits limits; /* of each process */
};

/* A worker handler with the settings of `native`, from which it is independent. `alone`: one process,
 * for one run. Errors: text into `error`, one line. */
int ftl__children_new(const struct ftl__handler *native,
                      const struct ftl__children_settings *settings, bool alone,
                      struct ftl__handler **ret_handler, char *error, size_t error_size);
/* The same, alone, and started. */
int ftl__children_alone(const struct ftl__handler *native,
                        const struct ftl__children_settings *settings,
                        const struct ftl__handler_host *host, struct ftl__handler **ret_handler);

/* Lets a native handler have such processes for some of its runs: classes that are isolated, runs that
 * are to be alone. Before it is started. */
void ftl__native_allow_children(struct ftl__handler *handler,
                                const struct ftl__children_settings *settings);

/* ---- hosted.c ---- All runs of a module's classes in child processes. */

/* Takes `native` over on success. Errors: text into `error`, one line. */
int ftl__hosted_new(const struct ftl__handler_settings *settings,
                    const struct ftl__children_settings *children, struct ftl__handler *native,
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

/* ---- worker.c ---- */
struct ftl__worker_settings {
    const char *const *argv; /* as of a command, like env and cwd, but that FETTLE_* are not set */
    const char *const *env;
    const char *cwd;
    struct ftl_process_limits limits; /* of each process */
    uint32_t processes;   /* at least 1 */
    double start_timeout; /* seconds that a process has to say that it is ready, and to read what it
                             is given */
    bool alone;           /* a process is not started again when it has had a run */
    bool insists;         /* it takes a second cancel of a run as "at once", as `fettled --host` does */
};

/* From there to the end of the process. */
#define FTL__WORKER_ABORT_TIME FTL_S

int ftl__workers_new(const struct ftl__handler_settings *settings,
                    const struct ftl__worker_settings *worker, struct ftl__handler **ret_handler,
                    char *error, size_t error_size);

/* A handler of that kind: can no process be started? */
bool ftl__workers_are_down(const struct ftl__handler *handler);

/* ---- http.c ---- (where there is libcurl) */
struct ftl__http_settings {
    const char *url;            /* http: or https: */
    const char *const *headers; /* "Name: value", NULL-terminated; on top of our own; may be NULL */
    const char *ca_file;        /* certificates that are trusted; NULL = the system's */
    bool verify;                /* the server's certificate */
    double connect_timeout;     /* seconds */
    size_t max_response;        /* bytes of an answer */
    const int *retry_status;    /* of 4xx, those that do not mean never again */
    size_t retry_status_count;
};

/* Loads libcurl if it is the first. Errors: text into `error`, one line. */
int ftl__http_new(const struct ftl__handler_settings *settings,
                  const struct ftl__http_settings *http, struct ftl__handler **ret_handler,
                  char *error, size_t error_size);

#endif
