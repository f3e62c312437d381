/* SPDX-License-Identifier: MIT
 *
 * The Lua scripts: loaded at link up, called by their SHA1 with binary-safe keys and arguments.
 * When the server has forgotten them (NOSCRIPT), they are loaded again and the call is repeated.
 * Used from tasks of the control runtime only. */
#ifndef FETTLE_DAEMON_SCRIPT_H
#define FETTLE_DAEMON_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/keys.h"
#include "daemon/link.h"

/* Each is daemon/scripts/NAME.lua. */
#define FTL__SCRIPT_MAP(X)                                                                         \
    X(REGISTER, "register")                                                                        \
    X(RETIRE, "retire")                                                                            \
    X(CLAIM, "claim")                                                                              \
    X(ACK, "ack")                                                                                  \
    X(SETTLE, "settle")                                                                            \
    X(DUE, "due")                                                                                  \
    X(PROMOTE, "promote")                                                                          \
    X(TRIM, "trim")                                                                                \
    X(FENCE, "fence")                                                                              \
    X(REAP, "reap")                                                                                \
    X(ABSOLVE, "absolve")                                                                      \
    X(MARK, "mark")                                                                            \
    X(TICK, "tick")                                                                            \
    X(ROSTER, "roster")

enum ftl__script {
#define X(id, name) FTL__SCRIPT_##id,
    FTL__SCRIPT_MAP(X)
#undef X
        FTL__SCRIPT_COUNT
};

struct ftl__scripts;

/* One object for all links to the same server. FTL_ENOMEM; FTL_ENOENT: one is not compiled in. */
int ftl__scripts_open(struct ftl__scripts **ret_scripts);
void ftl__scripts_close(struct ftl__scripts *scripts); /* NULL-safe; no call may use it any more */

/* SCRIPT LOAD of all, pipelined. FTL_EPROTO: the server refused one (logged as redis.error). */
int ftl__scripts_load(struct ftl__scripts *scripts, struct ftl__link *link, int64_t deadline);

/* The same with a deadline of its own, as on_up of struct ftl__link_options; `arg` is the
 * scripts. */
int ftl__scripts_on_up(void *arg, struct ftl__link *link);

/* ---- invocations -------------------------------------------------------------------------- */

/* A call being built: first start(), then all keys, then all arguments. The storage is reused by
 * the next start(), so a loop allocates only while it grows. Lack of memory sticks and comes out of
 * begin(). */
struct ftl__invoke {
    enum ftl__script script;
    uint32_t key_count;
    bool failed;
    struct ftl__invoke_arg *args; /* words of the command */
    size_t arg_count, arg_room;
    char *arena; /* text of copied words */
    size_t arena_size, arena_room;
    char numkeys[16];
    const char **argv; /* as given to the link */
    size_t *argvlen;
    size_t argv_room;
};

void ftl__invoke_init(struct ftl__invoke *invoke);
void ftl__invoke_free(struct ftl__invoke *invoke); /* what it points to, not itself */

void ftl__invoke_start(struct ftl__invoke *invoke, enum ftl__script script);
void ftl__invoke_key(struct ftl__invoke *invoke, const struct ftl__key *key); /* copied */
/* Any bytes; borrowed until wait() (not begin(): it may have to repeat) has returned. */
void ftl__invoke_bytes(struct ftl__invoke *invoke, const void *bytes, size_t size);
/* Copied. */
void ftl__invoke_text(struct ftl__invoke *invoke, const char *text);
void ftl__invoke_uint(struct ftl__invoke *invoke, uint64_t value);
void ftl__invoke_time(struct ftl__invoke *invoke, double seconds); /* "%.6f" */

/* As ftl__link_begin() and ftl__link_wait(); FTL_ECONN also while nothing is loaded. The invocation
 * must stay as it is between the two. A repeat after NOSCRIPT happens inside wait(), once, within
 * `deadline`: it comes after what was pipelined behind it. */
int ftl__invoke_begin(struct ftl__invoke *invoke, const struct ftl__scripts *scripts,
                      struct ftl__link *link, struct ftl__call *call, int64_t deadline);
int ftl__invoke_wait(struct ftl__invoke *invoke, struct ftl__scripts *scripts,
                     struct ftl__call *call, struct redisReply **ret_reply);
/* begin + wait. */
int ftl__invoke_run(struct ftl__invoke *invoke, struct ftl__scripts *scripts,
                    struct ftl__link *link, int64_t deadline, struct redisReply **ret_reply);

/* ---- replies ------------------------------------------------------------------------------ */

/* 0: of this REDIS_REPLY_ type; FTL_EFENCED: the error FENCED; FTL_EPROTO: another error or another
 * type (logged as redis.error with `what`, the name of a script or command). */
int ftl__reply_check(const struct redisReply *reply, int type, const char *what);

#endif
