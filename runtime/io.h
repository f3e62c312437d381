/* SPDX-License-Identifier: MIT
 *
 * Non-blocking file descriptors on a runtime's driver (epoll, edge-triggered, registered once):
 * pipes, sockets (socket.h makes them), eventfds, whatever epoll takes. Reading and writing suspend
 * the task, or block the foreign thread, until there is something or the deadline has passed.
 *
 * One reader and one writer at a time; they may be different tasks, also of different runtimes, and
 * foreign threads. A deadline is a time of ftl_now(), FTL_FOREVER for none; one that has passed
 * does not keep a call from doing what it can do without waiting. */
#ifndef FETTLE_IO_H
#define FETTLE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <fettle/error.h>
#include <fettle/export.h>
#include <fettle/task.h>
#include <fettle/time.h>

struct ftl_fd;

enum ftl_fd_direction { FTL_READ = 0, FTL_WRITE = 1 };

/* Registers `fd`, which must be pollable, with the driver of `runtime`, and makes it non-blocking
 * and close-on-exec. The ftl_fd owns `fd` from then on. FTL_ENOMEM, FTL_ESYS (errno tells; EPERM: a
 * regular file or the like): `fd` is still the caller's, *ret_fd is untouched. Any thread. */
FTL_API int ftl_fd_open(struct ftl_runtime *runtime, int fd, struct ftl_fd **ret_fd);

/* Opens a pipe. Errors as of ftl_fd_open(): nothing is left open. */
FTL_API int ftl_pipe(struct ftl_runtime *runtime, struct ftl_fd **ret_read,
                     struct ftl_fd **ret_write);

/* Unregisters and closes it. Calls in progress end with FTL_ECLOSED, and the number is closed when
 * the last of them has left, so that it cannot become another's under them. No call may begin after
 * it. Never waits. NULL-safe. Any thread, except where it was moved into a task: then that task. */
FTL_API void ftl_fd_close(struct ftl_fd *fd);

/* Unregisters it and returns the descriptor, which is the caller's again. Waits in progress end
 * with FTL_ECLOSED; no call that is not waiting may be in progress, or begin after it. */
FTL_API int ftl_fd_release(struct ftl_fd *fd);

/* The descriptor itself, which stays ours: for getsockopt(2) and the like. Any thread. */
FTL_API int ftl_fd_number(const struct ftl_fd *fd);

/* ---- ownership -------------------------------------------------------------------------- */

/* FTL_FD(name); declares a variable `struct ftl_fd *name`, NULL at first. What it points to when
 * the block is left, by return, panic or abort, is closed:
 *
 *     FTL_FD(peer);
 *     int rc = ftl_socket_accept(listener, FTL_FOREVER, &peer, NULL);
 */
#define FTL_FD(name)                                                                               \
    struct ftl_fd *name = NULL;                                                                    \
    FTL_DEFER(ftl_fd_close_at, &name)

/* Closes what the variable points to (`variable` is a struct ftl_fd **), and makes it NULL: how one
 * of FTL_FD() is closed before its time. */
FTL_API void ftl_fd_close_at(void *variable);

/* Takes the descriptor out of *variable, which becomes NULL, and puts it on the list *held, to be
 * handed to ftl_spawn_options.held: it is closed when that task ends, if not before by the task
 * itself. The task must be told of it by its argument. *variable NULL: no-op. Until a spawn has
 * succeeded the list is the caller's, and *held must stay where it is: ftl_fd_close() takes it off
 * again. */
FTL_API void ftl_fd_move(struct ftl_fd **variable, struct ftl_defer **held);

/* ---- waiting, reading, writing ---------------------------------------------------------- */

/* Waits until `fd` may be ready: an edge came since the last wait of this direction returned. The
 * first call returns at once, and so does one after a stale edge: try the operation until it says
 * EAGAIN, then wait. FTL_ETIMEDOUT, FTL_ECANCELED, FTL_ECLOSED; FTL_EINVAL: somebody waits in this
 * direction already. */
FTL_API int ftl_fd_wait(struct ftl_fd *fd, enum ftl_fd_direction direction, int64_t deadline);

/* As read(2), waiting until there is something. Returns the bytes read (0 = end of file, or `size`
 * is 0), or a negative code: those of ftl_fd_wait(), or FTL_ESYS with *ret_errno set (may be
 * NULL). */
FTL_API ssize_t ftl_fd_read(struct ftl_fd *fd, void *buf, size_t size, int64_t deadline,
                            int *ret_errno);

/* Writes everything, waiting for room, or fails: then an unknown part of it has been written.
 * Errors as of ftl_fd_read(). Where nobody will ever read it, EPIPE: without a SIGPIPE on sockets,
 * and on workers, where that signal is blocked; a foreign thread that writes to a pipe gets it, if
 * the program has not ignored it. */
FTL_API int ftl_fd_write_all(struct ftl_fd *fd, const void *buf, size_t size, int64_t deadline,
                             int *ret_errno);

#endif
