/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The child processes of a module: a worker handler whose program is this very one with --host and the
 * module's file. Who wants all runs of the module there has one for good (hosted.c); who wants some of
 * them there, for some time, makes one for that (native.c); and a run that is to be alone has one for
 * itself, with one process that is gone with it.
 *
 * A child sees the environment of this process, without what the service manager, or the program that
 * was this process before, meant for this process alone. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/handler.h"

#define PROGRAM                                                                                    \
    "/proc/self/exe" /* of the child before it executes: this program, also a deleted one */
#define RUNS 8       /* at once in a child, where no concurrency says it */
#define RUNS_MOST 1000

static const char *const ours_alone[] = {
    "NOTIFY_SOCKET=",  "WATCHDOG_PID=",   "WATCHDOG_USEC=", "LISTEN_FDS=", "LISTEN_PID=",
    "LISTEN_FDNAMES=", "JOURNAL_STREAM=", "INVOCATION_ID=", "MAINPID=",
    "FETTLE_QUARANTINE="};

static bool is_ours_alone(const char *variable)
{
    for (size_t i = 0; i < sizeof(ours_alone) / sizeof(ours_alone[0]); i++) {
        if (strncmp(variable, ours_alone[i], strlen(ours_alone[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* The strings stay environ's. */
static const char **environment(void)
{
    size_t count = 0, kept = 0;
    const char **env;

    while (environ[count] != NULL) {
        count++;
    }
    env = calloc(count + 1, sizeof(*env));
    for (size_t i = 0; env != NULL && i < count; i++) {
        if (!is_ours_alone(environ[i])) {
            env[kept++] = environ[i];
        }
    }
    return env;
}

static uint32_t runs_of(uint32_t concurrency, uint32_t processes)
{
    uint32_t runs = concurrency > 0 ? (concurrency + processes - 1) / processes : RUNS;

    return runs < RUNS_MOST ? runs : RUNS_MOST;
}

int ftl__children_new(const struct ftl__handler *native,
                      const struct ftl__children_settings *settings, bool alone,
                      struct ftl__handler **ret_handler, char *error, size_t error_size)
{
    const struct ftl__handler_settings common = {
        .pattern = native->pattern,
        .timeout = native->timeout,
        .kill_after = (double)native->kill_after / (double)FTL_S,
        .concurrency = native->concurrency,
        .stack_size = native->stack_size,
        .blocking = native->blocking,
    };
    uint32_t processes = alone ? 1 : settings->processes;
    uint32_t concurrency =
        native->concurrency > 0 ? native->concurrency : settings->concurrency;
    char file[PATH_MAX], runs[16], stack[24];
    const char *const argv[] = {PROGRAM, "--host",       file,  "--runs",
                                runs,    "--stack-size", stack, NULL};
    struct ftl__worker_settings worker = {.argv = argv,
                                          .limits = settings->limits,
                                          .processes = processes,
                                          .start_timeout = settings->start_timeout,
                                          .alone = alone,
                                          .insists = true};
    const char **env = environment();
    int rc;

    ftl__native_file(native, file);
    (void)snprintf(runs, sizeof(runs), "%u",
                   alone ? 1u : (unsigned)runs_of(concurrency, processes));
    (void)snprintf(stack, sizeof(stack), "%zu", native->stack_size);
    worker.env = env;
    if (env == NULL) {
        (void)snprintf(error, error_size, "%s", ftl_error_text(FTL_ENOMEM));
        return FTL_ENOMEM;
    }
    rc = ftl__workers_new(&common, &worker, ret_handler, error, error_size);
    free(env);
    return rc;
}

int ftl__children_alone(const struct ftl__handler *native,
                        const struct ftl__children_settings *settings,
                        const struct ftl__handler_host *host, struct ftl__handler **ret_handler)
{
    struct ftl__handler *handler;
    char error[256];
    int rc = ftl__children_new(native, settings, true, &handler, error, sizeof(error));

    if (rc != 0) {
        return rc;
    }
    rc = handler->kind->start(handler, host);
    if (rc != 0) {
        ftl__handler_unref(handler);
        return rc;
    }
    *ret_handler = handler;
    return 0;
}
