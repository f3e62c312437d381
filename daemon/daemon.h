/* SPDX-License-Identifier: MIT
 *
 * The daemon: owns every part, starts them in order, and stops them in the opposite one. All of it
 * lives on the control runtime but for its frame, ftl__daemon_run(), which is main()'s. */
#ifndef FETTLE_DAEMON_DAEMON_H
#define FETTLE_DAEMON_DAEMON_H

#include "daemon/claim.h"
#include "daemon/config.h"
#include "daemon/delegation.h"
#include "daemon/dev.h"
#include "daemon/durability.h"
#include "daemon/faults.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/promote.h"
#include "daemon/quarantine.h"
#include "daemon/roster.h"
#include "daemon/route.h"
#include "daemon/signals.h"
#include "daemon/stalls.h"

struct ftl__daemon {
    const struct ftl__options *options;
    struct ftl__dev *dev;          /* NULL but with --dev */
    struct ftl__config *started;   /* the first configuration: what cannot change is from it */
    struct ftl__config *config;    /* in force; may be the first one */
    struct ftl__registry *registry;
    struct ftl_runtime *control, *jobs;
    struct ftl__delegation delegation; /* in which children of `jobs` get their cgroups */
    struct ftl__stalls stalls;     /* its hook belongs to `jobs` */
    int64_t started_at;

    /* In the order in which they are opened. */
    struct ftl__clock clock;
    struct ftl__marks cancels, faulted;
    struct ftl__faults faults;     /* of `jobs` */
    struct ftl__ledger ledger;
    struct ftl__slots slots;
    struct ftl__queues queues;
    struct ftl__keys *keys;
    struct ftl__scripts *scripts;
    struct ftl__notify *notify;
    struct ftl__signals *signals;
    struct ftl__link *work;        /* claims, acks, settles */
    struct ftl__link *beat;        /* the lease */
    struct ftl__link *side;        /* promoter and roster: their replies may be long */
    struct ftl__quarantine *quarantine;
    struct ftl__lease *lease;
    struct ftl__settle *settle;
    struct ftl__dispatch *dispatch;
    struct ftl__wait *wait;
    struct ftl__claim *claim;
    struct ftl__promote *promote;
    struct ftl__roster *roster;

    char uncontained[512]; /* why a delegated cgroup is not used; "" if it is, or there is none */
    struct ftl__durability durability; /* as it was told last */
    char trouble[256]; /* why the link `work` is down; "" if it is not known to be */
    char refused[512]; /* why this Redis is refused at the start; "" if it is not */
    const char *refused_key; /* static: of the configuration, by which it is */

    /* What the main task is told. */
    struct ftl_notify *changed;
    const char *stop_reason, *quiet_reason; /* NULL: not asked for; a signal's name, "dashboard" */
    bool quiet, draining, stop_now, reload_due, dump_due, ready;
    bool restart; /* it stops to begin anew: memory may be damaged */
    bool stuck; /* runs are left that cannot be ended: nothing may be freed */
};

/* Reads the configuration, makes the handlers. FTL_EINVAL, FTL_ENOMEM: `error` has one line. */
int ftl__daemon_configure(struct ftl__daemon *daemon, char *error, size_t error_size);

/* Runs the daemon, configured, until it is told to stop. Returns an exit code; with daemon->stuck
 * the caller leaves by _exit(). Frees everything else. */
int ftl__daemon_run(struct ftl__daemon *daemon);

/* By the configuration: how long a tainted process may take to begin anew. */
void ftl__daemon_set_patience(struct ftl__daemon *daemon);

/* Tells the service manager what the daemon does, or why it cannot; not while it drains. */
void ftl__daemon_show_status(const struct ftl__daemon *daemon);

/* Threads of the blocking pool of the jobs runtime. */
#define FTL__BLOCKING_OWN 512 /* for what handlers spawn there */
static inline unsigned ftl__daemon_blocking_max(uint32_t concurrency)
{
    return concurrency + FTL__BLOCKING_OWN;
}

/* ---- parts.c: opening and closing, in the main task ------------------------------------------ */

int ftl__daemon_open_parts(struct ftl__daemon *daemon);
void ftl__daemon_close_parts(struct ftl__daemon *daemon);

/* Starts what the handlers of a registry have of their own. */
int ftl__daemon_start_handlers(struct ftl__daemon *daemon, struct ftl__registry *registry);

/* ---- reload.c -------------------------------------------------------------------------------- */

/* Reads the configuration anew and puts it in force for what begins later, or logs why not. */
void ftl__daemon_reload(struct ftl__daemon *daemon);

/* ---- drain.c --------------------------------------------------------------------------------- */

/* Claims no more, and puts back what claims on their way bring. What is parked is left to the
 * caller, to be put back when the claim is settled. */
void ftl__daemon_quiet(struct ftl__daemon *daemon, const char *reason);
/* Stops: see drain.c. Returns an exit code. */
int ftl__daemon_drain(struct ftl__daemon *daemon, const char *reason);

#endif
