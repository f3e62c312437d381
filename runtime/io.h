/* SPDX-License-Identifier: MIT
 *
 * Non-blocking file descriptors on a runtime's driver (epoll, edge-triggered, registered once). */
#ifndef FETTLE_IO_H
#define FETTLE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <fettle/error.h>
#include <fettle/export.h>
#include <fettle/time.h>

struct ftl_runtime;
struct ftl_fd;

enum ftl_fd_direction { FTL_READ = 0, FTL_WRITE = 1 };

/* Registers `fd`, which must be pollable, with the driver of `runtime`, and makes it non-blocking
 * and close-on-exec. The ftl_fd owns `fd` from then on. FTL_ENOMEM, FTL_ESYS: `fd` is still the
 * caller's. */
FTL_API int ftl_fd_open(struct ftl_runtime *runtime, int fd, struct ftl_fd **ret_fd);

/* Unregisters and closes it. Waiters return FTL_ECLOSED; no new wait may begin. NULL-safe. */
FTL_API void ftl_fd_close(struct ftl_fd *fd);

/* Unregisters it and returns the descriptor, which is the caller's again. Same rules. */
FTL_API int ftl_fd_release(struct ftl_fd *fd);
FTL_API int ftl_fd_number(const struct ftl_fd *fd);

/* Waits until `fd` may be ready: an edge came since the last wait of this direction returned. The
 * first call returns at once, and so does one after a stale edge: try the operation until it says
 * EAGAIN, then wait. One waiter per direction. FTL_ETIMEDOUT, FTL_ECANCELED, FTL_ECLOSED. */
FTL_API int ftl_fd_wait(struct ftl_fd *fd, enum ftl_fd_direction direction, int64_t deadline);

/* read(2)/write(2) that wait. Return ≥ 0 bytes (0 = end of file), or a negative code; FTL_ESYS with
 * *ret_errno set (may be NULL). write_all writes everything or fails. */
FTL_API ssize_t ftl_fd_read(struct ftl_fd *fd, void *buf, size_t size, int64_t deadline,
                            int *ret_errno);
FTL_API int ftl_fd_write_all(struct ftl_fd *fd, const void *buf, size_t size, int64_t deadline,
                             int *ret_errno);

#endif
