/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A rewrite is a splice: the job's members are walked again in their order, and each stretch of the
 * original is copied as it is, unless the edit says otherwise. What stands between two kept members
 * goes along with the second, so that blanks stay where they were and each removed member takes its
 * comma with it. New members follow the last one.
 *
 * An edit owns the JSON text of its new values. Of a member that occurs twice the last counts (as
 * in the scan) and is the one replaced; a removal takes all of them. Used for jobs that failed or
 * came due, not on the way of those that succeed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fettle/task.h>

#include "jobs/job.h"
#include "jobs/timestamp.h"

enum action { KEEP, REPLACE, REMOVE };

struct change {
    enum action action;
    char *text; /* of REPLACE: JSON, owned */
    size_t size;
};

struct ftl__edit {
    int error; /* the first one; sticks */
    struct change changes[FTL__MEMBER_COUNT];
};

/* ---- recording -------------------------------------------------------------------------- */

struct ftl__edit *ftl__edit_new(void)
{
    return calloc(1, sizeof(struct ftl__edit));
}

void ftl__edit_free(struct ftl__edit *edit)
{
    if (edit == NULL)
        return;
    for (size_t i = 0; i < FTL__MEMBER_COUNT; i++)
        free(edit->changes[i].text);
    free(edit);
}

/* Room for a new value; NULL: the error is noted. */
static char *replace(struct ftl__edit *edit, enum ftl__member member, size_t size)
{
    struct change *change = &edit->changes[member];
    ftl__edit_remove(edit, member);
    change->text = malloc(size);
    if (change->text == NULL) {
        edit->error = FTL_ENOMEM;
        return NULL;
    }
    change->action = REPLACE;
    change->size = size;
    return change->text;
}

void ftl__edit_raw(struct ftl__edit *edit, enum ftl__member member, const char *json, size_t size)
{
    ftl_assert(size > 0);
    char *text = replace(edit, member, size);
    if (text != NULL)
        memcpy(text, json, size);
}

void ftl__edit_string(struct ftl__edit *edit, enum ftl__member member, const char *text,
                      size_t size, size_t max_chars)
{
    size_t encoded = ftl__json_encode(text, size, max_chars, NULL);
    char *buf = replace(edit, member, encoded);
    if (buf != NULL)
        (void)ftl__json_encode(text, size, max_chars, buf);
}

void ftl__edit_integer(struct ftl__edit *edit, enum ftl__member member, int64_t value)
{
    char text[24];
    int size = snprintf(text, sizeof(text), "%" PRId64, value);
    ftl__edit_raw(edit, member, text, (size_t)size);
}

void ftl__edit_time(struct ftl__edit *edit, enum ftl__member member, double seconds)
{
    char text[FTL__TIMESTAMP_SIZE];
    size_t size = ftl__timestamp_print(seconds, text);
    ftl__edit_raw(edit, member, text, size);
}

void ftl__edit_remove(struct ftl__edit *edit, enum ftl__member member)
{
    struct change *change = &edit->changes[member];
    free(change->text);
    *change = (struct change){.action = REMOVE};
}

/* ---- writing ---------------------------------------------------------------------------- */

struct writer {
    char *begin, *at;
    bool any; /* a member has been written */
};

static void put(struct writer *writer, const char *bytes, size_t size)
{
    memcpy(writer->at, bytes, size);
    writer->at += size;
}

static void put_range(struct writer *writer, const char *begin, const char *end)
{
    put(writer, begin, (size_t)(end - begin));
}

/* One member of the original: `lead` is where what stands before it begins. */
static void write_member(struct writer *writer, const struct ftl__job *job,
                         const struct ftl__edit *edit, const struct ftl__json_member *json,
                         const char *lead)
{
    enum ftl__member member = ftl__member_of(json);
    const struct change *change =
        member < FTL__MEMBER_COUNT ? &edit->changes[member] : &(struct change){.action = KEEP};
    bool counts = member < FTL__MEMBER_COUNT && job->value[member].begin == json->value;
    if (change->action == REMOVE)
        return;
    if (writer->any)
        put_range(writer, lead, json->begin);
    if (change->action == REPLACE && counts) {
        put_range(writer, json->begin, json->value);
        put(writer, change->text, change->size);
    } else {
        put_range(writer, json->begin, json->end);
    }
    writer->any = true;
}

static void write_new_members(struct writer *writer, const struct ftl__job *job,
                              const struct ftl__edit *edit)
{
    for (enum ftl__member member = 0; member < FTL__MEMBER_COUNT; member++) {
        const struct change *change = &edit->changes[member];
        const char *name = ftl__member_name(member);
        if (change->action != REPLACE || job->type[member] != FTL__ABSENT)
            continue;
        if (writer->any)
            put(writer, ",", 1);
        put(writer, "\"", 1);
        put(writer, name, strlen(name));
        put(writer, "\":", 2);
        put(writer, change->text, change->size);
        writer->any = true;
    }
}

static void write_all(struct writer *writer, const struct ftl__job *job,
                      const struct ftl__edit *edit)
{
    struct ftl__json_reader reader;
    struct ftl__json_member json;
    int rc = ftl__json_open(&reader, job->bytes, job->size, UINT32_MAX);
    ftl_assert(rc == 0);
    const char *lead = reader.at; /* behind the brace, later behind the value before */
    put_range(writer, job->bytes, lead);
    for (bool first = true; (rc = ftl__json_next(&reader, &json)) > 0; first = false) {
        if (first) /* the blanks behind the brace stay, whichever member comes first now */
            put_range(writer, lead, json.begin);
        write_member(writer, job, edit, &json, lead);
        lead = json.end;
    }
    ftl_assert(rc == 0); /* it has been scanned */
    write_new_members(writer, job, edit);
    put_range(writer, lead, job->bytes + job->size);
}

/* No rewrite is larger. */
static size_t upper_bound(const struct ftl__job *job, const struct ftl__edit *edit)
{
    size_t size = job->size;
    for (enum ftl__member member = 0; member < FTL__MEMBER_COUNT; member++)
        if (edit->changes[member].action == REPLACE)
            size +=
                edit->changes[member].size + strlen(ftl__member_name(member)) + strlen(",\"\":");
    return size;
}

int ftl__job_rewrite(const struct ftl__job *job, const struct ftl__edit *edit, char **ret_bytes,
                     size_t *ret_size)
{
    if (edit->error != 0)
        return edit->error;
    size_t bound = upper_bound(job, edit);
    struct writer writer = {.begin = malloc(bound)};
    if (writer.begin == NULL)
        return FTL_ENOMEM;
    writer.at = writer.begin;
    write_all(&writer, job, edit);
    ftl_assert(writer.at <= writer.begin + bound);
    *ret_bytes = writer.begin;
    *ret_size = (size_t)(writer.at - writer.begin);
    return 0;
}
