/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Each function looks at one kind of member and records what to write in its place, or that it
 * goes. What can be read is kept in meaning; only what nobody can read is dropped. Times in
 * milliseconds and in fractional seconds are both current forms and stay as they are. */
#include "jobs/repair.h"

#include <string.h>

#include "jobs/timestamp.h"

/* Is the number written as a time that readers take for what it is? They tell the unit by the form:
 * a fraction means seconds, an integer milliseconds. */
static bool is_current_form(const struct ftl__slice *number)
{
    double value = 0;
    bool fraction = memchr(number->begin, '.', number->size) != NULL;
    return ftl__number_parse(number->begin, number->size, &value) && fraction == (value < 1e11);
}

static void repair_time(const struct ftl__job *job, enum ftl__member member, struct ftl__edit *edit)
{
    enum ftl__json_type type = job->type[member];
    double seconds;
    if (type == FTL__ABSENT || type == FTL__NULL)
        return;
    if (type == FTL__NUMBER && is_current_form(&job->value[member]))
        return;
    if (ftl__job_time(job, member, &seconds))
        ftl__edit_time(edit, member, seconds);
    else
        ftl__edit_remove(edit, member);
}

/* failed_at goes with every count, retried_at with one above 0. */
static void repair_counts(const struct ftl__job *job, double now, struct ftl__edit *edit)
{
    int64_t count;
    double failed_at = now, retried_at;
    if (job->type[FTL__RETRY_COUNT] == FTL__ABSENT)
        return;
    if (!ftl__job_integer(job, FTL__RETRY_COUNT, &count)) {
        ftl__edit_remove(edit, FTL__RETRY_COUNT);
        return;
    }
    if (!ftl__job_time(job, FTL__FAILED_AT, &failed_at))
        ftl__edit_time(edit, FTL__FAILED_AT, failed_at);
    if (count > 0 && !ftl__job_time(job, FTL__RETRIED_AT, &retried_at))
        ftl__edit_time(edit, FTL__RETRIED_AT, failed_at);
}

/* zlib's first byte is 0x78, of which base64 makes 'e' and one of 'A' to 'P'. */
static void repair_backtrace(const struct ftl__job *job, struct ftl__edit *edit)
{
    enum ftl__json_type type = job->type[FTL__ERROR_BACKTRACE];
    const struct ftl__slice *text = &job->value[FTL__ERROR_BACKTRACE];
    if (type == FTL__ABSENT || type == FTL__NULL)
        return;
    if (type != FTL__STRING || text->size < 4 || text->begin[1] != 'e' || text->begin[2] < 'A' ||
        text->begin[2] > 'P')
        ftl__edit_remove(edit, FTL__ERROR_BACKTRACE);
}

void ftl__repair(const struct ftl__job *job, double now, struct ftl__edit *edit)
{
    repair_time(job, FTL__CREATED_AT, edit);
    repair_time(job, FTL__ENQUEUED_AT, edit);
    repair_time(job, FTL__FAILED_AT, edit);
    repair_time(job, FTL__RETRIED_AT, edit);
    repair_counts(job, now, edit);
    repair_backtrace(job, edit);
}

bool ftl__repair_needs_jid(const struct ftl__job *job)
{
    enum ftl__json_type type = job->type[FTL__JID];
    return type == FTL__ABSENT || type == FTL__NULL ||
           (type == FTL__STRING && job->value[FTL__JID].size == strlen("\"\""));
}
