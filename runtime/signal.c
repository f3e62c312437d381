/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A handler of our own rather than signalfd(2): of several signalfds only one reads a signal, and
 * only if every thread of the process blocks it, which a library cannot ask for.
 *
 * The handler runs on whichever thread the kernel takes (no worker: they block signals), goes
 * through the list of all listeners, marks the signal in each that wants it, and writes to its
 * eventfd, which is an ordinary descriptor of its runtime's driver. So what coalesces, and what is
 * remembered until somebody waits, is the mark.
 *
 * The list and the dispositions are the process's, as dispositions are. They change under a lock
 * that the handler does not take; it counts itself while it is in the list instead, and who takes a
 * listener out of it waits until nobody is. In a forked child (whose runtimes are dead) the marks
 * are the child's own; the parent, which shares the eventfd, looks and finds none. */
#include <fettle/signal.h>

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <fettle/io.h>

#include "runtime/driver_fd.h"
#include "runtime/sample.h"

enum { SIGNALS = 64 };

struct ftl_signal {
    _Atomic(struct ftl_signal *) next;
    uint64_t wanted;         /* bit n - 1: signal n */
    _Atomic uint64_t marked; /* came, and was not taken */
    struct ftl_fd *fd;       /* an eventfd: something was marked; entered until the last unref() */
    int number;              /* of it */
    _Atomic uint32_t users;  /* the listener itself, and a wait in progress */
};

/* Of the process. The handler reads `first`, `next` and `inside`, all seq_cst: to unlink and look
 * who is inside, and to go inside and look what is linked, is Dekker's pair. */
static _Atomic(struct ftl_signal *) first;
static _Atomic uint32_t inside;

static struct ftl__lock lock; /* guards the two below, and changes of the list */
static uint32_t listeners[SIGNALS];
static struct sigaction before[SIGNALS];

static uint64_t bit(int number)
{
    return UINT64_C(1) << (number - 1);
}

/* ---- the handler ---- */

static void handle(int number)
{
    const uint64_t one = 1;
    int error = errno;
    atomic_fetch_add(&inside, 1);
    for (struct ftl_signal *listener = atomic_load(&first); listener;
         listener = atomic_load(&listener->next)) {
        if (!(listener->wanted & bit(number)))
            continue;
        /* release: pairs with the acquire in take() */
        atomic_fetch_or_explicit(&listener->marked, bit(number), memory_order_release);
        (void)!write(listener->number, &one, sizeof one); /* full is as good as written */
    }
    atomic_fetch_sub(&inside, 1);
    errno = error;
}

/* ---- the list and the dispositions; with the lock held ---- */

static int install(int number)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigfillset(&action.sa_mask);
    if (listeners[number - 1] == 0 && sigaction(number, &action, &before[number - 1]) != 0)
        return FTL_ESYS;
    listeners[number - 1]++;
    return 0;
}

/* What somebody else has installed meanwhile stays. */
static void uninstall(int number)
{
    struct sigaction now;
    if (--listeners[number - 1] > 0)
        return;
    if (sigaction(number, NULL, &now) == 0 && now.sa_handler == handle)
        (void)sigaction(number, &before[number - 1], NULL);
}

static void uninstall_all(uint64_t set)
{
    for (; set; set &= set - 1)
        uninstall(__builtin_ctzll(set) + 1);
}

static int install_all(uint64_t set)
{
    for (uint64_t left = set; left; left &= left - 1) {
        int rc = install(__builtin_ctzll(left) + 1);
        if (rc != 0) {
            int error = errno;
            uninstall_all(set & ((left & -left) - 1)); /* those before it */
            errno = error;
            return rc;
        }
    }
    return 0;
}

static void link_listener(struct ftl_signal *listener)
{
    atomic_store(&listener->next, atomic_load(&first));
    atomic_store(&first, listener);
}

static void unlink_listener(struct ftl_signal *listener)
{
    _Atomic(struct ftl_signal *) *at = &first;
    while (atomic_load(at) != listener)
        at = &atomic_load(at)->next;
    atomic_store(at, atomic_load(&listener->next));
    while (atomic_load(&inside) > 0)
        sched_yield();
}

/* ---- open and close ---- */

/* 0: there is one that cannot be waited for. */
static uint64_t to_bits(const sigset_t *signals)
{
    static const int forbidden[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE,
                                    SIGILL,  SIGTRAP, SIGSYS,  SIGABRT};
    uint64_t set = 0;
    for (int number = 1; number <= SIGNALS; number++)
        if (sigismember(signals, number) == 1)
            set |= bit(number);
    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++)
        if (set & bit(forbidden[i]))
            return 0;
    return set & bit(ftl__sample_signal()) ? 0 : set;
}

static void unref(struct ftl_signal *listener)
{
    /* acq_rel: what the others did comes before the end; pairs with itself */
    if (atomic_fetch_sub_explicit(&listener->users, 1, memory_order_acq_rel) != 1)
        return;
    ftl__fd_leave(listener->fd);
    free(listener);
}

static int open_event(struct ftl_runtime *runtime, struct ftl_signal *listener)
{
    listener->number = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (listener->number < 0)
        return FTL_ESYS;
    int rc = ftl_fd_open(runtime, listener->number, &listener->fd);
    if (rc != 0) {
        int error = errno;
        close(listener->number);
        errno = error;
        return rc;
    }
    return ftl__fd_enter(listener->fd);
}

int ftl_signal_open(struct ftl_runtime *runtime, const sigset_t *signals,
                    struct ftl_signal **ret_listener)
{
    uint64_t set = to_bits(signals);
    if (set == 0)
        return FTL_EINVAL;
    struct ftl_signal *listener = calloc(1, sizeof *listener);
    if (!listener)
        return FTL_ENOMEM;
    listener->wanted = set;
    atomic_init(&listener->users, 1);
    int rc = open_event(runtime, listener);
    if (rc != 0) {
        free(listener);
        return rc;
    }
    ftl__lock_take(&lock);
    rc = install_all(set);
    if (rc == 0)
        link_listener(listener);
    ftl__lock_drop(&lock);
    if (rc != 0) {
        int error = errno;
        ftl_fd_close(listener->fd);
        unref(listener);
        errno = error;
        return rc;
    }
    *ret_listener = listener;
    return 0;
}

void ftl_signal_close(struct ftl_signal *listener)
{
    if (!listener)
        return;
    ftl__lock_take(&lock);
    unlink_listener(listener);
    uninstall_all(listener->wanted);
    ftl__lock_drop(&lock);
    ftl_fd_close(listener->fd);
    unref(listener);
}

/* ---- waiting ---- */

/* Takes one of those that are marked; 0: none is. */
static int take(struct ftl_signal *listener)
{
    /* acquire: pairs with the release in handle() */
    uint64_t marked = atomic_load_explicit(&listener->marked, memory_order_acquire);
    while (marked != 0) {
        if (atomic_compare_exchange_weak_explicit(&listener->marked, &marked, marked & (marked - 1),
                                                  memory_order_acquire, memory_order_acquire))
            return __builtin_ctzll(marked) + 1;
    }
    return 0;
}

static ssize_t attempt_read(const struct ftl_fd *fd, void *arg)
{
    uint64_t count;
    (void)arg;
    return read(fd->fd, &count, sizeof count);
}

static int wait_marked(struct ftl_signal *listener, int64_t deadline, int *ret_signal)
{
    ssize_t n = ftl__fd_enter(listener->fd);
    if (n != 0)
        return (int)n;
    int number = 0;
    while (n >= 0 && (number = take(listener)) == 0)
        n = ftl__fd_attempt(listener->fd, FTL_READ, deadline, attempt_read, NULL, NULL);
    ftl__fd_leave(listener->fd);
    if (number == 0)
        return (int)n;
    *ret_signal = number;
    return 0;
}

int ftl_signal_wait(struct ftl_signal *listener, int64_t deadline, int *ret_signal)
{
    struct ftl__strand *strand = ftl__strand_current();
    /* relaxed: the caller's right to call is a reference */
    atomic_fetch_add_explicit(&listener->users, 1, memory_order_relaxed);
    int rc = wait_marked(listener, deadline, ret_signal);
    unref(listener);
    return ftl__wait_result(strand, rc);
}
