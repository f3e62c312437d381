/* SPDX-License-Identifier: MIT
 *
 * DESIGN. sd_notify(3) of libsystemd; a build without it tells nothing to anybody. A message that
 * cannot be delivered is dropped: the service manager has its own timeouts for that.
 *
 * The watchdog's task runs on control at half the interval the manager asked for. It gives a sign
 * of life if it runs at all (control turns), if a probe task has come back from the jobs runtime
 * (some worker takes work) while there are runs, and if the caller says so (the lease makes progress). Redis is no part
 * of it. */
#include "daemon/notify.h"

#include <config.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include <fettle/time.h>

#include "daemon/part.h"

#define MESSAGE_MAX 1024

struct ftl__notify {
    struct ftl__notify_options options;
    int64_t watchdog; /* ns between signs of life; 0 = none wanted */
    struct ftl_task *task, *probe;
};

/* ---- libsystemd ------------------------------------------------------------------------------ */

#ifdef HAVE_SYSTEMD

static void post(const char *message)
{
    (void)sd_notify(0, message); /* see DESIGN */
}

/* Half of what the manager allows, if it means this process. */
static int64_t watchdog_interval(void)
{
    uint64_t usec = 0;

    return sd_watchdog_enabled(0, &usec) > 0 && usec <= INT64_MAX / 1000 ? (int64_t)usec * 500 : 0;
}

#else

static void post(const char *message)
{
    (void)message;
}

static int64_t watchdog_interval(void)
{
    return 0;
}

#endif

/* ---- messages -------------------------------------------------------------------------------- */

void ftl__notify_ready(void)
{
    post("READY=1");
}

void ftl__notify_reloading(void)
{
    char message[128];

    snprintf(message, sizeof message, "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=Reloading",
             (long long)(ftl_now() / 1000));
    post(message);
}

void ftl__notify_stopping(void)
{
    post("STOPPING=1\nSTATUS=Stopping");
}

void ftl__notify_alive(void)
{
    post("WATCHDOG=1");
}

void ftl__notify_extend(void)
{
    char message[64];

    snprintf(message, sizeof message, "EXTEND_TIMEOUT_USEC=%lld",
             (long long)(FTL__NOTIFY_EXTENSION / 1000));
    post(message);
}

void ftl__notify_status(const char *format, ...)
{
    char message[MESSAGE_MAX] = "STATUS=";
    va_list args;

    va_start(args, format);
    vsnprintf(message + 7, sizeof message - 7, format, args);
    va_end(args);
    for (char *c = message; *c != '\0'; c++)
        if (*c == '\n')
            *c = ' ';
    post(message);
}

/* ---- the watchdog ---------------------------------------------------------------------------- */

static void *probe_main(void *arg)
{
    return arg;
}

/* Has a task come back from the jobs runtime by `deadline`? One that has not is looked at again. */
static bool probe(struct ftl__notify *notify, int64_t deadline)
{
    const struct ftl_spawn_options spawn = {.name = "probe", .migratable = true};
    struct ftl_outcome outcome;

    if (notify->probe == NULL &&
        ftl_spawn(notify->options.jobs, probe_main, NULL, &spawn, &notify->probe) != 0) {
        notify->probe = NULL;
        return false;
    }
    if (ftl_task_join(notify->probe, deadline, &outcome) != 0)
        return false;
    notify->probe = NULL;
    ftl_outcome_clear(&outcome);
    return true;
}

static bool jobs_run(struct ftl__notify *notify)
{
    if (notify->probe == NULL && !notify->options.is_busy(notify->options.arg))
        return true;
    return probe(notify, ftl_deadline(notify->watchdog));
}

static void *watchdog_main(void *arg)
{
    struct ftl__notify *notify = arg;
    struct ftl_interval interval;

    ftl_interval_init(&interval, ftl_now(), notify->watchdog);
    interval.missed = FTL_MISSED_DELAY;
    while (ftl_interval_tick(&interval) == 0)
        if (jobs_run(notify) && notify->options.is_alive(notify->options.arg))
            ftl__notify_alive();
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

int ftl__notify_open(const struct ftl__notify_options *options, struct ftl__notify **ret_notify)
{
    struct ftl__notify *notify = calloc(1, sizeof *notify);
    int code = 0;

    if (notify == NULL)
        return FTL_ENOMEM;
    notify->options = *options;
    notify->watchdog = watchdog_interval();
    if (notify->watchdog > 0)
        code = ftl__part_start(options->control, watchdog_main, notify, "watchdog", &notify->task);
    if (code == 0)
        *ret_notify = notify;
    else
        ftl__notify_close(notify);
    return code;
}

void ftl__notify_close(struct ftl__notify *notify)
{
    if (notify == NULL)
        return;
    ftl__part_stop(&notify->task, FTL_S);
    if (notify->probe != NULL)
        ftl_task_detach(notify->probe);
    free(notify);
}
