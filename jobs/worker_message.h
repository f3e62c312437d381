/* SPDX-License-Identifier: MIT
 *
 * What a persistent worker and fettle say to each other: one JSON object a line. */
#ifndef FETTLE_JOBS_WORKER_MESSAGE_H
#define FETTLE_JOBS_WORKER_MESSAGE_H

#include "jobs/run.h"

#define FTL__WORKER_PROTOCOL 1
#define FTL__WORKER_HELLO "{\"fettle\":1}\n"

enum ftl__worker_verb {
    FTL__WORKER_NONE,
    FTL__WORKER_READY, /* the worker's */
    FTL__WORKER_DONE,
    FTL__WORKER_FAILED,
    FTL__WORKER_CANCELLED,
    FTL__WORKER_PROGRESS,
    FTL__WORKER_LOG,
    FTL__WORKER_FETTLE, /* ours; all from here on are */
    FTL__WORKER_RUN,
    FTL__WORKER_CANCEL,
};

/* A line, taken apart. Slices are JSON text within the line, begin = NULL where a member is not
 * there. */
struct ftl__worker_message {
    enum ftl__worker_verb verb;
    uint64_t number; /* the token; of READY how many runs at once */
    uint64_t protocol;
    uint64_t attempt;
    double deadline; /* epoch seconds; 0: none */
    struct ftl__slice job, class, queue;
    double later; /* "retry" in seconds; below 0: the normal rule */
    bool never;   /* "retry":false */
    double at, total; /* of PROGRESS; below 0: not there */
    struct ftl__slice error_class, text, backtrace; /* text: error_message or message; of LOG, too */
};

/* Takes a line apart, without its newline. FTL_EPROTO: no JSON object. FTL_ENOENT: an object, but
 * no message that the protocol knows, or a member of one has a value that it cannot have. *ret_reason
 * is static text. */
int ftl__worker_message_read(const char *line, size_t size, struct ftl__worker_message *ret_message,
                             const char **ret_reason);

/* Fails the run as the message (FAILED) says. */
void ftl__worker_message_fail(const struct ftl__worker_message *message, struct ftl_run *run);

/* Lines with their newlines; *ret_line is the caller's. FTL_ENOMEM.
 * {"run":TOKEN,"job":{…},"class":…,"queue":…,"attempt":N,"deadline":EPOCH} and {"cancel":TOKEN}. */
int ftl__worker_message_run(const struct ftl_run *run, char **ret_line, size_t *ret_size);
#define FTL__WORKER_CANCEL_MAX 40
size_t ftl__worker_message_cancel(uint64_t token, char line[FTL__WORKER_CANCEL_MAX]);

/* ---- what a worker of our own says (fettled --host) ---- */

/* How the run has ended, by its verdict; without one it was cancelled. */
int ftl__worker_message_end(const struct ftl_run *run, char **ret_line, size_t *ret_size);
/* {"log":TOKEN,"message":…}: a line for the log under the run's id. */
int ftl__worker_message_log(const struct ftl_run *run, const char *text, size_t text_size,
                            char **ret_line, size_t *ret_size);

#endif
