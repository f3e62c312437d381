/* SPDX-License-Identifier: MIT
 *
 * A link: one connection to Redis on the control runtime, hiredis' asynchronous context driven by our
 * tasks. Calls are pipelined, answered in order, each with a deadline. It reconnects by itself with
 * jittered backoff and tells its listener, who re-registers what the server has forgotten.
 * Used from tasks of the control runtime only. */
#ifndef FETTLE_DAEMON_LINK_H
#define FETTLE_DAEMON_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fettle/channel.h>
#include <hiredis/hiredis.h>

#include "daemon/config.h"

struct ftl_runtime;
struct ftl__link;

/* Reply arrays longer than this, and bulks beyond the limit of the link, break the connection. */
#define FTL__LINK_MAX_ELEMENTS (1 << 20)

struct ftl__link_options {
    struct ftl_runtime *runtime; /* control */
    const struct ftl__address *address; /* outlives the link */
    const char *name;                   /* static; for the log and CLIENT SETNAME */
    /* After connect, AUTH, SELECT: a task of the control runtime that may make calls. Until it has
     * returned 0, calls of others fail with FTL_ECONN; another value closes the connection and the
     * link tries again. May be NULL. */
    int (*on_up)(void *arg, struct ftl__link *link);
    void (*on_down)(void *arg, const char *reason); /* may be NULL; must not wait */
    void *arg;
};

/* Starts connecting at once. */
int ftl__link_open(const struct ftl__link_options *options, struct ftl__link **ret_link);
/* Closes the connection, fails what is pending with FTL_ECONN, ends the link's tasks; waits. */
void ftl__link_close(struct ftl__link *link); /* NULL-safe */

bool ftl__link_is_up(const struct ftl__link *link);
/* Waits until it is up. */
int ftl__link_wait_up(struct ftl__link *link, int64_t deadline);
/* Breaks the connection now, for a reason of the caller's; it reconnects. */
void ftl__link_break(struct ftl__link *link, const char *reason);

/* A command: arguments with lengths, borrowed until begin() returns. */
struct ftl__command {
    int argc;
    const char **argv;
    const size_t *argvlen;
};

/* A call in flight. The caller's storage; must live until wait() or cancel() has returned. */
struct ftl__call {
    struct ftl_oneshot done;
    struct ftl__link *link;
    int64_t deadline;
    struct redisReply *reply;
    int status;
    bool pending;
};

/* Writes the command to the connection's buffer; several begun in one go are sent together.
 * FTL_ECONN: not up, nothing sent. A call whose deadline passes breaks the connection, since replies
 * come in order: FTL_ETIMEDOUT then, and FTL_ECONN for the others in flight. In both cases it is
 * unknown whether the server has executed it. */
int ftl__link_begin(struct ftl__link *link, struct ftl__call *call,
                    const struct ftl__command *command, int64_t deadline);
/* Waits for the reply; *ret_reply is the caller's (freeReplyObject). An error reply is a reply. */
int ftl__link_wait(struct ftl__call *call, struct redisReply **ret_reply);
/* Forgets the call; its reply, if it comes, is dropped. */
void ftl__link_cancel(struct ftl__call *call);

/* begin + wait. */
int ftl__link_call(struct ftl__link *link, const struct ftl__command *command, int64_t deadline,
                   struct redisReply **ret_reply);
/* The same for a command given as printf-like words ("%s", "%b" with const void *, size_t; "%lld"),
 * separated by single spaces. */
int ftl__link_callf(struct ftl__link *link, int64_t deadline, struct redisReply **ret_reply,
                    const char *format, ...);

#endif
