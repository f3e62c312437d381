/* SPDX-License-Identifier: MIT
 *
 * DESIGN. hiredis connects where there is no TLS. Where there is, it gets one end of a pair of
 * sockets, and the tunnel has the other. */
#include "cli/dial.h"

#include <stdio.h>
#include <sys/time.h>

#include <fettle/error.h>
#include <fettle/time.h>

#include "cli/tunnel.h"

/* A context that has failed is told and freed. */
static int check(redisContext *context, struct timeval timeout, redisContext **ret_context,
                 char *reason, size_t reason_size)
{
    if (context == NULL) {
        snprintf(reason, reason_size, "%s", ftl_error_text(FTL_ENOMEM));
        return FTL_ENOMEM;
    }
    if (context->err == 0 && redisSetTimeout(context, timeout) == REDIS_OK) {
        *ret_context = context;
        return 0;
    }
    snprintf(reason, reason_size, "%s",
             context->err != 0 ? context->errstr : "no timeout can be set");
    redisFree(context);
    return FTL_ECONN;
}

int ftl__dial_tcp(const char *host, uint16_t port, const struct ftl__tls_context *tls,
                  struct timeval timeout, struct ftl__dialed *ret_dialed, char *reason,
                  size_t reason_size)
{
    struct ftl__dialed dialed = {.context = NULL};
    int fd;
    int64_t limit = timeout.tv_sec * FTL_S + timeout.tv_usec * 1000;
    int rc = 0;
    if (tls != NULL)
        rc = ftl__tunnel_open(tls, host, port, ftl_deadline(limit), &dialed.tunnel, &fd, reason,
                              reason_size);
    if (rc == 0)
        rc = check(tls != NULL ? redisConnectFd(fd) : redisConnectWithTimeout(host, port, timeout),
                   timeout, &dialed.context, reason, reason_size);
    if (rc == 0)
        *ret_dialed = dialed;
    else
        ftl__tunnel_close(dialed.tunnel);
    return rc;
}

int ftl__dial_unix(const char *path, struct timeval timeout, struct ftl__dialed *ret_dialed,
                   char *reason, size_t reason_size)
{
    struct ftl__dialed dialed = {.tunnel = NULL};
    int rc = check(redisConnectUnixWithTimeout(path, timeout), timeout, &dialed.context, reason,
                   reason_size);
    if (rc == 0)
        *ret_dialed = dialed;
    return rc;
}

void ftl__hang_up(struct ftl__dialed *dialed)
{
    if (dialed->context != NULL)
        redisFree(dialed->context);
    ftl__tunnel_close(dialed->tunnel);
    *dialed = (struct ftl__dialed){.context = NULL};
}
