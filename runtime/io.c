/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Descriptors that are waited for. An edge that comes while nobody waits is remembered, so that the
 * next wait returns at once: between a failed read and the wait nothing can be missed, and what is
 * stale costs one more try.
 *
 * A descriptor may be closed while others use it: the calls in progress are counted, those that
 * wait are woken, and the last to leave closes the number, which therefore cannot become a
 * stranger's under a call. The memory goes to the driver's list `dead` then (driver.c). */
#include <fettle/io.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/driver_fd.h"
#include "runtime/worker.h"

/* ftl_fd.state: no new calls / and the number stays open / one call in progress. */
enum { CLOSED = 1, KEPT = 2, CALL = 4 };

/* ---- open and close ---- */

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

static bool is_socket(int fd)
{
    int type;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

int ftl_fd_open(struct ftl_runtime *runtime, int number, struct ftl_fd **ret_fd)
{
    if (prepare(number) != 0)
        return FTL_ESYS;
    struct ftl_fd *fd = calloc(1, sizeof *fd);
    if (!fd)
        return FTL_ENOMEM;
    fd->runtime = runtime;
    fd->fd = number;
    fd->is_socket = is_socket(number);
    fd->edge[FTL_READ] = fd->edge[FTL_WRITE] = true;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = fd};
    if (epoll_ctl(runtime->driver.epoll, EPOLL_CTL_ADD, number, &event) != 0) {
        free(fd);
        return FTL_ESYS;
    }
    *ret_fd = fd;
    return 0;
}

int ftl_pipe(struct ftl_runtime *runtime, struct ftl_fd **ret_read, struct ftl_fd **ret_write)
{
    struct ftl_fd *fds[2];
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return FTL_ESYS;
    int rc = ftl_fd_open(runtime, ends[0], &fds[0]);
    if (rc != 0) {
        close(ends[0]);
        close(ends[1]);
        return rc;
    }
    rc = ftl_fd_open(runtime, ends[1], &fds[1]);
    if (rc != 0) {
        ftl_fd_close(fds[0]);
        close(ends[1]);
        return rc;
    }
    *ret_read = fds[0];
    *ret_write = fds[1];
    return 0;
}

int ftl__fd_enter(struct ftl_fd *fd)
{
    /* acq_rel: pairs with itself and end(), so that who closes it comes after what was done to it
     * before the calls that it ends */
    if (!(atomic_fetch_add_explicit(&fd->state, CALL, memory_order_acq_rel) & CLOSED))
        return 0;
    ftl__fd_leave(fd);
    return FTL_ECLOSED;
}

void ftl__fd_leave(struct ftl_fd *fd)
{
    /* acq_rel: what the calls did comes before the close; pairs with itself */
    uint32_t state = atomic_fetch_sub_explicit(&fd->state, CALL, memory_order_acq_rel) - CALL;
    if (!(state & CLOSED) || state >= CALL)
        return;
    struct ftl__driver *driver = &fd->runtime->driver;
    if (!(state & KEPT))
        close(fd->fd);
    ftl__lock_take(&driver->lock);
    ftl__list_push_back(&driver->dead, &fd->dead);
    ftl__lock_drop(&driver->lock);
}

static bool is_closed(const struct ftl_fd *fd)
{
    /* relaxed: a call that misses it is one that began earlier; what waits looks under the lock */
    return (atomic_load_explicit(&fd->state, memory_order_relaxed) & CLOSED) != 0;
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

static int end(struct ftl_fd *fd, uint32_t how)
{
    struct ftl__wakes wakes;
    int number = fd->fd;
    ftl_defer_disarm(&fd->moved);
    /* It counts as a call itself until all is done. acq_rel: pairs with ftl__fd_enter() */
    uint32_t old = atomic_fetch_add_explicit(&fd->state, how + CALL, memory_order_acq_rel);
    ftl_assert(!(old & CLOSED));
    /* Cannot fail for a registered one. */
    (void)epoll_ctl(fd->runtime->driver.epoll, EPOLL_CTL_DEL, number, NULL);
    ftl__wakes_init(&wakes);
    ftl__lock_take(&fd->lock);
    grant(fd, FTL_READ, &wakes);
    grant(fd, FTL_WRITE, &wakes);
    ftl__lock_drop(&fd->lock);
    ftl__wakes_submit(&wakes);
    ftl__fd_leave(fd);
    return number;
}

int ftl_fd_release(struct ftl_fd *fd)
{
    return end(fd, CLOSED | KEPT);
}

void ftl_fd_close(struct ftl_fd *fd)
{
    if (fd)
        (void)end(fd, CLOSED);
}

void ftl_fd_close_at(void *variable)
{
    struct ftl_fd **at = variable, *fd = *at;
    *at = NULL;
    ftl_fd_close(fd);
}

static void close_moved(void *fd)
{
    ftl_fd_close(fd);
}

void ftl_fd_move(struct ftl_fd **variable, struct ftl_defer **held)
{
    struct ftl_fd *fd = *variable;
    *variable = NULL;
    if (!fd)
        return;
    ftl_defer_disarm(&fd->moved);
    ftl__defer_push(held, &fd->moved, close_moved, fd);
}

int ftl_fd_number(const struct ftl_fd *fd)
{
    return fd->fd;
}

/* ---- waiting ---- */

/* Looked up anew each time: compilers keep the address of errno across a wait, after which the task
 * may be on another thread. */
static __attribute__((noinline)) int last_error(void)
{
    return errno;
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

/* From now on epoll tells of room, and at once if there is some. With the lock held: while it is, the
 * descriptor's number is not given back (end()), though it may be unregistered already. False: the
 * number is not ours, somebody else has closed it. */
static bool ask_for_room(struct ftl_fd *fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = fd};
    int rc = epoll_ctl(fd->runtime->driver.epoll, EPOLL_CTL_MOD, fd->fd, &event);
    fd->tells_room = true;
    return rc == 0 || last_error() == ENOENT;
}

/* 1: ready at once. 0: `waiter` stands there now. */
static int register_waiter(struct ftl_fd *fd, enum ftl_fd_direction direction,
                           struct ftl__waiter *waiter)
{
    int rc = 0;
    bool ours = true;
    ftl__lock_take(&fd->lock);
    if (is_closed(fd)) {
        rc = FTL_ECLOSED;
    } else if (fd->edge[direction]) {
        fd->edge[direction] = false;
        rc = 1;
    } else if (fd->waiting[direction]) {
        rc = FTL_EINVAL;
    } else {
        ours = direction == FTL_READ || fd->tells_room || ask_for_room(fd);
        if (ours)
            fd->waiting[direction] = waiter;
    }
    ftl__lock_drop(&fd->lock);
    ftl_assert(ours);
    return rc;
}

/* The wait has ended with `rc`. */
static int unregister(struct ftl_fd *fd, enum ftl_fd_direction direction,
                      struct ftl__waiter *waiter, int rc)
{
    ftl__lock_take(&fd->lock);
    if (fd->waiting[direction] == waiter)
        fd->waiting[direction] = NULL;
    else if (is_closed(fd))
        rc = FTL_ECLOSED;
    else if (rc == FTL_ECANCELED)
        fd->edge[direction] = true; /* for the next wait */
    else
        rc = 0;
    ftl__lock_drop(&fd->lock);
    return rc;
}

int ftl__fd_wait(struct ftl_fd *fd, enum ftl_fd_direction direction, int64_t deadline)
{
    struct ftl__waiter waiter;
    ftl__waiter_init(&waiter, ftl__strand_current());
    int rc = register_waiter(fd, direction, &waiter);
    if (rc != 0)
        return rc == 1 ? 0 : rc;
    rc = ftl__waiter_wait(&waiter, deadline);
    return unregister(fd, direction, &waiter, rc);
}

int ftl_fd_wait(struct ftl_fd *fd, enum ftl_fd_direction direction, int64_t deadline)
{
    struct ftl__strand *strand = ftl__strand_current();
    int rc = ftl__fd_enter(fd); /* first: it may be closed while this one yields */
    if (rc != 0)
        return rc;
    rc = ftl__coop_only(strand);
    if (rc == 0)
        rc = ftl__fd_wait(fd, direction, deadline);
    ftl__fd_leave(fd);
    return ftl__wait_result(strand, rc);
}

/* ---- reading and writing ---- */

ssize_t ftl__fd_attempt(struct ftl_fd *fd, enum ftl_fd_direction direction, int64_t deadline,
                        ssize_t (*attempt)(const struct ftl_fd *fd, void *arg), void *arg,
                        int *ret_errno)
{
    int rc = ftl__coop_only(ftl__strand_current());
    while (rc == 0) {
        if (is_closed(fd))
            return FTL_ECLOSED;
        ssize_t n = attempt(fd, arg);
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
        rc = ftl__fd_wait(fd, direction, deadline);
    }
    return rc;
}

struct span {
    char *data;
    size_t size;
};

static ssize_t attempt_read(const struct ftl_fd *fd, void *arg)
{
    struct span *to = arg;
    return read(fd->fd, to->data, to->size);
}

/* A peer that has gone is an error, not a signal. */
static ssize_t attempt_write(const struct ftl_fd *fd, void *arg)
{
    struct span *from = arg;
    return fd->is_socket ? send(fd->fd, from->data, from->size, MSG_NOSIGNAL)
                         : write(fd->fd, from->data, from->size);
}

ssize_t ftl_fd_read(struct ftl_fd *fd, void *buf, size_t size, int64_t deadline, int *ret_errno)
{
    struct ftl__strand *strand = ftl__strand_current();
    struct span to = {buf, size};
    int rc = ftl__fd_enter(fd);
    if (rc != 0)
        return rc;
    ssize_t n = ftl__fd_attempt(fd, FTL_READ, deadline, attempt_read, &to, ret_errno);
    ftl__fd_leave(fd);
    return n < 0 ? ftl__wait_result(strand, (int)n) : n;
}

int ftl_fd_write_all(struct ftl_fd *fd, const void *buf, size_t size, int64_t deadline,
                     int *ret_errno)
{
    struct ftl__strand *strand = ftl__strand_current();
    struct span from = {(char *)(uintptr_t)buf, size}; /* only read from */
    int rc = ftl__fd_enter(fd);
    if (rc != 0)
        return rc;
    while (from.size > 0 && rc == 0) {
        ssize_t n = ftl__fd_attempt(fd, FTL_WRITE, deadline, attempt_write, &from, ret_errno);
        if (n < 0)
            rc = (int)n;
        else
            from = (struct span){from.data + n, from.size - (size_t)n};
    }
    ftl__fd_leave(fd);
    return ftl__wait_result(strand, rc);
}
