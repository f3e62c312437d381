/* SPDX-License-Identifier: MIT
 *
 * The retry rule: what becomes of a job whose run has ended badly. Pure: time and randomness are
 * arguments. */
#ifndef FETTLE_JOBS_RETRY_H
#define FETTLE_JOBS_RETRY_H

#include "jobs/job.h"

enum ftl__fate {
    FTL__FATE_RETRY, /* to the set `retry`, due at `score` */
    FTL__FATE_DEAD,  /* to the set `dead`, score = now      */
    FTL__FATE_DROP,  /* nowhere: retry:false or dead:false; reported as job.dropped */
};

/* How a run failed, as the handler (or the runtime) says it. */
struct ftl__failure {
    const char *error_class;   /* NUL-terminated; "Panic", "ExitStatus", "Timeout", …    */
    const char *error_message; /* may hold any bytes                                     */
    size_t message_size;
    const char *const *backtrace; /* lines, may be NULL                                  */
    size_t backtrace_lines;
    bool never;    /* never again: dead at once, counts raised                           */
    double later;  /* > 0: "later, in N s": counts untouched, due then; 0 = normal rule  */
};

struct ftl__retry_input {
    double now;            /* epoch seconds, Redis' clock                               */
    uint64_t random;       /* for the jitter and a missing jid                          */
    const char *queue;     /* the queue it was claimed from                             */
    double unroutable_ttl; /* seconds                                                   */
};

/* The rewritten job and where it goes. `bytes` is the caller's (free); NULL with FTL__FATE_DROP. */
struct ftl__retry_result {
    enum ftl__fate fate;
    double score;
    char *bytes;
    size_t size;
    int64_t retry_count; /* of this failure; -1 where counts are untouched */
    const char *why;     /* static: "retry", "exhausted", "retry:false", "dead:false", "never",
                            "later", "unroutable", "unroutable_ttl", "refused", "cancelled" */
};

/* No rewrite adds more bytes to a job: who limits what producers send leaves that room for what
 * comes back from a failure. */
#define FTL__RETRY_GROWTH (256 * 1024)

/* A failed run: 25 attempts (or the job's own `retry`, `retry_for`), delay count⁴ + 15 + jitter
 * with jitter in [0, 10·(count+1)) s, `retry_queue`, `dead`, `backtrace` (true = all lines, N = the
 * first N, stored as base64(zlib(JSON array))), error_class and error_message ≤ 10,000 characters,
 * failed_at the first time, retried_at after. A job without jid is given a random one; `queue` is
 * always written; what dashboards would fail on (repair.h) is put right. FTL_ENOMEM: *ret is
 * untouched. */
int ftl__retry_failed(const struct ftl__job *job, const struct ftl__failure *failure,
                      const struct ftl__retry_input *input, struct ftl__retry_result *ret);

/* A job that no handler here takes: counts untouched, whatever its `retry` says; due in 15 to 60 s;
 * dead, class NoHandler, once `unroutable_at` is older than unroutable_ttl. */
int ftl__retry_unroutable(const struct ftl__job *job, const struct ftl__retry_input *input,
                          struct ftl__retry_result *ret);

/* A job that cannot be run at all (no class, a limit exceeded though it is an object,
 * `bid`/`encrypt`): straight to dead with this class and message. */
int ftl__retry_refused(const struct ftl__job *job, const char *error_class, const char *message,
                       const struct ftl__retry_input *input, struct ftl__retry_result *ret);

/* A job that an operator has cancelled: to dead, whatever its `retry` and `dead` say, class
 * Cancelled. `token`: of the run, for the message; 0: there was none. */
int ftl__retry_cancelled(const struct ftl__job *job, uint64_t token,
                         const struct ftl__retry_input *input, struct ftl__retry_result *ret);

/* A due member of retry or schedule on its way to a queue: enqueued_at = now, `at` removed.
 * *ret_queue (NUL-terminated, ≤ 128 bytes) is the job's `queue`, or "default". FTL_EPROTO: its
 * queue name is invalid. */
int ftl__retry_promoted(const struct ftl__job *job, double now, char **ret_bytes, size_t *ret_size,
                        char ret_queue[129]);

/* [A-Za-z0-9_:.-]{1,128}, not starting with "sq|". */
bool ftl__queue_name_valid(const char *name, size_t size);

#endif
