/* SPDX-License-Identifier: MIT
 *
 * The waiting for work: while the daemon is idle, one connection per queue (the first 16) stands in
 * a BLMOVE from the queue to its front, so that a push wakes one daemon at once. What has landed in
 * a front belongs to nobody: every claim empties it first. Control runtime only. */
#ifndef FETTLE_DAEMON_WAIT_H
#define FETTLE_DAEMON_WAIT_H

#include "daemon/link.h"
#include "daemon/queues.h"

#define FTL__WAIT_LINKS 16

struct ftl__wait;

struct ftl__wait_options {
    struct ftl_runtime *runtime; /* control; all pointers outlive the wait */
    const struct ftl__address *address;
    void (*on_work)(void *arg); /* something has landed in a front; must not wait */
    void *arg;
};

int ftl__wait_open(const struct ftl__wait_options *options, struct ftl__wait **ret_wait);
void ftl__wait_close(struct ftl__wait *wait); /* NULL-safe; nobody waits any more when it returns */

/* Makes the waiters those of the first 16 active queues. Ends those of others; waits for that.
 * FTL_ENOMEM: some queues have no waiter. */
int ftl__wait_configure(struct ftl__wait *wait, const struct ftl__queues *queues);

/* Waits for work in each queue that is not paused and from which a claim could take something now;
 * whoever waits already goes on. */
void ftl__wait_arm(struct ftl__wait *wait, int64_t now, uint32_t park_room);

#endif
