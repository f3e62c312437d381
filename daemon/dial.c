/* SPDX-License-Identifier: MIT
 *
 * DESIGN: non-blocking connect(2), then the driver tells when to look. The addresses of a name are
 * tried in the resolver's order until one answers; the deadline is for all of them. Runs in the
 * link's task on control; nothing is kept. */
#include "daemon/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fettle/task.h>

#include "daemon/resolve.h"

static int failed_errno(const char *what, int error, char *reason, size_t size)
{
    snprintf(reason, size, "%s: %s", what, strerrordesc_np(error));
    return FTL_ESYS;
}

static int failed_code(const char *what, int status, char *reason, size_t size)
{
    snprintf(reason, size, "%s: %s", what, ftl_error_text(status));
    return status;
}

static void set_option(int fd, int level, int option, int value)
{
    /* Without it the calls' own deadlines still find a dead peer. */
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

static void set_tcp_options(int fd)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 3);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 20000);
}

/* 0: connected; > 0: an errno; < 0: a code. An edge may be stale: who has a peer is connected. */
static int await_connected(struct ftl_fd *fd, int64_t deadline)
{
    for (;;) {
        int status = ftl_fd_wait(fd, FTL_WRITE, deadline);
        if (status != 0)
            return status;
        int error = 0;
        socklen_t size = sizeof error;
        if (getsockopt(ftl_fd_number(fd), SOL_SOCKET, SO_ERROR, &error, &size) != 0)
            return errno;
        if (error != 0)
            return error;
        struct sockaddr_storage peer;
        size = sizeof peer;
        if (getpeername(ftl_fd_number(fd), (struct sockaddr *)&peer, &size) == 0)
            return 0;
        if (errno != ENOTCONN)
            return errno;
    }
}

static void close_fd(void *fd)
{
    ftl_fd_close(fd);
}

/* Takes `socket_fd` over. Same results as await_connected(). */
static int connect_on(struct ftl_runtime *runtime, int socket_fd, const struct sockaddr *peer,
                      socklen_t size, int64_t deadline, struct ftl_fd **ret_fd)
{
    if (connect(socket_fd, peer, size) != 0 && errno != EINPROGRESS) {
        int error = errno;
        close(socket_fd);
        return error;
    }
    struct ftl_fd *fd = NULL;
    int status = ftl_fd_open(runtime, socket_fd, &fd);
    if (status != 0) {
        close(socket_fd);
        return status;
    }
    struct ftl_defer guard;
    ftl_defer_arm(&guard, close_fd, fd);
    status = await_connected(fd, deadline);
    if (status != 0) {
        ftl_defer_run(&guard);
        return status;
    }
    ftl_defer_disarm(&guard);
    *ret_fd = fd;
    return 0;
}

static int explain(int status, char *reason, size_t size)
{
    if (status == 0)
        return 0;
    return status > 0 ? failed_errno("connect", status, reason, size)
                      : failed_code("connect", status, reason, size);
}

static int dial_unix(struct ftl_runtime *runtime, const char *path, int64_t deadline,
                     struct ftl_fd **ret_fd, char *reason, size_t reason_size)
{
    struct sockaddr_un peer = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof peer.sun_path) {
        snprintf(reason, reason_size, "connect: the path of the socket is too long");
        return FTL_ELIMIT;
    }
    strcpy(peer.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return failed_errno("socket", errno, reason, reason_size);
    return explain(
        connect_on(runtime, fd, (const struct sockaddr *)&peer, sizeof peer, deadline, ret_fd),
        reason, reason_size);
}

static int dial_one(struct ftl_runtime *runtime, const struct addrinfo *to, int64_t deadline,
                    struct ftl_fd **ret_fd, char *reason, size_t reason_size)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, to->ai_protocol);
    if (fd < 0)
        return failed_errno("socket", errno, reason, reason_size);
    set_tcp_options(fd);
    return explain(connect_on(runtime, fd, to->ai_addr, to->ai_addrlen, deadline, ret_fd), reason,
                   reason_size);
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
    for (const struct addrinfo *to = addresses; to != NULL; to = to->ai_next) {
        status = dial_one(runtime, to, deadline, ret_fd, reason, reason_size);
        if (status == 0 || status == FTL_ECANCELED || status == FTL_ETIMEDOUT)
            break;
    }
    return status;
}

int ftl__dial(struct ftl_runtime *runtime, const struct ftl__address *address, int64_t deadline,
              struct ftl_fd **ret_fd, char *reason, size_t reason_size)
{
    if (address->socket != NULL)
        return dial_unix(runtime, address->socket, deadline, ret_fd, reason, reason_size);
    return dial_tcp(runtime, address, deadline, ret_fd, reason, reason_size);
}
