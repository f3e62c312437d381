/* SPDX-License-Identifier: MIT
 *
 * The watch over the other owners: whose beat has stood still for his ttl is fenced, and the
 * batches of fenced owners go back to their queues. Part of the lease, in whose task it runs. */
#ifndef FETTLE_DAEMON_WATCH_H
#define FETTLE_DAEMON_WATCH_H

#include <stdint.h>

#include "daemon/keys.h"
#include "daemon/link.h"
#include "daemon/script.h"

struct ftl__watch;
struct ftl__tick;

struct ftl__watch_options {
    struct ftl__link *link; /* all pointers outlive the watch */
    struct ftl__scripts *scripts;
    const struct ftl__keys *keys;
    int64_t call_timeout; /* ns, of each call */
    /* Called between the calls of a long turn; another value than 0 ends the turn. */
    int (*tend)(void *arg);
    void *arg;
};

int ftl__watch_open(const struct ftl__watch_options *options, struct ftl__watch **ret_watch);
void ftl__watch_close(struct ftl__watch *watch); /* NULL-safe */

/* We were fenced as `id`, and live: that its jobs were taken is not to count as a death. Only the
 * last such `id` is remembered until that is done. */
void ftl__watch_survived(struct ftl__watch *watch, const char *id);

/* Looks at what a tick has told of them, and does what follows from it. `self` is our own ID.
 * About once a second. */
int ftl__watch_turn(struct ftl__watch *watch, const char *self, const struct ftl__tick *tick);

#endif
