/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * What a handler sees of its run (the API of <fettle/module.h>), and what it leaves behind:
 * a verdict and, for a failure, copies of class and message that the run owns until it is cleared.
 *
 * The daemon fills a run and spawns ftl__run_main() with it; from then until the task has ended
 * the run belongs to that task alone, after that to the daemon again. So nothing here is locked.
 * Args are parsed only if the handler asks for them.
 *
 * The value of a run's function decides: 0 is success, whatever was set before. It does not know
 * what becomes of a failed job (jobs/retry.h). */
#include "jobs/json.h"
#include "jobs/run.h"

#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/handler.h"
#include "jobs/lines.h"

#define MESSAGE_MAX 10000 /* bytes of an error message that are kept */

/* ---- the job ---------------------------------------------------------------------------- */

const char *ftl_run_class(const struct ftl_run *run)
{
    return run->class;
}

const char *ftl_run_jid(const struct ftl_run *run)
{
    return run->jid;
}

const char *ftl_run_queue(const struct ftl_run *run)
{
    return run->queue;
}

uint64_t ftl_run_token(const struct ftl_run *run)
{
    return run->token;
}

uint32_t ftl_run_attempt(const struct ftl_run *run)
{
    return run->attempt;
}

int64_t ftl_run_deadline(const struct ftl_run *run)
{
    return run->deadline;
}

const char *ftl_run_job_text(const struct ftl_run *run, size_t *ret_size)
{
    *ret_size = run->size;
    return run->bytes;
}

const char *ftl_run_args_text(const struct ftl_run *run, size_t *ret_size)
{
    const struct ftl__slice *args = &run->job.value[FTL__ARGS];

    if (run->job.type[FTL__ARGS] == FTL__ABSENT) {
        *ret_size = 2;
        return "[]";
    }
    *ret_size = args->size;
    return args->begin;
}

json_t *ftl_run_args(struct ftl_run *run)
{
    const size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL;
    json_error_t error;
    const char *text;
    size_t size;

    if (run->args != NULL) {
        return run->args;
    }
    text = ftl_run_args_text(run, &size);
    if (ftl__json_depth(text, size) > FTL_ARGS_DEPTH) {
        ftl_panic("args nest deeper than %d", FTL_ARGS_DEPTH);
    }
    run->args = json_loadb(text, size, flags, &error);
    if (run->args == NULL && json_error_code(&error) == json_error_numeric_overflow) {
        run->args = json_loadb(text, size, flags | JSON_DECODE_INT_AS_REAL, &error);
    }
    if (run->args == NULL) {
        ftl_panic("args cannot be held in memory: %s", error.text);
    }
    return run->args;
}

/* ---- the verdict ------------------------------------------------------------------------ */

/* The largest size ≤ `max` at which the text can be cut without splitting a UTF-8 character. */
static size_t cut(const char *text, size_t size, size_t max)
{
    if (size <= max) {
        return size;
    }
    for (size_t back = 0; back < 4 && back < max; back++) {
        if (((unsigned char)text[max - back] & 0xc0) != 0x80) {
            return max - back;
        }
    }
    return max; /* not UTF-8: anywhere */
}

static void drop_failure(struct ftl_run *run)
{
    for (size_t i = 0; i < run->backtrace_lines; i++) {
        free(run->backtrace[i]);
    }
    free(run->backtrace);
    free(run->texts[0]);
    free(run->texts[1]);
    run->backtrace = NULL;
    run->backtrace_lines = 0;
    run->texts[0] = run->texts[1] = NULL;
    run->failure = (struct ftl__failure){.error_class = NULL};
    run->lost = false;
    run->verdict = FTL__VERDICT_NONE;
}

int ftl__run_failed(struct ftl_run *run, const char *error_class, const char *message, size_t size)
{
    size_t kept = cut(message, size, MESSAGE_MAX);
    char *texts[2] = {strdup(error_class), malloc(kept + 1)};

    drop_failure(run);
    run->verdict = FTL__VERDICT_FAILED;
    if (texts[0] == NULL || texts[1] == NULL) {
        free(texts[0]);
        free(texts[1]);
        run->failure = (struct ftl__failure){.error_class = "OutOfMemory", .error_message = ""};
        return 1;
    }
    memcpy(texts[1], message, kept);
    texts[1][kept] = '\0';
    run->texts[0] = texts[0];
    run->texts[1] = texts[1];
    run->failure = (struct ftl__failure){
        .error_class = texts[0], .error_message = texts[1], .message_size = kept};
    return 1;
}

static FTL_PRINTF(3, 0) void fail(struct ftl_run *run, const char *error_class, const char *format,
                                  va_list args)
{
    char *message;
    int size = vasprintf(&message, format, args);

    if (size < 0) {
        (void)ftl__run_failed(run, "OutOfMemory", "", 0);
        return;
    }
    (void)ftl__run_failed(run, error_class, message, (size_t)size);
    free(message);
}

int ftl_run_fail(struct ftl_run *run, const char *error_class, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fail(run, error_class, format, args);
    va_end(args);
    return 1;
}

int ftl_run_fail_forever(struct ftl_run *run, const char *error_class, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fail(run, error_class, format, args);
    va_end(args);
    run->failure.never = true;
    return 1;
}

int ftl_run_later(struct ftl_run *run, double seconds)
{
    ftl_assert(isfinite(seconds) && seconds >= 0);
    (void)ftl_run_fail(run, "Later", "asked to be run again in %g s", seconds);
    /* 0 would mean the normal rule: the least that is more. */
    run->failure.later = seconds > FTL__LATER_LEAST ? seconds : FTL__LATER_LEAST;
    return 1;
}

/* ---- the log ---------------------------------------------------------------------------- */

/* What one run may print (lines.h) it may log, too. */
static void log_line(struct ftl_run *run, const char *line, size_t size)
{
    size_t before = atomic_fetch_add_explicit(&run->logged, size + 1, memory_order_relaxed);

    if (before > FTL__OUTPUT_MAX) {
        return;
    }
    if (before + size + 1 > FTL__OUTPUT_MAX) {
        line = FTL__OUTPUT_DROPPED;
        size = sizeof(FTL__OUTPUT_DROPPED) - 1;
    }
    run->on_line(run->on_line_arg, run, FTL__STREAM_LOG, line, size);
}

/* A message with newlines is as many lines; a long one is cut into pieces. */
static void log_lines(struct ftl_run *run, const char *text, size_t size)
{
    const char *end = text + size;

    do {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t line = (size_t)((newline != NULL ? newline : end) - text);
        size_t piece = cut(text, line, FTL__LINE_MAX);

        log_line(run, text, piece);
        text += piece;
        text += text == newline;
    } while (text < end);
}

void ftl_run_log(struct ftl_run *run, const char *format, ...)
{
    char *text;
    va_list args;
    int size;

    if (run->on_line == NULL) {
        return;
    }
    va_start(args, format);
    size = vasprintf(&text, format, args);
    va_end(args);
    if (size < 0) {
        return; /* a line for the log is not worth the run */
    }
    log_lines(run, text, (size_t)size);
    free(text);
}

/* ---- the run ---------------------------------------------------------------------------- */

/* What a run that returns FTL_ECANCELED has to say. */
#define CUT_OFF "the run was cut off"

/* The function has returned `code` and has not said why. */
static void fail_plainly(struct ftl_run *run, int code)
{
    if (code == FTL_ECANCELED) {
        (void)ftl_run_fail(run, "Cancelled", CUT_OFF);
    } else if (code < 0) {
        (void)ftl_run_fail(run, "Failed", "returned %d (%s)", code, ftl_error_text(code));
    } else {
        (void)ftl_run_fail(run, "Failed", "returned %d", code);
    }
}

void *ftl__run_main(void *arg)
{
    struct ftl_run *run = arg;
    int code = run->handler->kind->run(run->handler, run);

    if (run->verdict == FTL__VERDICT_MOVED || run->verdict == FTL__VERDICT_REFUSED) {
        return run;
    }
    if (code != 0) {
        if (run->verdict != FTL__VERDICT_FAILED) {
            fail_plainly(run, code);
        }
        return run;
    }
    if (run->verdict == FTL__VERDICT_FAILED) {
        drop_failure(run); /* it failed, and thought better of it */
    }
    run->verdict = FTL__VERDICT_DONE;
    return run;
}

void ftl__run_timed_out(struct ftl_run *run)
{
    const struct ftl__failure failure = run->failure;
    const char *said = run->verdict == FTL__VERDICT_FAILED ? failure.error_message : "";

    if (failure.later > 0) {
        return;
    }
    if (strcmp(said, CUT_OFF) == 0) {
        said = "";
    }
    (void)ftl_run_fail(run, "Timeout", "not done after %g s%s%s", run->handler->timeout,
                       said[0] != '\0' ? ": " : "", said);
    run->failure.never = failure.never;
}

/* ---- a panic ---------------------------------------------------------------------------- */

void ftl__run_keep_backtrace(struct ftl_run *run, const char *text)
{
    size_t capacity = 0;

    for (const char *p = text; *p != '\0'; p++) {
        capacity += *p == '\n';
    }
    run->backtrace = calloc(capacity + 1, sizeof(*run->backtrace));
    while (run->backtrace != NULL && *text != '\0') {
        size_t size = strcspn(text, "\n");
        char *line = strndup(text, size);

        if (line == NULL) {
            break;
        }
        run->backtrace[run->backtrace_lines++] = line;
        text += size + (text[size] == '\n');
    }
    run->failure.backtrace = (const char *const *)run->backtrace;
    run->failure.backtrace_lines = run->backtrace_lines;
}

void ftl__run_panicked(struct ftl_run *run, const struct ftl_panic *panic)
{
    const size_t text_size = 16384;
    const char *error_class = panic->fault != NULL ? panic->fault : "Panic";
    char *text;

    (void)ftl__run_failed(run, error_class, panic->message, strlen(panic->message));
    text = malloc(text_size);
    if (text == NULL) {
        return;
    }
    (void)ftl_panic_format(panic, text, text_size);
    ftl__run_keep_backtrace(run, text);
    free(text);
}

void ftl__run_clear(struct ftl_run *run)
{
    drop_failure(run);
    free(run->bytes);
    json_decref(run->args);
    ftl__handler_unref(run->handler);
    run->bytes = NULL;
    run->size = 0;
    run->args = NULL;
    run->handler = NULL;
    run->logged = 0;
}
