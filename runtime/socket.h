/* SPDX-License-Identifier: MIT
 *
 * Stream sockets, TCP and unix: connecting, listening, accepting. What they make is an ftl_fd,
 * which is read, written and closed as io.h says.
 *
 * Names are not looked up here, since getaddrinfo(3) blocks its thread: resolve them elsewhere, in
 * a blocking task, and hand the addresses over.
 *
 * Common to all: `deadline` is a time of ftl_now(), FTL_FOREVER for none; FTL_ESYS comes with
 * *ret_errno (ret_errno may be NULL); FTL_ETIMEDOUT, FTL_ECANCELED, FTL_ENOMEM as everywhere; on
 * failure nothing is left open and *ret_fd is untouched. From tasks and foreign threads. */
#ifndef FETTLE_SOCKET_H
#define FETTLE_SOCKET_H

#include <stdbool.h>
#include <sys/socket.h>

#include <fettle/io.h>

struct addrinfo;

/* Connects a stream socket to an address (AF_INET, AF_INET6, AF_UNIX), on the driver of `runtime`.
 * FTL_ESYS with the reason of the other side, such as ECONNREFUSED. FTL_EAGAIN: a unix socket whose
 * backlog is full, for which the kernel has nothing to wait for: try again later. */
FTL_API int ftl_socket_connect(struct ftl_runtime *runtime, const struct sockaddr *address,
                               socklen_t size, int64_t deadline, struct ftl_fd **ret_fd,
                               int *ret_errno);

/* Tries the addresses of a list, as of getaddrinfo(3), in turn until one answers; the error is that
 * of the last. Each may take an equal share of what is left until the deadline, so that one that
 * never answers does not keep the others from being tried. FTL_EINVAL: there is none. */
FTL_API int ftl_socket_connect_any(struct ftl_runtime *runtime, const struct addrinfo *addresses,
                                   int64_t deadline, struct ftl_fd **ret_fd, int *ret_errno);

/* Listens on an address; with port 0 the kernel chooses one (getsockname(2) of ftl_fd_number()
 * tells). TCP addresses may be taken over at once from a listener that has gone (SO_REUSEADDR). The
 * file of a unix socket is the caller's to remove, before and after. `backlog` 0: as many as the
 * system allows. Does not wait. */
FTL_API int ftl_socket_listen(struct ftl_runtime *runtime, const struct sockaddr *address,
                              socklen_t size, int backlog, struct ftl_fd **ret_fd, int *ret_errno);

/* Waits for a connection, which is driven by the listener's runtime. One that was broken off while
 * it stood in line is passed over. FTL_ESYS with EMFILE, ENFILE, ENOBUFS or ENOMEM: the connection
 * stays in line; to keep a loop of accepts from spinning, this is told after a pause of 50 ms, or
 * at the deadline. FTL_ECLOSED: the listener was closed meanwhile. */
FTL_API int ftl_socket_accept(struct ftl_fd *listener, int64_t deadline, struct ftl_fd **ret_fd,
                              int *ret_errno);

/* Ends one direction; the other goes on. FTL_WRITE: the peer reads an end of file after what has
 * been written. FTL_READ: reads here see one. FTL_ESYS (ENOTCONN, ENOTSOCK). Does not wait. */
FTL_API int ftl_socket_shutdown(struct ftl_fd *fd, enum ftl_fd_direction direction,
                                int *ret_errno);

/* TCP: sends small writes at once (on), or holds them back until what was sent before is
 * acknowledged. FTL_ESYS (EOPNOTSUPP: not TCP). */
FTL_API int ftl_socket_set_nodelay(struct ftl_fd *fd, bool on, int *ret_errno);

/* TCP: a peer that has vanished is noticed, in each state of the connection, after
 * idle + interval × count seconds: it is asked after `idle` s of silence, then every `interval` s,
 * `count` times; what was sent is waited for as long. All above 0. FTL_ESYS. */
FTL_API int ftl_socket_set_keepalive(struct ftl_fd *fd, unsigned idle, unsigned interval,
                                     unsigned count, int *ret_errno);

#endif
