/* SPDX-License-Identifier: MIT
 *
 * jobs/command and jobs/execution: the contract between fettle and a command, and that nothing of a
 * command is left when its run has ended, whichever way. */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jobs/lines.h"
#include "tests/unit/run_fixture.h"

static const char job_text[] = "{\"class\":\"Thumb\",\n \"args\":[\"a b\"],\"jid\":\"abc\"}";
static const char one_line[] = "{\"class\":\"Thumb\",  \"args\":[\"a b\"],\"jid\":\"abc\"}\n";

static struct ftl_run run;
static char error[512];

/* ---- helpers ---------------------------------------------------------------------------- */

static const int dead_exit[] = {65, 66};

static struct ftl__handler *make(const char *const *argv, const char *const *env, double timeout)
{
    const struct ftl__handler_settings settings = {
        .pattern = "Thumb", .timeout = timeout, .kill_after = 5};
    const struct ftl__command_settings command = {
        .argv = argv,
        .env = env,
        .dead_exit = dead_exit,
        .dead_exit_count = 2,
        .later = 90,
    };
    struct ftl__handler *handler = NULL;
    int rc = ftl__command_new(&settings, &command, &handler, error, sizeof(error));

    ck_assert_msg(rc == 0, "%s", error);
    return handler;
}

static struct ftl__handler *shell(const char *line, double timeout)
{
    const char *const argv[] = {"sh", "-c", line, NULL};
    return make(argv, NULL, timeout);
}

static void fill(const char *text, struct ftl__handler *handler)
{
    run_fill(&run, text, handler);
    if (handler->timeout > 0) {
        run.deadline = ftl_deadline((int64_t)(handler->timeout * (double)FTL_S));
        run.deadline_epoch = 1795200000.25;
    }
}

/* An attempt that is asked to end at its deadline, as the daemon does it. */
static enum ftl_outcome_kind run_in_time(void)
{
    struct ftl_task *task = fixture_spawn(ftl__run_main, &run);
    ftl_sleep(run.deadline - ftl_now());
    ftl_abort(task, run.handler->kill_after + run.handler->kind->wind_up);
    return fixture_join(task);
}

/* Runs a line of shell as the command; the caller clears the run. */
static void attempt(const char *line)
{
    fill(job_text, shell(line, 0));
    ck_assert_int_eq(run_attempt(&run), FTL_COMPLETED);
}

static void expect_done(const char *printed)
{
    ck_assert_msg(run.verdict == FTL__VERDICT_DONE, "%s: %s", run.failure.error_class,
                  run.failure.error_message);
    ck_assert_str_eq(run_printed.text, printed);
    ftl__run_clear(&run);
}

static void expect_failure(const char *error_class, const char *message)
{
    ck_assert_int_eq(run.verdict, FTL__VERDICT_FAILED);
    ck_assert_str_eq(run.failure.error_class, error_class);
    ck_assert_str_eq(run.failure.error_message, message);
}

/* Makes us the parent of orphans, so that their ends can be seen. */
static void adopt_orphans(void)
{
    ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
}

/* Everything that the run has started is dead: a survivor would keep us waiting. */
static void expect_no_descendants(void)
{
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    ck_assert_int_eq(errno, ECHILD);
}

static void expect_killed(pid_t pid)
{
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* The number in the line "out|pid N". */
static pid_t printed_pid(void)
{
    const char *at = strstr(run_printed.text, "out|pid ");
    ck_assert_ptr_nonnull(at);
    return atoi(at + 8);
}

/* ---- what a command gets ---------------------------------------------------------------- */

START_TEST(the_job_comes_as_one_line)
{
    char expected[128];
    attempt("cat; echo end");
    snprintf(expected, sizeof(expected), "out|%sout|end\n", one_line);
    expect_done(expected);
}
END_TEST

START_TEST(the_environment_is_clean_but_for_ours)
{
    ck_assert_int_eq(setenv("SECRET", "ours", 1), 0);
    fill(job_text, shell("env | grep -v '^PWD=\\|^_=\\|^SHLVL=\\|^OLDPWD=' | sort", 30));
    ck_assert_int_eq(run_attempt(&run), FTL_COMPLETED);
    expect_done("out|FETTLE_ATTEMPT=1\n"
                "out|FETTLE_CLASS=Thumb\n"
                "out|FETTLE_DEADLINE=1795200000.250\n"
                "out|FETTLE_JID=abc\n"
                "out|FETTLE_QUEUE=default\n"
                "out|FETTLE_TOKEN=1795200000000001\n"
                "out|HOME=/\n"
                "out|LANG=C.UTF-8\n"
                "out|PATH=/usr/local/bin:/usr/bin:/bin\n");
}
END_TEST

START_TEST(env_adds_and_replaces)
{
    static const char *const argv[] = {"/bin/sh", "-c", "echo $COLOUR $HOME $FETTLE_JID", NULL};
    static const char *const env[] = {"COLOUR=blue", "HOME=/srv", "FETTLE_JID=forged", NULL};
    fill(job_text, make(argv, env, 0));
    ck_assert_int_eq(run_attempt(&run), FTL_COMPLETED);
    ck_assert_str_eq(run_printed.text, "out|blue /srv abc\n");
    expect_done("out|blue /srv abc\n");
}
END_TEST

START_TEST(without_timeout_there_is_no_deadline)
{
    attempt("echo ${FETTLE_DEADLINE-none}; pwd");
    expect_done("out|none\nout|/\n");
}
END_TEST

START_TEST(input_need_not_be_read)
{
    static char big[1 << 19];
    int size = snprintf(big, sizeof(big), "{\"class\":\"Thumb\",\"args\":[\"");
    memset(big + size, 'x', sizeof(big) - (size_t)size - 4);
    strcpy(big + sizeof(big) - 4, "\"]}");
    fill(big, shell("exec <&-; echo ignored", 0));
    ck_assert_int_eq(run_attempt(&run), FTL_COMPLETED);
    expect_done("out|ignored\n");
    fill(big, shell("exit 0", 0));
    ck_assert_int_eq(run_attempt(&run), FTL_COMPLETED);
    expect_done("");
    fill(big, shell("wc -c | tr -d ' '", 0));
    ck_assert_int_eq(run_attempt(&run), FTL_COMPLETED);
    expect_done("out|524288\n"); /* the job and its newline */
}
END_TEST

/* ---- how it ends ------------------------------------------------------------------------ */

START_TEST(exit_status_3_fails_with_the_last_lines)
{
    attempt("echo working; echo oh >&2; echo no >&2; exit 3");
    expect_failure("ExitStatus", "exit status 3: oh\nno");
    ck_assert(!run.failure.never);
    ck_assert_double_eq(run.failure.later, 0);
    ck_assert_ptr_nonnull(strstr(run_printed.text, "out|working\n"));
    /* Each stream keeps its order; between them there is none. */
    const char *oh = strstr(run_printed.text, "err|oh\n");
    ck_assert_ptr_nonnull(oh);
    ck_assert_ptr_nonnull(strstr(oh, "err|no\n"));
    ftl__run_clear(&run);
    attempt("exit 3");
    expect_failure("ExitStatus", "exit status 3");
    ftl__run_clear(&run);
}
END_TEST

START_TEST(dead_exit_is_never_again)
{
    attempt("echo bad input >&2; exit 66");
    expect_failure("ExitStatus", "exit status 66: bad input");
    ck_assert(run.failure.never);
    ftl__run_clear(&run);
}
END_TEST

START_TEST(exit_status_75_is_later)
{
    attempt("exit 75");
    ck_assert_int_eq(run.verdict, FTL__VERDICT_FAILED);
    ck_assert_double_eq(run.failure.later, 90);
    ftl__run_clear(&run);
}
END_TEST

START_TEST(a_signal_is_named)
{
    attempt("echo about to >&2; kill -KILL $$");
    expect_failure("Signal", "killed by SIGKILL: about to");
    ftl__run_clear(&run);
    attempt("kill -34 $$"); /* one without a name */
    expect_failure("Signal", "killed by signal 34");
    ftl__run_clear(&run);
}
END_TEST

START_TEST(a_program_that_is_gone_fails_the_run)
{
    char dir[] = "/tmp/ftl-XXXXXX", file[64];
    const char *const argv[] = {file, NULL};
    FILE *script;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(file, sizeof(file), "%s/script", dir);
    script = fopen(file, "w");
    ck_assert_ptr_nonnull(script);
    fputs("#!/nowhere/interpreter\n", script);
    fclose(script);
    ck_assert_int_eq(chmod(file, 0700), 0);
    fill(job_text, make(argv, NULL, 0));
    ck_assert_int_eq(run_attempt(&run), FTL_COMPLETED);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_FAILED);
    ck_assert_str_eq(run.failure.error_class, "CommandError");
    ck_assert_double_eq(run.failure.later, 0);
    ck_assert_ptr_nonnull(strstr(run.failure.error_message, file));
    ftl__run_clear(&run);
    unlink(file);
    rmdir(dir);
}
END_TEST

/* ---- output ----------------------------------------------------------------------------- */

/* The lowest limit that lets go on what is open, and nothing be opened. */
static struct rlimit close_the_door(void)
{
    struct rlimit before, limit;
    int fd = dup(0); /* the lowest number that is free */

    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = (struct rlimit){.rlim_cur = (rlim_t)fd, .rlim_max = before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
}

START_TEST(a_shortage_of_descriptors_is_later)
{
    struct rlimit before = close_the_door();
    attempt("exit 0");
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_FAILED);
    ck_assert_double_gt(run.failure.later, 0); /* the job's counts stay as they are */
    ck_assert_str_eq(run.failure.error_class, "CommandError");
    ck_assert_ptr_nonnull(strstr(run.failure.error_message, "Too many open files"));
    ftl__run_clear(&run);
    attempt("exit 0");
    ck_assert_int_eq(run.verdict, FTL__VERDICT_DONE);
    ftl__run_clear(&run);
}
END_TEST

START_TEST(output_is_bounded)
{
    attempt("yes 0123456789abcde | head -c 3000000; echo last >&2; exit 1");
    ck_assert_uint_eq(run_printed.count, FTL__OUTPUT_MAX / 16 + 1 + 1);
    expect_failure("ExitStatus", "exit status 1: last");
    ftl__run_clear(&run);
}
END_TEST

START_TEST(an_unfinished_line_is_a_line)
{
    attempt("printf 'one\\ntwo'");
    expect_done("out|one\nout|two\n");
}
END_TEST

/* ---- timeout and group ------------------------------------------------------------------ */

static void attempt_in_time(struct ftl__handler *handler)
{
    fill(job_text, handler);
    ck_assert_int_eq(run_in_time(), FTL_COMPLETED);
    ftl__run_timed_out(&run);
}

START_TEST(timeout_terminates)
{
    attempt_in_time(shell("echo slow >&2; exec sleep 1000", 1));
    expect_failure("Timeout", "not done after 1 s: killed by SIGTERM: slow");
    ftl__run_clear(&run);
}
END_TEST

START_TEST(timeout_lets_it_clean_up)
{
    attempt_in_time(shell("trap 'echo cleaned; exit 0' TERM; sleep 1000 & wait", 1));
    expect_failure("Timeout", "not done after 1 s: exit status 0");
    ck_assert_str_eq(run_printed.text, "out|cleaned\n");
    ftl__run_clear(&run);
}
END_TEST

static struct ftl__handler *stubborn(double timeout, double kill_after)
{
    static const char *const argv[] = {
        "sh", "-c", "trap '' TERM; echo pid $$; while :; do sleep 1000; done", NULL};
    const struct ftl__handler_settings settings = {
        .pattern = "Thumb", .timeout = timeout, .kill_after = kill_after};
    const struct ftl__command_settings command = {.argv = argv};
    struct ftl__handler *handler = NULL;

    ck_assert_int_eq(ftl__command_new(&settings, &command, &handler, error, sizeof(error)), 0);
    return handler;
}

START_TEST(kill_follows_term)
{
    int64_t start = ftl_now();
    attempt_in_time(stubborn(1, 0.2));
    ck_assert_int_ge(ftl_now() - start, 1200 * FTL_MS);
    expect_failure("Timeout", "not done after 1 s: killed by SIGKILL");
    ck_assert_int_eq(kill(printed_pid(), 0), -1);
    ftl__run_clear(&run);
}
END_TEST

START_TEST(what_holds_the_pipes_is_killed)
{
    adopt_orphans();
    attempt("sleep 1000 & echo pid $!");
    expect_killed(printed_pid());
    ck_assert_int_eq(run.verdict, FTL__VERDICT_DONE);
    ftl__run_clear(&run);
}
END_TEST

START_TEST(what_has_closed_the_pipes_is_killed)
{
    adopt_orphans();
    attempt("sleep 1000 <&- >&- 2>&- & echo pid $!");
    expect_killed(printed_pid());
    ck_assert_int_eq(run.verdict, FTL__VERDICT_DONE);
    ftl__run_clear(&run);
}
END_TEST

START_TEST(what_has_left_the_group_does_not_hold_up_the_run)
{
    pid_t pid;
    int status;
    adopt_orphans();
    attempt("{ (setsid sh -c 'echo pid $$ >&4; echo up; exec sleep 1000 >&4' &) | read up; } 4>&1");
    ck_assert_int_eq(run.verdict, FTL__VERDICT_DONE);
    pid = printed_pid();
    ck_assert_int_eq(kill(pid, 0), 0); /* out of reach, and so left alone */
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ftl__run_clear(&run);
}
END_TEST

/* ---- abort and panic -------------------------------------------------------------------- */

static struct ftl_task *start_and_wait_for(const char *text, struct ftl__handler *handler)
{
    struct ftl_task *task;

    fill(job_text, handler);
    task = fixture_spawn(ftl__run_main, &run);
    while (!printed_has(&run_printed, text))
        ftl_sleep(FTL_MS);
    return task;
}

START_TEST(abort_terminates_the_group)
{
    struct ftl_task *task;
    adopt_orphans();
    task = start_and_wait_for(
        "up", shell("trap 'echo cleaned; exit 0' TERM; sleep 1000 & echo up; wait", 0));
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    ck_assert_int_eq(run.verdict, FTL__VERDICT_NONE);
    ck_assert(printed_has(&run_printed, "out|cleaned\n"));
    expect_no_descendants();
    ftl__run_clear(&run);
}
END_TEST

START_TEST(abort_kills_what_ignores_term)
{
    int64_t start;
    struct ftl_task *task = start_and_wait_for("pid", stubborn(0, 60));
    start = ftl_now();
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    ck_assert_int_lt(ftl_now() - start, unit_limit(900 * FTL_MS)); /* a drain has no more time */
    ck_assert_int_eq(kill(printed_pid(), 0), -1);
    ck_assert_int_eq(errno, ESRCH);
    ftl__run_clear(&run);
}
END_TEST

START_TEST(abort_with_grace_is_a_failure)
{
    struct ftl_task *task = start_and_wait_for("up", shell("echo up; exec sleep 1000", 0));
    ftl_abort(task, 60 * FTL_S);
    ck_assert_int_eq(fixture_join(task), FTL_COMPLETED);
    expect_failure("Cancelled", "killed by SIGTERM");
    ftl__run_clear(&run);
}
END_TEST

/* A daemon that stops does not wait for what was asked to end before. */
START_TEST(abort_cuts_the_grace_short)
{
    struct ftl_task *task = start_and_wait_for("pid", stubborn(0, 60));
    int64_t start = ftl_now();
    ftl_abort(task, 60 * FTL_S);
    ftl_sleep(20 * FTL_MS);
    ck_assert(!ftl_task_is_finished(task));
    ftl_abort(task, 0);
    ck_assert_int_eq(fixture_join(task), FTL_CANCELLED);
    ck_assert_int_lt(ftl_now() - start, unit_limit(920 * FTL_MS));
    ck_assert_int_eq(kill(printed_pid(), 0), -1);
    ftl__run_clear(&run);
}
END_TEST

START_TEST(aborts_at_any_time_leave_no_child)
{
    unsigned seed = (unsigned)ftl_now();
    printf("# seed %u\n", seed);
    adopt_orphans();
    for (int i = 0; i < 30; i++) {
        struct ftl_task *task;
        enum ftl_outcome_kind kind;
        fill(job_text, shell("cat; sleep 0.005", 0));
        task = fixture_spawn(ftl__run_main, &run);
        ftl_sleep((int64_t)(rand_r(&seed) % 12) * FTL_MS);
        ftl_abort(task, 0);
        kind = fixture_join(task);
        ck_assert(kind == FTL_CANCELLED || kind == FTL_COMPLETED);
        ftl__run_clear(&run);
        expect_no_descendants();
    }
}
END_TEST

static void panicking_listener(void *arg, const struct ftl_run *of, enum ftl__stream stream,
                               const char *line, size_t size)
{
    (void)arg, (void)of, (void)stream, (void)line, (void)size;
    ftl_panic("cannot listen");
}

START_TEST(a_panic_leaves_no_child)
{
    adopt_orphans();
    fill(job_text, shell("echo up; sleep 1000 <&- >&- 2>&-", 1));
    run.on_line = panicking_listener;
    ck_assert_int_eq(run_in_time(), FTL_PANICKED);
    expect_no_descendants();
    ftl__run_clear(&run);
}
END_TEST

/* ---- configuration ---------------------------------------------------------------------- */

static void expect_refused(const char *argv0, const char *const *env, const char *part)
{
    const char *const argv[] = {argv0, NULL};
    const struct ftl__handler_settings settings = {.pattern = "*"};
    const struct ftl__command_settings command = {.argv = argv, .env = env};
    struct ftl__handler *handler = NULL;

    ck_assert_int_eq(ftl__command_new(&settings, &command, &handler, error, sizeof(error)),
                     FTL_EINVAL);
    ck_assert_msg(strstr(error, part) != NULL, "'%s' does not say '%s'", error, part);
}

START_TEST(programs_that_are_not_there_are_refused)
{
    static const char *const env[] = {"PATH=/elsewhere", NULL};
    expect_refused("no-such-program", NULL, "PATH is /usr/local/bin:/usr/bin:/bin");
    expect_refused("sh", env, "PATH is /elsewhere");
    expect_refused("/nowhere/program", NULL, "command /nowhere/program: No such file");
    expect_refused("/etc/passwd", NULL, "Permission denied");
    expect_refused("/etc", NULL, "Permission denied");
    expect_refused("./program", NULL, "neither an absolute path nor a name");
    expect_refused(NULL, NULL, "command");
}
END_TEST

static void add_cases(Suite *suite)
{
    FIXTURE_CASE(suite, the_job_comes_as_one_line);
    FIXTURE_CASE(suite, the_environment_is_clean_but_for_ours);
    FIXTURE_CASE(suite, env_adds_and_replaces);
    FIXTURE_CASE(suite, without_timeout_there_is_no_deadline);
    FIXTURE_CASE(suite, input_need_not_be_read);
    FIXTURE_CASE(suite, exit_status_3_fails_with_the_last_lines);
    FIXTURE_CASE(suite, dead_exit_is_never_again);
    FIXTURE_CASE(suite, exit_status_75_is_later);
    FIXTURE_CASE(suite, a_signal_is_named);
    FIXTURE_CASE(suite, a_program_that_is_gone_fails_the_run);
    FIXTURE_CASE(suite, a_shortage_of_descriptors_is_later);
    FIXTURE_CASE(suite, output_is_bounded);
    FIXTURE_CASE(suite, an_unfinished_line_is_a_line);
    FIXTURE_CASE(suite, timeout_terminates);
    FIXTURE_CASE(suite, timeout_lets_it_clean_up);
    FIXTURE_CASE(suite, kill_follows_term);
    FIXTURE_CASE(suite, what_holds_the_pipes_is_killed);
    FIXTURE_CASE(suite, what_has_closed_the_pipes_is_killed);
    FIXTURE_CASE(suite, what_has_left_the_group_does_not_hold_up_the_run);
    FIXTURE_CASE(suite, abort_terminates_the_group);
    FIXTURE_CASE(suite, abort_kills_what_ignores_term);
    FIXTURE_CASE(suite, abort_with_grace_is_a_failure);
    FIXTURE_CASE(suite, abort_cuts_the_grace_short);
    FIXTURE_CASE(suite, aborts_at_any_time_leave_no_child);
    FIXTURE_CASE(suite, a_panic_leaves_no_child);
    UNIT_CASE(suite, programs_that_are_not_there_are_refused);
}

UNIT_MAIN("command", add_cases)
