/* SPDX-License-Identifier: MIT
 *
 * Marks that Redis keeps for all daemons, each with the time at which it ends: of what operators have
 * cancelled (fettle:cancelled), of classes that have crashed (fettle:faulted). Who asks for them says
 * which generation of them it knows, and is told all of them if there is another one. Control runtime
 * only; nothing waits. */
#ifndef FETTLE_DAEMON_MARKS_H
#define FETTLE_DAEMON_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redisReply;

struct ftl__mark {
    const char *name; /* not NUL-terminated */
    size_t size;
    double until; /* epoch seconds of Redis' clock */
};

#define FTL__GENERATION_MAX 23 /* bytes */

struct ftl__marks {
    char generation[FTL__GENERATION_MAX + 1]; /* "0": there are none */
    struct ftl__mark *all; /* sorted by name */
    size_t count;
    void (*on_change)(void *arg); /* they are others now; must not wait; may be NULL */
    void *arg;
};

void ftl__marks_init(struct ftl__marks *marks);
void ftl__marks_free(struct ftl__marks *marks); /* what it points to, not itself */

/* Are these two elements of a reply a generation, and its fields and values? */
bool ftl__marks_is_reply(const struct redisReply *generation, const struct redisReply *fields);
/* Takes them in, if they are younger than those that are known. Without memory nothing changes: they will
 * be told again. */
void ftl__marks_take(struct ftl__marks *marks, const struct redisReply *generation,
                     const struct redisReply *fields);
/* The same, but also older ones if `known` was what Redis was asked with and is what is known still: it
 * has gone back in time. */
void ftl__marks_take_from(struct ftl__marks *marks, const char *known,
                          const struct redisReply *generation, const struct redisReply *fields);

static inline bool ftl__marks_any(const struct ftl__marks *marks)
{
    return marks->count > 0;
}

/* NULL: there is none of that name. It may have ended. */
const struct ftl__mark *ftl__marks_find(const struct ftl__marks *marks, const char *name,
                                        size_t size);

#endif
