/* SPDX-License-Identifier: MIT
 *
 * The greeting: what a link says on a new connection before others may use it. */
#ifndef FETTLE_DAEMON_GREETING_H
#define FETTLE_DAEMON_GREETING_H

#include <stdbool.h>

struct ftl__address;
struct ftl__link;

/* Why a server is of no use. */
struct ftl__refusal {
    const char *command; /* that it has answered with an error; NULL: it was none */
    char said[192];      /* "": it has refused nothing */
    bool passes;         /* by itself, ftl__greeting_passes() */
};

/* By the task that owns the link, which may make calls. On an error there may be a refusal. */
int ftl__greet(struct ftl__link *link, const struct ftl__address *address, const char *name,
               struct ftl__refusal *ret_refusal);

/* An error reply that passes by itself: the server starts, waits for its master, or is in a script. */
bool ftl__greeting_passes(const char *text);

/* An error reply to AUTH, fit for the log: who does not know the command repeats its arguments. */
const char *ftl__greeting_auth_error(const char *text);

#endif
