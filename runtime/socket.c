/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Non-blocking connect(2) and accept4(2) on the waits of io.c. All of it runs in the calling task;
 * a socket is owned by the call, through FTL_FD(), until it is handed out, so that an abort closes
 * it. No names are resolved. */
#include <fettle/socket.h>

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <fettle/time.h>

#include "runtime/driver_fd.h"

enum { PAUSE_NS = 50000000 }; /* of an accept that has no descriptor to give */

static int failed(int error, int *ret_errno)
{
    if (ret_errno)
        *ret_errno = error;
    return FTL_ESYS;
}

/* Hands `number` to the driver; closes it on an error. */
static int adopt(struct ftl_runtime *runtime, int number, struct ftl_fd **ret_fd, int *ret_errno)
{
    int rc = ftl_fd_open(runtime, number, ret_fd);
    if (rc == 0)
        return 0;
    int error = errno;
    close(number);
    return rc == FTL_ESYS ? failed(error, ret_errno) : rc;
}

/* Hands what the variable holds to the caller. */
static int hand_out(struct ftl_fd **variable, struct ftl_fd **ret_fd)
{
    *ret_fd = *variable;
    *variable = NULL;
    return 0;
}

static int new_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* ---- connect ---- */

/* Of a connect that is under way: 0, EINPROGRESS, or why it has failed. An edge may be stale: who
 * has a peer is connected. (Not inlined, for the same reason as last_error() in io.c.) */
static __attribute__((noinline)) int progress(int number)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(number, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        return errno;
    if (error != 0)
        return error;
    struct sockaddr_storage peer;
    size = sizeof peer;
    if (getpeername(number, (struct sockaddr *)&peer, &size) == 0)
        return 0;
    return errno == ENOTCONN ? EINPROGRESS : errno;
}

static int await_connected(struct ftl_fd *fd, int64_t deadline, int *ret_errno)
{
    for (;;) {
        int rc = ftl_fd_wait(fd, FTL_WRITE, deadline);
        if (rc != 0)
            return rc;
        int error = progress(ftl_fd_number(fd));
        if (error != EINPROGRESS)
            return error == 0 ? 0 : failed(error, ret_errno);
    }
}

int ftl_socket_connect(struct ftl_runtime *runtime, const struct sockaddr *address, socklen_t size,
                       int64_t deadline, struct ftl_fd **ret_fd, int *ret_errno)
{
    FTL_FD(fd);
    int number = new_socket(address->sa_family);
    if (number < 0)
        return failed(errno, ret_errno);
    /* EINTR: it goes on all the same. */
    if (connect(number, address, size) != 0 && errno != EINPROGRESS && errno != EINTR) {
        int error = errno;
        close(number);
        return error == EAGAIN ? FTL_EAGAIN : failed(error, ret_errno);
    }
    int rc = adopt(runtime, number, &fd, ret_errno);
    if (rc == 0)
        rc = await_connected(fd, deadline, ret_errno);
    return rc == 0 ? hand_out(&fd, ret_fd) : rc;
}

/* Of the time until the deadline, for the first of those that are left. */
static int64_t share(const struct addrinfo *left, int64_t deadline)
{
    int64_t count = 0, now = ftl_now();
    for (; left; left = left->ai_next)
        count++;
    return deadline == FTL_FOREVER || deadline <= now ? deadline : now + (deadline - now) / count;
}

int ftl_socket_connect_any(struct ftl_runtime *runtime, const struct addrinfo *addresses,
                           int64_t deadline, struct ftl_fd **ret_fd, int *ret_errno)
{
    int rc = FTL_EINVAL;
    for (const struct addrinfo *to = addresses; to; to = to->ai_next) {
        rc = ftl_socket_connect(runtime, to->ai_addr, to->ai_addrlen, share(to, deadline), ret_fd,
                                ret_errno);
        if (rc == 0 || rc == FTL_ECANCELED)
            break;
    }
    return rc;
}

/* ---- listen and accept ---- */

static int bind_and_listen(int number, const struct sockaddr *address, socklen_t size, int backlog)
{
    const int on = 1;
    if (address->sa_family != AF_UNIX &&
        setsockopt(number, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        return -1;
    if (bind(number, address, size) != 0)
        return -1;
    return listen(number, backlog > 0 ? backlog : SOMAXCONN);
}

int ftl_socket_listen(struct ftl_runtime *runtime, const struct sockaddr *address, socklen_t size,
                      int backlog, struct ftl_fd **ret_fd, int *ret_errno)
{
    int number = new_socket(address->sa_family);
    if (number < 0)
        return failed(errno, ret_errno);
    if (bind_and_listen(number, address, size, backlog) != 0) {
        int error = errno;
        close(number);
        return failed(error, ret_errno);
    }
    return adopt(runtime, number, ret_fd, ret_errno);
}

/* The trouble is the connection's, which is gone: accept(2) says to go on with the next. */
static bool is_of_the_connection(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case ENONET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
        return true;
    default:
        return false;
    }
}

static bool is_of_resources(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static ssize_t attempt_accept(const struct ftl_fd *listener, void *arg)
{
    int number;
    (void)arg;
    do
        number = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (number < 0 && is_of_the_connection(errno));
    return number;
}

/* FTL_ETIMEDOUT when it is over. */
static int pause_accepting(struct ftl_fd *listener, int64_t deadline)
{
    int64_t end = ftl_deadline(PAUSE_NS);
    int rc;
    do
        rc = ftl__fd_wait(listener, FTL_READ, end < deadline ? end : deadline);
    while (rc == 0); /* one more has come to stand in line */
    return rc;
}

int ftl_socket_accept(struct ftl_fd *listener, int64_t deadline, struct ftl_fd **ret_fd,
                      int *ret_errno)
{
    struct ftl_runtime *runtime = listener->runtime;
    int error = 0;
    int rc = ftl__fd_enter(listener);
    if (rc != 0)
        return rc;
    ssize_t number = ftl__fd_attempt(listener, FTL_READ, deadline, attempt_accept, NULL, &error);
    if (number == FTL_ESYS && is_of_resources(error)) {
        rc = pause_accepting(listener, deadline);
        if (rc != FTL_ETIMEDOUT)
            number = rc;
    }
    ftl__fd_leave(listener);
    if (number == FTL_ESYS)
        return failed(error, ret_errno);
    if (number < 0)
        return ftl__wait_result(ftl__strand_current(), (int)number);
    return adopt(runtime, (int)number, ret_fd, ret_errno);
}

/* ---- options ---- */

int ftl_socket_shutdown(struct ftl_fd *fd, enum ftl_fd_direction direction, int *ret_errno)
{
    int how = direction == FTL_READ ? SHUT_RD : SHUT_WR;
    return shutdown(ftl_fd_number(fd), how) == 0 ? 0 : failed(errno, ret_errno);
}

static int set_option(struct ftl_fd *fd, int level, int option, unsigned value, int *ret_errno)
{
    int rc = setsockopt(ftl_fd_number(fd), level, option, &value, sizeof value);
    return rc == 0 ? 0 : failed(errno, ret_errno);
}

int ftl_socket_set_nodelay(struct ftl_fd *fd, bool on, int *ret_errno)
{
    return set_option(fd, IPPROTO_TCP, TCP_NODELAY, on, ret_errno);
}

int ftl_socket_set_keepalive(struct ftl_fd *fd, unsigned idle, unsigned interval, unsigned count,
                             int *ret_errno)
{
    const struct {
        int level, option;
        unsigned value;
    } options[] = {
        {IPPROTO_TCP, TCP_KEEPIDLE, idle},
        {IPPROTO_TCP, TCP_KEEPINTVL, interval},
        {IPPROTO_TCP, TCP_KEEPCNT, count},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, (idle + interval * count) * 1000},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof options / sizeof options[0] && rc == 0; i++)
        rc = set_option(fd, options[i].level, options[i].option, options[i].value, ret_errno);
    return rc;
}
