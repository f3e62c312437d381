/* SPDX-License-Identifier: MIT
 *
 * What the service manager is told (sd_notify(3)): readiness, status, reload, stop, more time, and
 * the watchdog's sign of life. Nothing is sent without NOTIFY_SOCKET, nor by a build without libsystemd.
 * Control runtime only. */
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
    /* Are there runs? Without any the jobs runtime sleeps, and is not woken to be probed. */
    bool (*is_busy)(void *arg);
    void *arg;
};

/* Starts the watchdog's task if the manager wants signs of life. */
int ftl__notify_open(const struct ftl__notify_options *options, struct ftl__notify **ret_notify);
void ftl__notify_close(struct ftl__notify *notify); /* NULL-safe */

/* Messages; they need no object. */
void ftl__notify_ready(void);
void ftl__notify_reloading(void); /* ready() ends it */
void ftl__notify_stopping(void);
void ftl__notify_alive(void); /* for who is not watched by the watchdog's task */
void ftl__notify_extend(void); /* by FTL__NOTIFY_EXTENSION from now */
void ftl__notify_status(const char *format, ...) FTL_PRINTF(1, 2);

#endif
