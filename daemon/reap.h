/* SPDX-License-Identifier: MIT
 *
 * Reaping: the batches of one fenced owner back to the fronts of their queues, or to dead what was
 * recovered too often. */
#ifndef FETTLE_DAEMON_REAP_H
#define FETTLE_DAEMON_REAP_H

#include <stdint.h>

#include "daemon/keys.h"
#include "daemon/link.h"
#include "daemon/script.h"

struct ftl__reap_options {
    struct ftl__link *link;
    struct ftl__scripts *scripts;
    const struct ftl__keys *keys;
    int64_t call_timeout;   /* ns, of each call */
    int (*tend)(void *arg); /* between calls; another value than 0 ends it */
    void *arg;
};

/* A fenced owner. */
struct ftl__reap_victim {
    const char *id, *format; /* a format that we know */
};

/* All its batches, the youngest first, so that at last the oldest job is next; then its field
 * in fettle:fenced. A batch that Redis refuses to touch (logged) is left, and the field with it. 0,
 * or what ended it early (FTL_EPROTO: Redis refuses to read or to forget this owner's batches, logged):
 * it may be repeated. `invoke` is scratch. */
int ftl__reap(const struct ftl__reap_options *options, struct ftl__invoke *invoke,
              const struct ftl__reap_victim *victim);

#endif
