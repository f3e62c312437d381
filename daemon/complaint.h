/* SPDX-License-Identifier: MIT
 *
 * Complaints: error replies of Redis, each told once a minute however often it comes back. */
#ifndef FETTLE_DAEMON_COMPLAINT_H
#define FETTLE_DAEMON_COMPLAINT_H

/* Logs redis.error, unless the same was told less than a minute ago. `queue` may be NULL. From
 * tasks of the control runtime. */
void ftl__complain(const char *command, const char *queue, const char *reason);

#endif
