/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Messages are taken apart by the reader that jobs are scanned with: no tree and no allocation, but
 * for the backtrace of a failure. A member that this release does not know is passed over, so that
 * a later one may add some. Of a name that occurs twice the last counts; of two verbs the first.
 *
 * Results are not looked at: nobody here could store them. Pure, any thread. */
#include "jobs/worker_message.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH           1024  /* of nesting: jobs have at most 512, a result may be anything */
#define NUMBER_MAX      40    /* bytes of a number */
#define TEXT_MAX        10000 /* bytes of an error message, as of all runs */
#define BACKTRACE_LINES 200   /* that are kept */
#define BACKTRACE_BYTES 1000  /* of each */

/* ---- values ----------------------------------------------------------------------------- */

static struct ftl__slice value_of(const struct ftl__json_member *member)
{
    return (struct ftl__slice){member->value, (size_t)(member->end - member->value)};
}

static bool copy_number(const struct ftl__json_member *member, char text[NUMBER_MAX + 1])
{
    struct ftl__slice value = value_of(member);

    if (member->type != FTL__NUMBER || value.size > NUMBER_MAX) {
        return false;
    }
    memcpy(text, value.begin, value.size);
    text[value.size] = '\0';
    return true;
}

/* A number without sign, fraction and exponent, below 2^63. */
static bool read_count(const struct ftl__json_member *member, uint64_t *ret)
{
    char text[NUMBER_MAX + 1];

    if (!copy_number(member, text) || strlen(text) > 18 ||
        strspn(text, "0123456789") != strlen(text)) {
        return false;
    }
    *ret = strtoull(text, NULL, 10);
    return true;
}

static bool read_real(const struct ftl__json_member *member, double *ret)
{
    char text[NUMBER_MAX + 1];
    double value;

    if (!copy_number(member, text)) {
        return false;
    }
    value = strtod(text, NULL);
    if (!isfinite(value)) {
        return false;
    }
    *ret = value;
    return true;
}

static bool read_text(const struct ftl__json_member *member, enum ftl__json_type type,
                      struct ftl__slice *ret)
{
    if (member->type == type) {
        *ret = value_of(member);
    }
    return member->type == type || member->type == FTL__NULL;
}

/* ---- members ---------------------------------------------------------------------------- */

static bool read_verb(const struct ftl__json_member *member, enum ftl__worker_verb verb,
                      struct ftl__worker_message *message)
{
    if (message->verb != FTL__WORKER_NONE) {
        return true;
    }
    message->verb = verb;
    return read_count(member, &message->number);
}

static bool read_retry(const struct ftl__json_member *member, struct ftl__worker_message *message)
{
    message->never = member->type == FTL__FALSE;
    return member->type != FTL__NUMBER ||
           (read_real(member, &message->later) && message->later >= 0);
}

static bool is_named(const struct ftl__json_member *member, const char *name)
{
    size_t size = (size_t)(member->name_end - member->begin) - 2;

    return strlen(name) == size && memcmp(member->begin + 1, name, size) == 0;
}

/* Members of our own lines. */
static bool take_run(const struct ftl__json_member *member, struct ftl__worker_message *message)
{
    if (is_named(member, "job")) {
        return read_text(member, FTL__OBJECT, &message->job);
    }
    if (is_named(member, "class")) {
        return read_text(member, FTL__STRING, &message->class);
    }
    if (is_named(member, "queue")) {
        return read_text(member, FTL__STRING, &message->queue);
    }
    if (is_named(member, "attempt")) {
        return read_count(member, &message->attempt);
    }
    return !is_named(member, "deadline") || read_real(member, &message->deadline);
}

/* False: it has a value that it cannot have. */
static bool take(const struct ftl__json_member *member, struct ftl__worker_message *message)
{
    static const struct {
        const char *name;
        enum ftl__worker_verb verb;
    } verbs[] = {{"done", FTL__WORKER_DONE},
                 {"failed", FTL__WORKER_FAILED},
                 {"cancelled", FTL__WORKER_CANCELLED},
                 {"progress", FTL__WORKER_PROGRESS},
                 {"log", FTL__WORKER_LOG},
                 {"run", FTL__WORKER_RUN},
                 {"cancel", FTL__WORKER_CANCEL},
                 {"fettle", FTL__WORKER_FETTLE},
                 {"ready", FTL__WORKER_READY}};

    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (is_named(member, verbs[i].name)) {
            return read_verb(member, verbs[i].verb, message);
        }
    }
    if (is_named(member, "retry")) {
        return read_retry(member, message);
    }
    if (is_named(member, "error_class")) {
        return read_text(member, FTL__STRING, &message->error_class);
    }
    if (is_named(member, "error_message") || is_named(member, "message")) {
        return read_text(member, FTL__STRING, &message->text);
    }
    if (is_named(member, "backtrace")) {
        return read_text(member, FTL__ARRAY, &message->backtrace);
    }
    if (is_named(member, "at")) {
        return read_real(member, &message->at);
    }
    if (is_named(member, "total")) {
        return read_real(member, &message->total);
    }
    if (is_named(member, "protocol")) {
        return read_count(member, &message->protocol);
    }
    return take_run(member, message);
}

int ftl__worker_message_read(const char *line, size_t size, struct ftl__worker_message *ret_message,
                             const char **ret_reason)
{
    struct ftl__worker_message message = {.later = -1, .at = -1, .total = -1};
    struct ftl__json_reader reader;
    struct ftl__json_member member;
    bool valid = true;
    int rc = ftl__json_open(&reader, line, size, DEPTH);

    while (rc == 0 && (rc = ftl__json_next(&reader, &member)) == 1) {
        valid = take(&member, &message) && valid;
        rc = 0;
    }
    if (rc < 0) {
        *ret_reason = reader.reason;
        return FTL_EPROTO;
    }
    if (!valid || message.verb == FTL__WORKER_NONE) {
        *ret_reason = valid ? "no message of the protocol" : "a member has a wrong value";
        return FTL_ENOENT;
    }
    *ret_message = message;
    return 0;
}

/* ---- a failure -------------------------------------------------------------------------- */

/* The array's strings as lines of one text; NULL: there is none, or no memory for it. */
static char *join_lines(const struct ftl__slice *array)
{
    bool flat = ftl__json_depth(array->begin, array->size) <= FTL_ARGS_DEPTH;
    json_t *lines = flat ? json_loadb(array->begin, array->size, JSON_ALLOW_NUL, NULL) : NULL;
    json_t *line;
    size_t used = 0, index;
    char *text = NULL;

    if (lines != NULL && json_array_size(lines) > 0) {
        text = malloc(BACKTRACE_LINES * (BACKTRACE_BYTES + 1) + 1);
    }
    if (text != NULL) {
        json_array_foreach(lines, index, line)
        {
            if (json_is_string(line) && index < BACKTRACE_LINES) {
                used += (size_t)sprintf(text + used, "%.*s\n", BACKTRACE_BYTES,
                                        json_string_value(line));
            }
        }
        text[used] = '\0';
    }
    json_decref(lines);
    return text;
}

/* A string member decoded; `otherwise` where it is not there. Returns its length. */
static size_t decode(const struct ftl__slice *string, const char *otherwise, char *buf, size_t size)
{
    if (string->begin == NULL) {
        return (size_t)snprintf(buf, size, "%s", otherwise);
    }
    return ftl__json_decode(string->begin + 1, string->size - 2, buf, size);
}

void ftl__worker_message_fail(const struct ftl__worker_message *message, struct ftl_run *run)
{
    char error_class[FTL__CLASS_MAX + 1];
    char *text = malloc(TEXT_MAX + 1);
    char *backtrace = message->backtrace.begin != NULL ? join_lines(&message->backtrace) : NULL;
    size_t size = 0;

    (void)decode(&message->error_class, "Failed", error_class, sizeof(error_class));
    if (text != NULL) {
        size = decode(&message->text, "", text, TEXT_MAX + 1);
    }
    (void)ftl__run_failed(run, error_class, text != NULL ? text : "", size);
    if (backtrace != NULL) {
        ftl__run_keep_backtrace(run, backtrace);
    }
    run->failure.never = message->never;
    if (message->later >= 0) {
        run->failure.later = message->later > FTL__LATER_LEAST ? message->later : FTL__LATER_LEAST;
    }
    free(text);
    free(backtrace);
}

/* ---- lines ------------------------------------------------------------------------------ */

/* A line that grows; `bytes` NULL once there was no memory. */
struct line {
    char *bytes;
    size_t size, room;
};

static char *extend(struct line *line, size_t size)
{
    char *bytes;

    if (line->bytes != NULL && line->room - line->size < size) {
        bytes = realloc(line->bytes, line->size + 2 * size);
        line->room = line->size + 2 * size;
        if (bytes == NULL) {
            free(line->bytes);
        }
        line->bytes = bytes;
    }
    return line->bytes != NULL ? line->bytes + line->size : NULL;
}

static void add(struct line *line, const char *bytes, size_t size)
{
    char *at = extend(line, size);

    if (at != NULL) {
        memcpy(at, bytes, size);
        line->size += size;
    }
}

static FTL_PRINTF(2, 3) void add_format(struct line *line, const char *format, ...)
{
    char text[96];
    va_list args;
    int size;

    va_start(args, format);
    size = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ftl_assert(size >= 0 && (size_t)size < sizeof(text));
    add(line, text, (size_t)size);
}

/* Any bytes as a JSON string. */
static void add_string(struct line *line, const char *text, size_t size)
{
    size_t encoded = ftl__json_encode(text, size, 0, NULL);
    char *at = extend(line, encoded);

    if (at != NULL) {
        line->size += ftl__json_encode(text, size, 0, at);
    }
}

static struct line begin_line(size_t room)
{
    return (struct line){.bytes = malloc(room), .room = room};
}

static int finish_line(struct line *line, char **ret_line, size_t *ret_size)
{
    add(line, "}\n", 2);
    if (line->bytes == NULL) {
        return FTL_ENOMEM;
    }
    *ret_line = line->bytes;
    *ret_size = line->size;
    return 0;
}

/* ---- to the worker ---------------------------------------------------------------------- */

int ftl__worker_message_run(const struct ftl_run *run, char **ret_line, size_t *ret_size)
{
    struct line line = begin_line(run->size + 512);
    char *job;
    size_t size;

    if (ftl__job_one_line(&run->job, &job, &size) != 0) {
        free(line.bytes);
        return FTL_ENOMEM;
    }
    add_format(&line, "{\"run\":%llu,\"job\":", (unsigned long long)run->token);
    add(&line, job, size - 1); /* without its newline */
    free(job);
    add(&line, ",\"class\":", 9);
    add_string(&line, run->class, strlen(run->class));
    add(&line, ",\"queue\":", 9);
    add_string(&line, run->queue, strlen(run->queue));
    add_format(&line, ",\"attempt\":%u", (unsigned)run->attempt);
    if (run->deadline != FTL_FOREVER) {
        add_format(&line, ",\"deadline\":%.3f", run->deadline_epoch);
    }
    return finish_line(&line, ret_line, ret_size);
}

size_t ftl__worker_message_cancel(uint64_t token, char line[FTL__WORKER_CANCEL_MAX])
{
    return (size_t)snprintf(line, FTL__WORKER_CANCEL_MAX, "{\"cancel\":%llu}\n",
                            (unsigned long long)token);
}

/* ---- from a worker of our own ----------------------------------------------------------- */

static void add_failure(struct line *line, const struct ftl_run *run)
{
    const struct ftl__failure *failure = &run->failure;

    add_format(line, "{\"failed\":%llu,\"error_class\":", (unsigned long long)run->token);
    add_string(line, failure->error_class, strlen(failure->error_class));
    add(line, ",\"error_message\":", 17);
    add_string(line, failure->error_message, failure->message_size);
    for (size_t i = 0; i < failure->backtrace_lines; i++) {
        add_format(line, "%s", i == 0 ? ",\"backtrace\":[" : ",");
        add_string(line, failure->backtrace[i], strlen(failure->backtrace[i]));
    }
    if (failure->backtrace_lines > 0) {
        add(line, "]", 1);
    }
    if (failure->never) {
        add_format(line, ",\"retry\":false");
    } else if (failure->later > 0) {
        add_format(line, ",\"retry\":%.17g", failure->later);
    }
}

int ftl__worker_message_end(const struct ftl_run *run, char **ret_line, size_t *ret_size)
{
    struct line line = begin_line(256);

    if (run->verdict == FTL__VERDICT_FAILED) {
        add_failure(&line, run);
    } else {
        add_format(&line, "{\"%s\":%llu", run->verdict == FTL__VERDICT_DONE ? "done" : "cancelled",
                   (unsigned long long)run->token);
    }
    return finish_line(&line, ret_line, ret_size);
}

int ftl__worker_message_log(const struct ftl_run *run, const char *text, size_t text_size,
                            char **ret_line, size_t *ret_size)
{
    struct line line = begin_line(text_size + 128);

    add_format(&line, "{\"log\":%llu,\"message\":", (unsigned long long)run->token);
    add_string(&line, text, text_size);
    return finish_line(&line, ret_line, ret_size);
}
