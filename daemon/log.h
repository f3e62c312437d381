/* SPDX-License-Identifier: MIT
 *
 * The log: one line per event to stderr, logfmt, JSON or with journald's priority prefix.
 * Thread-safe: each line is formatted in a buffer of the caller's thread and handed over whole. */
#ifndef FETTLE_DAEMON_LOG_H
#define FETTLE_DAEMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ftl__level { FTL__DEBUG, FTL__INFO, FTL__WARNING, FTL__ERROR };

enum ftl__log_format { FTL__LOG_AUTO, FTL__LOG_LOGFMT, FTL__LOG_JSON, FTL__LOG_JOURNAL };
enum ftl__log_jobs { FTL__LOG_JOBS_NONE, FTL__LOG_JOBS_FAILURES, FTL__LOG_JOBS_ALL };

/* Any thread, takes effect for lines that begin later. AUTO: journal if stderr is the journal's
 * stream (JOURNAL_STREAM), else logfmt. */
void ftl__log_configure(enum ftl__level level, enum ftl__log_format format,
                        enum ftl__log_jobs jobs);
bool ftl__log_on(enum ftl__level level);
enum ftl__log_jobs ftl__log_jobs(void);

/* From here on a thread of its own writes, so that no caller waits for stderr; until then lines are
 * written where they are made. FTL_ESYS. */
int ftl__log_start(void);

/* Before the process ends: waits until all is written, `timeout` ns at most. */
void ftl__log_stop(int64_t timeout);

/* The events are an interface: daemon/events.def lists each once, X(id, "name", level), and
 * docs/log.md explains each; a test holds the two together. */
enum ftl__event {
#define X(id, name, level) FTL__EV_##id,
#include "daemon/events.def"
#undef X
    FTL__EV_COUNT
};

/* A typed field; a macro makes each. Keys are static, lower-case. */
struct ftl__field {
    const char *key;
    enum { FTL__F_STR, FTL__F_BYTES, FTL__F_INT, FTL__F_UINT, FTL__F_REAL, FTL__F_BOOL } type;
    union { const char *str; int64_t i; uint64_t u; double real; } v;
    size_t size; /* of FTL__F_BYTES */
};
#define FTL__STR(k, s) ((struct ftl__field){(k), FTL__F_STR, {.str = (s)}, 0})
#define FTL__BYTES(k, p, n) ((struct ftl__field){(k), FTL__F_BYTES, {.str = (p)}, (n)})
#define FTL__INT(k, n) ((struct ftl__field){(k), FTL__F_INT, {.i = (n)}, 0})
#define FTL__UINT(k, n) ((struct ftl__field){(k), FTL__F_UINT, {.u = (n)}, 0})
#define FTL__REAL(k, x) ((struct ftl__field){(k), FTL__F_REAL, {.real = (x)}, 0})
#define FTL__BOOL(k, b) ((struct ftl__field){(k), FTL__F_BOOL, {.u = (b)}, 0})

/* Writes the event with its own level. A NULL string leaves its field out. A line is at most 16
 * KiB: what is too long is cut and marked `truncated=true`. Bytes that are not printable UTF-8 are
 * escaped. Never fails and, after ftl__log_start(), never waits: what stderr does not take in time
 * is dropped, whole lines, and counted (log.dropped). */
#define ftl__log(event, ...)                                                                       \
    ftl__log_fields((event), (const struct ftl__field[]){__VA_ARGS__},                             \
                    sizeof((const struct ftl__field[]){__VA_ARGS__}) / sizeof(struct ftl__field))
void ftl__log_fields(enum ftl__event event, const struct ftl__field *fields, size_t count);

#endif
