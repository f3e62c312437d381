/* SPDX-License-Identifier: MIT
 *
 * What operators have cancelled: the marks of fettle:cancelled as Redis told them last. Every
 * claim, tick and look at due members says which generation of them it knows, and is told all of
 * them if there is another one. Control runtime only; nothing waits. */
#ifndef FETTLE_DAEMON_CANCELS_H
#define FETTLE_DAEMON_CANCELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "jobs/job.h"

struct redisReply;

struct ftl__cancels {
    char generation[24]; /* "0": there are none */
    struct ftl__cancel_mark *marks; /* sorted by name */
    size_t count;
    void (*on_change)(void *arg); /* there are other marks; must not wait; may be NULL */
    void *arg;
};

void ftl__cancels_init(struct ftl__cancels *cancels);
void ftl__cancels_free(struct ftl__cancels *cancels); /* what it points to, not itself */

/* Are these two elements of a reply a generation, and its fields and values? */
bool ftl__cancels_is_reply(const struct redisReply *generation, const struct redisReply *fields);
/* Takes them in. Without memory nothing changes: they will be told again. */
void ftl__cancels_take(struct ftl__cancels *cancels, const struct redisReply *generation,
                       const struct redisReply *fields);

static inline bool ftl__cancels_any(const struct ftl__cancels *cancels)
{
    return cancels->count > 0;
}

/* Is the job marked by its jid, or its run by its token (0: it has none)? `now` is epoch seconds of
 * Redis' clock. */
bool ftl__cancels_has(const struct ftl__cancels *cancels, const struct ftl__job *job,
                      uint64_t token, double now);

#endif
