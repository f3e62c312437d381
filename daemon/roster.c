/* SPDX-License-Identifier: MIT
 *
 * DESIGN: one task on control. A record is one call of a script that does simple commands: announce
 * the process and its queues, replace its list of runs, add to the totals. It is written when
 * something has changed since the last one, every PERIOD at most, and once a minute anyway. In
 * between, ticks keep it from expiring, and tell if somebody has removed it; all of it expires after
 * 60 s, should we die. A new ID (lease.c) takes the records of the old one away.
 *
 * Totals are sent as what has come since the last record that was answered; one whose answer was
 * lost is sent again and may count twice. Dashboards bear that; nothing else reads them. */
#include "daemon/roster.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <fettle/time.h>

#include "daemon/card.h"
#include "daemon/complaint.h"
#include "daemon/part.h"
#include "daemon/script.h"
#include "daemon/tick.h"

#define PERIOD       (5 * FTL_S)
#define SLACK        (FTL__TICK_PERIOD / 2) /* a tick that comes this much early will do */
#define LONGEST      (61 * FTL_S) /* so that pruning is due, too */
#define CALL_TIMEOUT (5 * FTL_S)
#define CLOSE_GRACE  FTL_S
#define STAT_EXPIRE  157680000 /* five years, as the layout says */
#define PRUNE_PERIOD (60 * FTL_S)

/* The keys of a call, in their order; those of the old ID are those of the new one if there was
 * none. */
enum place {
    PROCESSES = 1,
    PROCESS,
    WORK,
    WORKERS,
    QUEUES,
    PROCESSED,
    PROCESSED_DAY,
    FAILED,
    FAILED_DAY,
    OLD_PROCESS,
    OLD_WORK,
    OLD_WORKERS,
    OLD_SIGNALS,
};

struct ftl__roster {
    struct ftl__roster_options options;
    bool closing;
    char id[FTL__ID_MAX + 1]; /* whose records are there; "": none */
    double started_at;        /* epoch seconds */
    int64_t round_trip;       /* ns, of the last beat */
    int64_t next_prune;
    int64_t written;     /* when, last; 0: never */
    bool wanted;         /* whatever the time */
    bool showed_runs;    /* the last one */
    struct ftl__roster_state told; /* by the last one that was answered */
    struct ftl_task *task;
    struct ftl_notify *wake;
    struct ftl__invoke invoke;
};

static double epoch_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Resident kilobytes; 0 if unknown. */
static unsigned long resident_kb(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*u %lu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * ((unsigned long)sysconf(_SC_PAGESIZE) / 1024);
}

/* ---- what is written -------------------------------------------------------------------- */

static void day_key(const struct ftl__key *total, struct ftl__key *ret_key)
{
    char day[16];
    struct tm utc;
    time_t now = time(NULL);
    strftime(day, sizeof day, "%Y-%m-%d", gmtime_r(&now, &utc));
    ftl__key_stat_day(total, day, ret_key);
}

static void put_key(struct ftl__roster *roster, const char *id, const char *suffix)
{
    struct ftl__key key;
    ftl__key_process(roster->options.keys, id, suffix, &key);
    ftl__invoke_key(&roster->invoke, &key);
}

/* As enum place has it. */
static void start(struct ftl__roster *roster, const char *id, const char *old)
{
    const struct ftl__keys *keys = roster->options.keys;
    struct ftl__invoke *invoke = &roster->invoke;
    struct ftl__key day;
    ftl__invoke_start(invoke, FTL__SCRIPT_ROSTER);
    ftl__invoke_key(invoke, &keys->processes);
    put_key(roster, id, "");
    put_key(roster, id, ":work");
    put_key(roster, id, ":workers");
    ftl__invoke_key(invoke, &keys->queues);
    ftl__invoke_key(invoke, &keys->stat_processed);
    day_key(&keys->stat_processed, &day);
    ftl__invoke_key(invoke, &day);
    ftl__invoke_key(invoke, &keys->stat_failed);
    day_key(&keys->stat_failed, &day);
    ftl__invoke_key(invoke, &day);
    put_key(roster, old, "");
    put_key(roster, old, ":work");
    put_key(roster, old, ":workers");
    put_key(roster, old, "-signals");
}

/* A command on one key; `count` arguments follow. */
static void put(struct ftl__roster *roster, enum place place, const char *command, unsigned count)
{
    ftl__invoke_uint(&roster->invoke, place);
    ftl__invoke_text(&roster->invoke, command);
    ftl__invoke_uint(&roster->invoke, count);
}

static void put_text(struct ftl__roster *roster, const char *text)
{
    ftl__invoke_text(&roster->invoke, text);
}

static void put_number(struct ftl__roster *roster, enum place place, const char *command,
                       uint64_t number)
{
    put(roster, place, command, 1);
    ftl__invoke_uint(&roster->invoke, number);
}

static void put_pair(struct ftl__roster *roster, const char *name, uint64_t number)
{
    put_text(roster, name);
    ftl__invoke_uint(&roster->invoke, number);
}

static void put_process(struct ftl__roster *roster, const char *id,
                        const struct ftl__roster_state *state)
{
    const struct ftl__config *config = roster->options.config;
    char *info = ftl__card_process(id, roster->started_at, config);
    put(roster, PROCESSES, "SADD", 1);
    put_text(roster, id);
    put(roster, PROCESS, "HSET", info != NULL ? 14 : 12);
    if (info != NULL) {
        put_text(roster, "info");
        put_text(roster, info);
    }
    put_pair(roster, "concurrency", config->concurrency);
    put_pair(roster, "busy", state->busy);
    put_text(roster, "beat");
    ftl__invoke_time(&roster->invoke, epoch_now());
    put_pair(roster, "rtt_us", (uint64_t)(roster->round_trip / 1000));
    put_text(roster, "quiet");
    put_text(roster, state->quiet ? "true" : "false");
    put_pair(roster, "rss", resident_kb());
    put_number(roster, PROCESS, "EXPIRE", FTL__ROSTER_EXPIRE);
    free(info);
}

/* Producers that only push tell nobody that there is a queue; whoever serves it does. */
static void put_queues(struct ftl__roster *roster)
{
    const struct ftl__config *config = roster->options.config;
    for (size_t i = 0; i < config->queue_count; i++) {
        put(roster, QUEUES, "SADD", 1);
        put_text(roster, config->queues[i].name);
    }
}

/* Older dashboards look at :workers, newer ones at :work. */
static void put_runs(struct ftl__roster *roster, enum place place,
                     const struct ftl__roster_run *runs, char *const *cards, size_t count)
{
    char token[20];
    put(roster, place, "DEL", 0);
    for (size_t i = 0; i < count; i++) {
        if (cards[i] == NULL)
            continue;
        snprintf(token, sizeof token, "%" PRIx64, runs[i].token);
        put(roster, place, "HSET", 2);
        put_text(roster, token);
        put_text(roster, cards[i]);
    }
    put_number(roster, place, "EXPIRE", FTL__ROSTER_EXPIRE);
}

static void put_all_runs(struct ftl__roster *roster)
{
    struct ftl__roster_run runs[FTL__ROSTER_RUNS];
    char *cards[FTL__ROSTER_RUNS] = {NULL};
    size_t count = roster->options.runs(roster->options.arg, runs, FTL__ROSTER_RUNS), bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (runs[i].size > FTL__ROSTER_BYTES - bytes)
            continue;
        cards[i] = ftl__card_run(&runs[i]);
        bytes += runs[i].size;
    }
    put_runs(roster, WORK, runs, cards, count);
    put_runs(roster, WORKERS, runs, cards, count);
    for (size_t i = 0; i < count; i++)
        free(cards[i]);
    roster->showed_runs = count > 0;
}

static void put_total(struct ftl__roster *roster, enum place place, uint64_t more)
{
    if (more == 0)
        return;
    put_number(roster, place, "INCRBY", more);
    put_number(roster, place + 1, "INCRBY", more);
    put_number(roster, place + 1, "EXPIRE", STAT_EXPIRE);
}

static void put_totals(struct ftl__roster *roster, const struct ftl__roster_state *state)
{
    put_total(roster, PROCESSED, state->processed - roster->told.processed);
    put_total(roster, FAILED, state->failed - roster->told.failed);
}

static void put_removal(struct ftl__roster *roster)
{
    if (roster->id[0] == '\0')
        return;
    put(roster, PROCESSES, "SREM", 1);
    put_text(roster, roster->id);
    for (enum place place = OLD_PROCESS; place <= OLD_SIGNALS; place++)
        put(roster, place, "DEL", 0);
}

/* ---- calls ------------------------------------------------------------------------------ */

static int send(struct ftl__roster *roster, const struct ftl__roster_state *state, int64_t deadline)
{
    struct redisReply *reply;
    int status = ftl__invoke_run(&roster->invoke, roster->options.scripts, roster->options.link,
                                 deadline, &reply);
    if (status != 0)
        return status;
    status = ftl__reply_check(reply, REDIS_REPLY_ARRAY, "roster");
    for (size_t i = 0; status == 0 && i < reply->elements; i++)
        if (reply->element[i]->type == REDIS_REPLY_STRING)
            ftl__complain("roster", NULL, reply->element[i]->str);
    ftl__reply_free(reply);
    if (status == 0)
        roster->told = *state;
    return status;
}

static int write_record(struct ftl__roster *roster, const char *id)
{
    struct ftl__roster_state state = {0};
    bool renamed = strcmp(roster->id, id) != 0;
    int64_t begun = ftl_now();
    roster->options.state(roster->options.arg, &state);
    roster->wanted = false;
    roster->written = begun;
    start(roster, id, renamed && roster->id[0] != '\0' ? roster->id : id);
    if (renamed)
        put_removal(roster);
    put_process(roster, id, &state);
    put_queues(roster);
    put_all_runs(roster);
    put_totals(roster, &state);
    int status = send(roster, &state, begun + CALL_TIMEOUT);
    if (status != 0) {
        roster->wanted = true;
        return status;
    }
    snprintf(roster->id, sizeof roster->id, "%s", id);
    roster->round_trip = ftl_now() - begun;
    return 0;
}

/* Members of `processes` without a record died without a word. Once a minute, by one of all. */
static int prune_member(struct ftl__roster *roster, const struct redisReply *member)
{
    const struct ftl__keys *keys = roster->options.keys;
    struct ftl__key key;
    struct redisReply *reply;
    if (member->type != REDIS_REPLY_STRING || member->len > FTL__ID_MAX)
        return 0;
    ftl__key_process(keys, member->str, "", &key);
    int64_t deadline = ftl_deadline(CALL_TIMEOUT);
    int status =
        ftl__link_callf(roster->options.link, deadline, &reply, "EXISTS %b", key.text, key.size);
    if (status != 0)
        return status;
    bool gone = reply->type == REDIS_REPLY_INTEGER && reply->integer == 0;
    ftl__reply_free(reply);
    if (!gone)
        return 0;
    status = ftl__link_callf(roster->options.link, deadline, &reply, "SREM %b %b",
                             keys->processes.text, keys->processes.size, member->str, member->len);
    if (status == 0)
        ftl__reply_free(reply);
    return status;
}

static int prune(struct ftl__roster *roster)
{
    const struct ftl__keys *keys = roster->options.keys;
    struct redisReply *reply;
    int64_t deadline = ftl_deadline(CALL_TIMEOUT);
    int status = ftl__link_callf(roster->options.link, deadline, &reply, "SET %b 1 NX EX 60",
                                 keys->process_cleanup.text, keys->process_cleanup.size);
    if (status != 0)
        return status;
    bool ours = reply->type == REDIS_REPLY_STATUS;
    ftl__reply_free(reply);
    if (!ours)
        return 0;
    status = ftl__link_callf(roster->options.link, deadline, &reply, "SMEMBERS %b",
                             keys->processes.text, keys->processes.size);
    if (status != 0)
        return status;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements && status == 0; i++)
        status = prune_member(roster, reply->element[i]);
    ftl__reply_free(reply);
    return status;
}

/* ---- the task --------------------------------------------------------------------------- */

static void turn(struct ftl__roster *roster)
{
    char id[FTL__ID_MAX + 1]; /* the lease may lose it meanwhile */
    snprintf(id, sizeof id, "%s", ftl__lease_id(roster->options.lease));
    if (id[0] == '\0' || write_record(roster, id) != 0 || ftl_now() < roster->next_prune)
        return;
    if (prune(roster) == 0)
        roster->next_prune = ftl_deadline(PRUNE_PERIOD);
}

static void *keep_told(void *arg)
{
    struct ftl__roster *roster = arg;
    while (!roster->closing) {
        if (ftl__link_wait_up(roster->options.link, FTL_FOREVER) == 0)
            turn(roster);
        if (!roster->closing)
            (void)ftl_notify_wait(roster->wake, FTL_FOREVER);
    }
    return NULL;
}

static bool has_changed(const struct ftl__roster *roster)
{
    struct ftl__roster_state state = {0};
    const struct ftl__roster_state *told = &roster->told;
    roster->options.state(roster->options.arg, &state);
    return roster->showed_runs || state.busy != told->busy || state.quiet != told->quiet ||
           state.processed != told->processed || state.failed != told->failed;
}

static bool is_due(const struct ftl__roster *roster, const struct ftl__tick *tick)
{
    int64_t passed = ftl_now() - roster->written + SLACK;
    if (roster->wanted || !tick->recorded)
        return true;
    return passed >= LONGEST || (passed >= PERIOD && has_changed(roster));
}

static void take_signal(struct ftl__roster *roster, const struct redisReply *name)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {{"TSTP", SIGTSTP}, {"TERM", SIGTERM}, {"TTIN", SIGTTIN}};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (strcmp(name->str, signals[i].name) == 0 && roster->options.on_signal != NULL)
            roster->options.on_signal(roster->options.arg, signals[i].number);
}

void ftl__roster_told(struct ftl__roster *roster, const struct ftl__tick *tick)
{
    for (size_t i = 0; i < tick->signals->elements; i++)
        take_signal(roster, tick->signals->element[i]);
    if (is_due(roster, tick))
        ftl_notify_one(roster->wake);
}

static void free_roster(struct ftl__roster *roster)
{
    ftl__invoke_free(&roster->invoke);
    ftl_notify_free(roster->wake);
    free(roster);
}

int ftl__roster_open(const struct ftl__roster_options *options, struct ftl__roster **ret_roster)
{
    struct ftl__roster *roster = calloc(1, sizeof *roster);
    if (roster == NULL)
        return FTL_ENOMEM;
    roster->options = *options;
    roster->started_at = epoch_now();
    ftl__invoke_init(&roster->invoke);
    roster->wake = ftl_notify_new();
    int status = roster->wake != NULL ? 0 : FTL_ENOMEM;
    if (status == 0)
        status = ftl__part_start(options->runtime, keep_told, roster, "roster", &roster->task);
    if (status != 0) {
        free_roster(roster);
        return status;
    }
    *ret_roster = roster;
    return 0;
}

static void stop(struct ftl__roster *roster)
{
    roster->closing = true;
    ftl__part_stop(&roster->task, CLOSE_GRACE);
}

void ftl__roster_close(struct ftl__roster *roster)
{
    if (roster == NULL)
        return;
    stop(roster);
    free_roster(roster);
}

void ftl__roster_set_config(struct ftl__roster *roster, const struct ftl__config *config)
{
    roster->options.config = config;
    ftl__roster_refresh(roster);
}

void ftl__roster_refresh(struct ftl__roster *roster)
{
    ftl_notify_one(roster->wake);
}

int ftl__roster_leave(struct ftl__roster *roster, int64_t deadline)
{
    struct ftl__roster_state state = {0};
    /* What is being told now is told to its end: an answer that nobody takes would be told twice. */
    roster->closing = true;
    ftl_notify_one(roster->wake);
    ftl__part_await(&roster->task, ftl_now() + (deadline - ftl_now()) / 2, CLOSE_GRACE);
    const char *id = roster->id[0] != '\0' ? roster->id : ftl__lease_id(roster->options.lease);
    if (id[0] == '\0')
        return 0;
    roster->options.state(roster->options.arg, &state);
    start(roster, id, id);
    put_totals(roster, &state);
    put_removal(roster);
    int status = send(roster, &state, deadline);
    if (status == 0)
        roster->id[0] = '\0';
    return status;
}
