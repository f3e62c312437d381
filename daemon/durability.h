/* SPDX-License-Identifier: MIT
 *
 * Durability: what the Redis at the other end may lose of what it has acknowledged, read from its
 * settings. Nothing is changed there. */
#ifndef FETTLE_DAEMON_DURABILITY_H
#define FETTLE_DAEMON_DURABILITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ftl__link;

#define FTL__DURABILITY_MAX 4

struct ftl__finding {
    const char *setting; /* static */
    char value[32];      /* "unknown": the server does not tell */
    const char *reason;  /* static: what follows from it */
    bool loses;          /* without a failover, too: require_durable refuses it */
};

struct ftl__durability {
    struct ftl__finding findings[FTL__DURABILITY_MAX];
    size_t count;
};

/* Asks the server; for the on_up of a link. A server that refuses to tell is a finding, not an
 * error, unless it does so for a moment only: FTL_EPROTO. Other errors as ftl__link_call();
 * *ret_durability is then as it was. */
int ftl__durability_read(struct ftl__link *link, int64_t deadline,
                         struct ftl__durability *ret_durability);

bool ftl__durability_equal(const struct ftl__durability *a, const struct ftl__durability *b);

/* One redis.durability for each finding. */
void ftl__durability_tell(const struct ftl__durability *durability);

/* What require_durable refuses: "it may lose jobs: setting = value: reason; …" in `text`, "" if there is nothing. */
void ftl__durability_explain(const struct ftl__durability *durability, char *text, size_t size);

#endif
