/* SPDX-License-Identifier: MIT
 *
 * Host names to addresses without holding a runtime's worker up. */
#ifndef FETTLE_DAEMON_RESOLVE_H
#define FETTLE_DAEMON_RESOLVE_H

#include <stdint.h>

struct addrinfo;

/* The stream addresses of `host` (a name or a number), freed with freeaddrinfo(). Waits, from tasks of
 * the control runtime only.
 * FTL_ENOENT: not found, *ret_reason (static) tells; FTL_ENOMEM, FTL_ESYS (no thread),
 * FTL_ETIMEDOUT, FTL_ECANCELED. */
int ftl__resolve(const char *host, uint16_t port, int64_t deadline, struct addrinfo **ret_addresses,
                 const char **ret_reason);

#endif
