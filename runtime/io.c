/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Descriptors that are waited for. An edge that comes while nobody waits is remembered, so that the
 * next wait returns at once: between a failed read and the wait nothing can be missed, and what is
 * stale costs one more try. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "runtime/driver_fd.h"
#include "runtime/worker.h"

static int prepare(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
        return FTL_ESYS;
    flags = fcntl(fd, F_GETFD);
    if (flags < 0 || (!(flags & FD_CLOEXEC) && fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0))
        return FTL_ESYS;
    return 0;
}

int ftl_fd_open(struct ftl_runtime *runtime, int number, struct ftl_fd **ret_fd)
{
    if (prepare(number) != 0)
        return FTL_ESYS;
    struct ftl_fd *fd = calloc(1, sizeof *fd);
    if (!fd)
        return FTL_ENOMEM;
    fd->driver = &runtime->driver;
    fd->fd = number;
    fd->edge[FTL_READ] = fd->edge[FTL_WRITE] = true;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = fd};
    if (epoll_ctl(fd->driver->epoll, EPOLL_CTL_ADD, number, &event) != 0) {
        free(fd);
        return FTL_ESYS;
    }
    *ret_fd = fd;
    return 0;
}

/* With the lock held. */
static void grant(struct ftl_fd *fd, enum ftl_fd_direction direction, struct ftl__wakes *wakes)
{
    struct ftl__waiter *waiter = fd->waiting[direction];
    if (!waiter) {
        fd->edge[direction] = true;
        return;
    }
    fd->waiting[direction] = NULL;
    ftl__waiter_grant(waiter, wakes);
}

void ftl__fd_event(struct ftl_fd *fd, uint32_t events, struct ftl__wakes *wakes)
{
    bool both = (events & (EPOLLERR | EPOLLHUP)) != 0;
    ftl__lock_take(&fd->lock);
    if (both || (events & (EPOLLIN | EPOLLRDHUP | EPOLLPRI)))
        grant(fd, FTL_READ, wakes);
    if (both || (events & EPOLLOUT))
        grant(fd, FTL_WRITE, wakes);
    ftl__lock_drop(&fd->lock);
}

int ftl_fd_release(struct ftl_fd *fd)
{
    struct ftl__wakes wakes;
    struct ftl__driver *driver = fd->driver;
    int number = fd->fd;
    ftl__shadow_take(fd);
    ftl__wakes_init(&wakes);
    (void)epoll_ctl(driver->epoll, EPOLL_CTL_DEL, number, NULL); /* cannot fail for a registered
                                                                    one */
    ftl__lock_take(&fd->lock);
    fd->closed = true;
    grant(fd, FTL_READ, &wakes);
    grant(fd, FTL_WRITE, &wakes);
    ftl__lock_drop(&fd->lock);
    ftl__wakes_submit(&wakes);

    ftl__lock_take(&driver->lock);
    ftl__list_push_back(&driver->dead, &fd->dead);
    ftl__lock_drop(&driver->lock);
    return number;
}

void ftl_fd_close(struct ftl_fd *fd)
{
    if (fd)
        (void)close(ftl_fd_release(fd));
}

int ftl_fd_number(const struct ftl_fd *fd)
{
    return fd->fd;
}

/* 1: ready at once. 0: `waiter` stands there now. */
static int register_waiter(struct ftl_fd *fd, enum ftl_fd_direction direction,
                           struct ftl__waiter *waiter)
{
    int rc = 0;
    ftl__lock_take(&fd->lock);
    if (fd->closed) {
        rc = FTL_ECLOSED;
    } else if (fd->edge[direction]) {
        fd->edge[direction] = false;
        rc = 1;
    } else if (fd->waiting[direction]) {
        rc = FTL_EINVAL;
    } else {
        fd->waiting[direction] = waiter;
    }
    ftl__lock_drop(&fd->lock);
    return rc;
}

/* The wait has ended with `rc`. Whoever was granted an edge looks whether the descriptor has been
 * closed since: its number may be another's by now. */
static int leave(struct ftl_fd *fd, enum ftl_fd_direction direction, struct ftl__waiter *waiter,
                 int rc)
{
    ftl__lock_take(&fd->lock);
    if (fd->waiting[direction] == waiter)
        fd->waiting[direction] = NULL;
    else if (fd->closed)
        rc = FTL_ECLOSED;
    else if (rc == FTL_ECANCELED)
        fd->edge[direction] = true; /* for the next wait */
    else
        rc = 0;
    ftl__lock_drop(&fd->lock);
    return rc;
}

static int wait_edge(struct ftl_fd *fd, enum ftl_fd_direction direction, int64_t deadline)
{
    struct ftl__waiter waiter;
    ftl__waiter_init(&waiter, ftl__strand_current());
    int rc = register_waiter(fd, direction, &waiter);
    if (rc != 0)
        return rc == 1 ? 0 : rc;
    rc = ftl__waiter_wait(&waiter, deadline);
    return leave(fd, direction, &waiter, rc);
}

int ftl_fd_wait(struct ftl_fd *fd, enum ftl_fd_direction direction, int64_t deadline)
{
    struct ftl__strand *strand = ftl__strand_current();
    /* First: it may be closed while this one yields, and what was done to it is done. */
    ftl__shadow_pass(fd);
    atomic_fetch_add_explicit(&fd->users, 1, memory_order_relaxed);
    int rc = ftl__coop_only(strand);
    if (rc == 0)
        rc = wait_edge(fd, direction, deadline);
    /* release: nothing of ours touches fd after it */
    atomic_fetch_sub_explicit(&fd->users, 1, memory_order_release);
    return ftl__wait_result(strand, rc);
}

/* Before each system call: a descriptor that is always ready must not keep the worker. It may be
 * closed while this one yields. */
static int yield_if_due(struct ftl_fd *fd)
{
    struct ftl__strand *strand = ftl__strand_current();
    atomic_fetch_add_explicit(&fd->users, 1, memory_order_relaxed);
    int rc = ftl__coop_only(strand);
    ftl__lock_take(&fd->lock);
    if (rc == 0 && fd->closed)
        rc = FTL_ECLOSED;
    ftl__lock_drop(&fd->lock);
    /* release: nothing of ours touches fd after it */
    atomic_fetch_sub_explicit(&fd->users, 1, memory_order_release);
    return ftl__wait_result(strand, rc);
}

/* Looked up anew each time: compilers keep the address of errno across a wait, after which the task
 * may be on another thread. */
static __attribute__((noinline)) int last_error(void)
{
    return errno;
}

ssize_t ftl_fd_read(struct ftl_fd *fd, void *buf, size_t size, int64_t deadline, int *ret_errno)
{
    for (;;) {
        int rc = yield_if_due(fd);
        if (rc != 0)
            return rc;
        ssize_t n = read(fd->fd, buf, size);
        if (n >= 0)
            return n;
        int error = last_error();
        if (error == EINTR)
            continue;
        if (error != EAGAIN && error != EWOULDBLOCK) {
            if (ret_errno)
                *ret_errno = error;
            return FTL_ESYS;
        }
        rc = ftl_fd_wait(fd, FTL_READ, deadline);
        if (rc != 0)
            return rc;
    }
}

int ftl_fd_write_all(struct ftl_fd *fd, const void *buf, size_t size, int64_t deadline,
                     int *ret_errno)
{
    const char *from = buf;
    while (size > 0) {
        int rc = yield_if_due(fd);
        if (rc != 0)
            return rc;
        ssize_t n = write(fd->fd, from, size);
        if (n >= 0) {
            from += n;
            size -= (size_t)n;
            continue;
        }
        int error = last_error();
        if (error == EINTR)
            continue;
        if (error != EAGAIN && error != EWOULDBLOCK) {
            if (ret_errno)
                *ret_errno = error;
            return FTL_ESYS;
        }
        rc = ftl_fd_wait(fd, FTL_WRITE, deadline);
        if (rc != 0)
            return rc;
    }
    return 0;
}
