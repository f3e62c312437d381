/* SPDX-License-Identifier: MIT
 *
 * jobs/children, and native handlers that have some: which runs go there, from when to when. The
 * program of the children is this one: with --host it is a worker of a few lines, below. */
#include <signal.h>
#include <unistd.h>

#include "tests/unit/run_fixture.h"

/* ---- the child -------------------------------------------------------------------------- */

/* Ready for as many runs as it is told; each is done at once, but that a job which has "NullRead" in it
 * kills the process. */
__attribute__((constructor)) static void be_a_child(int argc, char **argv)
{
    char line[4096];
    FILE *in, *out;
    unsigned long long token;

    if (argc < 5 || strcmp(argv[1], "--host") != 0)
        return;
    in = fdopen(3, "r");
    out = fdopen(4, "w");
    fprintf(out, "{\"ready\":%s,\"protocol\":1}\n", argv[4]);
    fflush(out);
    while (fgets(line, sizeof line, in) != NULL) {
        if (strstr(line, "NullRead") != NULL)
            raise(SIGKILL);
        if (sscanf(line, "{\"run\":%llu", &token) == 1)
            fprintf(out, "{\"done\":%llu}\n", token);
        fflush(out);
    }
    _exit(0);
}

/* ---- the handler ------------------------------------------------------------------------ */

static struct ftl_run run;
static _Atomic unsigned ups, ends, restarts;

static void on_worker(void *arg, const struct ftl__worker_event *event)
{
    (void)arg;
    if (event->kind == FTL__WORKER_UP)
        atomic_fetch_add(&ups, 1);
    if (event->kind == FTL__WORKER_STOPPED || event->kind == FTL__WORKER_DIED)
        atomic_fetch_add(&ends, 1);
    if (event->kind == FTL__WORKER_DIED && event->time >= 0)
        atomic_fetch_add(&restarts, 1);
}

/* Tests may share a process. */
static void reset(void)
{
    ups = ends = restarts = 0;
}

static void await_count(_Atomic unsigned *count, unsigned least)
{
    for (int i = 0; i < 120000 && atomic_load(count) < least; i++)
        usleep(1000);
    ck_assert_uint_ge(atomic_load(count), least);
}

/* "faults", with children, started; the caller's. */
static struct ftl__handler *open_handler(bool allow)
{
    const char *dir = getenv("MODULES_DIR");
    const char *const path[] = {dir != NULL ? dir : "modules"};
    const struct ftl__handler_settings settings = {
        .pattern = "*", .kill_after = 5, .blocking = FTL__BLOCKING_AUTO};
    const struct ftl__children_settings children = {.processes = 2, .start_timeout = 60};
    const struct ftl__handler_host host = {.runtime = fixture_runtime, .on_worker = on_worker};
    struct ftl__handler *handler;
    char error[512];
    int rc = ftl__native_new(&settings, "faults", path, 1, &handler, error, sizeof(error));

    ck_assert_msg(rc == 0, "%s", error);
    if (allow)
        ftl__native_allow_children(handler, &children);
    ck_assert_int_eq(handler->kind->start(handler, &host), 0);
    return handler;
}

static bool isolate(struct ftl__handler *handler, const char *class, bool isolated)
{
    return handler->kind->isolate(handler, class, isolated);
}

static enum ftl__place place(struct ftl__handler *handler, const char *class)
{
    return handler->kind->place(handler, class);
}

static void attempt(const char *text, struct ftl__handler *handler, enum ftl__place where)
{
    run_fill(&run, text, handler);
    run.place = where;
    ck_assert_int_eq(run_attempt(&run), FTL_COMPLETED);
}

START_TEST(a_class_goes_there_and_comes_back)
{
    struct ftl__handler *handler = open_handler(true), *children;
    reset();
    ck_assert_int_eq(place(handler, "Spin"), FTL__PLACE_TASK);
    ck_assert(!isolate(handler, "Spin", false) && !isolate(handler, "Unknown", true));
    ck_assert(isolate(handler, "Spin", true) && !isolate(handler, "Spin", true));
    ck_assert_int_eq(place(handler, "Spin"), FTL__PLACE_CHILD);
    ck_assert_int_eq(place(handler, "Leak"), FTL__PLACE_TASK);
    await_count(&ups, 2); /* without a run */

    /* One that was spawned before returns to be spawned again. */
    attempt("{\"class\":\"Spin\",\"args\":[0]}", ftl__handler_ref(handler), FTL__PLACE_TASK);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_MOVED);
    ftl__run_clear(&run);
    children = handler->kind->children(handler);
    attempt("{\"class\":\"Spin\",\"args\":[0]}", children, FTL__PLACE_CHILD);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_DONE);

    /* The children stay for the last class, and, given up, for who still has them. */
    ck_assert(isolate(handler, "Leak", true) && isolate(handler, "Spin", false));
    ck_assert_int_eq(place(handler, "Spin"), FTL__PLACE_TASK);
    ck_assert_int_eq(place(handler, "Leak"), FTL__PLACE_CHILD);
    ck_assert(isolate(handler, "Leak", false));
    ck_assert_uint_eq(atomic_load(&ends), 0);
    ftl__run_clear(&run);
    await_count(&ends, 2);
    attempt("{\"class\":\"Spin\",\"args\":[0]}", ftl__handler_ref(handler), FTL__PLACE_TASK);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_DONE);
    ftl__run_clear(&run);
    ftl__handler_unref(handler);
}
END_TEST

START_TEST(one_process_for_one_run)
{
    struct ftl__handler *handler = open_handler(true), *alone;
    reset();
    ck_assert_int_eq(handler->kind->alone(handler, &alone), 0);
    attempt("{\"class\":\"NullRead\"}", alone, FTL__PLACE_CHILD);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_FAILED);
    ck_assert_str_eq(run.failure.error_class, "Signal");
    ck_assert_str_eq(run.failure.error_message, "killed by SIGKILL");
    await_count(&ends, 1);
    ftl__run_clear(&run);
    ck_assert_int_eq(handler->kind->alone(handler, &alone), 0);
    attempt("{\"class\":\"Spin\",\"args\":[0]}", alone, FTL__PLACE_CHILD);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_DONE);
    ftl__run_clear(&run);
    await_count(&ends, 2);
    ck_assert_uint_eq(atomic_load(&restarts), 0);
    ck_assert_uint_eq(atomic_load(&ups), 2);
    ftl__handler_unref(handler);
}
END_TEST

START_TEST(who_has_none_isolates_nothing)
{
    struct ftl__handler *handler = open_handler(false);
    ck_assert(!handler->isolates && !isolate(handler, "Spin", true));
    ck_assert_int_eq(place(handler, "Spin"), FTL__PLACE_TASK);
    ftl__handler_unref(handler);
}
END_TEST

/* A class that crashes while the daemon stops is news for who comes after, once. Nothing is started for it. */
START_TEST(a_stop_ends_them)
{
    struct ftl__handler *handler = open_handler(true), *idle = open_handler(true);
    reset();
    ck_assert(isolate(handler, "Spin", true));
    await_count(&ups, 2);
    handler->kind->stop(handler);
    await_count(&ends, 2);
    idle->kind->stop(idle);
    ck_assert(isolate(idle, "Spin", true));
    ck_assert(!isolate(idle, "Spin", true));
    ck_assert_int_eq(place(idle, "Spin"), FTL__PLACE_TASK);
    ftl__handler_unref(handler);
    ftl__handler_unref(idle);
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, a_class_goes_there_and_comes_back);
    FIXTURE_CASE(suite, one_process_for_one_run);
    FIXTURE_CASE(suite, who_has_none_isolates_nothing);
    FIXTURE_CASE(suite, a_stop_ends_them);
}

UNIT_MAIN("children", add_cases)
