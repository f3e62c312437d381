/* SPDX-License-Identifier: MIT
 *
 * A connection: the bytes of a connected descriptor, plain or through TLS. One reader and one
 * writer at a time, as of <fettle/io.h>; through TLS both must run in turns (tasks of one serial
 * runtime, or one task, or one thread), since they share the session. */
#ifndef FETTLE_RUNTIME_CONNECTION_H
#define FETTLE_RUNTIME_CONNECTION_H

#include <fettle/io.h>

#include "runtime/tls.h"

struct ftl__connection;

/* Plain if `tls` is NULL, else as its client: waits until the peer is known to be `host`. `fd` is
 * the connection's from the call on. Otherwise a negative code, `fd` is closed, and `reason` has
 * one line. The context outlives the connection. */
int ftl__connection_open(struct ftl_fd *fd, const struct ftl__tls_context *tls, const char *host,
                         int64_t deadline, struct ftl__connection **ret_connection, char *reason,
                         size_t reason_size);
/* Closes the descriptor, too; calls in progress must have ended. NULL-safe. */
void ftl__connection_close(struct ftl__connection *connection);
/* The same for a defer: `variable` is a struct ftl__connection **, and becomes NULL. */
void ftl__connection_close_at(void *variable);

/* As ftl_fd_read() and ftl_fd_write_all(); FTL_EPROTO or FTL_ENOMEM: the session is broken. */
ssize_t ftl__connection_read(struct ftl__connection *connection, void *bytes, size_t size,
                             int64_t deadline, int *ret_errno);
int ftl__connection_write_all(struct ftl__connection *connection, const void *bytes, size_t size,
                              int64_t deadline, int *ret_errno);
/* After FTL_EPROTO of these: what broke the session, one line; otherwise "". */
const char *ftl__connection_reason(const struct ftl__connection *connection);

#endif
