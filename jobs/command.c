/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A handler that runs a program for each job, without a shell. This file holds what is
 * settled at configuration time (program, arguments, the fixed part of the environment) and
 * translates: a run to an environment and a line of input, the end of the program to a verdict.
 * How the program is run is in jobs/execution.c.
 *
 * The program is looked up once, in the PATH that it will see itself (`env` may set another); from
 * then on its absolute path is what is run, and its argv[0]. A handler is immutable: any number of
 * runs use it at a time, on any thread.
 *
 * Verdicts, in this order: out of time → Timeout; 0 → done; a code of dead_exit → never again; 75 →
 * later; another code → ExitStatus; a signal → Signal. A program that cannot be started fails the
 * run with CommandError, unless it was we who had no descriptors, processes or memory left: that is
 * not the job's fault, and the run is tried again later, its counts untouched. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/execution.h"
#include "jobs/handler.h"
#include "runtime/program.h"

#define EXIT_LATER    75
#define LATER_DEFAULT 60.0
#define LATER_SHORT   5.0 /* for a program that there were no means to start */
#define RUN_ENV       6   /* variables that each run adds */
#define RUN_ENV_MAX   320 /* bytes of one: name, '=', at most a class */

static const char *const clean_env[] = {"PATH=" FTL__PROGRAM_PATH, "LANG=C.UTF-8", "HOME=/", NULL};

struct command {
    struct ftl__handler base;
    char **argv; /* NULL-terminated, like env */
    char **env;  /* the fixed part */
    size_t env_count;
    char *cwd;
    int *dead_exit;
    size_t dead_exit_count;
    int64_t kill_after; /* ns */
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
    size_t fixed = command->env_count, n = 0;

    environment->envp = calloc(fixed + RUN_ENV + 1, sizeof(*environment->envp));
    if (environment->envp == NULL) {
        return FTL_ENOMEM;
    }
    for (size_t i = 0; i < fixed; i++) {
        environment->envp[i] = command->env[i];
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

/* Fails the run: what happened, then the last lines of stderr. */
static int fail(struct ftl_run *run, const char *error_class, const char *what,
                const struct ftl__execution_result *result)
{
    char message[sizeof(result->tail) + 128];
    int size = snprintf(message, 128, "%s%s", what, result->tail_size > 0 ? ": " : "");

    ftl_assert(size > 0 && size < 128);
    memcpy(message + size, result->tail, result->tail_size);
    return ftl__run_failed(run, error_class, message, (size_t)size + result->tail_size);
}

static int fail_signal(struct ftl_run *run, const struct ftl__execution_result *result)
{
    const char *name = sigabbrev_np(result->exit.signal);
    const char *core = result->exit.core_dumped ? " (core dumped)" : "";
    char what[64];

    if (name != NULL) {
        (void)snprintf(what, sizeof(what), "killed by SIG%s%s", name, core);
    } else {
        (void)snprintf(what, sizeof(what), "killed by signal %d%s", result->exit.signal, core);
    }
    return fail(run, "Signal", what, result);
}

static int judge(const struct command *command, struct ftl_run *run,
                 const struct ftl__execution_result *result)
{
    char what[64];

    if (result->timed_out) {
        (void)snprintf(what, sizeof(what), "not done after %g s", command->base.timeout);
        return fail(run, "Timeout", what, result);
    }
    if (result->exit.code < 0) {
        return fail_signal(run, result);
    }
    if (result->exit.code == 0) {
        return 0;
    }
    (void)snprintf(what, sizeof(what), "exit status %d", result->exit.code);
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
    (void)ftl_run_fail(run, "CommandError", "%s cannot be started: %s", command->argv[0],
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
    const struct ftl__execution_options options = {
        .run = run,
        .argv = strings(command->argv),
        .envp = envp,
        .cwd = command->cwd,
        .input = input,
        .input_size = input_size,
        .deadline = run->deadline,
        .kill_after = command->kill_after,
        .stop_after = command->kill_after < FTL__STOP_GRACE ? command->kill_after : FTL__STOP_GRACE,
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

static size_t count_strings(const char *const *list)
{
    size_t count = 0;

    while (list != NULL && list[count] != NULL) {
        count++;
    }
    return count;
}

static void free_strings(char **list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        free(list[i]);
    }
    free(list);
}

static void command_destroy(struct ftl__handler *handler)
{
    struct command *command = (struct command *)handler;

    free_strings(command->argv);
    free_strings(command->env);
    free(command->cwd);
    free(command->dead_exit);
    ftl__handler_fini(&command->base);
    free(command);
}

static const struct ftl__handler_kind command_kind = {.name = "command",
                                                      .migratable = true,
                                                      .keeps_time = true,
                                                      .run = command_run,
                                                      .destroy = command_destroy};

/* Appends a copy to a list with room for it; NULL stays its end. */
static int append(char **list, size_t *count, const char *string)
{
    list[*count] = strdup(string);
    if (list[*count] == NULL) {
        return FTL_ENOMEM;
    }
    (*count)++;
    return 0;
}

static bool same_name(const char *a, const char *b)
{
    size_t size = strcspn(a, "=");

    return strncmp(a, b, size) == 0 && b[size] == '=';
}

static bool is_set(const char *const *env, const char *variable)
{
    for (; env != NULL && *env != NULL; env++) {
        if (same_name(variable, *env)) {
            return true;
        }
    }
    return false;
}

/* The clean environment under what was configured. */
static int copy_env(struct command *command, const char *const *env)
{
    size_t room = sizeof(clean_env) / sizeof(clean_env[0]) + count_strings(env);
    int rc = 0;

    command->env = calloc(room, sizeof(*command->env));
    if (command->env == NULL) {
        return FTL_ENOMEM;
    }
    for (size_t i = 0; clean_env[i] != NULL && rc == 0; i++) {
        if (!is_set(env, clean_env[i])) {
            rc = append(command->env, &command->env_count, clean_env[i]);
        }
    }
    for (; env != NULL && *env != NULL && rc == 0; env++) {
        rc = append(command->env, &command->env_count, *env);
    }
    return rc;
}

static int copy_argv(struct command *command, const char *file, const char *const *argv)
{
    size_t count = 0;
    int rc;

    command->argv = calloc(count_strings(argv) + 1, sizeof(*command->argv));
    if (command->argv == NULL) {
        return FTL_ENOMEM;
    }
    rc = append(command->argv, &count, file);
    for (argv++; *argv != NULL && rc == 0; argv++) {
        rc = append(command->argv, &count, *argv);
    }
    return rc;
}

static int copy_rest(struct command *command, const struct ftl__command_settings *settings)
{
    size_t size = settings->dead_exit_count * sizeof(*command->dead_exit);

    command->cwd = strdup(settings->cwd != NULL ? settings->cwd : "/");
    command->dead_exit = malloc(size + 1);
    if (command->cwd == NULL || command->dead_exit == NULL) {
        return FTL_ENOMEM;
    }
    if (size > 0) {
        memcpy(command->dead_exit, settings->dead_exit, size);
    }
    command->dead_exit_count = settings->dead_exit_count;
    command->kill_after =
        settings->kill_after < 1e9 ? (int64_t)(settings->kill_after * (double)FTL_S) : FTL_FOREVER;
    command->later = settings->later > 0 ? settings->later : LATER_DEFAULT;
    return 0;
}

/* Where the program is; an error says what was looked for. */
static int find(const struct ftl__command_settings *settings, char file[PATH_MAX], char *error,
                size_t error_size)
{
    const char *name = settings->argv != NULL && settings->argv[0] != NULL ? settings->argv[0] : "";
    const char *path = settings->env != NULL ? ftl__environment_get(settings->env, "PATH") : NULL;
    int rc;

    if (name[0] != '/' && strchr(name, '/') != NULL) {
        (void)snprintf(error, error_size, "command %s: neither an absolute path nor a name in PATH",
                       name);
        return FTL_EINVAL;
    }
    if (path == NULL) {
        path = FTL__PROGRAM_PATH;
    }
    rc = ftl__program_find(name, path, file, PATH_MAX);
    if (rc == 0) {
        rc = ftl__program_check(file);
    }
    if (rc == 0) {
        return 0;
    }
    if (name[0] == '/') {
        (void)snprintf(error, error_size, "command %s: %s", name, strerrordesc_np(rc));
    } else {
        (void)snprintf(error, error_size, "command %s: %s (PATH is %s)", name, strerrordesc_np(rc),
                       path);
    }
    return FTL_EINVAL;
}

static int fill(struct command *command, const char *file,
                const struct ftl__command_settings *settings)
{
    int rc = copy_argv(command, file, settings->argv);

    if (rc == 0) {
        rc = copy_env(command, settings->env);
    }
    return rc != 0 ? rc : copy_rest(command, settings);
}

int ftl__command_new(const struct ftl__handler_settings *settings,
                     const struct ftl__command_settings *command_settings,
                     struct ftl__handler **ret_handler, char *error, size_t error_size)
{
    struct command *command;
    char file[PATH_MAX];
    int rc;

    rc = find(command_settings, file, error, error_size);
    if (rc != 0) {
        return rc;
    }
    command = calloc(1, sizeof(*command));
    if (command == NULL || ftl__handler_init(&command->base, &command_kind, settings) != 0) {
        free(command);
        goto no_memory;
    }
    rc = fill(command, file, command_settings);
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
