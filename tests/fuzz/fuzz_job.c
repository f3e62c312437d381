/* SPDX-License-Identifier: MIT
 *
 * Any bytes as a job. What the scan takes, jansson takes (but for what it cannot represent), and
 * the other way round; what is rewritten is a job again and holds what was written. */
#include <jansson.h>
#include <string.h>

#include "jobs/retry.h"
#include "tests/fuzz/fuzz.h"

const char *const fuzz_seeds[] = {
    "{\"class\":\"Hello\",\"args\":[\"world\"],\"jid\":\"0123456789abcdef01234567\","
    "\"queue\":\"default\",\"retry\":true,\"created_at\":1795196280.022185,"
    "\"enqueued_at\":1795196280.022201}",
    "{\"class\":\"A\",\"args\":[],\"retry\":3,\"retry_count\":2,\"failed_at\":1795196280022,"
    "\"retried_at\":\"2026-11-20T17:38:00Z\",\"error_class\":\"E\",\"error_message\":\"m\","
    "\"error_backtrace\":\"eJwDAAAAAAE=\",\"backtrace\":true,\"retry_for\":60,\"dead\":false}",
    "{ \"args\" : [ 12345678901234567890 , 1.10 , -0.5e+3 , null , true , false ] ,"
    "\n\t\"at\" : 1 }\n",
    "{\"class\":\"\\u0041\\ud83d\\ude00\\n\\\\\\\"\\/\","
    "\"wrapped\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"}",
    "{\"args\":{\"a\":{\"b\":[[[{}]],[]],\"c\":{}}},\"class\":\"B\",\"class\":\"C\"}",
    "{\"cl\\u0061ss\":\"A\",\"unroutable_at\":1795196280,\"bid\":\"b\",\"encrypt\":true,"
    "\"retry_queue\":\"low\",\"queue\":\"a:b-c.d_E9\"}",
    "{}",
    NULL};

static const struct ftl__job_limits limits = {.max_bytes = 1 << 20, .max_depth = 512};

static bool scan(const char *bytes, size_t size, struct ftl__job *ret_job)
{
    struct ftl__job_error error = {NULL, 0};
    int rc = ftl__job_scan(bytes, size, &limits, ret_job, &error);
    FUZZ_CHECK(rc == 0 || (error.reason != NULL && error.offset <= size));
    return rc == 0;
}

/* The scan and jansson agree. */
static void check_verdict(const char *bytes, size_t size, bool valid)
{
    json_error_t error;
    json_t *json = json_loadb(bytes, size, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
    /* jansson passes over a NUL behind a number or a word. */
    if (json_is_object(json) && memchr(bytes, '\0', size) == NULL)
        FUZZ_CHECK(valid);
    /* Half a surrogate pair, a NUL in a name, a number beyond a double: valid text all the same. */
    bool beyond = json == NULL && (json_error_code(&error) == json_error_numeric_overflow ||
                                   memmem(bytes, size, "\\u", 2) != NULL);
    if (valid && !beyond)
        FUZZ_CHECK(json_is_object(json));
    json_decref(json);
}

static void read_all(const struct ftl__job *job)
{
    for (enum ftl__member member = 0; member < FTL__MEMBER_COUNT; member++) {
        char text[16];
        int64_t integer;
        double seconds;
        int size = ftl__job_string(job, member, text, sizeof(text));
        FUZZ_CHECK(size == FTL_ENOENT || (size >= 0 && size < (int)sizeof(text)));
        FUZZ_CHECK(size == FTL_ENOENT || text[size] == '\0');
        (void)ftl__job_integer(job, member, &integer);
        (void)ftl__job_time(job, member, &seconds);
    }
}

static void check_result(const struct ftl__retry_result *result)
{
    struct ftl__job job;
    double failed_at;
    if (result->fate == FTL__FATE_DROP)
        return;
    FUZZ_CHECK(scan(result->bytes, result->size, &job));
    FUZZ_CHECK(job.type[FTL__QUEUE] == FTL__STRING && job.type[FTL__JID] != FTL__ABSENT);
    if (job.type[FTL__RETRY_COUNT] != FTL__ABSENT)
        FUZZ_CHECK(ftl__job_time(&job, FTL__FAILED_AT, &failed_at));
    free(result->bytes);
}

static void rewrite_all(const struct ftl__job *job)
{
    static const char *const lines[] = {"a", "b"};
    struct ftl__failure failure = {.error_class = "E",
                                   .error_message = "m",
                                   .message_size = 1,
                                   .backtrace = lines,
                                   .backtrace_lines = 2};
    struct ftl__retry_input input = {
        .now = 1795196290.5, .random = 7, .queue = "default", .unroutable_ttl = 60};
    struct ftl__retry_result result;
    FUZZ_CHECK(ftl__retry_failed(job, &failure, &input, &result) == 0);
    check_result(&result);
    failure.later = 5;
    FUZZ_CHECK(ftl__retry_failed(job, &failure, &input, &result) == 0);
    check_result(&result);
    FUZZ_CHECK(ftl__retry_unroutable(job, &input, &result) == 0);
    check_result(&result);
}

static void promote(const struct ftl__job *job)
{
    char *bytes, queue[129];
    size_t size;
    struct ftl__job promoted;
    int rc = ftl__retry_promoted(job, 1795196290.5, &bytes, &size, queue);
    FUZZ_CHECK(rc == 0 || rc == FTL_EPROTO);
    if (rc != 0)
        return;
    FUZZ_CHECK(ftl__queue_name_valid(queue, strlen(queue)));
    FUZZ_CHECK(scan(bytes, size, &promoted));
    FUZZ_CHECK(promoted.type[FTL__AT] == FTL__ABSENT);
    FUZZ_CHECK(promoted.type[FTL__ARGS] == job->type[FTL__ARGS]);
    if (job->type[FTL__ARGS] != FTL__ABSENT)
        FUZZ_CHECK(promoted.value[FTL__ARGS].size == job->value[FTL__ARGS].size);
    free(bytes);
}

static void check_line(const struct ftl__job *job)
{
    char *line;
    size_t size;
    struct ftl__job again;
    FUZZ_CHECK(ftl__job_one_line(job, &line, &size) == 0);
    FUZZ_CHECK(memchr(line, '\n', size) == line + size - 1);
    FUZZ_CHECK(scan(line, size, &again));
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ftl__job job;
    const char *bytes = (const char *)data;
    bool valid = scan(bytes, size, &job);
    check_verdict(bytes, size, valid);
    if (!valid)
        return 0;
    read_all(&job);
    rewrite_all(&job);
    promote(&job);
    check_line(&job);
    return 0;
}
