/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A module whose runs are in child processes: a native handler, which knows its classes, and the
 * handler of the processes (children.c). */
#include <stdio.h>
#include <stdlib.h>

#include "jobs/execution.h"
#include "jobs/handler.h"

struct hosted {
    struct ftl__handler base;
    struct ftl__handler *native;
    struct ftl__handler *children;
    struct ftl__children_settings settings;
    struct ftl__handler_host host; /* once it is started */
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

static int alone(struct ftl__handler *handler, struct ftl__handler **ret_handler)
{
    const struct hosted *hosted = hosted_of(handler);

    return ftl__children_alone(hosted->native, &hosted->settings, &hosted->host, ret_handler);
}

/* ---- life ------------------------------------------------------------------------------- */

static int start(struct ftl__handler *handler, const struct ftl__handler_host *host)
{
    struct ftl__handler *children = hosted_of(handler)->children;

    hosted_of(handler)->host = *host;
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
    .asks_twice = true,
    .wind_up = FTL__WORKER_ABORT_TIME + FTL__EXECUTION_WIND_UP,
    .run = run_in_child,
    .serves = serves,
    .alone = alone,
    .destroy = destroy,
    .start = start,
    .stop = stop,
    .await = await,
    .same = same,
};

/* ---- configuration ---------------------------------------------------------------------- */

int ftl__hosted_new(const struct ftl__handler_settings *settings,
                    const struct ftl__children_settings *children_settings,
                    struct ftl__handler *native, struct ftl__handler **ret_handler, char *error,
                    size_t error_size)
{
    struct hosted *hosted = calloc(1, sizeof(*hosted));
    int rc = FTL_ENOMEM;

    (void)snprintf(error, error_size, "%s", ftl_error_text(FTL_ENOMEM));
    if (hosted == NULL || ftl__handler_init(&hosted->base, &hosted_kind, settings) != 0) {
        free(hosted);
        return rc;
    }
    rc = ftl__children_new(native, children_settings, false, &hosted->children, error, error_size);
    if (rc != 0) {
        ftl__handler_fini(&hosted->base);
        free(hosted);
        return rc;
    }
    hosted->base.isolates = true;
    hosted->settings = *children_settings;
    hosted->native = native;
    *ret_handler = &hosted->base;
    return 0;
}
