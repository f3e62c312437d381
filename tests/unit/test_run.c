/* SPDX-License-Identifier: MIT
 *
 * jobs/run: what a handler reads of its job, and what its verdicts leave for the daemon. */
#include <math.h>

#include "tests/unit/run_fixture.h"

/* A handler that is a function of this test. */
struct stub {
    struct ftl__handler base;
    ftl_job_fn fn;
};

static int stub_run(struct ftl__handler *handler, struct ftl_run *run)
{
    return ((struct stub *)handler)->fn(run);
}

static void stub_destroy(struct ftl__handler *handler)
{
    ftl__handler_fini(handler);
    free(handler);
}

static const struct ftl__handler_kind stub_kind = {
    .name = "stub", .run = stub_run, .destroy = stub_destroy};

static struct ftl__handler *stub(ftl_job_fn fn)
{
    const struct ftl__handler_settings settings = {.pattern = "*"};
    struct stub *handler = calloc(1, sizeof(*handler));

    ck_assert_ptr_nonnull(handler);
    ck_assert_int_eq(ftl__handler_init(&handler->base, &stub_kind, &settings), 0);
    handler->fn = fn;
    return &handler->base;
}

static const char job_text[] = "{\"class\":\"Hello\",\"args\":[1,\"two\"],\"jid\":\"abc\"}";

/* Attempts `text` with `fn`; the caller clears the run. */
static struct ftl_run *attempt(const char *text, ftl_job_fn fn, enum ftl_outcome_kind kind)
{
    static struct ftl_run run;

    run_fill(&run, text, stub(fn));
    ck_assert_int_eq(run_attempt(&run), kind);
    return &run;
}

/* ---- the job ---------------------------------------------------------------------------- */

static int read_job(struct ftl_run *run)
{
    size_t size;
    const char *text;

    ftl_assert(strcmp(ftl_run_class(run), "Hello") == 0);
    ftl_assert(strcmp(ftl_run_jid(run), "abc") == 0);
    ftl_assert(strcmp(ftl_run_queue(run), "default") == 0);
    ftl_assert(ftl_run_token(run) == 1795200000000001);
    ftl_assert(ftl_run_attempt(run) == 1);
    ftl_assert(ftl_run_deadline(run) == FTL_FOREVER);
    text = ftl_run_job_text(run, &size);
    ftl_assert(size == sizeof(job_text) - 1 && memcmp(text, job_text, size) == 0);
    text = ftl_run_args_text(run, &size);
    ftl_assert(size == 9 && memcmp(text, "[1,\"two\"]", size) == 0);
    return 0;
}

START_TEST(a_handler_reads_its_job)
{
    struct ftl_run *run = attempt(job_text, read_job, FTL_COMPLETED);
    ck_assert_int_eq(run->verdict, FTL__VERDICT_DONE);
    ftl__run_clear(run);
}
END_TEST

static int read_args(struct ftl_run *run)
{
    const char *two;
    int one;

    ftl_assert(json_unpack(ftl_run_args(run), "[is]", &one, &two) == 0);
    ftl_assert(one == 1 && strcmp(two, "two") == 0);
    ftl_assert(ftl_run_args(run) == ftl_run_args(run)); /* parsed once */
    return 0;
}

static int read_no_args(struct ftl_run *run)
{
    size_t size;

    ftl_assert(json_is_array(ftl_run_args(run)) && json_array_size(ftl_run_args(run)) == 0);
    ftl_assert(memcmp(ftl_run_args_text(run, &size), "[]", 2) == 0 && size == 2);
    return 0;
}

static int read_large_integer(struct ftl_run *run)
{
    const json_t *value = json_array_get(ftl_run_args(run), 0);

    ftl_assert(json_is_real(value));
    ftl_assert(fabs(json_real_value(value) - 12345678901234567890e0) < 4096);
    return 0;
}

static int read_scalar(struct ftl_run *run)
{
    ftl_assert(strcmp(json_string_value(ftl_run_args(run)), "just text") == 0);
    return 0;
}

static int read_nul(struct ftl_run *run)
{
    ftl_assert(json_string_length(json_array_get(ftl_run_args(run), 0)) == 3);
    return 0;
}

static int read_any(struct ftl_run *run)
{
    (void)ftl_run_args(run);
    return 0;
}

static void expect_completes(const char *text, ftl_job_fn fn)
{
    struct ftl_run *run = attempt(text, fn, FTL_COMPLETED);
    ck_assert_int_eq(run->verdict, FTL__VERDICT_DONE);
    ftl__run_clear(run);
}

START_TEST(args_of_all_shapes)
{
    expect_completes(job_text, read_args);
    expect_completes("{\"class\":\"X\"}", read_no_args);
    expect_completes("{\"class\":\"X\",\"args\":[12345678901234567890]}", read_large_integer);
    expect_completes("{\"class\":\"X\",\"args\":\"just text\"}", read_scalar);
    expect_completes("{\"class\":\"X\",\"args\":[\"a\\u0000b\"]}", read_nul);
    expect_completes("{\"class\":\"X\",\"args\":[\"[[[[\\\"{{{{\"]}", read_any);
}
END_TEST

static char *nested(int depth)
{
    char *text = malloc((size_t)depth * 2 + 64), *p = text;

    ck_assert_ptr_nonnull(text);
    p += sprintf(p, "{\"class\":\"X\",\"args\":");
    memset(p, '[', (size_t)depth);
    memset(p + depth, ']', (size_t)depth);
    strcpy(p + 2 * depth, "}");
    return text;
}

START_TEST(args_that_cannot_be_held_panic)
{
    char *deep = nested(FTL_ARGS_DEPTH), *deeper = nested(FTL_ARGS_DEPTH + 1);
    expect_completes(deep, read_any);
    ftl__run_clear(attempt(deeper, read_any, FTL_PANICKED));
    ftl__run_clear(attempt("{\"class\":\"X\",\"args\":[1e999]}", read_any, FTL_PANICKED));
    free(deep);
    free(deeper);
}
END_TEST

/* ---- verdicts --------------------------------------------------------------------------- */

static int fail_normally(struct ftl_run *run)
{
    return ftl_run_fail(run, "SomeError", "number %d", 7);
}

static int fail_for_good(struct ftl_run *run)
{
    return ftl_run_fail_forever(run, "BadArgs", "no");
}

static int run_later(struct ftl_run *run)
{
    return ftl_run_later(run, 90);
}

static int run_at_once(struct ftl_run *run)
{
    return ftl_run_later(run, 0);
}

static int run_at_nan(struct ftl_run *run)
{
    return ftl_run_later(run, (double)NAN);
}

static int only_number(struct ftl_run *run)
{
    (void)run;
    return 5;
}

static int only_code(struct ftl_run *run)
{
    (void)run;
    return FTL_ETIMEDOUT;
}

static int changes_its_mind(struct ftl_run *run)
{
    (void)ftl_run_fail_forever(run, "SomeError", "not really");
    return 0;
}

static int fails_twice(struct ftl_run *run)
{
    (void)ftl_run_fail_forever(run, "First", "one");
    return ftl_run_fail(run, "Second", "two");
}

static void expect_failure(ftl_job_fn fn, const char *error_class, const char *message, bool never,
                           double later)
{
    struct ftl_run *run = attempt(job_text, fn, FTL_COMPLETED);
    ck_assert_int_eq(run->verdict, FTL__VERDICT_FAILED);
    ck_assert_str_eq(run->failure.error_class, error_class);
    ck_assert_str_eq(run->failure.error_message, message);
    ck_assert_uint_eq(run->failure.message_size, strlen(message));
    ck_assert_int_eq(run->failure.never, never);
    ck_assert_double_eq(run->failure.later, later);
    ftl__run_clear(run);
}

START_TEST(verdicts)
{
    expect_failure(fail_normally, "SomeError", "number 7", false, 0);
    expect_failure(fail_for_good, "BadArgs", "no", true, 0);
    expect_failure(run_later, "Later", "asked to be run again in 90 s", false, 90);
    expect_failure(run_at_once, "Later", "asked to be run again in 0 s", false, 0.001);
    expect_failure(only_number, "Failed", "returned 5", false, 0);
    expect_failure(only_code, "Failed", "returned -3 (the deadline has passed)", false, 0);
    expect_failure(fails_twice, "Second", "two", false, 0);
    ftl__run_clear(attempt(job_text, run_at_nan, FTL_PANICKED));
}
END_TEST

START_TEST(zero_is_success_whatever_was_said)
{
    struct ftl_run *run = attempt(job_text, changes_its_mind, FTL_COMPLETED);
    ck_assert_int_eq(run->verdict, FTL__VERDICT_DONE);
    ck_assert_ptr_null(run->failure.error_class);
    ck_assert(!run->failure.never);
    ftl__run_clear(run);
}
END_TEST

START_TEST(a_message_is_cut_between_characters)
{
    struct ftl_run run = {.bytes = NULL};
    char big[12000];
    for (size_t i = 0; i < sizeof(big); i += 3)
        memcpy(big + i, "\xe2\x82\xac", 3);
    ck_assert_int_eq(ftl__run_failed(&run, "X", big, sizeof(big)), 1);
    ck_assert_uint_eq(run.failure.message_size, 9999);
    ck_assert_int_eq(ftl__run_failed(&run, "X", big, 9999), 1);
    ck_assert_uint_eq(run.failure.message_size, 9999);
    memset(big, 0x80, sizeof(big)); /* no character anywhere */
    ck_assert_int_eq(ftl__run_failed(&run, "X", big, sizeof(big)), 1);
    ck_assert_uint_eq(run.failure.message_size, 10000);
    ftl__run_clear(&run);
}
END_TEST

/* ---- panics ----------------------------------------------------------------------------- */

static int panics(struct ftl_run *run)
{
    (void)run;
    ftl_panic("what a pity");
}

START_TEST(a_panic_is_a_failure_with_its_backtrace)
{
    struct ftl_run run;
    struct ftl_outcome outcome;
    struct ftl_task *task;
    run_fill(&run, job_text, stub(panics));
    task = fixture_spawn(ftl__run_main, &run);
    ck_assert_int_eq(ftl_task_join(task, FTL_FOREVER, &outcome), 0);
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_NONE);
    ftl__run_panicked(&run, outcome.panic);
    ftl_outcome_clear(&outcome);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_FAILED);
    ck_assert_str_eq(run.failure.error_class, "Panic");
    ck_assert_str_eq(run.failure.error_message, "what a pity");
    ck_assert_uint_gt(run.failure.backtrace_lines, 0);
    ck_assert_int_eq(strncmp(run.failure.backtrace[0], "#0 ", 3), 0);
    ck_assert_ptr_null(strchr(run.failure.backtrace[0], '\n'));
    ftl__run_clear(&run);
}
END_TEST

START_TEST(a_fault_is_named_after_its_signal)
{
    struct ftl_run run = {.bytes = NULL};
    const struct ftl_panic panic = {.signal = SIGFPE, .fault = "SIGFPE", .message = "fault"};
    ftl__run_panicked(&run, &panic);
    ck_assert_str_eq(run.failure.error_class, "SIGFPE");
    ftl__run_clear(&run);
}
END_TEST

/* ---- the log ---------------------------------------------------------------------------- */

static int logs(struct ftl_run *run)
{
    char big[9000];

    ftl_run_log(run, "hello, %s", "world");
    ftl_run_log(run, "two\nlines");
    ftl_run_log(run, "ends with one\n");
    ftl_run_log(run, "%s", "");
    memset(big, 'x', sizeof(big));
    big[sizeof(big) - 1] = '\0';
    ftl_run_log(run, "%s", big);
    return 0;
}

START_TEST(log_lines_have_no_newline)
{
    struct ftl_run *run = attempt(job_text, logs, FTL_COMPLETED);
    static const char begin[] = "log|hello, world\nlog|two\nlog|lines\nlog|ends with one\nlog|\n";
    ck_assert_int_eq(strncmp(run_printed.text, begin, strlen(begin)), 0);
    ck_assert_uint_eq(run_printed.count, 5 + 2);
    ftl__run_clear(run);
    run_fill(run, job_text, stub(logs));
    run->on_line = NULL; /* nobody listens */
    ck_assert_int_eq(run_attempt(run), FTL_COMPLETED);
    ftl__run_clear(run);
}
END_TEST

static char last_line[100];
static size_t lines;

static void take_line(void *arg, const struct ftl_run *run, enum ftl__stream stream,
                      const char *line, size_t size)
{
    (void)arg;
    (void)run;
    (void)stream;
    lines++;
    (void)snprintf(last_line, sizeof(last_line), "%.*s", (int)size, line);
}

static int logs_much(struct ftl_run *run)
{
    char line[1024]; /* with its newline */

    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\0';
    for (int i = 0; i < 1025; i++) {
        ftl_run_log(run, "%s", line);
        ck_assert_int_eq(last_line[0], i < 1024 ? 'x' : 'm');
    }
    ftl_run_log(run, "more");
    return 0;
}

START_TEST(what_a_run_logs_is_bounded)
{
    struct ftl_run run;

    for (int i = 0; i < 2; i++) { /* each run anew */
        run_fill(&run, job_text, stub(logs_much));
        run.on_line = take_line;
        lines = 0;
        ck_assert_int_eq(run_attempt(&run), FTL_COMPLETED);
        ck_assert_uint_eq(lines, 1025);
        ck_assert_str_eq(last_line, "more than 1048576 bytes of output: the rest is dropped");
        ftl__run_clear(&run);
    }
}
END_TEST

START_TEST(clear_makes_a_run_usable_again)
{
    struct ftl_run *run = attempt(job_text, fail_normally, FTL_COMPLETED);
    ftl__run_clear(run);
    ck_assert_ptr_null(run->bytes);
    ck_assert_ptr_null(run->handler);
    ck_assert_int_eq(run->verdict, FTL__VERDICT_NONE);
    ftl__run_clear(run); /* a second time: nothing to do */
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, a_handler_reads_its_job);
    FIXTURE_CASE(suite, args_of_all_shapes);
    FIXTURE_CASE(suite, args_that_cannot_be_held_panic);
    FIXTURE_CASE(suite, verdicts);
    FIXTURE_CASE(suite, zero_is_success_whatever_was_said);
    UNIT_CASE(suite, a_message_is_cut_between_characters);
    FIXTURE_CASE(suite, a_panic_is_a_failure_with_its_backtrace);
    UNIT_CASE(suite, a_fault_is_named_after_its_signal);
    FIXTURE_CASE(suite, log_lines_have_no_newline);
    FIXTURE_CASE(suite, what_a_run_logs_is_bounded);
    FIXTURE_CASE(suite, clear_makes_a_run_usable_again);
}

UNIT_MAIN("run", add_cases)
