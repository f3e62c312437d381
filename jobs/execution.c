/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The run's task starts the child and waits for its end. Three helper tasks of the same
 * runtime move bytes meanwhile, so that no pipe that is full or empty can hold up another: one
 * writes the input, one reads each stream of output. They are members of a set that the run's task
 * owns; all of them share the execution, which lives until the last has ended.
 *
 * An abort with a grace is a request: the child gets TERM, and KILL after a while, and how it has
 * ended is told as ever.
 *
 * One defer ends everything, on each way out: return, abort, panic. It stops the child if it still
 * runs (TERM to the group, KILL after a while), collects the output that is on its way, ends the
 * helpers, and only then gives the memory back. It is masked: an abort cannot cut it short.
 *
 * The end of the child decides, not the end of its output: members of the group that outlive it and
 * hold its pipes get a moment to close them, then KILL. One that has left the group may keep a pipe
 * open for ever; it is left alone, and what it still writes is not read.
 *
 * A command need not read its input: what is left when it ends is dropped. */
#include "jobs/execution.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* For members of the group to close the pipes after the child's end; and for the output that is
 * still on its way after a KILL. */
#define CLOSE_GRACE FTL_S
#define LINGER      (100 * FTL_MS)

struct output {
    struct ftl_run *run;
    struct ftl_fd *fd;
    enum ftl__stream stream;
    struct ftl__lines lines;
};

struct execution {
    const struct ftl__execution_options *options;
    struct ftl_process *process;
    struct ftl_task_set *helpers;
    bool ended; /* the child has */
    int64_t asked_at; /* when it got TERM from us; 0 = it has not */
    struct output out, err;
};

/* ---- helpers ---------------------------------------------------------------------------- */

static void emit(void *arg, const char *line, size_t size)
{
    struct output *output = arg;
    struct ftl_run *run = output->run;

    if (run->on_line != NULL) {
        run->on_line(run->on_line_arg, run, output->stream, line, size);
    }
}

static void *read_output(void *arg)
{
    struct output *output = arg;
    char bytes[4096];
    ssize_t size;

    while ((size = ftl_fd_read(output->fd, bytes, sizeof(bytes), FTL_FOREVER, NULL)) > 0) {
        ftl__lines_feed(&output->lines, bytes, (size_t)size);
    }
    ftl__lines_end(&output->lines);
    return NULL;
}

static void *write_input(void *arg)
{
    struct execution *execution = arg;
    const struct ftl__execution_options *options = execution->options;

    /* An error is the command's choice not to read on. */
    (void)ftl_fd_write_all(ftl_process_stdin(execution->process), options->input,
                           options->input_size, FTL_FOREVER, NULL);
    ftl_process_close_stdin(execution->process);
    return NULL;
}

static int start_helper(struct execution *execution, const char *name, ftl_task_fn fn, void *arg)
{
    const struct ftl_spawn_options options = {.name = name, .migratable = true};

    return ftl_task_set_spawn(execution->helpers, execution->options->run->runtime, fn, arg,
                              &options, NULL, NULL);
}

static void init_output(struct execution *execution, struct output *output, enum ftl__stream stream,
                        struct ftl_fd *fd)
{
    output->run = execution->options->run;
    output->fd = fd;
    output->stream = stream;
    output->lines.emit = emit;
    output->lines.arg = output;
}

static int start_helpers(struct execution *execution)
{
    struct ftl_process *process = execution->process;
    int rc;

    init_output(execution, &execution->out, FTL__STREAM_STDOUT, ftl_process_stdout(process));
    init_output(execution, &execution->err, FTL__STREAM_STDERR, ftl_process_stderr(process));
    rc = start_helper(execution, "command.stdout", read_output, &execution->out);
    if (rc == 0) {
        rc = start_helper(execution, "command.stderr", read_output, &execution->err);
    }
    if (rc == 0) {
        rc = start_helper(execution, "command.stdin", write_input, execution);
    }
    return rc;
}

/* A helper panics if a listener of lines does: that is the run's panic. */
static void check_helper(struct ftl_outcome *outcome)
{
    char message[FTL_PANIC_MESSAGE];

    if (outcome->kind == FTL_PANICKED) {
        memcpy(message, outcome->panic->message, sizeof(message));
        ftl_outcome_clear(outcome);
        ftl_panic("%s", message);
    }
    ftl_outcome_clear(outcome);
}

/* ---- the child -------------------------------------------------------------------------- */

static int start_child(struct execution *execution, int *ret_errno)
{
    const struct ftl__execution_options *options = execution->options;
    const struct ftl_process_options process = {
        .argv = options->argv,
        .envp = options->envp,
        .cwd = options->cwd,
        .in = FTL_STDIO_PIPE,
        .out = FTL_STDIO_PIPE,
        .err = FTL_STDIO_PIPE,
        .limits = *options->limits,
    };

    return ftl_process_start(options->run->runtime, &process, &execution->process, ret_errno);
}

static int wait_for_end(struct execution *execution, int64_t deadline, struct ftl_exit *ret_exit)
{
    int rc = ftl_process_wait(execution->process, deadline, ret_exit);

    execution->ended = rc == 0;
    return rc;
}

/* TERM, and KILL at `deadline` for what has not ended by then. */
static int stop_child(struct execution *execution, int64_t deadline, struct ftl_exit *ret_exit)
{
    int rc;

    if (execution->asked_at == 0) {
        execution->asked_at = ftl_now();
    }
    ftl_process_kill(execution->process, SIGTERM);
    rc = wait_for_end(execution, deadline, ret_exit);
    if (rc == FTL_ETIMEDOUT) {
        ftl_process_kill(execution->process, SIGKILL);
        rc = wait_for_end(execution, FTL_FOREVER, ret_exit);
    }
    return rc;
}

/* ---- the end ---------------------------------------------------------------------------- */

/* 0: all helpers have ended. FTL_ETIMEDOUT, FTL_ECANCELED. */
static int join_helpers(struct execution *execution, int64_t deadline, bool check)
{
    struct ftl_outcome outcome;
    int rc;

    while ((rc = ftl_task_set_join_next(execution->helpers, deadline, &outcome, NULL)) == 0) {
        if (check) {
            check_helper(&outcome);
        } else {
            ftl_outcome_clear(&outcome);
        }
    }
    return rc == FTL_EEMPTY ? 0 : rc;
}

/* After the child's end: waits for the rest of the output, but not for ever. */
static int collect(struct execution *execution, int64_t deadline)
{
    int rc = join_helpers(execution, deadline, true);

    if (rc == FTL_ECANCELED) {
        ftl_heed(); /* it has ended already: what it printed is still wanted */
        rc = join_helpers(execution, deadline, true);
    }
    if (rc == FTL_ETIMEDOUT) {
        ftl_process_kill(execution->process, SIGKILL);
        rc = join_helpers(execution, ftl_deadline(LINGER), true);
    }
    return rc == FTL_ETIMEDOUT ? 0 : rc;
}

/* Ends the helpers that are left; when they have ended, nobody but us uses the execution. */
static void end_helpers(struct execution *execution)
{
    if (execution->process != NULL) {
        ftl_process_kill(execution->process, SIGKILL);
        (void)join_helpers(execution, ftl_deadline(LINGER), false);
    }
    (void)ftl_task_set_shutdown(execution->helpers, FTL_FOREVER);
    ftl_task_set_free(execution->helpers);
}

/* The defer. */
static void end_execution(void *arg)
{
    struct execution *execution = arg;
    struct ftl_exit exit;

    ftl_mask();
    if (execution->process != NULL && !execution->ended) {
        int64_t from = execution->asked_at != 0 ? execution->asked_at : ftl_now();

        (void)stop_child(execution, from + execution->options->stop_after, &exit);
    }
    if (execution->helpers != NULL) {
        end_helpers(execution);
    }
    ftl_process_free(execution->process);
    ftl_unmask();
    free(execution);
}

/* ---- the whole -------------------------------------------------------------------------- */

static int open_execution(struct execution *execution, int *ret_errno)
{
    int rc;

    execution->helpers = ftl_task_set_new();
    if (execution->helpers == NULL) {
        return FTL_ENOMEM;
    }
    rc = start_child(execution, ret_errno);
    return rc != 0 ? rc : start_helpers(execution);
}

static void keep_tail(const struct execution *execution, struct ftl__execution_result *result)
{
    const char *tail = ftl__lines_tail(&execution->err.lines, &result->tail_size);

    memcpy(result->tail, tail, result->tail_size);
}

int ftl__execute(const struct ftl__execution_options *options,
                 struct ftl__execution_result *ret_result)
{
    struct execution *execution = calloc(1, sizeof(*execution));
    struct ftl__execution_result result = {.stopped = false};
    int64_t until = 0;
    int rc;

    if (execution == NULL) {
        return FTL_ENOMEM;
    }
    execution->options = options;
    FTL_DEFER(end_execution, execution);
    rc = open_execution(execution, &ret_result->sys_errno);
    if (rc != 0) {
        return rc;
    }
    rc = wait_for_end(execution, FTL_FOREVER, &result.exit);
    if (rc == FTL_ECANCELED) {
        ftl_heed();
        result.stopped = true;
        until = ftl_deadline(options->kill_after);
        rc = stop_child(execution, until, &result.exit);
    }
    if (rc == 0) {
        int64_t grace = ftl_deadline(CLOSE_GRACE);

        rc = collect(execution, grace > until ? grace : until);
    }
    if (rc == 0) {
        keep_tail(execution, &result);
        *ret_result = result;
    }
    return rc;
}
