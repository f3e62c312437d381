/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A plain connection hands each call on to the descriptor. Through TLS the reader feeds the session
 * with what came, and the writer alone sends what comes out of it: the answers that the session
 * itself makes while it reads (to a new key) go with the next bytes that are written. A part of a
 * record that was read before a deadline stays in the session. */
#include "runtime/connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)16 << 10) /* of encrypted bytes: about a record */

struct ftl__connection {
    struct ftl_fd *fd;
    struct ftl__tls *tls; /* NULL: plain */
    struct ftl__chunks {
        char in[CHUNK], out[CHUNK]; /* encrypted */
    } chunks[];                     /* one with TLS, else none */
};

/* ---- through TLS ------------------------------------------------------------------------- */

static int send_out(struct ftl__connection *connection, int64_t deadline, int *ret_errno)
{
    char *out = connection->chunks->out;
    size_t size;
    int rc = 0;
    while (rc == 0 && (size = ftl__tls_take(connection->tls, out, CHUNK)) > 0)
        rc = ftl_fd_write_all(connection->fd, out, size, deadline, ret_errno);
    return rc;
}

/* 0: something came; FTL_ECLOSED: nothing will come any more. */
static int take_in(struct ftl__connection *connection, int64_t deadline, int *ret_errno)
{
    char *in = connection->chunks->in;
    ssize_t size = ftl_fd_read(connection->fd, in, CHUNK, deadline, ret_errno);
    if (size == 0)
        return FTL_ECLOSED;
    return size < 0 ? (int)size : ftl__tls_feed(connection->tls, in, (size_t)size);
}

/* The text of a failure, unless the session has given one. */
static int explain(int rc, int error, char *reason, size_t size)
{
    if (rc != 0 && reason[0] == '\0')
        snprintf(reason, size, "TLS: %s",
                 rc == FTL_ESYS      ? strerrordesc_np(error)
                 : rc == FTL_ECLOSED ? "the peer has closed the connection"
                                     : ftl_error_text(rc));
    return rc;
}

static int shake_hands(struct ftl__connection *connection, int64_t deadline, char *reason,
                       size_t size)
{
    int rc, error = 0;
    while ((rc = ftl__tls_handshake(connection->tls, reason, size)) == FTL_EAGAIN) {
        rc = send_out(connection, deadline, &error);
        if (rc == 0)
            rc = take_in(connection, deadline, &error);
        if (rc != 0)
            return explain(rc, error, reason, size);
    }
    /* The last message of the handshake, or the alert that tells the peer why not. */
    int sent = send_out(connection, deadline, &error);
    return explain(rc != 0 ? rc : sent, error, reason, size);
}

static ssize_t read_tls(struct ftl__connection *connection, void *bytes, size_t size,
                        int64_t deadline, int *ret_errno)
{
    ssize_t count;
    while ((count = ftl__tls_read(connection->tls, bytes, size)) == FTL_EAGAIN) {
        int rc = take_in(connection, deadline, ret_errno);
        if (rc != 0)
            return rc == FTL_ECLOSED ? 0 : rc;
    }
    return count;
}

/* ---- the connection ---------------------------------------------------------------------- */

int ftl__connection_open(struct ftl_fd *fd, const struct ftl__tls_context *tls, const char *host,
                         int64_t deadline, struct ftl__connection **ret_connection, char *reason,
                         size_t reason_size)
{
    struct ftl__connection *connection =
        calloc(1, sizeof *connection + (tls ? sizeof *connection->chunks : 0));
    reason[0] = '\0';
    if (!connection) {
        ftl_fd_close(fd);
        return explain(FTL_ENOMEM, 0, reason, reason_size);
    }
    connection->fd = fd;
    FTL_DEFER(ftl__connection_close_at, &connection);
    int rc = tls ? ftl__tls_open(tls, host, &connection->tls) : 0;
    if (rc == 0 && tls)
        rc = shake_hands(connection, deadline, reason, reason_size);
    if (rc != 0)
        return explain(rc, 0, reason, reason_size);
    *ret_connection = connection;
    connection = NULL;
    return 0;
}

void ftl__connection_close(struct ftl__connection *connection)
{
    if (!connection)
        return;
    ftl_fd_close(connection->fd);
    ftl__tls_close(connection->tls);
    free(connection);
}

void ftl__connection_close_at(void *variable)
{
    struct ftl__connection **connection = variable;
    ftl__connection_close(*connection);
    *connection = NULL;
}

ssize_t ftl__connection_read(struct ftl__connection *connection, void *bytes, size_t size,
                             int64_t deadline, int *ret_errno)
{
    if (connection->tls)
        return read_tls(connection, bytes, size, deadline, ret_errno);
    return ftl_fd_read(connection->fd, bytes, size, deadline, ret_errno);
}

int ftl__connection_write_all(struct ftl__connection *connection, const void *bytes, size_t size,
                              int64_t deadline, int *ret_errno)
{
    if (!connection->tls)
        return ftl_fd_write_all(connection->fd, bytes, size, deadline, ret_errno);
    int rc = ftl__tls_write(connection->tls, bytes, size);
    return rc == 0 ? send_out(connection, deadline, ret_errno) : rc;
}

const char *ftl__connection_reason(const struct ftl__connection *connection)
{
    return connection->tls ? ftl__tls_reason(connection->tls) : "";
}
