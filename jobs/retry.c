/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The rule that decides where a job goes that has not succeeded, and writes what it takes along.
 * Each way records its changes in one edit and ends in finish(), which splices them in. Time and
 * chance come in as arguments, so that the same input always gives the same bytes (but for the jid
 * that a promoted job may be given).
 *
 * A job says how it wants to be retried in terms of the public layout; what makes no sense there
 * counts as if it were absent. What the caller does with the result (sets, queues, logs) is not
 * known here. */
#include "jobs/retry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/backtrace.h"
#include "jobs/repair.h"
#include "jobs/timestamp.h"

#define DEFAULT_RETRIES 25
#define MAX_COUNT       1000000 /* at which retry_count stands still: 10^16 years of delay */
#define MAX_ERROR_CHARS 10000

/* ---- chance ----------------------------------------------------------------------------- */

/* splitmix64: many numbers of one. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* In [0, 1). */
static double next_fraction(uint64_t *state)
{
    return (double)(next_random(state) >> 11) * 0x1p-53;
}

/* ---- what the job wants ----------------------------------------------------------------- */

static bool is_word(const struct ftl__job *job, enum ftl__member member, const char *word)
{
    struct ftl__slice text = ftl__job_plain(job, member);
    return text.begin != NULL && text.size == strlen(word) &&
           memcmp(text.begin, word, text.size) == 0;
}

static bool is_false(const struct ftl__job *job, enum ftl__member member)
{
    return job->type[member] == FTL__FALSE || is_word(job, member, "false");
}

static int64_t max_retries(const struct ftl__job *job)
{
    int64_t max;
    return ftl__job_integer(job, FTL__RETRY, &max) ? max : DEFAULT_RETRIES;
}

/* The count of the failure that has just happened: 0 for the first. A dashboard that puts a job
 * back may have lowered it to -1. */
static int64_t next_count(const struct ftl__job *job, bool *ret_first)
{
    int64_t count;
    *ret_first = !ftl__job_integer(job, FTL__RETRY_COUNT, &count);
    if (*ret_first || count < 0)
        return 0;
    return count < MAX_COUNT ? count + 1 : MAX_COUNT;
}

/* `retry_for` takes the place of the count's limit. */
static bool is_exhausted(const struct ftl__job *job, int64_t count, double failed_at, double now)
{
    const struct ftl__slice *text = &job->value[FTL__RETRY_FOR];
    double retry_for;
    if (job->type[FTL__RETRY_FOR] == FTL__NUMBER &&
        ftl__number_parse(text->begin, text->size, &retry_for))
        return now >= failed_at + retry_for;
    return count >= max_retries(job);
}

static size_t wanted_lines(const struct ftl__job *job, size_t lines)
{
    int64_t limit;
    if (job->type[FTL__BACKTRACE] == FTL__TRUE)
        return lines;
    if (!ftl__job_integer(job, FTL__BACKTRACE, &limit) || limit <= 0)
        return 0;
    return (uint64_t)limit < lines ? (size_t)limit : lines;
}

static double delay(int64_t count, uint64_t *random)
{
    double c = (double)count;
    return c * c * c * c + 15 + next_fraction(random) * 10 * (c + 1);
}

/* ---- what is written -------------------------------------------------------------------- */

static void edit_text(struct ftl__edit *edit, enum ftl__member member, const char *text)
{
    ftl__edit_string(edit, member, text, strlen(text), MAX_ERROR_CHARS);
}

/* What every rewrite sees to. NULL: out of memory. */
static struct ftl__edit *begin(const struct ftl__job *job, const struct ftl__retry_input *input,
                               uint64_t *random)
{
    struct ftl__edit *edit = ftl__edit_new();
    if (edit == NULL)
        return NULL;
    ftl__repair(job, input->now, edit);
    if (ftl__repair_needs_jid(job)) {
        char jid[25];
        uint64_t high = next_random(random);
        (void)snprintf(jid, sizeof(jid), "%016" PRIx64 "%08" PRIx32, high,
                       (uint32_t)next_random(random));
        edit_text(edit, FTL__JID, jid);
    }
    edit_text(edit, FTL__QUEUE, input->queue);
    return edit;
}

/* Splices, and frees the edit. */
static int finish(const struct ftl__job *job, struct ftl__edit *edit,
                  struct ftl__retry_result *result, struct ftl__retry_result *ret)
{
    int rc = ftl__job_rewrite(job, edit, &result->bytes, &result->size);
    ftl__edit_free(edit);
    if (rc == 0)
        *ret = *result;
    return rc;
}

static void edit_error(struct ftl__edit *edit, const char *class, const char *message, size_t size)
{
    edit_text(edit, FTL__ERROR_CLASS, class);
    ftl__edit_string(edit, FTL__ERROR_MESSAGE, size > 0 ? message : "", size, MAX_ERROR_CHARS);
}

static void edit_times(const struct ftl__job *job, struct ftl__edit *edit, bool first,
                       double failed_at, double now)
{
    double before;
    if (first || !ftl__job_time(job, FTL__FAILED_AT, &before))
        ftl__edit_time(edit, FTL__FAILED_AT, failed_at);
    if (first)
        ftl__edit_remove(edit, FTL__RETRIED_AT);
    else
        ftl__edit_time(edit, FTL__RETRIED_AT, now);
}

/* A backtrace of an earlier failure never stays. */
static int edit_backtrace(const struct ftl__job *job, struct ftl__edit *edit,
                          const struct ftl__failure *failure)
{
    size_t lines = failure->backtrace != NULL ? wanted_lines(job, failure->backtrace_lines) : 0;
    char *text;
    size_t size;
    ftl__edit_remove(edit, FTL__ERROR_BACKTRACE);
    if (lines == 0)
        return 0;
    int rc = ftl__backtrace_encode(failure->backtrace, lines, &text, &size);
    if (rc != 0)
        return rc;
    ftl__edit_string(edit, FTL__ERROR_BACKTRACE, text, size, 0);
    free(text);
    return 0;
}

static void edit_retry_queue(const struct ftl__job *job, struct ftl__edit *edit)
{
    char name[136]; /* longer than any valid one, so that a cut name is not taken for a valid one */
    int size = ftl__job_string(job, FTL__RETRY_QUEUE, name, sizeof(name));
    if (size > 0 && ftl__queue_name_valid(name, (size_t)size))
        ftl__edit_string(edit, FTL__QUEUE, name, (size_t)size, 0);
}

/* ---- the ways --------------------------------------------------------------------------- */

static int postpone(const struct ftl__job *job, double later, const struct ftl__retry_input *input,
                    struct ftl__retry_result *ret)
{
    uint64_t random = input->random;
    struct ftl__edit *edit = begin(job, input, &random);
    if (edit == NULL)
        return FTL_ENOMEM;
    ftl__edit_remove(edit, FTL__UNROUTABLE_AT);
    struct ftl__retry_result result = {
        .fate = FTL__FATE_RETRY, .score = input->now + later, .retry_count = -1, .why = "later"};
    return finish(job, edit, &result, ret);
}

/* The fate and its reason, by the job's own rule. */
static void decide(const struct ftl__job *job, const struct ftl__failure *failure, double failed_at,
                   double now, struct ftl__retry_result *result)
{
    bool exhausted = is_exhausted(job, result->retry_count, failed_at, now);
    if (is_false(job, FTL__RETRY)) {
        result->fate = FTL__FATE_DROP;
        result->why = "retry:false";
    } else if (!exhausted && !failure->never) {
        result->fate = FTL__FATE_RETRY;
        result->why = "retry";
    } else if (is_false(job, FTL__DEAD)) {
        result->fate = FTL__FATE_DROP;
        result->why = "dead:false";
    } else {
        result->fate = FTL__FATE_DEAD;
        result->why = failure->never ? "never" : "exhausted";
    }
}

int ftl__retry_failed(const struct ftl__job *job, const struct ftl__failure *failure,
                      const struct ftl__retry_input *input, struct ftl__retry_result *ret)
{
    if (failure->later > 0)
        return postpone(job, failure->later, input, ret);

    bool first;
    double now = input->now, failed_at = now;
    uint64_t random = input->random;
    struct ftl__retry_result result = {.score = now, .retry_count = next_count(job, &first)};
    if (!first)
        (void)ftl__job_time(job, FTL__FAILED_AT, &failed_at);
    decide(job, failure, failed_at, now, &result);
    if (result.fate == FTL__FATE_DROP) {
        *ret = result;
        return 0;
    }
    struct ftl__edit *edit = begin(job, input, &random);
    if (edit == NULL)
        return FTL_ENOMEM;
    if (result.fate == FTL__FATE_RETRY)
        result.score = now + delay(result.retry_count, &random);
    edit_retry_queue(job, edit);
    edit_error(edit, failure->error_class, failure->error_message, failure->message_size);
    ftl__edit_integer(edit, FTL__RETRY_COUNT, result.retry_count);
    edit_times(job, edit, first, failed_at, now);
    ftl__edit_remove(edit, FTL__UNROUTABLE_AT);
    int rc = edit_backtrace(job, edit, failure);
    if (rc != 0) {
        ftl__edit_free(edit);
        return rc;
    }
    return finish(job, edit, &result, ret);
}

static int refuse(const struct ftl__job *job, const char *error_class, const char *message,
                  const struct ftl__retry_input *input, const char *why,
                  struct ftl__retry_result *ret)
{
    uint64_t random = input->random;
    double failed_at;
    struct ftl__edit *edit = begin(job, input, &random);
    if (edit == NULL)
        return FTL_ENOMEM;
    edit_error(edit, error_class, message, strlen(message));
    if (!ftl__job_time(job, FTL__FAILED_AT, &failed_at))
        ftl__edit_time(edit, FTL__FAILED_AT, input->now);
    ftl__edit_remove(edit, FTL__UNROUTABLE_AT); /* who takes it out of `dead` starts afresh */
    struct ftl__retry_result result = {
        .fate = FTL__FATE_DEAD, .score = input->now, .retry_count = -1, .why = why};
    return finish(job, edit, &result, ret);
}

int ftl__retry_refused(const struct ftl__job *job, const char *error_class, const char *message,
                       const struct ftl__retry_input *input, struct ftl__retry_result *ret)
{
    return refuse(job, error_class, message, input, "refused", ret);
}

int ftl__retry_cancelled(const struct ftl__job *job, uint64_t token,
                         const struct ftl__retry_input *input, struct ftl__retry_result *ret)
{
    char message[80] = "cancelled by an operator";
    if (token != 0)
        (void)snprintf(message, sizeof(message), "cancelled by an operator, token %" PRIu64, token);
    return refuse(job, "Cancelled", message, input, "cancelled", ret);
}

int ftl__retry_unroutable(const struct ftl__job *job, const struct ftl__retry_input *input,
                          struct ftl__retry_result *ret)
{
    double now = input->now, since = now;
    if (ftl__job_time(job, FTL__UNROUTABLE_AT, &since) && since > now)
        since = now;
    if (now - since >= input->unroutable_ttl) {
        char message[80];
        (void)snprintf(message, sizeof(message), "no handler has taken the job for %.0f s",
                       now - since);
        return refuse(job, "NoHandler", message, input, "unroutable_ttl", ret);
    }
    uint64_t random = input->random;
    struct ftl__edit *edit = begin(job, input, &random);
    if (edit == NULL)
        return FTL_ENOMEM;
    ftl__edit_time(edit, FTL__UNROUTABLE_AT, since);
    struct ftl__retry_result result = {.fate = FTL__FATE_RETRY,
                                       .score = now + 15 + 45 * next_fraction(&random),
                                       .retry_count = -1,
                                       .why = "unroutable"};
    return finish(job, edit, &result, ret);
}

/* ---- on the way back to a queue --------------------------------------------------------- */

bool ftl__queue_name_valid(const char *name, size_t size)
{
    if (size < 1 || size > 128)
        return false;
    for (size_t i = 0; i < size; i++) {
        char c = name[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        bool other = (c >= '0' && c <= '9') || c == '_' || c == ':' || c == '.' || c == '-';
        if (!letter && !other)
            return false; /* "sq|…" among them */
    }
    return true;
}

static int promoted_queue(const struct ftl__job *job, char ret_queue[129])
{
    char name[136] = "default";
    int size = (int)strlen(name);
    if (job->type[FTL__QUEUE] != FTL__ABSENT && job->type[FTL__QUEUE] != FTL__NULL)
        size = ftl__job_string(job, FTL__QUEUE, name, sizeof(name));
    if (size < 0 || !ftl__queue_name_valid(name, (size_t)size))
        return FTL_EPROTO;
    memcpy(ret_queue, name, (size_t)size + 1);
    return 0;
}

int ftl__retry_promoted(const struct ftl__job *job, double now, char **ret_bytes, size_t *ret_size,
                        char ret_queue[129])
{
    char queue[129];
    int rc = promoted_queue(job, queue);
    if (rc != 0)
        return rc;
    struct ftl__edit *edit = ftl__edit_new();
    if (edit == NULL)
        return FTL_ENOMEM;
    ftl__repair(job, now, edit);
    if (ftl__repair_needs_jid(job)) {
        char jid[25];
        ftl__jid_random(jid);
        edit_text(edit, FTL__JID, jid);
    }
    ftl__edit_time(edit, FTL__ENQUEUED_AT, now);
    ftl__edit_remove(edit, FTL__AT);
    rc = ftl__job_rewrite(job, edit, ret_bytes, ret_size);
    ftl__edit_free(edit);
    if (rc == 0)
        memcpy(ret_queue, queue, sizeof(queue));
    return rc;
}
