/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A line is formatted in a buffer of the calling thread and handed to log_writer, which
 * sees to it that nobody waits for whoever reads stderr. Settings are atomics, read once per line.
 * The log never fails; what it had to drop, it counts. It does not rotate or rate-limit: that is
 * the journal's work. */
#include "daemon/log.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/line.h"
#include "daemon/log_writer.h"
#include "runtime/sanitizer.h"

static const struct {
    const char *name;
    enum ftl__level level;
} events[FTL__EV_COUNT] = {
#define X(id, name, level) {name, level},
#include "daemon/events.def"
#undef X
};

static const char *const level_names[] = {"debug", "info", "warning", "error"};
static const char level_priorities[] = "7643"; /* of syslog, as journald reads them */

static _Atomic int log_level = FTL__INFO;
static _Atomic int log_format = FTL__LOG_LOGFMT;
static _Atomic int log_jobs = FTL__LOG_JOBS_FAILURES;

/* systemd names the stream it gave us by device and inode: it may have been replaced since. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t device, inode;
    struct stat st;
    return stream != NULL && sscanf(stream, "%" SCNuMAX ":%" SCNuMAX, &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void ftl__log_configure(enum ftl__level level, enum ftl__log_format format, enum ftl__log_jobs jobs)
{
    if (format == FTL__LOG_AUTO)
        format = stderr_is_journal() ? FTL__LOG_JOURNAL : FTL__LOG_LOGFMT;
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
    atomic_store_explicit(&log_format, (int)format, memory_order_relaxed);
    atomic_store_explicit(&log_jobs, (int)jobs, memory_order_relaxed);
}

bool ftl__log_on(enum ftl__level level)
{
    return (int)level >= atomic_load_explicit(&log_level, memory_order_relaxed);
}

enum ftl__log_jobs ftl__log_jobs(void)
{
    return (enum ftl__log_jobs)atomic_load_explicit(&log_jobs, memory_order_relaxed);
}

static void raw(struct ftl__line *line, const char *text)
{
    ftl__line_raw(line, text, strlen(text));
}

#define PREFIX_MAX 3 /* of what stands before the first field: nothing, "{" or "<6>" */

/* Separator, key and what stands between key and value. */
static void key(struct ftl__line *line, const char *name, bool json)
{
    char text[80];
    int size = snprintf(text, sizeof(text), json ? "%s\"%s\":" : "%s%s=",
                        line->size <= PREFIX_MAX ? "" : json ? "," : " ", name);
    ftl__line_raw(line, text, (size_t)size < sizeof(text) ? (size_t)size : sizeof(text) - 1);
}

static void text_value(struct ftl__line *line, const char *text, size_t size, bool json)
{
    if (json)
        ftl__line_json(line, text, size);
    else
        ftl__line_logfmt(line, text, size);
}

static void real_value(struct ftl__line *line, double value, bool json)
{
    char text[352]; /* the largest double has 309 digits before its point */
    if (isfinite(value))
        snprintf(text, sizeof(text), "%.3f", value);
    else
        snprintf(text, sizeof(text), json ? "null" : "%.3f", value);
    raw(line, text);
}

static void field_value(struct ftl__line *line, const struct ftl__field *field, bool json)
{
    char text[24];
    switch (field->type) {
    case FTL__F_STR:
        text_value(line, field->v.str, strlen(field->v.str), json);
        return;
    case FTL__F_BYTES:
        text_value(line, field->v.str, field->size, json);
        return;
    case FTL__F_INT:
        snprintf(text, sizeof(text), "%" PRId64, field->v.i);
        break;
    case FTL__F_UINT:
        snprintf(text, sizeof(text), "%" PRIu64, field->v.u);
        break;
    case FTL__F_REAL:
        real_value(line, field->v.real, json);
        return;
    case FTL__F_BOOL:
        snprintf(text, sizeof(text), "%s", field->v.u != 0 ? "true" : "false");
        break;
    }
    raw(line, text);
}

/* Whole fields only, except for texts: those are cut (line.h). */
static void add_field(struct ftl__line *line, const struct ftl__field *field, bool json)
{
    bool text = field->type == FTL__F_STR || field->type == FTL__F_BYTES;
    if (line->truncated || (text && field->v.str == NULL))
        return;
    size_t before = line->size;
    key(line, field->key, json);
    if (line->truncated)
        return;
    size_t named = line->size;
    field_value(line, field, json);
    if (line->size == named)
        line->size = before; /* a key without a value would be no JSON */
}

static void add_time(struct ftl__line *line, bool json)
{
    struct timespec now;
    struct tm tm;
    char text[48];
    if (clock_gettime(CLOCK_REALTIME, &now) != 0 || gmtime_r(&now.tv_sec, &tm) == NULL)
        return;
    size_t size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + size, sizeof(text) - size, ".%06ldZ", now.tv_nsec / 1000);
    add_field(line, &FTL__STR("ts", text), json);
}

static void begin(struct ftl__line *line, enum ftl__event event, enum ftl__log_format format)
{
    bool json = format == FTL__LOG_JSON;
    enum ftl__level level = events[event].level;
    ftl__line_clear(line);
    if (format == FTL__LOG_JOURNAL)
        ftl__line_raw(line, (char[]){'<', level_priorities[level], '>'}, 3);
    if (json)
        raw(line, "{");
    if (format != FTL__LOG_JOURNAL)
        add_time(line, json);
    add_field(line, &FTL__STR("level", level_names[level]), json);
    add_field(line, &FTL__STR("event", events[event].name), json);
}

static void end(struct ftl__line *line, bool json)
{
    if (json)
        ftl__line_end(line, line->truncated ? ",\"truncated\":true}" : "}");
    else
        ftl__line_end(line, line->truncated ? " truncated=true" : "");
}

static void format_line(struct ftl__line *line, enum ftl__event event,
                        const struct ftl__field *fields, size_t count)
{
    enum ftl__log_format format =
        (enum ftl__log_format)atomic_load_explicit(&log_format, memory_order_relaxed);
    bool json = format == FTL__LOG_JSON;
    begin(line, event, format);
    for (size_t i = 0; i < count; i++)
        add_field(line, &fields[i], json);
    end(line, json);
}

/* Not inlined: the address of a thread-local must not outlive a wait of the caller's task. */
__attribute__((noinline)) void ftl__log_fields(enum ftl__event event,
                                               const struct ftl__field *fields, size_t count)
{
    static _Thread_local struct ftl__line line;
    if (!ftl__log_on(events[event].level))
        return;
    ftl__shadow_pause(); /* it is the thread's, whose tasks take turns: none of this waits */
    format_line(&line, event, fields, count);
    ftl__log_write(&line);
    ftl__shadow_resume();
}

static void describe_gap(struct ftl__line *line, uint64_t count)
{
    format_line(line, FTL__EV_LOG_DROPPED, &FTL__UINT("count", count), 1);
}

int ftl__log_start(void)
{
    return ftl__log_writer_start(describe_gap);
}

void ftl__log_stop(int64_t timeout)
{
    ftl__log_writer_stop(timeout);
}
