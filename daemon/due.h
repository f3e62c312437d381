/* SPDX-License-Identifier: MIT
 *
 * Due members of `retry` and `schedule`, on their way to their queues: what becomes of each, and
 * the script call that does it. No waiting, no state. */
#ifndef FETTLE_DAEMON_DUE_H
#define FETTLE_DAEMON_DUE_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/keys.h"
#include "daemon/script.h"
#include "jobs/job.h"

struct ftl__marks;
struct redisReply;

struct ftl__due {
    const char *old; /* the member; borrowed */
    size_t old_size;
    char *bytes; /* as it goes to its queue, or cancelled; owned; NULL: to dead as it is */
    size_t size;
    size_t queue;                 /* index into the list's queues */
    bool cancelled;               /* by an operator: to dead, rewritten; no `reason` */
    const char *reason;           /* static: why it goes to dead; NULL: it does not */
    struct ftl__slice jid, class; /* borrowed from the member; may be empty */
    bool done;                    /* no longer part of the call */
};

struct ftl__due_queue {
    char name[129];
};

/* Zeroed = empty. */
struct ftl__due_list {
    struct ftl__due *items;
    size_t count;
    struct ftl__due_queue *queues; /* distinct */
    size_t queue_count, queue_room;
};

/* From `count` pairs of a member and its score, which must outlive the list. What is no job, or
 * names no possible queue, is for dead, and so is what is cancelled. FTL_ENOMEM: the list is to be
 * cleared all the same. */
int ftl__due_read(struct redisReply *const *pairs, size_t count,
                  const struct ftl__job_limits *limits, const struct ftl__marks *cancels,
                  double now, struct ftl__due_list *list);
void ftl__due_clear(struct ftl__due_list *list);

/* The call of promote.lua for all that are not done. The list must outlive the call. */
void ftl__due_build(const struct ftl__due_list *list, const struct ftl__keys *keys,
                    const struct ftl__key *set, struct ftl__invoke *invoke);

#endif
