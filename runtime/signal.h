/* SPDX-License-Identifier: MIT
 *
 * Signals as events: a listener is a set of signals that a task, or a foreign thread, waits for.
 *
 * Any number of listeners may hear the same signal, in any runtimes; each gets it. As signals do,
 * several of one number that come before they are looked at may be one. While at least one listener
 * of a signal is open, the process handles it (SA_RESTART) instead of what it did before, for which
 * the last one to close puts it back.
 *
 * Workers block all asynchronous signals: at least one other thread must not block those that are
 * listened to, or nobody ever hears of them. */
#ifndef FETTLE_SIGNAL_H
#define FETTLE_SIGNAL_H

#include <signal.h>

#include <fettle/export.h>
#include <fettle/task.h>

struct ftl_signal;

/* Opens a listener on the driver of `runtime`. It misses nothing that comes after this has
 * returned. FTL_EINVAL: the set is empty, or has a signal that cannot be waited for (KILL, STOP,
 * those that a fault raises: SEGV, BUS, FPE, ILL, TRAP, SYS, ABRT, and URG, by which the runtime asks
 * a stuck worker where it is). FTL_ENOMEM, FTL_ESYS (errno
 * tells): *ret_listener is untouched, and the signals do what they did before. Any thread. */
FTL_API int ftl_signal_open(struct ftl_runtime *runtime, const sigset_t *signals,
                            struct ftl_signal **ret_listener);

/* Waits for one of its signals and takes it; of several the one with the lowest number. One waiter
 * at a time. FTL_ETIMEDOUT, FTL_ECANCELED: none was taken. FTL_ECLOSED: closed meanwhile.
 * *ret_signal is untouched then. */
FTL_API int ftl_signal_wait(struct ftl_signal *listener, int64_t deadline, int *ret_signal);

/* A wait in progress ends with FTL_ECLOSED; none may begin after it. NULL-safe. Any thread, but not
 * a signal handler. */
FTL_API void ftl_signal_close(struct ftl_signal *listener);

#endif
