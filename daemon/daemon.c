/* SPDX-License-Identifier: MIT
 *
 * DESIGN. main()'s thread makes the two runtimes, gives the main task to control, and waits for it.
 * The main task opens the parts, waits until Redis has registered us, says READY, and then does
 * what operators ask for, one thing after the other, until that is a stop. The parts do the work.
 *
 * Stop order: claims, runs, settles, lease (all in the drain), the parts, the jobs runtime,
 * control. A run that does not come back holds its thread: then nothing is freed, and the process
 * just ends. */
#include <config.h>

#include "daemon/daemon.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/dump.h"
#include "daemon/log.h"

#define WAITING (5 * FTL_S)   /* between two extensions while Redis is not there */
#define LEFTOVERS (500 * FTL_MS) /* for tasks that handlers have left behind */
#define RUNTIME_TIMEOUT (5 * FTL_S)

/* ---- configuration --------------------------------------------------------------------------- */

int ftl__daemon_configure(struct ftl__daemon *daemon, char *error, size_t error_size)
{
    int code = daemon->dev != NULL
                   ? ftl__config_parse(ftl__dev_config(daemon->dev), "--dev", &daemon->started,
                                       error, error_size)
                   : ftl__config_read(daemon->options->config, &daemon->started, error,
                                      error_size);

    if (code != 0)
        return code;
    daemon->config = daemon->started;
    return ftl__config_handlers(daemon->config, &daemon->registry, error, error_size);
}

/* ---- the main task --------------------------------------------------------------------------- */

static void report_start(const struct ftl__daemon *daemon)
{
    const struct ftl__config *config = daemon->config;

    ftl__log(FTL__EV_DAEMON_START, FTL__STR("version", PACKAGE_VERSION),
             FTL__INT("pid", getpid()), FTL__STR("config", config->file),
             FTL__STR("redis", config->redis.shown), FTL__UINT("concurrency", config->concurrency),
             FTL__UINT("workers", ftl_runtime_workers(daemon->jobs)),
             FTL__UINT("queues", config->queue_count),
             FTL__UINT("handlers", config->handler_count));
    if (daemon->delegation.path[0] != '\0' &&
        (daemon->delegation.dir != 0 || daemon->uncontained[0] != '\0'))
        ftl__log(FTL__EV_DAEMON_CGROUP, FTL__STR("path", daemon->delegation.path),
                 FTL__BOOL("memory", daemon->delegation.memory),
                 FTL__STR("reason",
                          daemon->uncontained[0] != '\0' ? daemon->uncontained : NULL));
}

/* Until Redis has answered on every link that matters and we are registered. */
static bool is_up(const struct ftl__daemon *daemon)
{
    return daemon->ledger.id[0] != '\0' && ftl__link_is_up(daemon->work);
}

static void serve_dump(struct ftl__daemon *daemon)
{
    if (!daemon->dump_due)
        return;
    daemon->dump_due = false;
    ftl__dump(daemon->control, "control");
    ftl__dump(daemon->jobs, "jobs");
    ftl__faults_log(&daemon->faults);
}

void ftl__daemon_show_status(const struct ftl__daemon *daemon)
{
    const char *trouble = daemon->trouble;

    if (!daemon->ready)
        ftl__notify_status("Waiting for Redis at %s%s%s", daemon->config->redis.shown,
                           trouble[0] != '\0' ? ": " : "", trouble);
    else if (trouble[0] != '\0')
        ftl__notify_status("No connection to Redis: %s", trouble);
    else
        ftl__notify_status(daemon->quiet ? "Quiet: finishing what runs" : "Running");
}

static void serve_reload(struct ftl__daemon *daemon)
{
    if (!daemon->reload_due)
        return;
    daemon->reload_due = false;
    ftl__daemon_reload(daemon);
}

/* False: told to stop before, or this Redis is refused. A reload may bring the password. */
static bool wait_up(struct ftl__daemon *daemon)
{
    while (!is_up(daemon) && daemon->stop_reason == NULL && daemon->refused[0] == '\0') {
        ftl__daemon_show_status(daemon);
        ftl__notify_extend();
        if (daemon->ledger.id[0] == '\0')
            (void)ftl_notify_wait(daemon->changed, ftl_deadline(WAITING));
        else
            (void)ftl__link_wait_up(daemon->work, ftl_deadline(FTL_S));
        serve_dump(daemon);
        serve_reload(daemon);
    }
    return daemon->stop_reason == NULL && daemon->refused[0] == '\0';
}

static void say_ready(struct ftl__daemon *daemon)
{
    daemon->ready = true;
    ftl__notify_ready();
    ftl__daemon_show_status(daemon);
    ftl__log(FTL__EV_DAEMON_READY, FTL__STR("id", daemon->ledger.id),
             FTL__REAL("duration_ms", (double)(ftl_now() - daemon->started_at) / 1e6));
    if (daemon->dev != NULL)
        ftl__dev_announce(daemon->dev);
}

/* A part that has panicked cannot be trusted to go on, nor can the others without it: the daemon
 * stops, and what cannot be settled any more is left to the lease. */
static void look_at_parts(struct ftl__daemon *daemon)
{
    bool claim = ftl__claim_has_failed(daemon->claim);
    bool settle = ftl__settle_has_failed(daemon->settle);
    bool dispatch = ftl__dispatch_has_failed(daemon->dispatch);

    if ((claim || settle || dispatch) && daemon->stop_reason == NULL)
        daemon->stop_reason = "fault";
}

/* A handler may have damaged memory, or left something locked. If what follows does not come to its
 * end, the alarm that was set then ends the process, and the lease does the rest. */
static void look_at_faults(struct ftl__daemon *daemon)
{
    if (daemon->stop_reason != NULL || !atomic_load(&daemon->faults.tainted))
        return;
    daemon->restart = true;
    daemon->stop_reason = "tainted";
    ftl__log(FTL__EV_DAEMON_TAINTED,
             FTL__UINT("patience", atomic_load(&daemon->faults.patience)));
}

/* What operators have asked for since the last look, a stop excepted. */
static void serve(struct ftl__daemon *daemon)
{
    serve_dump(daemon);
    serve_reload(daemon);
    if (daemon->quiet_reason != NULL && !daemon->quiet) {
        ftl__daemon_quiet(daemon, daemon->quiet_reason);
        ftl__daemon_show_status(daemon);
    }
    if (daemon->quiet && ftl__claim_is_settled(daemon->claim))
        ftl__dispatch_unpark(daemon->dispatch);
}

/* What was registered is given up again. */
static int refuse(struct ftl__daemon *daemon)
{
    const struct ftl__config *config = daemon->started;
    const char *key = daemon->refused_key;
    unsigned line =
        strcmp(key, "redis") == 0 ? config->redis_line : config->require_durable_line;

    fprintf(stderr, "%s:%u: %s: Redis at %s: %s\n", config->file, line, key, config->redis.shown,
            daemon->refused);
    return ftl__daemon_drain(daemon, key);
}

static int run(struct ftl__daemon *daemon)
{
    int code = ftl__daemon_open_parts(daemon);

    if (code != 0) {
        fprintf(stderr, "fettled: cannot start: %s\n", ftl_error_text(code));
        return FTL__EXIT_CONFIG;
    }
    report_start(daemon);
    ftl__quarantine_apply(daemon->quarantine); /* what an earlier program of this process knew */
    if (wait_up(daemon))
        say_ready(daemon);
    else if (daemon->refused[0] != '\0' && daemon->stop_reason == NULL)
        return refuse(daemon);
    while (daemon->stop_reason == NULL) {
        serve(daemon);
        if (daemon->stop_reason == NULL)
            (void)ftl_notify_wait(daemon->changed, FTL_FOREVER);
        look_at_parts(daemon);
        look_at_faults(daemon);
    }
    return ftl__daemon_drain(daemon, daemon->stop_reason);
}

static void *daemon_main(void *arg)
{
    struct ftl__daemon *daemon = arg;
    int exit_code = run(daemon);

    if (atomic_load(&daemon->faults.tainted)) /* what it holds is not to be touched any more */
        daemon->stuck = true;
    if (!daemon->stuck)
        ftl__daemon_close_parts(daemon);
    return (void *)(intptr_t)exit_code;
}

/* ---- main()'s thread ------------------------------------------------------------------------- */

static void on_panic(void *arg, const char *task_name, const struct ftl_panic *panic)
{
    char backtrace[4096];
    size_t size = ftl_panic_format(panic, backtrace, sizeof backtrace);

    (void)arg;
    if (panic->fault != NULL)
        ftl__log(FTL__EV_TASK_FAULT, FTL__STR("task", task_name), FTL__STR("fault", panic->fault),
                 FTL__BOOL("tainted", panic->tainted), FTL__STR("reason", panic->message),
                 FTL__BYTES("backtrace", backtrace, size));
    else
        ftl__log(FTL__EV_TASK_PANIC, FTL__STR("task", task_name),
                 FTL__STR("reason", panic->message), FTL__BYTES("backtrace", backtrace, size));
}

/* On a worker of the jobs runtime, perhaps one whose allocator is damaged. */
static void on_fault(void *arg, const struct ftl_fault *fault)
{
    struct ftl__daemon *daemon = arg;

    ftl__faults_count(&daemon->faults, fault->class);
    if (!fault->tainted || daemon->started->on_segv != FTL__SEGV_RESTART ||
        atomic_exchange(&daemon->faults.tainted, true))
        return;
    alarm(atomic_load(&daemon->faults.patience));
    ftl_notify_one(daemon->changed);
}

void ftl__daemon_set_patience(struct ftl__daemon *daemon)
{
    enum { MORE = 10 }; /* for all but the drain */

    atomic_store(&daemon->faults.patience, (unsigned)daemon->config->shutdown_timeout + MORE);
}

static void on_unguarded(void *arg)
{
    (void)arg;
    ftl__log(FTL__EV_STACK_UNGUARDED, FTL__STR("reason", "vm.max_map_count"));
}

static void on_stall(void *arg, const struct ftl_stall *stall)
{
    ftl__stalls_post(&((struct ftl__daemon *)arg)->stalls, stall);
}

/* Each run may keep a worker, hence as many extra ones; and a thread of the pool, besides what
 * handlers spawn there themselves. */
/* An error of what was asked for explicitly ends the start; without it we do without. */
static int open_delegation(struct ftl__daemon *daemon)
{
    const struct ftl__config *config = daemon->config;
    char *reason = daemon->uncontained;
    int code = ftl__delegation_open(config->cgroup, &daemon->delegation, reason,
                                    sizeof daemon->uncontained);

    if (code == 0 || strcmp(config->cgroup, "auto") == 0)
        return 0;
    fprintf(stderr, "%s:%u: cgroup: %s\n", config->file, config->cgroup_line, reason);
    return code;
}

static void size_jobs(struct ftl_runtime_options *options, uint32_t concurrency)
{
    options->extra_workers =
        concurrency < FTL_WORKERS_MAX ? (int)concurrency : (int)FTL_WORKERS_MAX;
    options->blocking_max = ftl__daemon_blocking_max(concurrency);
}

static int start_runtimes(struct ftl__daemon *daemon)
{
    struct ftl_runtime_options options = {
        .name = "control", .serial = true, .unmonitored = true,
        .on_detached_panic = on_panic, .on_unguarded = on_unguarded};
    int code = ftl_runtime_start(&options, &daemon->control);

    options.unmonitored = false;
    options.name = "jobs";
    options.serial = false;
    options.workers = daemon->config->workers;
    options.on_stall = on_stall;
    options.containment = daemon->started->on_segv == FTL__SEGV_DIE ? FTL_CONTAIN_CLEAN
                                                                    : FTL_CONTAIN_ALL;
    options.on_fault = on_fault;
    options.hook_arg = daemon;
    size_jobs(&options, daemon->config->concurrency);
    if (code == 0)
        code = ftl_runtime_start(&options, &daemon->jobs);
    if (code == 0 && daemon->delegation.dir != 0)
        code = ftl_process_contain(daemon->jobs, daemon->delegation.dir);
    return code;
}

/* False: tasks are left, which nobody can free. */
static bool stop_runtime(struct ftl_runtime *runtime, int64_t timeout)
{
    if (runtime == NULL)
        return true;
    if (ftl_runtime_shutdown(runtime, ftl_deadline(timeout)) > 0)
        return false;
    ftl_runtime_free(runtime);
    return true;
}

static int join_main(struct ftl_task *task)
{
    struct ftl_outcome outcome;
    int exit_code = FTL__EXIT_LEFT;

    if (ftl_task_join(task, FTL_FOREVER, &outcome) != 0)
        return exit_code;
    if (outcome.kind == FTL_COMPLETED)
        exit_code = (int)(intptr_t)outcome.value;
    else if (outcome.kind == FTL_PANICKED)
        on_panic(NULL, "daemon", outcome.panic);
    ftl_outcome_clear(&outcome);
    return exit_code;
}

static void free_config(struct ftl__daemon *daemon)
{
    ftl__registry_free(daemon->registry);
    if (daemon->config != daemon->started)
        ftl__config_free(daemon->config);
    ftl__config_free(daemon->started);
}

int ftl__daemon_run(struct ftl__daemon *daemon)
{
    const struct ftl_spawn_options spawn = {.name = "daemon", .stack_size = 256 << 10};
    struct ftl_task *task;
    int exit_code = FTL__EXIT_CONFIG;
    int code;

    daemon->started_at = ftl_now();
    ftl__daemon_set_patience(daemon);
    if (open_delegation(daemon) != 0)
        return FTL__EXIT_CONFIG;
    code = ftl__stalls_init(&daemon->stalls);
    if (code == 0)
        code = start_runtimes(daemon);
    if (code == 0)
        code = ftl_spawn(daemon->control, daemon_main, daemon, &spawn, &task);
    if (code == 0)
        exit_code = join_main(task);
    else
        fprintf(stderr, "fettled: cannot start: %s\n", ftl_error_text(code));
    if (!daemon->stuck)
        daemon->stuck = !stop_runtime(daemon->jobs, LEFTOVERS) ||
                        !stop_runtime(daemon->control, RUNTIME_TIMEOUT);
    if (!daemon->stuck) {
        ftl__stalls_fini(&daemon->stalls);
        ftl__delegation_close(&daemon->delegation);
        free_config(daemon);
    }
    return exit_code;
}
