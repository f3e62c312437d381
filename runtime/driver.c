/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * One epoll set and one timer wheel per runtime. Whichever worker has nothing to do takes the
 * driver and sleeps in epoll; the others sleep on their futexes; busy workers look in every 61
 * tasks. Descriptors are registered edge-triggered, for reading at once, for writing when somebody
 * waits for room for the first time: most never fill, and whoever reads from the other end of a Unix
 * socket would wake us each time. An edge sets a bit and wakes the waiter of that direction.
 *
 * A closed ftl_fd may still be named in the event array of whoever is polling. So it is put on the
 * list `dead` and freed by the next poll, which by holding the driver knows that no such array is
 * in use. */
#include "runtime/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <fettle/time.h>

#include "runtime/driver_fd.h"
#include "runtime/sanitizer.h"
#include "runtime/worker.h"

enum { EVENTS = 128 };

int ftl__driver_init(struct ftl__driver *driver)
{
    *driver = (struct ftl__driver){.epoll = -1, .event = -1};
    ftl__list_init(&driver->dead);
    ftl__wheel_init(&driver->wheel, ftl_now());
    driver->epoll = epoll_create1(EPOLL_CLOEXEC);
    driver->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (driver->epoll < 0 || driver->event < 0 ||
        epoll_ctl(driver->epoll, EPOLL_CTL_ADD, driver->event, &event) != 0) {
        ftl__driver_destroy(driver);
        return FTL_ESYS;
    }
    return 0;
}

static void free_dead(struct ftl__driver *driver)
{
    struct ftl__list dead, *node;
    ftl__list_init(&dead);
    ftl__lock_take(&driver->lock);
    ftl__list_splice(&dead, &driver->dead);
    ftl__lock_drop(&driver->lock);
    while ((node = ftl__list_pop_front(&dead)) != NULL)
        free(ftl__container(node, struct ftl_fd, dead));
}

void ftl__driver_destroy(struct ftl__driver *driver)
{
    free_dead(driver);
    if (driver->epoll >= 0)
        close(driver->epoll);
    if (driver->event >= 0)
        close(driver->event);
    driver->epoll = driver->event = -1;
}

bool ftl__driver_try_take(struct ftl__driver *driver)
{
    /* A load first: under load most tries find it taken. */
    return !atomic_load_explicit(&driver->taken, memory_order_relaxed) &&
           !atomic_exchange_explicit(&driver->taken, true, memory_order_acquire);
}

void ftl__driver_give(struct ftl__driver *driver)
{
    atomic_store_explicit(&driver->taken, false, memory_order_release);
}

/* Milliseconds, rounded up, a day at most: for Linux before 5.11, for filters of system calls that
 * do not know the finer call, and for TSan, which takes this one, but not its finer kin, as what
 * orders the registration of a descriptor before its events. */
static int wait_coarsely(struct ftl__driver *driver, struct epoll_event *events,
                         const struct timespec *how_long)
{
    enum { DAY_S = 86400 };
    int ms = -1;
    if (how_long && how_long->tv_sec >= DAY_S)
        ms = DAY_S * 1000;
    else if (how_long)
        ms = (int)(how_long->tv_sec * 1000 + (how_long->tv_nsec + 999999) / 1000000);
    return epoll_wait(driver->epoll, events, EVENTS, ms);
}

static int wait_events(struct ftl__driver *driver, struct epoll_event *events, int64_t deadline)
{
    struct timespec timeout = {0, 0}, *how_long = &timeout;
    if (deadline == INT64_MAX) {
        how_long = NULL;
    } else if (deadline > 0) {
        int64_t left = deadline - ftl_now();
        if (left > 0) {
            timeout.tv_sec = left / FTL_S;
            timeout.tv_nsec = left % FTL_S;
        }
    }
#ifndef FTL__TSAN
    int n = epoll_pwait2(driver->epoll, events, EVENTS, how_long, NULL);
    if (n >= 0 || (errno != ENOSYS && errno != EPERM))
        return n; /* EINTR is as good as nothing */
#endif
    return wait_coarsely(driver, events, how_long);
}

void ftl__driver_poll(struct ftl__driver *driver, bool sleep, struct ftl__wakes *wakes)
{
    struct epoll_event events[EVENTS];
    free_dead(driver);
    int n = wait_events(driver, events, sleep ? ftl__wheel_sleep(&driver->wheel) : 0);
    ftl__wheel_advance(&driver->wheel, ftl_now(), wakes);
    for (int i = 0; i < n; i++) {
        struct ftl_fd *fd = events[i].data.ptr;
        if (fd) {
            ftl__fd_event(fd, events[i].events, wakes);
        } else {
            uint64_t count;
            (void)!read(driver->event, &count, sizeof count); /* empty again: EAGAIN is fine */
        }
    }
}

void ftl__driver_wake(struct ftl__driver *driver)
{
    uint64_t one = 1;
    (void)!write(driver->event, &one, sizeof one); /* full means that it is awake anyway */
}
