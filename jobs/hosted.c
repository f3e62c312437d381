/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A module whose runs are in child processes: a native handler, which knows its classes, and a
 * worker handler whose processes are this very program with --host and the module's file.
 *
 * A child sees the environment of this process, without what the service manager meant for this
 * process alone. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs/execution.h"
#include "jobs/handler.h"

#define PROGRAM                                                                                    \
    "/proc/self/exe" /* of the child before it executes: this program, also a deleted one */
#define RUNS 8       /* at once in a child, where no concurrency says it */

static const char *const ours_alone[] = {
    "NOTIFY_SOCKET=",  "WATCHDOG_PID=",   "WATCHDOG_USEC=", "LISTEN_FDS=", "LISTEN_PID=",
    "LISTEN_FDNAMES=", "JOURNAL_STREAM=", "INVOCATION_ID=", "MAINPID="};

struct hosted {
    struct ftl__handler base;
    struct ftl__handler *native;
    struct ftl__handler *children;
};

static struct hosted *hosted_of(const struct ftl__handler *handler)
{
    return (struct hosted *)(uintptr_t)handler;
}

/* ---- runs ------------------------------------------------------------------------------- */

static int run_in_child(struct ftl__handler *handler, struct ftl_run *run)
{
    struct ftl__handler *children = hosted_of(handler)->children;

    return children->kind->run(children, run);
}

static bool serves(const struct ftl__handler *handler, const char *class, size_t size)
{
    const struct ftl__handler *native = hosted_of(handler)->native;

    return native->kind->serves(native, class, size);
}

/* ---- life ------------------------------------------------------------------------------- */

static int start(struct ftl__handler *handler, const struct ftl__handler_host *host)
{
    struct ftl__handler *children = hosted_of(handler)->children;

    return children->kind->start(children, host);
}

static void stop(struct ftl__handler *handler)
{
    struct ftl__handler *children = hosted_of(handler)->children;

    children->kind->stop(children);
}

static void await(struct ftl__handler *handler, int64_t deadline)
{
    struct ftl__handler *children = hosted_of(handler)->children;

    children->kind->await(children, deadline);
}

static bool same(const struct ftl__handler *handler, const struct ftl__handler *other)
{
    const struct ftl__handler *children = hosted_of(handler)->children;

    return ftl__handler_equal(handler, other) &&
           children->kind->same(children, hosted_of(other)->children);
}

static void destroy(struct ftl__handler *handler)
{
    struct hosted *hosted = hosted_of(handler);

    ftl__handler_unref(hosted->native);
    ftl__handler_unref(hosted->children);
    ftl__handler_fini(handler);
    free(hosted);
}

static const struct ftl__handler_kind hosted_kind = {
    .name = "module",
    .migratable = true,
    .wind_up = FTL__EXECUTION_WIND_UP,
    .run = run_in_child,
    .serves = serves,
    .destroy = destroy,
    .start = start,
    .stop = stop,
    .await = await,
    .same = same,
};

/* ---- configuration ---------------------------------------------------------------------- */

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

static int make_children(const struct ftl__handler_settings *settings,
                         const struct ftl__hosted_settings *hosted, const char *file,
                         struct ftl__handler **ret, char *error, size_t error_size)
{
    uint32_t runs = settings->concurrency > 0
                        ? (settings->concurrency + hosted->processes - 1) / hosted->processes
                        : RUNS;
    char number[16], stack[24];
    const char *const argv[] = {PROGRAM, "--host",       file,  "--runs",
                                number,  "--stack-size", stack, NULL};
    struct ftl__worker_settings worker = {
        .argv = argv, .processes = hosted->processes, .start_timeout = hosted->start_timeout};
    const char **env = environment();
    int rc;

    (void)snprintf(number, sizeof(number), "%u", (unsigned)(runs < 1000 ? runs : 1000));
    (void)snprintf(stack, sizeof(stack), "%zu", settings->stack_size);
    worker.env = env;
    rc = env != NULL ? ftl__workers_new(settings, &worker, ret, error, error_size) : FTL_ENOMEM;
    free(env);
    return rc;
}

int ftl__hosted_new(const struct ftl__handler_settings *settings,
                    const struct ftl__hosted_settings *hosted_settings, struct ftl__handler *native,
                    struct ftl__handler **ret_handler, char *error, size_t error_size)
{
    struct hosted *hosted = calloc(1, sizeof(*hosted));
    char file[PATH_MAX];
    int rc = FTL_ENOMEM;

    (void)snprintf(error, error_size, "%s", ftl_error_text(FTL_ENOMEM));
    if (hosted == NULL || ftl__handler_init(&hosted->base, &hosted_kind, settings) != 0) {
        free(hosted);
        return rc;
    }
    ftl__native_file(native, file);
    rc = make_children(settings, hosted_settings, file, &hosted->children, error, error_size);
    if (rc != 0) {
        ftl__handler_fini(&hosted->base);
        free(hosted);
        return rc;
    }
    hosted->native = native;
    *ret_handler = &hosted->base;
    return 0;
}
