/* SPDX-License-Identifier: MIT
 *
 * Connecting: from an address of the configuration to a connection on a runtime's driver. */
#ifndef FETTLE_DAEMON_DIAL_H
#define FETTLE_DAEMON_DIAL_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/config.h"
#include "runtime/connection.h"

/* Waits until connected, and with TLS until the peer is known. Otherwise a negative code, and one
 * line in `reason`. TCP connections get keepalive and a user timeout, so that a dead peer is
 * noticed within 20 s without any call. */
int ftl__dial(struct ftl_runtime *runtime, const struct ftl__address *address, int64_t deadline,
              struct ftl__connection **ret_connection, char *reason, size_t reason_size);

#endif
