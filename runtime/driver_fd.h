/* SPDX-License-Identifier: MIT
 *
 * The inside of a registered descriptor, shared by the driver, io.c and socket.c. */
#ifndef FETTLE_RUNTIME_DRIVER_FD_H
#define FETTLE_RUNTIME_DRIVER_FD_H

#include <sys/types.h>

#include <fettle/task.h>

#include "runtime/driver.h"

struct ftl_fd {
    struct ftl_runtime *runtime; /* whose driver it is registered with */
    int fd;
    bool is_socket;
    _Atomic uint32_t state;         /* calls in progress, and how it was closed: io.c */
    struct ftl_defer moved;         /* of the task that it was moved into */
    struct ftl__lock lock;          /* guards what follows */
    bool edge[2];                   /* seen since the last wait of that direction */
    bool tells_room;                /* registered for FTL_WRITE, too */
    struct ftl__waiter *waiting[2]; /* one per direction */
    struct ftl__list dead;          /* but this: the driver's lock */
};

/* From the driver: epoll's `events` for it. */
void ftl__fd_event(struct ftl_fd *fd, uint32_t events, struct ftl__wakes *wakes);

/* Around every call that uses the descriptor: until the last one has left, its number is not given
 * out again, nor its memory. FTL_ECLOSED: too late. */
int ftl__fd_enter(struct ftl_fd *fd);
void ftl__fd_leave(struct ftl_fd *fd);

/* Entered: waits for an edge / repeats `attempt`, which is as a system call, until it does not say
 * EAGAIN. What they return goes through ftl__wait_result() after ftl__fd_leave(). */
int ftl__fd_wait(struct ftl_fd *fd, enum ftl_fd_direction direction, int64_t deadline);
ssize_t ftl__fd_attempt(struct ftl_fd *fd, enum ftl_fd_direction direction, int64_t deadline,
                        ssize_t (*attempt)(const struct ftl_fd *fd, void *arg), void *arg,
                        int *ret_errno);

#endif
