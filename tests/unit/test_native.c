/* SPDX-License-Identifier: MIT
 *
 * jobs/native: modules are found, checked and called; what is wrong with one is said in a line. */
#include <unistd.h>

#include "tests/unit/run_fixture.h"

static char error[512];

static const char *environment(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value != NULL ? value : otherwise;
}

static int load_from(const char *dir, const char *module, const char *pattern,
                     struct ftl__handler **ret_handler)
{
    const char *const path[] = {"/nowhere", dir};
    const struct ftl__handler_settings settings = {
        .pattern = pattern, .timeout = 1.5, .kill_after = 0.5, .concurrency = 3,
        .stack_size = 65536};

    memset(error, 0, sizeof(error));
    return ftl__native_new(&settings, module, path, 2, ret_handler, error, sizeof(error));
}

static struct ftl__handler *load(const char *module, const char *pattern)
{
    struct ftl__handler *handler = NULL;
    int rc = load_from(environment("MODULES_DIR", "modules"), module, pattern, &handler);

    ck_assert_msg(rc == 0, "%s", error);
    return handler;
}

static void expect_error(const char *dir, const char *module, const char *pattern, const char *part)
{
    struct ftl__handler *handler = NULL;

    ck_assert_int_eq(load_from(dir, module, pattern, &handler), FTL_EINVAL);
    ck_assert_ptr_null(handler);
    ck_assert_msg(strstr(error, part) != NULL, "'%s' does not say '%s'", error, part);
    ck_assert_ptr_null(strchr(error, '\n'));
}

static bool serves(const struct ftl__handler *handler, const char *class)
{
    return handler->kind->serves(handler, class, strlen(class));
}

START_TEST(a_module_serves_its_classes)
{
    struct ftl__handler *handler = load("hello", "*");
    ck_assert(serves(handler, "Hello"));
    ck_assert(serves(handler, "Noop"));
    ck_assert(!serves(handler, "Hell"));
    ck_assert(!serves(handler, "HelloWorld"));
    ck_assert(!serves(handler, ""));
    ck_assert(!handler->kind->serves(handler, "Hello\0World", 11));
    ck_assert(handler->kind->serves(handler, "HelloWorld", 5)); /* not NUL-terminated */
    ftl__handler_unref(handler);
}
END_TEST

START_TEST(settings_are_kept)
{
    struct ftl__handler *handler = load("hello", "Hello");
    ck_assert_str_eq(handler->pattern, "Hello");
    ck_assert(handler->exact);
    ck_assert_double_eq(handler->timeout, 1.5);
    ck_assert_int_eq(handler->kill_after, FTL_S / 2);
    ck_assert_uint_eq(handler->concurrency, 3);
    ck_assert_uint_eq(handler->stack_size, 65536);
    ck_assert(!handler->kind->migratable);
    ftl__handler_unref(handler);
    handler = load("hello", "[HN]*");
    ck_assert(!handler->exact);
    ftl__handler_unref(handler);
}
END_TEST

START_TEST(a_path_with_a_slash_is_taken_as_it_is)
{
    struct ftl__handler *handler = NULL;
    char file[512];
    snprintf(file, sizeof(file), "%s/hello.so", environment("MODULES_DIR", "modules"));
    ck_assert_msg(load_from("/nowhere", file, "*", &handler) == 0, "%s", error);
    ftl__handler_unref(handler);
}
END_TEST

/* ---- runs ------------------------------------------------------------------------------- */

static struct ftl_run run;

static enum ftl_outcome_kind attempt(const char *text)
{
    run_fill(&run, text, load("hello", "*"));
    return run_attempt(&run);
}

START_TEST(the_sample_says_hello)
{
    ck_assert_int_eq(attempt("{\"class\":\"Hello\",\"args\":[\"world\"]}"), FTL_COMPLETED);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_DONE);
    ck_assert_str_eq(run_printed.text, "log|hello, world\n");
    ftl__run_clear(&run);

    ck_assert_int_eq(attempt("{\"class\":\"Hello\",\"args\":[5]}"), FTL_COMPLETED);
    ck_assert_str_eq(run.failure.error_class, "ArgumentError");
    ck_assert(run.failure.never);
    ftl__run_clear(&run);
}
END_TEST

START_TEST(the_other_samples)
{
    ck_assert_int_eq(attempt("{\"class\":\"Noop\",\"args\":[]}"), FTL_COMPLETED);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_DONE);
    ftl__run_clear(&run);
    ck_assert_int_eq(attempt("{\"class\":\"Sleep\",\"args\":[0.01]}"), FTL_COMPLETED);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_DONE);
    ftl__run_clear(&run);
    ck_assert_int_eq(attempt("{\"class\":\"Fail\",\"args\":[\"on purpose\"]}"), FTL_COMPLETED);
    ck_assert_str_eq(run.failure.error_message, "on purpose");
    ftl__run_clear(&run);
    ck_assert_int_eq(attempt("{\"class\":\"Panic\",\"args\":[\"on purpose\"]}"), FTL_PANICKED);
    ftl__run_clear(&run);
}
END_TEST

START_TEST(a_sleeping_run_can_be_aborted)
{
    struct ftl_task *task;
    run_fill(&run, "{\"class\":\"Sleep\",\"args\":[1000]}", load("hello", "Sleep"));
    task = fixture_spawn(ftl__run_main, &run);
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_NONE);
    ftl__run_clear(&run);
}
END_TEST

START_TEST(the_hogs_of_faults_end)
{
    static const char *const texts[] = {"{\"class\":\"Spin\",\"args\":[0.01]}",
                                        "{\"class\":\"BlockInSyscall\",\"args\":[0.01]}"};
    for (int i = 0; i < 2; i++) {
        run_fill(&run, texts[i], load("faults", "*"));
        ck_assert_int_eq(run_attempt(&run), FTL_COMPLETED);
        ck_assert_int_eq(run.verdict, FTL__VERDICT_DONE);
        ftl__run_clear(&run);
    }
}
END_TEST

static struct ftl__handler *load_blocking(enum ftl__blocking blocking)
{
    struct ftl__handler *handler = load("faults", "*");
    handler->blocking = blocking;
    return handler;
}

static enum ftl__place place(struct ftl__handler *handler, const char *class)
{
    return handler->kind->place(handler, class);
}

/* A run that was spawned before its class had stalled gives its worker back; in the pool it runs.
 */
START_TEST(a_class_that_stalls_is_moved)
{
    struct ftl__handler *handler = load_blocking(FTL__BLOCKING_AUTO);
    ck_assert_int_eq(place(handler, "Spin"), FTL__PLACE_TASK);
    ck_assert(handler->kind->stalled(handler, "Spin"));
    ck_assert(!handler->kind->stalled(handler, "Spin")); /* once */
    ck_assert_int_eq(place(handler, "Spin"), FTL__PLACE_POOL);
    ck_assert_int_eq(place(handler, "BlockInSyscall"), FTL__PLACE_TASK);
    for (int i = 0; i < 2; i++) {
        run_fill(&run, "{\"class\":\"Spin\",\"args\":[0.01]}", ftl__handler_ref(handler));
        run.place = i == 1 ? FTL__PLACE_POOL : FTL__PLACE_TASK;
        ck_assert_int_eq(run_attempt(&run), FTL_COMPLETED);
        ck_assert_int_eq(run.verdict, i == 1 ? FTL__VERDICT_DONE : FTL__VERDICT_MOVED);
        ftl__run_clear(&run);
    }
    ftl__handler_unref(handler);
}
END_TEST

START_TEST(a_class_is_moved_only_by_auto)
{
    struct ftl__handler *never = load_blocking(FTL__BLOCKING_NEVER);
    struct ftl__handler *always = load_blocking(FTL__BLOCKING_ALWAYS);
    ck_assert(!never->kind->stalled(never, "Spin"));
    ck_assert_int_eq(place(never, "Spin"), FTL__PLACE_TASK);
    ck_assert(!always->kind->stalled(always, "Spin"));
    ck_assert_int_eq(place(always, "Spin"), FTL__PLACE_POOL);
    ftl__handler_unref(never);
    ftl__handler_unref(always);
}
END_TEST

static void *load_in_task(void *arg)
{
    *(struct ftl__handler **)arg = load("faults", "*");
    return NULL;
}

/* As a reload does: the loader must get by with the stack of a task. */
START_TEST(a_module_can_be_loaded_by_a_task)
{
    struct ftl__handler *handler = NULL;
    fixture_run(load_in_task, &handler);
    ck_assert(serves(handler, "NullRead"));
    ftl__handler_unref(handler);
}
END_TEST

/* ---- errors ----------------------------------------------------------------------------- */

START_TEST(what_is_missing_is_named)
{
    const char *dir = environment("MODULES_DIR", "modules");
    expect_error(dir, "none", "*", "module none: there is no none.so in /nowhere, ");
    expect_error("/nowhere", "/nowhere/none.so", "*", "/nowhere/none.so");
    expect_error(dir, "hello", "Helo", "module hello has no class Helo (it has Hello, Noop");
}
END_TEST

START_TEST(what_is_no_module_is_refused)
{
    char dir[512];
    snprintf(dir, sizeof(dir), "%s/tests/modules/.libs", environment("BUILDDIR", "."));
    expect_error(dir, "bad_abi", "*", "made for ABI 2, this is ABI 1");
    expect_error(dir, "bad_table", "*", "the class Hollow has no function");
    expect_error(dir, "no_table", "*", "exports no ftl_module");
}
END_TEST

START_TEST(what_is_no_object_is_refused)
{
    char dir[] = "/tmp/ftl-XXXXXX", file[64];
    FILE *text;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(file, sizeof(file), "%s/text.so", dir);
    text = fopen(file, "w");
    ck_assert_ptr_nonnull(text);
    fputs("just text\n", text);
    fclose(text);
    expect_error(dir, "text", "*", file);
    unlink(file);
    rmdir(dir);
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, a_module_serves_its_classes);
    UNIT_CASE(suite, settings_are_kept);
    UNIT_CASE(suite, a_path_with_a_slash_is_taken_as_it_is);
    FIXTURE_CASE(suite, the_sample_says_hello);
    FIXTURE_CASE(suite, the_other_samples);
    FIXTURE_CASE(suite, a_sleeping_run_can_be_aborted);
    FIXTURE_CASE(suite, the_hogs_of_faults_end);
    FIXTURE_CASE(suite, a_class_that_stalls_is_moved);
    FIXTURE_CASE(suite, a_class_is_moved_only_by_auto);
    FIXTURE_CASE(suite, a_module_can_be_loaded_by_a_task);
    UNIT_CASE(suite, what_is_missing_is_named);
    UNIT_CASE(suite, what_is_no_module_is_refused);
    UNIT_CASE(suite, what_is_no_object_is_refused);
}

UNIT_MAIN("native", add_cases)
