/* SPDX-License-Identifier: MIT
 *
 * A link: one connection to Redis on the control runtime, driven by our tasks; hiredis reads the
 * replies. Calls are pipelined, answered in order, each with a deadline. It reconnects by itself
 * with jittered backoff and tells its listener, who re-registers what the server has forgotten.
 * Used from tasks of the control runtime only. */
#ifndef FETTLE_DAEMON_LINK_H
#define FETTLE_DAEMON_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fettle/channel.h>
#include <fettle/task.h>
#include <hiredis/hiredis.h>

#include "daemon/config.h"
#include "daemon/reply.h"

struct ftl_runtime;
struct ftl__link;

/* Replies with more elements than this in all, or more bytes than a bulk of Redis can have, break
 * the connection; commands that wait to be sent are refused beyond the last one. */
#define FTL__LINK_MAX_ELEMENTS (1 << 20)
#define FTL__LINK_MAX_REPLY    ((size_t)528 << 20)
#define FTL__LINK_MAX_OUT      ((size_t)256 << 20)

struct ftl__link_options {
    struct ftl_runtime *runtime;        /* control */
    const struct ftl__address *address; /* outlives the link */
    const char *name;                   /* static; for the log and CLIENT SETNAME */
    int64_t retry_max;                  /* ns between two attempts to connect; 0 = a second */
    /* After connect, AUTH, SELECT: a task of the control runtime that may make calls. Until it has
     * returned 0, calls of others fail with FTL_ECONN; another value closes the connection and the
     * link tries again. May be NULL. */
    int (*on_up)(void *arg, struct ftl__link *link);
    /* After it was up, and after each attempt that has failed. May be NULL; must not wait. */
    void (*on_down)(void *arg, const char *reason);
    void *arg;
};

/* Starts connecting at once. */
int ftl__link_open(const struct ftl__link_options *options, struct ftl__link **ret_link);
/* Closes the connection, fails what is pending with FTL_ECONN, ends the link's tasks; waits. No
 * task may begin a call or wait for it to come up any more. */
void ftl__link_close(struct ftl__link *link); /* NULL-safe */

bool ftl__link_is_up(const struct ftl__link *link);
/* How often it has come up: the same number twice = the same connection. */
uint64_t ftl__link_epoch(const struct ftl__link *link);
/* Waits until it is up. FTL_ETIMEDOUT, FTL_ECANCELED. */
int ftl__link_wait_up(struct ftl__link *link, int64_t deadline);
/* Breaks the connection now, for a reason of the caller's; it reconnects. */
void ftl__link_break(struct ftl__link *link, const char *reason);

/* A command: arguments with lengths, borrowed until begin() returns. */
struct ftl__command {
    int argc;
    const char **argv;
    const size_t *argvlen;
};

/* A call in flight. The caller's storage; must live until wait() or cancel() has returned, which
 * the task that began it calls. When that task ends or is aborted before, the call is cancelled. */
struct ftl__call {
    struct ftl_oneshot done;
    struct ftl_defer guard;
    struct ftl__link *link;
    uint64_t seq;
    int64_t deadline, patience; /* the one moves on by the other while bytes come or go */
    struct redisReply *reply;
    int status;
    bool pending;
    struct ftl_notify *landed; /* NULL, or who else is told; set after begin() */
};

/* Writes the command to the connection's buffer; several begun in one go are sent together.
 * FTL_ECONN: not up, nothing sent; FTL_ENOMEM, FTL_ELIMIT: neither. A call whose deadline passes,
 * and in whose time no byte has come or gone, breaks the connection, since replies come in order:
 * FTL_ETIMEDOUT then, and FTL_ECONN for the others in flight. In both cases it is unknown whether the server has executed it. */
int ftl__link_begin(struct ftl__link *link, struct ftl__call *call,
                    const struct ftl__command *command, int64_t deadline);
/* The same for bytes that are one whole command already. */
int ftl__link_begin_raw(struct ftl__link *link, struct ftl__call *call, const char *bytes,
                        size_t size, int64_t deadline);
/* Waits for the reply; *ret_reply is the caller's (ftl__reply_free). An error reply is a reply.
 * After FTL_ECANCELED, too, the call is over. */
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

/* For on_up: 0, unless the reply is an error that passes by itself (LOADING, MASTERDOWN, BUSY). Then the
 * connection is broken, to be made again, and it is FTL_EPROTO. */
int ftl__link_passing(struct ftl__link *link, const char *command, const struct redisReply *reply);

#endif
