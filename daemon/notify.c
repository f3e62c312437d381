/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The protocol is one datagram of NAME=value lines to a unix socket, so it is spoken here:
 * the library for it would bring five others into an idle daemon. A message that cannot be
 * delivered is dropped; the service manager has its own timeouts for that.
 *
 * The watchdog's task runs on control at half the interval the manager asked for. It gives a sign
 * of life if it runs at all (control turns), if a probe task has come back from the jobs runtime
 * (some worker takes work), and if the caller says so (the lease makes progress). Redis is no part
 * of it. */
#include "daemon/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fettle/time.h>

#include "daemon/part.h"

#define MESSAGE_MAX 1024

struct ftl__notify {
    struct ftl__notify_options options;
    int fd; /* -1: nobody listens */
    struct sockaddr_un address;
    socklen_t address_size;
    int64_t watchdog; /* ns between signs of life; 0 = none wanted */
    struct ftl_task *task, *probe;
};

static void post(struct ftl__notify *notify, const char *message)
{
    if (notify->fd < 0)
        return;
    if (sendto(notify->fd, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT,
               (const struct sockaddr *)&notify->address, notify->address_size) < 0)
        return; /* see DESIGN */
}

/* ---- messages -------------------------------------------------------------------------------- */

void ftl__notify_ready(struct ftl__notify *notify)
{
    post(notify, "READY=1\nSTATUS=Running");
}

void ftl__notify_reloading(struct ftl__notify *notify)
{
    char message[128];

    snprintf(message, sizeof message, "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=Reloading",
             (long long)(ftl_now() / 1000));
    post(notify, message);
}

void ftl__notify_stopping(struct ftl__notify *notify)
{
    post(notify, "STOPPING=1\nSTATUS=Stopping");
}

void ftl__notify_extend(struct ftl__notify *notify)
{
    char message[64];

    snprintf(message, sizeof message, "EXTEND_TIMEOUT_USEC=%lld",
             (long long)(FTL__NOTIFY_EXTENSION / 1000));
    post(notify, message);
}

void ftl__notify_status(struct ftl__notify *notify, const char *format, ...)
{
    char message[MESSAGE_MAX] = "STATUS=";
    va_list args;

    va_start(args, format);
    vsnprintf(message + 7, sizeof message - 7, format, args);
    va_end(args);
    for (char *c = message; *c != '\0'; c++)
        if (*c == '\n')
            *c = ' ';
    post(notify, message);
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

static void *watchdog_main(void *arg)
{
    struct ftl__notify *notify = arg;
    struct ftl_interval interval;

    ftl_interval_init(&interval, ftl_now(), notify->watchdog);
    while (ftl_interval_tick(&interval) == 0)
        if (probe(notify, ftl_deadline(notify->watchdog / 2)) &&
            notify->options.is_alive(notify->options.arg))
            post(notify, "WATCHDOG=1");
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static bool set_address(struct ftl__notify *notify, const char *path)
{
    size_t size = strlen(path);

    if ((path[0] != '/' && path[0] != '@') || size < 2 || size >= sizeof notify->address.sun_path)
        return false;
    notify->address.sun_family = AF_UNIX;
    memcpy(notify->address.sun_path, path, size);
    if (path[0] == '@')
        notify->address.sun_path[0] = '\0'; /* the abstract namespace */
    notify->address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    return true;
}

/* Half of what the manager allows, if it means this process. */
static int64_t watchdog_interval(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    long long allowed = usec != NULL ? strtoll(usec, NULL, 10) : 0;

    if (allowed <= 0 || allowed > INT64_MAX / 1000 ||
        (pid != NULL && strtoll(pid, NULL, 10) != (long long)getpid()))
        return 0;
    return allowed * 1000 / 2;
}

static void read_environment(struct ftl__notify *notify)
{
    const char *path = getenv("NOTIFY_SOCKET");

    if (path != NULL && set_address(notify, path)) {
        notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        notify->watchdog = notify->fd >= 0 ? watchdog_interval() : 0;
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

int ftl__notify_open(const struct ftl__notify_options *options, struct ftl__notify **ret_notify)
{
    struct ftl__notify *notify = calloc(1, sizeof *notify);
    int code = 0;

    if (notify == NULL)
        return FTL_ENOMEM;
    notify->options = *options;
    notify->fd = -1;
    read_environment(notify);
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
    if (notify->fd >= 0)
        close(notify->fd);
    free(notify);
}
