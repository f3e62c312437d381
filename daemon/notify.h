/* SPDX-License-Identifier: MIT
 *
 * What the service manager is told (sd_notify(3)): readiness, status, reload, stop, more time, and
 * the watchdog's sign of life. Without NOTIFY_SOCKET nothing is sent. Control runtime only. */
#ifndef FETTLE_DAEMON_NOTIFY_H
#define FETTLE_DAEMON_NOTIFY_H

#include <fettle/export.h>
#include <fettle/runtime.h>

struct ftl__notify;

/* How long the service manager waits beyond an extension; extend more often than that. */
#define FTL__NOTIFY_EXTENSION (15 * INT64_C(1000000000)) /* ns */

struct ftl__notify_options {
    struct ftl_runtime *control, *jobs; /* outlive the notify */
    /* Is everything that must make progress doing so? Asked before each sign of life; must not
     * wait. */
    bool (*is_alive)(void *arg);
    void *arg;
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and takes them out of the environment. */
int ftl__notify_open(const struct ftl__notify_options *options, struct ftl__notify **ret_notify);
void ftl__notify_close(struct ftl__notify *notify); /* NULL-safe */

void ftl__notify_ready(struct ftl__notify *notify);
void ftl__notify_reloading(struct ftl__notify *notify); /* ready() ends it */
void ftl__notify_stopping(struct ftl__notify *notify);
void ftl__notify_extend(struct ftl__notify *notify); /* by FTL__NOTIFY_EXTENSION from now */
void ftl__notify_status(struct ftl__notify *notify, const char *format, ...) FTL_PRINTF(2, 3);

#endif
