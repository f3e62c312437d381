/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The life of a handler: counted references, one of which each registry and each run holds, so that
 * a reload can drop a handler while its last runs go on. Any thread may hold one. What a handler is
 * made of, and how it goes, is its kind's business. */
#include "jobs/handler.h"

#include <stdlib.h>
#include <string.h>

struct ftl__handler *ftl__handler_ref(struct ftl__handler *handler)
{
    /* Relaxed: whoever refs holds a reference already, and passes the handler on by other means. */
    uint32_t before = atomic_fetch_add_explicit(&handler->refs, 1, memory_order_relaxed);
    ftl_assert(before > 0);
    return handler;
}

void ftl__handler_unref(struct ftl__handler *handler)
{
    if (handler == NULL)
        return;
    /* Release: our uses come before the end; acquire (of the last one): the end comes after theirs.
     */
    uint32_t before = atomic_fetch_sub_explicit(&handler->refs, 1, memory_order_acq_rel);
    ftl_assert(before > 0);
    if (before == 1)
        handler->kind->destroy(handler);
}

int ftl__handler_init(struct ftl__handler *handler, const struct ftl__handler_kind *kind,
                      const struct ftl__handler_settings *settings)
{
    char *pattern = strdup(settings->pattern);

    if (pattern == NULL)
        return FTL_ENOMEM;
    *handler = (struct ftl__handler){
        .kind = kind,
        .refs = 1,
        .pattern = pattern,
        .exact = strpbrk(pattern, "*?[\\") == NULL,
        .timeout = settings->timeout,
        .kill_after = ftl__seconds(settings->kill_after),
        .concurrency = settings->concurrency,
        .stack_size = settings->stack_size,
        .blocking = settings->blocking,
    };
    return 0;
}

void ftl__handler_fini(struct ftl__handler *handler)
{
    free(handler->pattern);
}

bool ftl__handler_equal(const struct ftl__handler *a, const struct ftl__handler *b)
{
    return a->kind == b->kind && strcmp(a->pattern, b->pattern) == 0 && a->timeout == b->timeout &&
           a->kill_after == b->kill_after &&
           a->concurrency == b->concurrency && a->stack_size == b->stack_size &&
           a->blocking == b->blocking;
}
