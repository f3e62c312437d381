/* SPDX-License-Identifier: MIT
 *
 * DESIGN. The fields every event of a job begins with are made by one macro, so that they are the
 * same everywhere. What a handler printed comes in on the thread of its run and reads only what
 * stays unchanged while it runs; the log itself is thread-safe. Nothing here decides anything. */
#include "daemon/report.h"

#include <string.h>

#include <fettle/runtime.h>

#include "daemon/log.h"
#include "daemon/queues.h"

#define MESSAGE_SHOWN 1000 /* bytes of an error message in a line */
#define BACKTRACE_SIZE 8192

/* A name that is not there leaves its field out. */
static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

#define JOB_FIELDS(run)                                                                            \
    FTL__STR("jid", or_null((run)->jid)), FTL__STR("class", or_null((run)->class)),                \
        FTL__STR("queue", (run)->queue), FTL__UINT("attempt", (run)->attempt),                     \
        FTL__UINT("token", (run)->token)

static bool wants_all(void)
{
    return ftl__log_jobs() == FTL__LOG_JOBS_ALL && ftl__log_on(FTL__INFO);
}

static bool wants_failures(void)
{
    return ftl__log_jobs() != FTL__LOG_JOBS_NONE;
}

static double duration_ms(const struct ftl__slot *slot)
{
    return slot->since == 0 ? 0 : (double)(slot->ended_at - slot->since) / 1e6;
}

void ftl__report_started(const struct ftl__slot *slot)
{
    if (wants_all())
        ftl__log(FTL__EV_JOB_START, JOB_FIELDS(&slot->run));
}

void ftl__report_done(const struct ftl__slot *slot)
{
    if (wants_all())
        ftl__log(FTL__EV_JOB_DONE, JOB_FIELDS(&slot->run),
                 FTL__REAL("duration_ms", duration_ms(slot)));
}

void ftl__report_panic(const struct ftl_run *run, const struct ftl_panic *panic)
{
    char backtrace[BACKTRACE_SIZE];
    size_t size = ftl_panic_format(panic, backtrace, sizeof backtrace);

    ftl__log(FTL__EV_TASK_PANIC, FTL__STR("task", "run"), FTL__STR("reason", panic->message),
             FTL__STR("jid", or_null(run->jid)), FTL__STR("class", run->class),
             FTL__UINT("token", run->token), FTL__BYTES("backtrace", backtrace, size));
}

void ftl__report_fault(const struct ftl_run *run, const struct ftl_panic *panic)
{
    char backtrace[BACKTRACE_SIZE];
    size_t size = ftl_panic_format(panic, backtrace, sizeof backtrace);

    ftl__log(FTL__EV_TASK_FAULT, FTL__STR("task", "run"), FTL__STR("fault", panic->fault),
             FTL__BOOL("tainted", panic->tainted), FTL__STR("reason", panic->message),
             FTL__STR("jid", or_null(run->jid)), FTL__STR("class", run->class),
             FTL__UINT("token", run->token), FTL__BYTES("backtrace", backtrace, size));
}

/* As ftl_panic_format() has written it there. */
static size_t join_backtrace(const struct ftl_run *run, char *buf, size_t room)
{
    size_t used = 0;

    for (size_t i = 0; i < run->backtrace_lines; i++) {
        size_t size = strlen(run->backtrace[i]);
        if (size + 1 > room - used)
            break;
        memcpy(buf + used, run->backtrace[i], size);
        used += size;
        buf[used++] = '\n';
    }
    return used;
}

void ftl__report_child_fault(const struct ftl_run *run)
{
    char backtrace[BACKTRACE_SIZE];
    size_t size = join_backtrace(run, backtrace, sizeof backtrace);

    ftl__log(FTL__EV_TASK_FAULT, FTL__STR("task", "run"),
             FTL__STR("fault", run->failure.error_class), FTL__BOOL("tainted", false),
             FTL__STR("reason", run->failure.error_message), FTL__STR("jid", or_null(run->jid)),
             FTL__STR("class", run->class), FTL__UINT("token", run->token),
             FTL__BYTES("backtrace", backtrace, size));
}

void ftl__report_stuck(const struct ftl__slot *slot, int64_t now)
{
    ftl__log(FTL__EV_DAEMON_STUCK, FTL__STR("worker", "jobs"), FTL__STR("task", "run"),
             JOB_FIELDS(&slot->run),
             FTL__REAL("duration_ms", (double)(now - slot->since) / 1e6));
}

void ftl__report_stalled(const struct ftl__slot *slot, const struct ftl_stall *stall)
{
    struct ftl_panic panic = {.frame_count = stall->frame_count};
    struct ftl__field task = FTL__STR("task", stall->task_name);
    struct ftl__field duration = FTL__REAL("duration_ms", (double)stall->duration / 1e6);
    char backtrace[BACKTRACE_SIZE];
    size_t size;

    memcpy(panic.frames, stall->frames, stall->frame_count * sizeof *stall->frames);
    size = ftl_panic_format(&panic, backtrace, sizeof backtrace);
    if (slot != NULL)
        ftl__log(FTL__EV_TASK_STALLED, task, JOB_FIELDS(&slot->run), duration,
                 FTL__BYTES("backtrace", backtrace, size));
    else
        ftl__log(FTL__EV_TASK_STALLED, task, duration, FTL__BYTES("backtrace", backtrace, size));
}

void ftl__report_moved(const struct ftl__slot *slot)
{
    ftl__log(FTL__EV_CLASS_BLOCKING, FTL__STR("class", slot->run.class));
}

static size_t shown(size_t size)
{
    return size < MESSAGE_SHOWN ? size : MESSAGE_SHOWN;
}

#define FAILURE_FIELDS(slot)                                                                       \
    FTL__REAL("duration_ms", duration_ms(slot)),                                                   \
        FTL__STR("error_class", (slot)->run.failure.error_class),                                  \
        FTL__BYTES("error_message", (slot)->run.failure.error_message,                             \
                   shown((slot)->run.failure.message_size)),                                       \
        FTL__STR("reason", (slot)->result.why)

static void report_retry(const struct ftl__slot *slot)
{
    const struct ftl__retry_result *result = &slot->result;

    if (!wants_failures())
        return;
    if (result->retry_count < 0)
        ftl__log(FTL__EV_JOB_FAILED, JOB_FIELDS(&slot->run), FAILURE_FIELDS(slot),
                 FTL__REAL("retry_at", result->score));
    else
        ftl__log(FTL__EV_JOB_FAILED, JOB_FIELDS(&slot->run), FAILURE_FIELDS(slot),
                 FTL__INT("retry_count", result->retry_count),
                 FTL__REAL("retry_at", result->score));
}

static void report_failed(const struct ftl__slot *slot)
{
    if (slot->result.fate == FTL__FATE_RETRY)
        report_retry(slot);
    else if (slot->result.fate == FTL__FATE_DEAD)
        ftl__log(FTL__EV_JOB_DEAD, JOB_FIELDS(&slot->run), FAILURE_FIELDS(slot));
    else
        ftl__log(FTL__EV_JOB_DROPPED, JOB_FIELDS(&slot->run), FAILURE_FIELDS(slot));
}

static void report_unroutable(const struct ftl__slot *slot)
{
    if (slot->result.fate == FTL__FATE_RETRY)
        ftl__log(FTL__EV_JOB_UNROUTABLE, FTL__STR("jid", or_null(slot->run.jid)),
                 FTL__STR("class", slot->run.class), FTL__STR("queue", slot->run.queue),
                 FTL__UINT("token", slot->run.token), FTL__REAL("retry_at", slot->result.score));
    else
        ftl__log(FTL__EV_JOB_DEAD, JOB_FIELDS(&slot->run),
                 FTL__STR("error_class", "NoHandler"), FTL__STR("reason", slot->result.why));
}

static void report_invalid(const struct ftl__slot *slot)
{
    ftl__log(FTL__EV_JOB_INVALID, FTL__STR("queue", slot->run.queue),
             FTL__UINT("token", slot->run.token), FTL__STR("jid", or_null(slot->run.jid)),
             FTL__STR("class", or_null(slot->run.class)), FTL__STR("reason", slot->end_message),
             FTL__UINT("offset", slot->end_offset), FTL__UINT("size", slot->run.size));
}

static void report_cancelled(const struct ftl__slot *slot)
{
    if (slot->since == 0)
        ftl__log(FTL__EV_JOB_CANCELLED, JOB_FIELDS(&slot->run));
    else
        ftl__log(FTL__EV_JOB_CANCELLED, JOB_FIELDS(&slot->run),
                 FTL__REAL("duration_ms", duration_ms(slot)));
}

void ftl__report_end(const struct ftl__slot *slot)
{
    switch (slot->end) {
    case FTL__END_FAILED:
        report_failed(slot);
        break;
    case FTL__END_UNROUTABLE:
        report_unroutable(slot);
        break;
    case FTL__END_CANCELLED:
        report_cancelled(slot);
        break;
    case FTL__END_REFUSED:
    case FTL__END_RAW:
        report_invalid(slot);
        break;
    case FTL__END_RETURNED:
        ftl__log(FTL__EV_JOB_RETURNED, JOB_FIELDS(&slot->run),
                 FTL__STR("reason", slot->end_message));
        break;
    case FTL__END_AGAIN:
        break; /* it was told the first time */
    }
}

void ftl__report_refused(const struct ftl__slot *slot, const char *reason)
{
    ftl__log(FTL__EV_JOB_REFUSED, JOB_FIELDS(&slot->run), FTL__STR("reason", reason));
}

void ftl__report_success_refused(const struct ftl__batch *batch, uint32_t index,
                                 const char *reason)
{
    ftl__log(FTL__EV_JOB_REFUSED, FTL__STR("queue", batch->queue->name),
             FTL__UINT("token", batch->token + index), FTL__STR("reason", reason));
}

static void report_progress(const struct ftl__worker_event *event)
{
    struct ftl__field fields[8] = {JOB_FIELDS(event->run)};
    size_t count = 5;

    if (event->at >= 0)
        fields[count++] = FTL__REAL("at", event->at);
    if (event->total >= 0)
        fields[count++] = FTL__REAL("total", event->total);
    fields[count++] = FTL__STR("message", event->text);
    ftl__log_fields(FTL__EV_JOB_PROGRESS, fields, count);
}

#define WORKER_FIELDS(event) FTL__STR("handler", (event)->name), FTL__INT("pid", (event)->pid)

static void report_death(const struct ftl__worker_event *event)
{
    struct ftl__field reason = FTL__STR("reason", event->text);
    struct ftl__field runs = FTL__UINT("runs", event->runs);

    if (event->time < 0)
        ftl__log(FTL__EV_WORKER_DIED, WORKER_FIELDS(event), reason, runs);
    else
        ftl__log(FTL__EV_WORKER_DIED, WORKER_FIELDS(event), reason, runs,
                 FTL__REAL("restart_ms", (double)event->time / 1e6));
}

void ftl__report_worker(void *arg, const struct ftl__worker_event *event)
{
    (void)arg;
    switch (event->kind) {
    case FTL__WORKER_UP:
        ftl__log(FTL__EV_WORKER_READY, WORKER_FIELDS(event), FTL__UINT("runs", event->runs),
                 FTL__REAL("duration_ms", (double)event->time / 1e6));
        break;
    case FTL__WORKER_STOPPED:
        ftl__log(FTL__EV_WORKER_STOPPED, WORKER_FIELDS(event), FTL__STR("reason", event->text));
        break;
    case FTL__WORKER_DIED:
        report_death(event);
        break;
    case FTL__WORKER_FAULT:
        ftl__log(FTL__EV_WORKER_FAULT, WORKER_FIELDS(event), FTL__STR("reason", event->text),
                 FTL__UINT("runs", event->runs));
        break;
    case FTL__WORKER_COMPLAINT:
        ftl__log(FTL__EV_WORKER_COMPLAINT, WORKER_FIELDS(event), FTL__STR("reason", event->text));
        break;
    case FTL__WORKER_DOWN:
        ftl__log(FTL__EV_WORKER_DOWN, FTL__STR("handler", event->name),
                 FTL__STR("reason", event->text));
        break;
    case FTL__WORKER_STDOUT:
    case FTL__WORKER_STDERR:
        ftl__log(event->kind == FTL__WORKER_STDOUT ? FTL__EV_WORKER_STDOUT : FTL__EV_WORKER_STDERR,
                 WORKER_FIELDS(event), FTL__BYTES("line", event->text, event->size));
        break;
    case FTL__WORKER_AT:
        if (ftl__log_on(FTL__DEBUG))
            report_progress(event);
        break;
    }
}

void ftl__report_line(void *arg, const struct ftl_run *run, enum ftl__stream stream,
                      const char *line, size_t size)
{
    static const enum ftl__event events[] = {
        [FTL__STREAM_LOG] = FTL__EV_JOB_LOG,
        [FTL__STREAM_STDOUT] = FTL__EV_JOB_STDOUT,
        [FTL__STREAM_STDERR] = FTL__EV_JOB_STDERR,
    };

    (void)arg;
    if (ftl__log_on(FTL__INFO))
        ftl__log(events[stream], JOB_FIELDS(run), FTL__BYTES("line", line, size));
}
