/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A handler that runs a program for each job, without a shell. This file holds what is
 * settled at configuration time (program, arguments, the fixed part of the environment) and
 * translates: a run to an environment and a line of input, the end of the program to a verdict.
 * How the program is run is in jobs/execution.c.
 *
 * A handler is immutable: any number of runs use it at a time, on any thread.
 *
 * Verdicts, in this order: asked to end → Cancelled (and what the daemon makes of that); 0 → done; a
 * code of dead_exit → never again; 75 → later; another code → ExitStatus; a signal → Signal, or
 * OutOfMemory. A program that cannot be started fails the
 * run with CommandError, unless it was we who had no descriptors, processes or memory left: that is
 * not the job's fault, and the run is tried again later, its counts untouched. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/ending.h"
#include "jobs/execution.h"
#include "jobs/handler.h"
#include "jobs/invocation.h"

#define EXIT_LATER    75
#define LATER_DEFAULT 60.0
#define LATER_SHORT   5.0 /* for a program that there were no means to start */
#define RUN_ENV       6   /* variables that each run adds */
#define RUN_ENV_MAX   320 /* bytes of one: name, '=', at most a class */

struct command {
    struct ftl__handler base;
    struct ftl__invocation program; /* its environment is the fixed part */
    int *dead_exit;
    size_t dead_exit_count;
    struct ftl_process_limits limits;
    double later;
};

/* ---- the run's environment -------------------------------------------------------------- */

struct environment {
    const char **envp; /* the command's, then ours; malloc'd */
    char text[RUN_ENV][RUN_ENV_MAX];
};

static void set(struct environment *environment, size_t *n, size_t fixed, int size)
{
    ftl_assert(size > 0 && size < RUN_ENV_MAX && *n < RUN_ENV);
    environment->envp[fixed + *n] = environment->text[*n];
    (*n)++;
}

#define SET(format, value)                                                                         \
    set(environment, &n, fixed, snprintf(environment->text[n], RUN_ENV_MAX, format, value))

static int make_environment(const struct command *command, const struct ftl_run *run,
                            struct environment *environment)
{
    size_t fixed = command->program.env_count, n = 0;

    environment->envp = calloc(fixed + RUN_ENV + 1, sizeof(*environment->envp));
    if (environment->envp == NULL) {
        return FTL_ENOMEM;
    }
    for (size_t i = 0; i < fixed; i++) {
        environment->envp[i] = command->program.env[i];
    }
    SET("FETTLE_JID=%s", run->jid);
    SET("FETTLE_CLASS=%s", run->class);
    SET("FETTLE_QUEUE=%s", run->queue);
    SET("FETTLE_TOKEN=%llu", (unsigned long long)run->token);
    SET("FETTLE_ATTEMPT=%u", (unsigned)run->attempt);
    if (run->deadline != FTL_FOREVER) {
        SET("FETTLE_DEADLINE=%.3f", run->deadline_epoch);
    }
    return 0;
}

/* ---- the verdict ------------------------------------------------------------------------ */

static bool is_dead_exit(const struct command *command, int code)
{
    for (size_t i = 0; i < command->dead_exit_count; i++) {
        if (command->dead_exit[i] == code) {
            return true;
        }
    }
    return false;
}

static int fail(struct ftl_run *run, const char *error_class, const char *what,
                const struct ftl__execution_result *result)
{
    return ftl__ending_fail(run, error_class, what, result->tail, result->tail_size);
}

static int judge(const struct command *command, struct ftl_run *run,
                 const struct ftl__execution_result *result)
{
    char what[FTL__ENDING_MAX];
    const char *error_class;

    if (result->exit.code == 0 && !result->stopped) {
        return 0;
    }
    error_class = ftl__ending(&result->exit, &command->limits, what);
    if (result->stopped) {
        return fail(run, "Cancelled", what, result);
    }
    if (result->exit.code < 0) {
        return fail(run, error_class, what, result);
    }
    if (is_dead_exit(command, result->exit.code)) {
        (void)fail(run, "ExitStatus", what, result);
        run->failure.never = true;
        return 1;
    }
    if (result->exit.code == EXIT_LATER) {
        return ftl_run_later(run, command->later);
    }
    return fail(run, "ExitStatus", what, result);
}

/* ENOSPC: epoll(7) has no watch left for this user. */
static bool is_shortage(int code, int sys_errno)
{
    if (code == FTL_ESYS) {
        return sys_errno == EMFILE || sys_errno == ENFILE || sys_errno == EAGAIN ||
               sys_errno == ENOMEM || sys_errno == ENOSPC;
    }
    return code == FTL_ENOMEM;
}

static int fail_start(const struct command *command, struct ftl_run *run, int code, int sys_errno)
{
    bool shortage = is_shortage(code, sys_errno);

    if (code != FTL_ESYS && !shortage) {
        return code; /* shutting down, cancelled */
    }
    (void)ftl_run_fail(run, "CommandError", "%s cannot be started: %s", command->program.argv[0],
                       code == FTL_ESYS ? strerrordesc_np(sys_errno) : ftl_error_text(code));
    run->failure.later = shortage ? LATER_SHORT : 0;
    return 1;
}

/* ---- the run ---------------------------------------------------------------------------- */

static const char *const *strings(char **list)
{
    return (const char *const *)list;
}

static int execute(const struct command *command, struct ftl_run *run, const char *input,
                   size_t input_size, const char *const *envp)
{
    int64_t kill_after = command->base.kill_after;
    const struct ftl__execution_options options = {
        .run = run,
        .argv = strings(command->program.argv),
        .envp = envp,
        .cwd = command->program.cwd,
        .limits = &command->limits,
        .input = input,
        .input_size = input_size,
        .kill_after = kill_after,
        .stop_after = kill_after < FTL__STOP_GRACE ? kill_after : FTL__STOP_GRACE,
    };
    struct ftl__execution_result result = {.sys_errno = 0};
    int rc = ftl__execute(&options, &result);

    return rc == 0 ? judge(command, run, &result) : fail_start(command, run, rc, result.sys_errno);
}

static void free_string(void *string)
{
    free(*(void **)string);
}

static int command_run(struct ftl__handler *handler, struct ftl_run *run)
{
    const struct command *command = (const struct command *)handler;
    struct environment environment = {.envp = NULL};
    char *input = NULL;
    size_t input_size;
    int rc;

    FTL_DEFER(free_string, &environment.envp);
    FTL_DEFER(free_string, &input);
    rc = ftl__job_one_line(&run->job, &input, &input_size);
    if (rc == 0) {
        rc = make_environment(command, run, &environment);
    }
    return rc != 0 ? rc : execute(command, run, input, input_size, environment.envp);
}

/* ---- configuration ---------------------------------------------------------------------- */

static void command_destroy(struct ftl__handler *handler)
{
    struct command *command = (struct command *)handler;

    ftl__invocation_fini(&command->program);
    free(command->dead_exit);
    ftl__handler_fini(&command->base);
    free(command);
}

static const struct ftl__handler_kind command_kind = {.name = "command",
                                                      .migratable = true,
                                                      .wind_up = FTL__EXECUTION_WIND_UP,
                                                      .run = command_run,
                                                      .destroy = command_destroy};

static int copy_rest(struct command *command, const struct ftl__command_settings *settings)
{
    size_t size = settings->dead_exit_count * sizeof(*command->dead_exit);

    command->dead_exit = malloc(size + 1);
    if (command->dead_exit == NULL) {
        return FTL_ENOMEM;
    }
    if (size > 0) {
        memcpy(command->dead_exit, settings->dead_exit, size);
    }
    command->dead_exit_count = settings->dead_exit_count;
    command->limits = settings->limits;
    command->later = settings->later > 0 ? settings->later : LATER_DEFAULT;
    return 0;
}

int ftl__command_new(const struct ftl__handler_settings *settings,
                     const struct ftl__command_settings *command_settings,
                     struct ftl__handler **ret_handler, char *error, size_t error_size)
{
    struct ftl__invocation program;
    struct command *command;
    int rc = ftl__invocation_init(&program, "command", command_settings->argv,
                                  command_settings->env, command_settings->cwd, error, error_size);

    if (rc != 0) {
        return rc;
    }
    command = calloc(1, sizeof(*command));
    if (command == NULL || ftl__handler_init(&command->base, &command_kind, settings) != 0) {
        ftl__invocation_fini(&program);
        free(command);
        goto no_memory;
    }
    command->program = program;
    rc = copy_rest(command, command_settings);
    if (rc != 0) {
        command_destroy(&command->base);
        goto no_memory;
    }
    *ret_handler = &command->base;
    return 0;

no_memory:
    (void)snprintf(error, error_size, "%s", ftl_error_text(FTL_ENOMEM));
    return FTL_ENOMEM;
}
