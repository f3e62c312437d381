/* SPDX-License-Identifier: MIT
 *
 * Complaints: what comes back often (error replies of Redis, stalls) is told once a minute. */
#ifndef FETTLE_DAEMON_COMPLAINT_H
#define FETTLE_DAEMON_COMPLAINT_H

#include <stdbool.h>

#define FTL__COMPLAINTS_MAX 1024 /* a minute, of all kinds together */

/* Logs redis.error, unless the same was told less than a minute ago, or too much was. `queue` may be
 * NULL. From tasks of the control runtime. */
void ftl__complain(const char *command, const char *queue, const char *reason);

/* Is this to be told, since it was not in the last minute? Then from now on it was. `text`: at most
 * 255 bytes count. */
bool ftl__complaint_is_news(const char *text);

#endif
