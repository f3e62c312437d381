/* SPDX-License-Identifier: MIT
 *
 * The tick: the one call that an idle daemon makes, about once a second. It beats, and asks for all
 * that would have to be polled for otherwise: other owners, what is due, whether there is work.
 * Part of the lease, in whose task it runs; the others are told. */
#ifndef FETTLE_DAEMON_TICK_H
#define FETTLE_DAEMON_TICK_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/marks.h"
#include "daemon/keys.h"
#include "daemon/link.h"
#include "daemon/clock.h"
#include "daemon/queues.h"
#include "daemon/script.h"

/* Longer than a second, so that with what else an idle daemon has to say once a minute it stays
 * below a call a second and two wake-ups. */
#define FTL__TICK_PERIOD (FTL_S + 100 * FTL_MS)

struct ftl__ticker;

struct ftl__ticker_options {
    struct ftl__link *link; /* all pointers outlive the ticker */
    struct ftl__scripts *scripts;
    const struct ftl__keys *keys;
    struct ftl__marks *cancels, *faulted; /* told of what is new */
    struct ftl__clock *clock;   /* set by each answer; NULL: none is kept */
    struct ftl__queues *queues; /* those to look at; NULL: none */
};

/* What Redis has told. The arrays of strings are borrowed from its reply. */
struct ftl__tick {
    struct redisReply *reply; /* the owner of the arrays */
    double now;               /* Redis' clock, epoch seconds */
    const struct redisReply *owners, *beats, *fenced; /* ID, value, … */
    uint64_t batches; /* that we hold in Redis */
    bool promoter;    /* we hold its lock, renewed just now */
    double next;      /* lowest score in retry and schedule; INFINITY: none */
    uint64_t dead;    /* members of the set, and their lowest score; if we are the promoter */
    double dead_oldest;
    bool recorded; /* the record of this process is there */
    const struct redisReply *signals;
    bool work;    /* jobs in a queue that is not paused, or in its front */
    bool resumed; /* a queue that was paused is so no more: told once */
};

int ftl__ticker_open(const struct ftl__ticker_options *options, struct ftl__ticker **ret_ticker);
void ftl__ticker_close(struct ftl__ticker *ticker); /* NULL-safe */

/* Beats for `id` and asks; notes which queues are paused and what is cancelled. `ret_tick` is to be cleared. FTL_EFENCED:
 * `id` is no owner. FTL_EPROTO: told. Others as ftl__link_call(). */
int ftl__ticker_ask(struct ftl__ticker *ticker, const char *id, int64_t deadline,
                    struct ftl__tick *ret_tick);
void ftl__tick_clear(struct ftl__tick *tick);

#endif
