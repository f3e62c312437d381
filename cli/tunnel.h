/* SPDX-License-Identifier: MIT
 *
 * A tunnel: a local socket whose bytes go through TLS to a server and back. */
#ifndef FETTLE_CLI_TUNNEL_H
#define FETTLE_CLI_TUNNEL_H

#include <stddef.h>
#include <stdint.h>

struct ftl__tls_context;
struct ftl__tunnel;

/* Connects, and waits until the server is known to be `host`. 0: *ret_fd is the near end, the
 * caller's to close. FTL_ECONN, FTL_ENOMEM: one line in `reason`. The context outlives the
 * tunnel. */
int ftl__tunnel_open(const struct ftl__tls_context *tls, const char *host, uint16_t port,
                     int64_t deadline, struct ftl__tunnel **ret_tunnel, int *ret_fd, char *reason,
                     size_t reason_size);
/* After the near end was closed, or before. NULL-safe. */
void ftl__tunnel_close(struct ftl__tunnel *tunnel);

#endif
