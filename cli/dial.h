/* SPDX-License-Identifier: MIT
 *
 * A connection for hiredis, plain or through TLS. */
#ifndef FETTLE_CLI_DIAL_H
#define FETTLE_CLI_DIAL_H

#include <hiredis/hiredis.h>
#include <stddef.h>
#include <stdint.h>

struct ftl__tls_context;
struct ftl__tunnel;

struct ftl__dialed {
    redisContext *context;
    struct ftl__tunnel *tunnel; /* NULL without TLS */
};

/* Connects within the timeout, which is that of each command later on, too. `tls` NULL: plain. 0:
 * *ret_dialed, to be hung up; FTL_ECONN, FTL_ENOMEM: one line in `reason`. */
int ftl__dial_tcp(const char *host, uint16_t port, const struct ftl__tls_context *tls,
                  struct timeval timeout, struct ftl__dialed *ret_dialed, char *reason,
                  size_t reason_size);
int ftl__dial_unix(const char *path, struct timeval timeout, struct ftl__dialed *ret_dialed,
                   char *reason, size_t reason_size);
void ftl__hang_up(struct ftl__dialed *dialed); /* what is zeroed is nothing */

#endif
