/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The envelope: walks the members of the job's object once and remembers where the few that fettle
 * knows have their values. Values are looked at only when somebody asks. A job borrows its bytes
 * and owns nothing, so it can be copied and dropped freely, on any thread.
 *
 * It judges form only. Whether a job without class, with a foreign `retry` or a queue of no valid
 * name can be run is said by those who read these members. */
#include "jobs/job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <fettle/task.h>

#include "jobs/timestamp.h"

/* ---- names of members ------------------------------------------------------------------- */

struct name {
    const char *text;
    size_t size;
};

static const struct name names[FTL__MEMBER_COUNT] = {
#define X(id, name) [FTL__##id] = {name, sizeof(name) - 1},
    FTL__MEMBER_MAP(X)
#undef X
};

#define NAME_MAX_SIZE 15

/* Members by the length of their names. A name in this table twice or in the wrong row is found by
 * the test that looks every member up; unused places hold 0, whose name has another length or
 * matches. */
static const uint8_t by_size[NAME_MAX_SIZE + 1][4] = {
    [2] = {FTL__AT},
    [3] = {FTL__JID, FTL__BID},
    [4] = {FTL__ARGS, FTL__DEAD},
    [5] = {FTL__CLASS, FTL__QUEUE, FTL__RETRY},
    [7] = {FTL__WRAPPED, FTL__ENCRYPT},
    [9] = {FTL__RETRY_FOR, FTL__BACKTRACE, FTL__FAILED_AT},
    [10] = {FTL__CREATED_AT, FTL__RETRIED_AT},
    [11] = {FTL__ENQUEUED_AT, FTL__RETRY_COUNT, FTL__ERROR_CLASS, FTL__RETRY_QUEUE},
    [13] = {FTL__ERROR_MESSAGE, FTL__UNROUTABLE_AT},
    [15] = {FTL__ERROR_BACKTRACE},
};

static inline uint64_t eight(const char *text)
{
    uint64_t word;
    memcpy(&word, text, sizeof word);
    return word;
}

static inline uint32_t four(const char *text)
{
    uint32_t word;
    memcpy(&word, text, sizeof word);
    return word;
}

/* Of names of the same size, 2 to 16: their halves overlap. A call of memcmp() costs more. */
static inline bool is_same(const char *a, const char *b, size_t size)
{
    size_t half = size - (size >= 8 ? 8 : size >= 4 ? 4 : 2);
    if (size >= 8)
        return eight(a) == eight(b) && eight(a + half) == eight(b + half);
    if (size >= 4)
        return four(a) == four(b) && four(a + half) == four(b + half);
    return a[0] == b[0] && a[1] == b[1] && a[size - 1] == b[size - 1];
}

/* The member of that name, or FTL__MEMBER_COUNT. */
static inline enum ftl__member find_member(const char *text, size_t size)
{
    if (size > NAME_MAX_SIZE)
        return FTL__MEMBER_COUNT;
    for (size_t i = 0; i < sizeof(by_size[0]); i++) {
        enum ftl__member member = by_size[size][i];
        const struct name *name = &names[member];
        if (name->size == size && is_same(name->text, text, size))
            return member;
    }
    return FTL__MEMBER_COUNT;
}

enum ftl__member ftl__member_of(const struct ftl__json_member *member)
{
    const char *text = member->begin + 1;
    size_t size = (size_t)(member->name_end - 1 - text);
    if (!member->escaped)
        return size > 0 ? find_member(text, size) : FTL__MEMBER_COUNT;
    char decoded[NAME_MAX_SIZE + 6]; /* room for one character too many */
    size = ftl__json_decode(text, size, decoded, sizeof(decoded));
    return size > 0 ? find_member(decoded, size) : FTL__MEMBER_COUNT;
}

const char *ftl__member_name(enum ftl__member member)
{
    return names[member].text;
}

/* ---- the scan --------------------------------------------------------------------------- */

int ftl__job_scan(const char *bytes, size_t size, const struct ftl__job_limits *limits,
                  struct ftl__job *ret_job, struct ftl__job_error *ret_error)
{
    memset(ret_job->type, FTL__ABSENT, sizeof ret_job->type);
    if (size > limits->max_bytes) {
        *ret_error = (struct ftl__job_error){"too large", limits->max_bytes};
        return FTL_ELIMIT;
    }
    ret_job->bytes = bytes;
    ret_job->size = size;
    struct ftl__json_reader reader;
    struct ftl__json_member json;
    int rc = ftl__json_open(&reader, bytes, size, limits->max_depth);
    if (rc == 0)
        rc = ftl__json_next(&reader, &json);
    for (; rc > 0; rc = ftl__json_next(&reader, &json)) {
        enum ftl__member member = ftl__member_of(&json);
        if (member == FTL__MEMBER_COUNT)
            continue;
        ret_job->value[member] = (struct ftl__slice){json.value, (size_t)(json.end - json.value)};
        ret_job->type[member] = (uint8_t)json.type;
    }
    if (rc < 0) {
        memset(ret_job->type, FTL__ABSENT, sizeof ret_job->type);
        *ret_error = (struct ftl__job_error){reader.reason, (size_t)(reader.at - bytes)};
    }
    return rc;
}

/* ---- values ----------------------------------------------------------------------------- */

/* What stands between the quotes; begin = NULL: not a string. */
static struct ftl__slice inner(const struct ftl__job *job, enum ftl__member member)
{
    if (job->type[member] != FTL__STRING)
        return (struct ftl__slice){NULL, 0};
    const struct ftl__slice *value = &job->value[member];
    return (struct ftl__slice){value->begin + 1, value->size - 2};
}

struct ftl__slice ftl__job_plain(const struct ftl__job *job, enum ftl__member member)
{
    struct ftl__slice text = inner(job, member);
    if (text.begin != NULL && memchr(text.begin, '\\', text.size) != NULL)
        return (struct ftl__slice){NULL, 0};
    return text;
}

int ftl__job_string(const struct ftl__job *job, enum ftl__member member, char *buf, size_t size)
{
    struct ftl__slice text = inner(job, member);
    if (text.begin == NULL)
        return FTL_ENOENT;
    return (int)ftl__json_decode(text.begin, text.size, buf, size);
}

/* All of the digits, or false where they do not fit. */
static bool parse_integer(const char *text, size_t size, int64_t *ret)
{
    bool negative = size > 0 && text[0] == '-';
    int64_t value = 0;
    for (size_t i = negative; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        int digit = text[i] - '0';
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value)) /* downwards: INT64_MIN fits */
            return false;
    }
    if (size == negative || (!negative && value == INT64_MIN))
        return false;
    *ret = negative ? value : -value;
    return true;
}

bool ftl__job_integer(const struct ftl__job *job, enum ftl__member member, int64_t *ret)
{
    const struct ftl__slice *text = &job->value[member];
    double value;
    if (job->type[member] != FTL__NUMBER)
        return false;
    if (parse_integer(text->begin, text->size, ret))
        return true;
    /* 25.0 and 2.5e1 are integers too, as far as a double has them exactly. */
    if (memchr(text->begin, '.', text->size) == NULL &&
        memchr(text->begin, 'e', text->size) == NULL &&
        memchr(text->begin, 'E', text->size) == NULL)
        return false;
    if (!ftl__number_parse(text->begin, text->size, &value) || value < -9e15 || value > 9e15 ||
        (double)(int64_t)value != value)
        return false;
    *ret = (int64_t)value;
    return true;
}

bool ftl__job_time(const struct ftl__job *job, enum ftl__member member, double *ret_seconds)
{
    if (job->type[member] == FTL__NUMBER)
        return ftl__timestamp_parse(job->value[member].begin, job->value[member].size, ret_seconds);
    struct ftl__slice text = ftl__job_plain(job, member);
    return text.begin != NULL && ftl__timestamp_parse(text.begin, text.size, ret_seconds);
}

/* ---- other forms ------------------------------------------------------------------------ */

int ftl__job_one_line(const struct ftl__job *job, char **ret_bytes, size_t *ret_size)
{
    char *line = malloc(job->size + 1);
    if (line == NULL)
        return FTL_ENOMEM;
    /* A valid string holds no raw newline, so each one stands between tokens. */
    for (size_t i = 0; i < job->size; i++)
        line[i] = job->bytes[i] == '\n' || job->bytes[i] == '\r' ? ' ' : job->bytes[i];
    line[job->size] = '\n';
    *ret_bytes = line;
    *ret_size = job->size + 1;
    return 0;
}

void ftl__jid_random(char ret_jid[25])
{
    unsigned char bytes[12];
    ssize_t size;
    do
        size = getrandom(bytes, sizeof(bytes), 0); /* so few bytes come whole, or not at all */
    while (size < 0 && errno == EINTR);
    ftl_assert(size == (ssize_t)sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        (void)snprintf(ret_jid + 2 * i, 3, "%02x", bytes[i]);
}
