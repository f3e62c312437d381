/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A waiter is a link and a task: it sleeps until it is armed, then stands in BLMOVE until
 * something lands or the time is up, then sleeps again. It is not rearmed by itself: the claim arms
 * all of them when it has found the queues empty and has room. A waiter whose daemon fills up
 * meanwhile may still take a wake-up that an idle daemon could have used; since fronts belong to
 * nobody, that costs the job at most the second after which every idle daemon looks at them.
 *
 * All waits end at the same moments, so that an idle daemon wakes once for all of them. A connection
 * that has silently died is found by then at the latest, and sooner by TCP's keepalive; until then,
 * ticks see what is pushed.
 *
 * The bytes that BLMOVE returns are dropped: the claim brings them again, under a token. A reply
 * that is lost loses nothing, for the same reason. */
#include "daemon/wait.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/runtime.h>
#include <fettle/time.h>

#include "daemon/complaint.h"
#include "daemon/part.h"
#include "daemon/script.h"

#define BLOCK_PERIOD (40 * FTL_S) /* a wait lasts a half to one and a half of it */
#define CALL_GRACE (10 * FTL_S)

struct waiter {
    struct ftl__wait *wait;
    struct ftl__queue *queue;
    struct ftl__link *link;
    struct ftl_task *task;
    struct ftl_notify *arm;
    bool armed; /* told to wait, and has not come back */
};

struct ftl__wait {
    struct ftl__wait_options options;
    struct waiter *waiters[FTL__WAIT_LINKS];
    size_t count;
};

/* A server that refuses to let us wait would refuse it again at once: then its queue is looked at once
 * a second. */
static int rest(void)
{
    return ftl_sleep(FTL_S) == FTL_ECANCELED ? FTL_ECANCELED : 1;
}

/* Told elsewhere (a wrong type by the claim, a replica by the link), or over in a moment. */
static bool is_told(const struct redisReply *reply)
{
    static const char *const words[] = {"WRONGTYPE", "READONLY",  "LOADING",
                                        "BUSY",      "MASTERDOWN", "UNBLOCKED"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ftl__reply_is_error(reply, words[i]))
            return true;
    return false;
}

/* The next moment at which waits end that is not too soon. */
static int64_t end_of_wait(int64_t now)
{
    return ((now + BLOCK_PERIOD / 2) / BLOCK_PERIOD + 1) * BLOCK_PERIOD;
}

/* 0: the time is up. 1: something has landed, or it is worth a look. Negative: the link. */
static int stand(struct waiter *waiter)
{
    const struct ftl__queue *queue = waiter->queue;
    int64_t now = ftl_now(), end = end_of_wait(now);
    char seconds[32];
    int size = snprintf(seconds, sizeof seconds, "%.3f", (double)(end - now) / (double)FTL_S);
    const char *argv[] = {"BLMOVE", queue->key.text, queue->front.text, "RIGHT", "LEFT", seconds};
    const size_t argvlen[] = {6, queue->key.size, queue->front.size, 5, 4, (size_t)size};
    const struct ftl__command command = {6, argv, argvlen};
    struct redisReply *reply;
    int code = ftl__link_call(waiter->link, &command, end + CALL_GRACE, &reply);

    if (code != 0)
        return code;
    code = reply->type == REDIS_REPLY_NIL ? 0 : 1;
    bool refused = reply->type == REDIS_REPLY_ERROR;
    if (refused && !is_told(reply))
        ftl__complain("BLMOVE", queue->name, reply->str);
    ftl__reply_free(reply);
    return refused ? rest() : code;
}

static int wait_armed(struct waiter *waiter)
{
    int code = 0;

    while (!waiter->armed && code == 0)
        code = ftl_notify_wait(waiter->arm, FTL_FOREVER);
    return code == 0 ? ftl__link_wait_up(waiter->link, FTL_FOREVER) : code;
}

static void *waiter_main(void *arg)
{
    struct waiter *waiter = arg;
    int code;

    while (wait_armed(waiter) == 0) {
        code = stand(waiter);
        if (code == FTL_ECANCELED)
            break;
        if (code == 0 && !waiter->queue->paused)
            continue;
        waiter->armed = false;
        waiter->wait->options.on_work(waiter->wait->options.arg);
    }
    return NULL;
}

static void waiter_close(struct waiter *waiter)
{
    if (waiter == NULL)
        return;
    ftl__part_stop(&waiter->task, FTL_S);
    ftl__link_close(waiter->link);
    ftl_notify_free(waiter->arm);
    free(waiter);
}

static struct waiter *waiter_open(struct ftl__wait *wait, struct ftl__queue *queue)
{
    const struct ftl__link_options link = {
        .runtime = wait->options.runtime, .address = wait->options.address, .name = "wait"};
    struct waiter *waiter = calloc(1, sizeof *waiter);

    if (waiter == NULL)
        return NULL;
    waiter->wait = wait;
    waiter->queue = queue;
    waiter->arm = ftl_notify_new();
    if (waiter->arm == NULL || ftl__link_open(&link, &waiter->link) != 0 ||
        ftl__part_start(wait->options.runtime, waiter_main, waiter, "waiter", &waiter->task) != 0) {
        waiter_close(waiter);
        return NULL;
    }
    return waiter;
}

int ftl__wait_open(const struct ftl__wait_options *options, struct ftl__wait **ret_wait)
{
    struct ftl__wait *wait = calloc(1, sizeof *wait);

    if (wait == NULL)
        return FTL_ENOMEM;
    wait->options = *options;
    *ret_wait = wait;
    return 0;
}

void ftl__wait_close(struct ftl__wait *wait)
{
    if (wait == NULL)
        return;
    for (size_t i = 0; i < wait->count; i++)
        waiter_close(wait->waiters[i]);
    free(wait);
}

static bool has_place(const struct ftl__queues *queues, const struct ftl__queue *queue)
{
    for (size_t i = 0; i < queues->active && i < FTL__WAIT_LINKS; i++)
        if (queues->all[i] == queue)
            return true;
    return false;
}

static bool has_waiter(const struct ftl__wait *wait, const struct ftl__queue *queue)
{
    for (size_t i = 0; i < wait->count; i++)
        if (wait->waiters[i]->queue == queue)
            return true;
    return false;
}

int ftl__wait_configure(struct ftl__wait *wait, const struct ftl__queues *queues)
{
    size_t kept = 0, count = wait->count;

    wait->count = 0; /* while others run, nobody arms what is being closed */
    for (size_t i = 0; i < count; i++) {
        if (has_place(queues, wait->waiters[i]->queue))
            wait->waiters[kept++] = wait->waiters[i];
        else
            waiter_close(wait->waiters[i]);
    }
    wait->count = kept;
    for (size_t i = 0; i < queues->active && i < FTL__WAIT_LINKS; i++) {
        if (has_waiter(wait, queues->all[i]))
            continue;
        wait->waiters[wait->count] = waiter_open(wait, queues->all[i]);
        if (wait->waiters[wait->count] == NULL)
            return FTL_ENOMEM;
        wait->count++;
    }
    return 0;
}

void ftl__wait_arm(struct ftl__wait *wait, int64_t now, uint32_t park_room)
{
    for (size_t i = 0; i < wait->count; i++) {
        struct waiter *waiter = wait->waiters[i];
        if (waiter->armed || waiter->queue->paused ||
            ftl__queue_room(waiter->queue, now, park_room) == 0)
            continue;
        waiter->armed = true;
        ftl_notify_one(waiter->arm);
    }
}
