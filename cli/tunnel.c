/* SPDX-License-Identifier: MIT
 *
 * DESIGN. hiredis 0.14 knows no TLS, so the bytes that it writes into a pair of sockets are
 * encrypted behind its back: one task for each direction, so that neither holds up the other, on a
 * serial runtime, since the two share a session. Connecting and the handshake are done by the
 * caller's thread before these tasks begin. When the server ends the connection, the near end reads
 * an end of file. */
#include "cli/tunnel.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fettle/runtime.h>
#include <fettle/socket.h>

#include "runtime/connection.h"

#define PIECE ((size_t)16 << 10)

struct ftl__tunnel {
    struct ftl_runtime *runtime;
    struct ftl__connection *server;
    struct ftl_fd *local; /* our end of the pair */
    char up[PIECE], down[PIECE];
};

/* ---- the tasks --------------------------------------------------------------------------- */

static void *carry_up(void *arg)
{
    struct ftl__tunnel *tunnel = arg;
    ssize_t size;
    int rc = 0;
    while (rc == 0 && (size = ftl_fd_read(tunnel->local, tunnel->up, PIECE, FTL_FOREVER, NULL)) > 0)
        rc = ftl__connection_write_all(tunnel->server, tunnel->up, (size_t)size, FTL_FOREVER, NULL);
    return NULL;
}

static void *carry_down(void *arg)
{
    struct ftl__tunnel *tunnel = arg;
    ssize_t size;
    int rc = 0;
    while (rc == 0 && (size = ftl__connection_read(tunnel->server, tunnel->down, PIECE, FTL_FOREVER,
                                                   NULL)) > 0)
        rc = ftl_fd_write_all(tunnel->local, tunnel->down, (size_t)size, FTL_FOREVER, NULL);
    (void)ftl_socket_shutdown(tunnel->local, FTL_WRITE, NULL); /* it may be closed already */
    return NULL;
}

/* ---- opening ----------------------------------------------------------------------------- */

static int explain(int rc, int error, char *reason, size_t size)
{
    if (rc != 0)
        snprintf(reason, size, "%s", rc == FTL_ESYS ? strerrordesc_np(error) : ftl_error_text(rc));
    return rc;
}

static int connect_server(struct ftl__tunnel *tunnel, const char *host, uint16_t port,
                          int64_t deadline, struct ftl_fd **ret_fd, char *reason, size_t size)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses;
    char service[8];
    int error = 0;
    snprintf(service, sizeof service, "%u", (unsigned)port);
    int status = getaddrinfo(host, service, &hints, &addresses);
    if (status != 0) {
        snprintf(reason, size, "%s: %s", host, gai_strerror(status));
        return FTL_ECONN;
    }
    int rc = ftl_socket_connect_any(tunnel->runtime, addresses, deadline, ret_fd, &error);
    freeaddrinfo(addresses);
    return explain(rc, error, reason, size);
}

static int open_pair(struct ftl__tunnel *tunnel, int *ret_fd, char *reason, size_t size)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return explain(FTL_ESYS, errno, reason, size);
    int rc = ftl_fd_open(tunnel->runtime, pair[1], &tunnel->local);
    if (rc == 0) {
        *ret_fd = pair[0];
        return 0;
    }
    explain(rc, errno, reason, size);
    close(pair[0]);
    close(pair[1]);
    return rc;
}

static int start(struct ftl__tunnel *tunnel, char *reason, size_t size)
{
    const struct ftl_spawn_options up = {.name = "up"}, down = {.name = "down"};
    int rc = ftl_spawn(tunnel->runtime, carry_up, tunnel, &up, NULL);
    if (rc == 0)
        rc = ftl_spawn(tunnel->runtime, carry_down, tunnel, &down, NULL);
    return explain(rc, 0, reason, size);
}

static int fill(struct ftl__tunnel *tunnel, const struct ftl__tls_context *tls, const char *host,
                uint16_t port, int64_t deadline, int *ret_fd, char *reason, size_t size)
{
    const struct ftl_runtime_options options = {
        .name = "tunnel", .serial = true, .unmonitored = true};
    struct ftl_fd *fd;
    int local = -1;
    int rc = explain(ftl_runtime_start(&options, &tunnel->runtime), errno, reason, size);
    if (rc == 0)
        rc = connect_server(tunnel, host, port, deadline, &fd, reason, size);
    if (rc == 0)
        rc = ftl__connection_open(fd, tls, host, deadline, &tunnel->server, reason, size);
    if (rc == 0)
        rc = open_pair(tunnel, &local, reason, size);
    if (rc == 0)
        rc = start(tunnel, reason, size);
    if (rc == 0)
        *ret_fd = local;
    else if (local >= 0)
        close(local);
    return rc;
}

int ftl__tunnel_open(const struct ftl__tls_context *tls, const char *host, uint16_t port,
                     int64_t deadline, struct ftl__tunnel **ret_tunnel, int *ret_fd, char *reason,
                     size_t reason_size)
{
    struct ftl__tunnel *tunnel = calloc(1, sizeof *tunnel);
    if (tunnel == NULL)
        return explain(FTL_ENOMEM, 0, reason, reason_size);
    int rc = fill(tunnel, tls, host, port, deadline, ret_fd, reason, reason_size);
    if (rc == 0)
        *ret_tunnel = tunnel;
    else
        ftl__tunnel_close(tunnel);
    return rc == 0 || rc == FTL_ENOMEM ? rc : FTL_ECONN;
}

void ftl__tunnel_close(struct ftl__tunnel *tunnel)
{
    if (tunnel == NULL)
        return;
    if (tunnel->runtime != NULL)
        (void)ftl_runtime_shutdown(tunnel->runtime, FTL_FOREVER); /* its tasks only wait */
    ftl__connection_close(tunnel->server);
    ftl_fd_close(tunnel->local);
    if (tunnel->runtime != NULL)
        ftl_runtime_free(tunnel->runtime);
    free(tunnel);
}
