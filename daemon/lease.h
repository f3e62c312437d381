/* SPDX-License-Identifier: MIT
 *
 * The lease: our registration as an owner of in-flight jobs, the beat that keeps it, and the watch
 * over the others: who has not been seen to move for his ttl, by our monotonic clock and over one
 * unbroken connection, is fenced and his batches are reaped. One task on the control runtime. */
#ifndef FETTLE_DAEMON_LEASE_H
#define FETTLE_DAEMON_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/marks.h"
#include "daemon/keys.h"
#include "daemon/link.h"
#include "daemon/script.h"

#define FTL__LEASE_RECOVERIES 3 /* a job recovered this often goes to dead */

struct ftl__lease;
struct ftl__clock;
struct ftl__queues;
struct ftl__tick;

struct ftl__lease_options {
    struct ftl_runtime *runtime; /* control */
    struct ftl__link *link;      /* all pointers outlive the lease */
    struct ftl__scripts *scripts;
    const struct ftl__keys *keys;
    struct ftl__marks *cancels, *faulted; /* each tick brings what is new */
    struct ftl__clock *clock;   /* each tick sets it; may be NULL */
    struct ftl__queues *queues; /* whose work and pauses a tick tells; NULL: none */
    double ttl;                 /* seconds */

    /* In the lease's task, must not wait, may be NULL. registered: claims under `id` may begin (SEQ
     * starts at 1 again). fenced: `id` is gone; its runs can no longer be settled; a fresh id
     * follows. turn: about once a second, whatever Redis does; `tick` is what it has told for `id`,
     * NULL if there was no answer. */
    void (*on_registered)(void *arg, const char *id);
    void (*on_fenced)(void *arg, const char *id);
    void (*on_turn)(void *arg, const struct ftl__tick *tick);
    /* Are there runs? Then turns come twice as often: one of them may have been cancelled. NULL:
     * none. */
    bool (*is_busy)(void *arg);
    void *arg;
};

/* Starts to register at once; repeats until it works, and again whenever it was fenced.
 * FTL_ENOMEM. */
int ftl__lease_open(const struct ftl__lease_options *options, struct ftl__lease **ret_lease);
/* Ends the task; waits for it. The registration stays as it is: retire() first for a clean exit. */
void ftl__lease_close(struct ftl__lease *lease); /* NULL-safe */

/* Our ID, hostname:pid:12 hex digits, or "" while we are not registered. Valid until the next
 * wait. */
const char *ftl__lease_id(const struct ftl__lease *lease);

/* Another script answered FENCED for `id`: look at once instead of at the next beat. An `id` that
 * is no longer ours is ignored. */
void ftl__lease_suspect(struct ftl__lease *lease, const char *id);

/* Runs have begun where there were none: the next turn comes earlier. Costs next to nothing. */
void ftl__lease_hurry(struct ftl__lease *lease);

/* Ends the task, then gives the registration up. 0; FTL_EAGAIN: batches are left, it stays for
 * others to reap after our ttl; others as ftl__link_call(). Not registered: 0. */
int ftl__lease_retire(struct ftl__lease *lease, int64_t deadline);

/* When the task last turned (ftl_now() clock); it does at least once in 6 s, whatever Redis does.
 * For the watchdog. */
int64_t ftl__lease_progress(const struct ftl__lease *lease);

#endif
