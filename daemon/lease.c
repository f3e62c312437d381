/* SPDX-License-Identifier: MIT
 *
 * DESIGN: one task on control. Each turn, about once a second, it registers if it must, and makes
 * one call, the tick: it beats, and tells of the others (watch.c) and of what the other parts would
 * have to poll for. Long work of the watch comes back here between its calls (tend), and beats if a
 * third of the ttl is over, so that taking over a dead daemon's jobs never costs our own lease.
 * Every call has a deadline of a third of the ttl, 5 s at most: a connection that does not answer is
 * broken rather than waited for.
 *
 * A broken connection changes nothing: the same ID goes on beating on the next one. Only Redis'
 * word FENCED ends an ID: others have fenced it, or Redis has lost its memory. Then a fresh one is
 * registered. */
#include "daemon/lease.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <fettle/time.h>

#include "daemon/format.h"
#include "daemon/log.h"
#include "daemon/part.h"
#include "daemon/tick.h"
#include "daemon/watch.h"

#define TURN_MAX    FTL__TICK_PERIOD
#define CALL_MIN    (200 * FTL_MS)
#define CALL_MAX    (5 * FTL_S)
#define CLOSE_GRACE FTL_S

enum state { UNREGISTERED, REGISTERED, RETIRED };

struct ftl__lease {
    struct ftl__lease_options options;
    int64_t ttl, turn, call_timeout; /* ns */
    enum state state;
    bool closing, suspected, hurried;
    bool fresh; /* registered, and no tick of this ID has been answered */
    char id[FTL__ID_MAX + 1]; /* "" unless registered */
    int64_t next_beat, progress;
    struct ftl_task *task;
    struct ftl_notify *wake;
    struct ftl__watch *watch;
    struct ftl__ticker *ticker;
    struct ftl__invoke invoke;
};

/* ---- identity --------------------------------------------------------------------------- */

/* Dashboards and keys want one plain word. */
static void plain_host(char *host)
{
    for (; *host != '\0'; host++)
        if (strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-", *host) ==
            NULL)
            *host = '-';
}

/* hostname:pid:12 hex digits. FTL_ESYS: no randomness. */
static int fresh_id(char id[FTL__ID_MAX + 1])
{
    char host[65] = "";
    unsigned char random[6];
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        snprintf(host, sizeof host, "localhost");
    plain_host(host);
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return FTL_ESYS;
    snprintf(id, FTL__ID_MAX + 1, "%s:%ld:%02x%02x%02x%02x%02x%02x", host, (long)getpid(),
             random[0], random[1], random[2], random[3], random[4], random[5]);
    return 0;
}

/* ---- calls ------------------------------------------------------------------------------ */

/* Runs what was built; the reply is only looked at. */
static int run(struct ftl__lease *lease, int type, const char *what, int64_t deadline,
               long long *ret_integer)
{
    struct redisReply *reply;
    int status = ftl__invoke_run(&lease->invoke, lease->options.scripts, lease->options.link,
                                 deadline, &reply);
    if (status != 0)
        return status;
    status = ftl__reply_check(reply, type, what);
    if (status == 0 && ret_integer != NULL)
        *ret_integer = reply->integer;
    ftl__reply_free(reply);
    return status;
}

static void start(struct ftl__lease *lease, enum ftl__script script)
{
    ftl__invoke_start(&lease->invoke, script);
    ftl__invoke_key(&lease->invoke, &lease->options.keys->owners);
    ftl__invoke_key(&lease->invoke, &lease->options.keys->beat);
}

static void tell_turn(struct ftl__lease *lease, const struct ftl__tick *told)
{
    if (lease->options.on_turn != NULL)
        lease->options.on_turn(lease->options.arg, told);
}

static int register_id(struct ftl__lease *lease)
{
    char id[FTL__ID_MAX + 1];
    int status = fresh_id(id);
    if (status != 0)
        return status;
    start(lease, FTL__SCRIPT_REGISTER);
    ftl__invoke_text(&lease->invoke, id);
    ftl__invoke_text(&lease->invoke, ftl__format_own);
    ftl__invoke_uint(&lease->invoke, (uint64_t)(lease->ttl / FTL_MS));
    int64_t now = ftl_now();
    status = run(lease, REDIS_REPLY_STRING, "register", now + lease->call_timeout, NULL);
    if (status != 0)
        return status;
    memcpy(lease->id, id, sizeof id);
    lease->state = REGISTERED;
    lease->suspected = false;
    lease->fresh = true;
    lease->next_beat = now;
    ftl__log(FTL__EV_LEASE_REGISTERED, FTL__STR("id", lease->id),
             FTL__REAL("ttl", lease->options.ttl));
    return 0;
}

/* Not before the first tick: what others have found out is known then, before anything is claimed. */
static void tell_registered(struct ftl__lease *lease)
{
    if (lease->fresh && lease->options.on_registered != NULL)
        lease->options.on_registered(lease->options.arg, lease->id);
    lease->fresh = false;
}

static void lose_id(struct ftl__lease *lease)
{
    char id[FTL__ID_MAX + 1];
    memcpy(id, lease->id, sizeof id);
    lease->id[0] = '\0';
    lease->state = UNREGISTERED;
    lease->suspected = false;
    ftl__watch_survived(lease->watch, id);
    ftl__log(FTL__EV_LEASE_FENCED, FTL__STR("id", id),
             FTL__STR("reason", "Redis does not know this owner any more"));
    if (lease->options.on_fenced != NULL)
        lease->options.on_fenced(lease->options.arg, id);
}

/* Beats, and tells the others what it has learnt. `ret_tick` is to be cleared. */
static int tick(struct ftl__lease *lease, struct ftl__tick *ret_tick)
{
    int64_t now = ftl_now();
    lease->suspected = false; /* also if there is no answer: the next try is that of the next turn */
    int status = ftl__ticker_ask(lease->ticker, lease->id, now + lease->call_timeout, ret_tick);
    if (status == 0) {
        lease->next_beat = now + lease->ttl / 3;
        tell_registered(lease);
        tell_turn(lease, ret_tick);
    }
    if (status == FTL_EFENCED)
        lose_id(lease);
    return status;
}

/* What is due for our own lease while a turn lasts. An error ends the turn. */
static int tend(void *arg)
{
    struct ftl__lease *lease = arg;
    struct ftl__tick told;
    int status = 0;
    lease->progress = ftl_now();
    if (lease->closing)
        return FTL_ECANCELED;
    if (lease->state == REGISTERED && (lease->suspected || lease->progress >= lease->next_beat)) {
        status = tick(lease, &told);
        if (status == 0)
            ftl__tick_clear(&told);
    }
    if (lease->state == UNREGISTERED)
        status = register_id(lease);
    return status;
}

/* ---- the task --------------------------------------------------------------------------- */

static void turn(struct ftl__lease *lease)
{
    struct ftl__tick told;
    lease->progress = ftl_now();
    int status = lease->state == UNREGISTERED ? register_id(lease) : 0;
    if (status == 0)
        status = tick(lease, &told);
    if (status == FTL_EFENCED && register_id(lease) == 0)
        status = tick(lease, &told);
    if (status != 0) {
        tell_turn(lease, NULL);
        return;
    }
    (void)ftl__watch_turn(lease->watch, lease->id, &told);
    ftl__tick_clear(&told);
}

/* Until the next turn, which comes after half the time while there are runs, also those that have
 * begun meanwhile. */
static void rest(struct ftl__lease *lease)
{
    const struct ftl__lease_options *options = &lease->options;
    int64_t begun = ftl_now();
    int status = 0;
    lease->hurried = options->is_busy != NULL && options->is_busy(options->arg);
    while (status == 0 && !lease->closing && !lease->suspected)
        status = ftl_notify_wait(lease->wake,
                                 begun + (lease->hurried ? lease->turn / 2 : lease->turn));
}

static void *hold(void *arg)
{
    struct ftl__lease *lease = arg;
    while (!lease->closing) {
        lease->progress = ftl_now();
        if (ftl__link_wait_up(lease->options.link, lease->progress + lease->turn) != 0) {
            tell_turn(lease, NULL);
            continue;
        }
        turn(lease);
        if (!lease->closing)
            rest(lease);
    }
    return NULL;
}

static void free_lease(struct ftl__lease *lease)
{
    ftl__watch_close(lease->watch);
    ftl__ticker_close(lease->ticker);
    ftl_notify_free(lease->wake);
    ftl__invoke_free(&lease->invoke);
    free(lease);
}

static int64_t call_timeout(int64_t ttl)
{
    int64_t third = ttl / 3;
    return third < CALL_MIN ? CALL_MIN : third > CALL_MAX ? CALL_MAX : third;
}

static int open_parts(struct ftl__lease *lease)
{
    const struct ftl__lease_options *options = &lease->options;
    struct ftl__watch_options watch = {
        .link = options->link,
        .scripts = options->scripts,
        .keys = options->keys,
        .call_timeout = lease->call_timeout,
        .tend = tend,
        .arg = lease,
    };
    const struct ftl__ticker_options ticker = {
        .link = options->link,
        .scripts = options->scripts,
        .keys = options->keys,
        .cancels = options->cancels,
        .faulted = options->faulted,
        .clock = options->clock,
        .queues = options->queues,
    };
    lease->wake = ftl_notify_new();
    if (lease->wake == NULL)
        return FTL_ENOMEM;
    int status = ftl__watch_open(&watch, &lease->watch);
    if (status == 0)
        status = ftl__ticker_open(&ticker, &lease->ticker);
    if (status == 0)
        status = ftl__part_start(options->runtime, hold, lease, "lease", &lease->task);
    return status;
}

int ftl__lease_open(const struct ftl__lease_options *options, struct ftl__lease **ret_lease)
{
    struct ftl__lease *lease = calloc(1, sizeof *lease);
    if (lease == NULL)
        return FTL_ENOMEM;
    lease->options = *options;
    lease->ttl = (int64_t)llround(options->ttl * (double)FTL_S);
    lease->turn = lease->ttl / 3 < TURN_MAX ? lease->ttl / 3 : TURN_MAX;
    lease->call_timeout = call_timeout(lease->ttl);
    lease->progress = ftl_now();
    ftl__invoke_init(&lease->invoke);
    int status = open_parts(lease);
    if (status != 0) {
        free_lease(lease);
        return status;
    }
    *ret_lease = lease;
    return 0;
}

static void stop(struct ftl__lease *lease)
{
    lease->closing = true;
    ftl__part_stop(&lease->task, CLOSE_GRACE);
}

void ftl__lease_close(struct ftl__lease *lease)
{
    if (lease == NULL)
        return;
    stop(lease);
    free_lease(lease);
}

const char *ftl__lease_id(const struct ftl__lease *lease)
{
    return lease->id;
}

void ftl__lease_suspect(struct ftl__lease *lease, const char *id)
{
    if (lease->state != REGISTERED || strcmp(lease->id, id) != 0)
        return;
    lease->suspected = true;
    ftl_notify_one(lease->wake);
}

void ftl__lease_hurry(struct ftl__lease *lease)
{
    if (lease->hurried)
        return;
    lease->hurried = true;
    ftl_notify_one(lease->wake);
}

int ftl__lease_retire(struct ftl__lease *lease, int64_t deadline)
{
    stop(lease);
    if (lease->state != REGISTERED)
        return 0;
    struct ftl__key batches;
    long long gone = 0;
    ftl__key_batches(lease->options.keys, lease->id, &batches);
    start(lease, FTL__SCRIPT_RETIRE);
    ftl__invoke_key(&lease->invoke, &batches);
    ftl__invoke_text(&lease->invoke, lease->id);
    int status = run(lease, REDIS_REPLY_INTEGER, "retire", deadline, &gone);
    if (status == FTL_EFENCED) {
        lose_id(lease);
        return 0;
    }
    if (status != 0)
        return status;
    if (gone == 0)
        return FTL_EAGAIN;
    lease->state = RETIRED;
    lease->id[0] = '\0';
    return 0;
}

int64_t ftl__lease_progress(const struct ftl__lease *lease)
{
    return lease->progress;
}
