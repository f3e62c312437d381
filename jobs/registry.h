/* SPDX-License-Identifier: MIT
 *
 * The registry: class patterns in configured order → handlers; the first match wins. Immutable once
 * built: a reload builds a new one. Used from the control runtime only. */
#ifndef FETTLE_JOBS_REGISTRY_H
#define FETTLE_JOBS_REGISTRY_H

#include "jobs/handler.h"

struct ftl__registry;

struct ftl__registry *ftl__registry_new(void); /* NULL: out of memory */
void ftl__registry_free(struct ftl__registry *registry); /* NULL-safe; gives its handlers up */

/* Appends; takes over the caller's reference on success. FTL_ENOMEM. */
int ftl__registry_add(struct ftl__registry *registry, struct ftl__handler *handler);

/* The first handler that takes the class (fnmatch without flags; a native one only if its module
 * has the class), or NULL. A repeated class costs one hash lookup. No reference is taken. */
struct ftl__handler *ftl__registry_find(struct ftl__registry *registry, const char *class,
                                        size_t size);

/* For a reload: a handler of `old` that was made with the same settings takes the place of one here,
 * so that its processes stay. */
void ftl__registry_keep(struct ftl__registry *registry, const struct ftl__registry *old);

/* Starts the handlers that have something to start, and have not yet; what was started stays so on
 * an error. stop: the daemon is about to end, and has no more runs; await: until all that has ended. */
int ftl__registry_start(struct ftl__registry *registry, const struct ftl__handler_host *host);
void ftl__registry_stop(struct ftl__registry *registry);
void ftl__registry_await(struct ftl__registry *registry, int64_t deadline);

size_t ftl__registry_count(const struct ftl__registry *registry);
struct ftl__handler *ftl__registry_at(const struct ftl__registry *registry, size_t index);

#endif
