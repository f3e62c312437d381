/* SPDX-License-Identifier: MIT
 *
 * The envelope: one JSON object, scanned once, never turned into a tree. The scan validates all of
 * it (RFC 8259, UTF-8), keeps where the members that fettle knows stand, and a rewrite splices new
 * values into the original bytes, so that everything else survives byte for byte. */
#ifndef FETTLE_JOBS_JOB_H
#define FETTLE_JOBS_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <fettle/error.h>

#include "jobs/json.h"

/* The members that fettle reads or writes; JSON name = the lower-case identifier. */
#define FTL__MEMBER_MAP(X)                                                                         \
    X(CLASS, "class") X(ARGS, "args") X(JID, "jid") X(QUEUE, "queue") X(RETRY, "retry")            \
    X(RETRY_FOR, "retry_for") X(RETRY_QUEUE, "retry_queue") X(DEAD, "dead")                        \
    X(BACKTRACE, "backtrace") X(CREATED_AT, "created_at") X(ENQUEUED_AT, "enqueued_at")            \
    X(AT, "at") X(RETRY_COUNT, "retry_count") X(FAILED_AT, "failed_at")                            \
    X(RETRIED_AT, "retried_at") X(ERROR_CLASS, "error_class")                                      \
    X(ERROR_MESSAGE, "error_message") X(ERROR_BACKTRACE, "error_backtrace")                        \
    X(WRAPPED, "wrapped") X(BID, "bid") X(ENCRYPT, "encrypt")                                      \
    X(UNROUTABLE_AT, "unroutable_at") /* fettle's own: since when no handler was found */

enum ftl__member {
#define X(id, name) FTL__##id,
    FTL__MEMBER_MAP(X)
#undef X
    FTL__MEMBER_COUNT
};

/* The JSON name of a member, and the member of that name (escapes in it count as what they stand
 * for), or FTL__MEMBER_COUNT. */
const char *ftl__member_name(enum ftl__member member);
enum ftl__member ftl__member_of(const struct ftl__json_member *member);

/* A stretch of the job's bytes; begin = NULL: absent. */
struct ftl__slice {
    const char *begin;
    size_t size;
};

struct ftl__job_limits {
    size_t max_bytes;   /* of the whole text */
    uint32_t max_depth; /* of nesting; the object itself is 1 */
};

/* A scanned job. Borrows the bytes, which must outlive it and stay unchanged. Of a member that
 * occurs twice the last counts. */
struct ftl__job {
    const char *bytes;
    size_t size;
    uint8_t type[FTL__MEMBER_COUNT];            /* enum ftl__json_type */
    struct ftl__slice value[FTL__MEMBER_COUNT]; /* the value's text, quotes included; undefined
                                                   where the type is FTL__ABSENT */
};

/* Why a text is no job; `reason` is static text, `offset` the byte at which it shows. */
struct ftl__job_error {
    const char *reason;
    size_t offset;
};

/* Scans `bytes`. 0: *ret_job is filled. FTL_ELIMIT (too large, too deep), FTL_EPROTO (not JSON, not
 * an object): *ret_job has no members, *ret_error tells. One pass, no allocation, no recursion beyond
 * max_depth. A job without class is a success: what that means is decided elsewhere. */
int ftl__job_scan(const char *bytes, size_t size, const struct ftl__job_limits *limits,
                  struct ftl__job *ret_job, struct ftl__job_error *ret_error);

/* The text between the quotes if the member is a string without escapes, else an empty slice with
 * begin = NULL. */
struct ftl__slice ftl__job_plain(const struct ftl__job *job, enum ftl__member member);

/* Decodes a string member (escapes resolved, \u0000 included) to `buf`, NUL-terminated, cut at a
 * UTF-8 boundary. Returns the length, or FTL_ENOENT if it is absent or no string. */
int ftl__job_string(const struct ftl__job *job, enum ftl__member member, char *buf, size_t size);

/* Number members: false (and *ret untouched) if absent or not a number in range. Times are read as
 * the layout says: ≥ 1e11 is milliseconds; a string with a number or a date (ISO 8601) is tried.
 * Result in seconds. */
bool ftl__job_integer(const struct ftl__job *job, enum ftl__member member, int64_t *ret);
bool ftl__job_time(const struct ftl__job *job, enum ftl__member member, double *ret_seconds);

/* ---- rewriting -------------------------------------------------------------------------- */

/* New values for members: JSON text, or removal. Filled by the setters, which own the text. */
struct ftl__edit;

struct ftl__edit *ftl__edit_new(void);       /* NULL: out of memory */
void ftl__edit_free(struct ftl__edit *edit); /* NULL-safe */

/* Record a change; errors stick and come out of ftl__job_rewrite(). A string is written as valid
 * UTF-8 JSON: invalid bytes become U+FFFD; it is cut at `max_chars` characters (0 = no limit).
 * Times are written as "%.6f"; `raw` is JSON already. */
void ftl__edit_string(struct ftl__edit *edit, enum ftl__member member, const char *text,
                      size_t size, size_t max_chars);
void ftl__edit_integer(struct ftl__edit *edit, enum ftl__member member, int64_t value);
void ftl__edit_time(struct ftl__edit *edit, enum ftl__member member, double seconds);
void ftl__edit_raw(struct ftl__edit *edit, enum ftl__member member, const char *json, size_t size);
void ftl__edit_remove(struct ftl__edit *edit, enum ftl__member member);

/* Writes the job with the edits into a fresh buffer: present members are replaced where they stand,
 * new ones appended before the closing brace, removed ones taken out with their comma (all
 * occurrences). Everything else is byte for byte the same. The caller frees *ret_bytes (not
 * NUL-terminated). FTL_ENOMEM. */
int ftl__job_rewrite(const struct ftl__job *job, const struct ftl__edit *edit, char **ret_bytes,
                     size_t *ret_size);

/* Appends the job as one line, newlines between tokens turned into spaces (inside strings JSON has
 * none), to a fresh buffer of size job->size + 1, ending in '\n'. FTL_ENOMEM. */
int ftl__job_one_line(const struct ftl__job *job, char **ret_bytes, size_t *ret_size);

/* 24 lower-case hex digits and a NUL from getrandom(2). */
void ftl__jid_random(char ret_jid[25]);

#endif
