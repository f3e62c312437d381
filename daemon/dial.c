/* SPDX-License-Identifier: MIT
 *
 * DESIGN: resolves the address, which takes no worker's time, and connects. The addresses of a name
 * are tried in the resolver's order until one answers; the deadline is for all of them, and for the
 * handshake of TLS. Runs in the link's task on control; nothing is kept. */
#include "daemon/dial.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include <fettle/socket.h>

#include "daemon/resolve.h"

static int explain(int status, int error, char *reason, size_t size)
{
    if (status != 0)
        snprintf(reason, size, "connect: %s",
                 status == FTL_ESYS ? strerrordesc_np(error) : ftl_error_text(status));
    return status;
}

static int dial_unix(struct ftl_runtime *runtime, const char *path, int64_t deadline,
                     struct ftl_fd **ret_fd, char *reason, size_t reason_size)
{
    struct sockaddr_un peer = {.sun_family = AF_UNIX};
    int error = 0;
    if (strlen(path) >= sizeof peer.sun_path) {
        snprintf(reason, reason_size, "connect: the path of the socket is too long");
        return FTL_ELIMIT;
    }
    strcpy(peer.sun_path, path);
    int status = ftl_socket_connect(runtime, (const struct sockaddr *)&peer, sizeof peer, deadline,
                                    ret_fd, &error);
    return explain(status, error, reason, reason_size);
}

/* Where they cannot be set, the calls' own deadlines still find a dead peer. */
static void set_options(struct ftl_fd *fd)
{
    (void)ftl_socket_set_nodelay(fd, true, NULL);
    (void)ftl_socket_set_keepalive(fd, 10, 3, 3, NULL);
}

static void free_addresses(void *addresses)
{
    freeaddrinfo(addresses);
}

static int dial_tcp(struct ftl_runtime *runtime, const struct ftl__address *address,
                    int64_t deadline, struct ftl_fd **ret_fd, char *reason, size_t reason_size)
{
    struct addrinfo *addresses = NULL;
    const char *why = NULL;
    int status = ftl__resolve(address->host, address->port, deadline, &addresses, &why);
    if (status != 0) {
        snprintf(reason, reason_size, "resolve %s: %s", address->host,
                 why != NULL ? why : ftl_error_text(status));
        return status;
    }
    FTL_DEFER(free_addresses, addresses);
    int error = 0;
    status = ftl_socket_connect_any(runtime, addresses, deadline, ret_fd, &error);
    if (status == 0)
        set_options(*ret_fd);
    return explain(status, error, reason, reason_size);
}

int ftl__dial(struct ftl_runtime *runtime, const struct ftl__address *address, int64_t deadline,
              struct ftl__connection **ret_connection, char *reason, size_t reason_size)
{
    FTL_FD(fd);
    int status = address->socket != NULL
                     ? dial_unix(runtime, address->socket, deadline, &fd, reason, reason_size)
                     : dial_tcp(runtime, address, deadline, &fd, reason, reason_size);
    if (status != 0)
        return status;
    struct ftl_fd *connected = fd;
    fd = NULL;
    return ftl__connection_open(connected, address->tls, address->host, deadline, ret_connection,
                                reason, reason_size);
}
