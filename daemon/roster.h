/* SPDX-License-Identifier: MIT
 *
 * The roster: what dashboards of the public layout show of this process: the process, the queues
 * that it serves, its runs (at most 100, 1 MiB), the totals; and the signals that they send. Written
 * about every 5 s while anything changes, else once a minute; ticks keep it fresh. Nothing that fettle itself relies on. One task on the control runtime. */
#ifndef FETTLE_DAEMON_ROSTER_H
#define FETTLE_DAEMON_ROSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/config.h"
#include "daemon/keys.h"
#include "daemon/lease.h"
#include "daemon/link.h"

#define FTL__ROSTER_RUNS  100
#define FTL__ROSTER_BYTES (1 << 20)
#define FTL__ROSTER_EXPIRE  60 /* seconds that a record outlives its process */
#define FTL__ROSTER_SIGNALS 16 /* taken by one tick */

struct ftl__roster;
struct ftl__tick;

/* A run that is in flight. Borrowed until the next wait. */
struct ftl__roster_run {
    uint64_t token;
    const char *queue;
    const char *bytes; /* the job's text */
    size_t size;
    double started_at; /* epoch seconds */
};

struct ftl__roster_state {
    uint32_t busy; /* runs in flight, all of them */
    bool quiet;
    uint64_t processed, failed; /* runs ended, and how many of them badly, since the start */
};

struct ftl__roster_options {
    struct ftl_runtime *runtime; /* control */
    struct ftl__link *link;      /* all pointers outlive the roster */
    struct ftl__scripts *scripts;
    const struct ftl__keys *keys;
    const struct ftl__lease *lease;   /* whose ID the records carry */
    const struct ftl__config *config; /* queues, weights, order, concurrency */

    /* In the roster's task, the last one in that of whoever tells it; must not wait. */
    void (*state)(void *arg, struct ftl__roster_state *ret_state);
    /* Fills at most `max` runs, the oldest first; returns how many. */
    size_t (*runs)(void *arg, struct ftl__roster_run *ret_runs, size_t max);
    /* A dashboard wants: SIGTSTP, SIGTERM or SIGTTIN. */
    void (*on_signal)(void *arg, int signal);
    void *arg;
};

/* FTL_ENOMEM. */
int ftl__roster_open(const struct ftl__roster_options *options, struct ftl__roster **ret_roster);
void ftl__roster_close(struct ftl__roster *roster); /* ends the task, waits for it; NULL-safe */

/* What a tick has told; never waits. */
void ftl__roster_told(struct ftl__roster *roster, const struct ftl__tick *tick);

/* After a reload; the old one is no longer looked at. */
void ftl__roster_set_config(struct ftl__roster *roster, const struct ftl__config *config);

/* Writes now (quiet has changed, say). */
void ftl__roster_refresh(struct ftl__roster *roster);

/* Ends the task, writes the last totals and removes the records. Errors as ftl__link_call(): they
 * expire by themselves within 60 s. */
int ftl__roster_leave(struct ftl__roster *roster, int64_t deadline);

#endif
