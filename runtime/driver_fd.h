/* SPDX-License-Identifier: MIT
 *
 * The inside of a registered descriptor, shared by the driver and io.c. */
#ifndef FETTLE_RUNTIME_DRIVER_FD_H
#define FETTLE_RUNTIME_DRIVER_FD_H

#include "runtime/driver.h"

struct ftl_fd {
    struct ftl__driver *driver;
    int fd;
    _Atomic uint32_t users; /* waits in progress: it is not freed under them */
    struct ftl__lock lock;          /* guards all below */
    bool edge[2];                   /* seen since the last wait of that direction */
    bool closed;
    struct ftl__waiter *waiting[2]; /* one per direction */
    struct ftl__list dead;          /* the driver's lock */
};

/* From the driver: epoll's `events` for it. */
void ftl__fd_event(struct ftl_fd *fd, uint32_t events, struct ftl__wakes *wakes);

#endif
