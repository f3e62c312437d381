/* SPDX-License-Identifier: MIT
 *
 * Sentinels: who is the master now? They are asked anew for each connection, one after the other,
 * and nothing is kept. */
#ifndef FETTLE_DAEMON_SENTINEL_H
#define FETTLE_DAEMON_SENTINEL_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/config.h"

struct ftl_runtime;

struct ftl__master {
    char host[256];
    uint16_t port;
};

/* Asks the sentinels, beginning with number *turn (modulo their number), until one knows the
 * master, and sets *turn to the next one; each has a second to answer. Waits. Otherwise a negative
 * code, and in `reason` what each said. Whether it is the master indeed, the caller asks it (ROLE):
 * a sentinel may be the last to learn. */
int ftl__sentinel_find(struct ftl_runtime *runtime, const struct ftl__sentinels *sentinels,
                       unsigned *turn, struct ftl__master *ret_master, char *reason,
                       size_t reason_size);

#endif
