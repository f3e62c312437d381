/* SPDX-License-Identifier: MIT
 *
 * DESIGN: one task on control. A beat is one MULTI … EXEC, begun in one go, so that nothing of
 * others on the same link comes between: announce the process and its queues, replace its list of
 * runs, add to the totals, take the signals. All records expire after 60 s, should we die. A new ID
 * (lease.c) takes the records of the old one away.
 *
 * Totals are sent as what has come since the last beat that was answered; a beat whose answer was
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
#include "daemon/part.h"
#include "daemon/script.h"
#include "daemon/tx.h"

#define PERIOD       (5 * FTL_S)
#define CALL_TIMEOUT (5 * FTL_S)
#define CLOSE_GRACE  FTL_S
#define EXPIRE       "60"
#define STAT_EXPIRE  "157680000" /* five years, as the layout says */
#define PRUNE_PERIOD (60 * FTL_S)
#define MAX_SIGNALS  "16"

struct ftl__roster {
    struct ftl__roster_options options;
    bool closing;
    char id[FTL__ID_MAX + 1]; /* whose records are there; "": none */
    double started_at;        /* epoch seconds */
    int64_t round_trip;       /* ns, of the last beat */
    int64_t next_prune;
    uint64_t processed, failed; /* as told so far */
    struct ftl_task *task;
    struct ftl_notify *wake;
    struct ftl__tx *tx;
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

static void put_process(struct ftl__roster *roster, const struct ftl__roster_state *state)
{
    struct ftl__tx *tx = roster->tx;
    const struct ftl__roster_options *options = &roster->options;
    struct ftl__key key;
    char *info = ftl__card_process(roster->id, roster->started_at, options->config);
    ftl__key_process(options->keys, roster->id, "", &key);
    ftl__tx_put(tx, "SADD %b %s", options->keys->processes.text, options->keys->processes.size,
                roster->id);
    if (info != NULL)
        ftl__tx_put(
            tx, "HSET %b info %s concurrency %u busy %u beat %.6f rtt_us %lld quiet %s rss %lu",
            key.text, key.size, info, options->config->concurrency, state->busy, epoch_now(),
            (long long)(roster->round_trip / 1000), state->quiet ? "true" : "false", resident_kb());
    ftl__tx_put(tx, "EXPIRE %b " EXPIRE, key.text, key.size);
    free(info);
}

/* Producers that only push tell nobody that there is a queue; whoever serves it does. */
static void put_queues(struct ftl__roster *roster)
{
    const struct ftl__key *queues = &roster->options.keys->queues;
    const struct ftl__config *config = roster->options.config;
    for (size_t i = 0; i < config->queue_count; i++)
        ftl__tx_put(roster->tx, "SADD %b %s", queues->text, queues->size, config->queues[i].name);
}

/* Older dashboards look at :workers, newer ones at :work. */
static void put_runs(struct ftl__roster *roster, const char *suffix,
                     const struct ftl__roster_run *runs, char *const *cards, size_t count)
{
    struct ftl__key key;
    ftl__key_process(roster->options.keys, roster->id, suffix, &key);
    ftl__tx_put(roster->tx, "DEL %b", key.text, key.size);
    for (size_t i = 0; i < count; i++)
        if (cards[i] != NULL)
            ftl__tx_put(roster->tx, "HSET %b %llx %s", key.text, key.size,
                        (unsigned long long)runs[i].token, cards[i]);
    ftl__tx_put(roster->tx, "EXPIRE %b " EXPIRE, key.text, key.size);
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
    put_runs(roster, ":work", runs, cards, count);
    put_runs(roster, ":workers", runs, cards, count);
    for (size_t i = 0; i < count; i++)
        free(cards[i]);
}

static void put_total(struct ftl__roster *roster, const struct ftl__key *total, uint64_t more)
{
    if (more == 0)
        return;
    char day[16];
    struct ftl__key key;
    struct tm utc;
    time_t now = time(NULL);
    strftime(day, sizeof day, "%Y-%m-%d", gmtime_r(&now, &utc));
    ftl__key_stat_day(total, day, &key);
    ftl__tx_put(roster->tx, "INCRBY %b %llu", total->text, total->size, (unsigned long long)more);
    ftl__tx_put(roster->tx, "INCRBY %b %llu", key.text, key.size, (unsigned long long)more);
    ftl__tx_put(roster->tx, "EXPIRE %b " STAT_EXPIRE, key.text, key.size);
}

static void put_totals(struct ftl__roster *roster, const struct ftl__roster_state *state)
{
    const struct ftl__keys *keys = roster->options.keys;
    put_total(roster, &keys->stat_processed, state->processed - roster->processed);
    put_total(roster, &keys->stat_failed, state->failed - roster->failed);
}

static void put_removal(struct ftl__roster *roster)
{
    static const char *const suffixes[] = {"", ":work", ":workers", "-signals"};
    const struct ftl__keys *keys = roster->options.keys;
    if (roster->id[0] == '\0')
        return;
    ftl__tx_put(roster->tx, "SREM %b %s", keys->processes.text, keys->processes.size, roster->id);
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        struct ftl__key key;
        ftl__key_process(keys, roster->id, suffixes[i], &key);
        ftl__tx_put(roster->tx, "DEL %b", key.text, key.size);
    }
}

/* ---- beats ------------------------------------------------------------------------------ */

static void take_signal(struct ftl__roster *roster, const struct redisReply *name)
{
    static const struct {
        const char *name;
        int number;
    } signals[] = {{"TSTP", SIGTSTP}, {"TERM", SIGTERM}, {"TTIN", SIGTTIN}};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        if (name->type == REDIS_REPLY_STRING && strcmp(name->str, signals[i].name) == 0 &&
            roster->options.on_signal != NULL)
            roster->options.on_signal(roster->options.arg, signals[i].number);
}

static int take_signals(struct ftl__roster *roster)
{
    struct ftl__key key;
    struct redisReply *reply;
    ftl__key_process(roster->options.keys, roster->id, "-signals", &key);
    int status = ftl__link_callf(roster->options.link, ftl_deadline(CALL_TIMEOUT), &reply,
                                 "RPOP %b " MAX_SIGNALS, key.text, key.size);
    if (status != 0)
        return status;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        take_signal(roster, reply->element[i]);
    ftl__reply_free(reply);
    return 0;
}

static int send(struct ftl__roster *roster, const struct ftl__roster_state *state, int64_t deadline)
{
    int status = ftl__tx_run(roster->tx, roster->options.link, deadline);
    if (status == 0) {
        roster->processed = state->processed;
        roster->failed = state->failed;
    }
    return status;
}

static int beat(struct ftl__roster *roster, const char *id)
{
    struct ftl__roster_state state = {0};
    char before[FTL__ID_MAX + 1];
    memcpy(before, roster->id, sizeof before);
    roster->options.state(roster->options.arg, &state);
    ftl__tx_start(roster->tx);
    if (strcmp(roster->id, id) != 0)
        put_removal(roster);
    snprintf(roster->id, sizeof roster->id, "%s", id);
    put_process(roster, &state);
    put_queues(roster);
    put_all_runs(roster);
    put_totals(roster, &state);
    int64_t begun = ftl_now();
    int status = send(roster, &state, begun + CALL_TIMEOUT);
    if (status != 0) {
        memcpy(roster->id, before, sizeof before); /* whose records are still to be removed */
        return status;
    }
    roster->round_trip = ftl_now() - begun;
    return take_signals(roster);
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
    const char *id = ftl__lease_id(roster->options.lease);
    if (id[0] == '\0' || beat(roster, id) != 0 || ftl_now() < roster->next_prune)
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
        /* Soon again until there is something to tell. */
        if (!roster->closing)
            (void)ftl_notify_wait(roster->wake,
                                  ftl_deadline(roster->id[0] != '\0' ? PERIOD : FTL_S / 5));
    }
    return NULL;
}

static void free_roster(struct ftl__roster *roster)
{
    ftl__tx_close(roster->tx);
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
    roster->wake = ftl_notify_new();
    int status = roster->wake != NULL ? ftl__tx_open(&roster->tx) : FTL_ENOMEM;
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
    roster->options.state(roster->options.arg, &state);
    ftl__tx_start(roster->tx);
    put_totals(roster, &state);
    put_removal(roster);
    int status = send(roster, &state, deadline);
    if (status == 0)
        roster->id[0] = '\0';
    return status;
}
