/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A module for tests: ways to crash that examples/modules/faults.c does not have. Each counts
 * nothing and frees nothing.
 *
 *     Snprintf, Qsort, Malloc [step]   a recursion of `step` bytes a level that overflows its stack,
 *                                      mostly inside of that function of libc
 *     Assert                           a failed assert() of <assert.h>
 *     Err, Errx, Error, PosixExit, IsoExit, QuickExit
 *                                      err(), errx(), error(), _exit(), _Exit(), quick_exit()
 *     ThreadExit                       calls exit(0) in a thread of its own, "stray"
 *     Smash                            writes over the end of an array on its stack
 *     Detached                         spawns a task that divides by zero, and succeeds
 *     Damage [i]                       in its first attempt writes over its own job, then reads NULL
 *     ForkExit                         forks a child that calls exit(3), and succeeds if that is how
 *                                      the child ends
 *     Fork                             logs "pid N" of a child that it has forked and forgotten
 *     Moody [how, file]                logs "pid N", waits until there is such a file (none given: it
 *                                      does not), and crashes as it is told: "abort", "null", "exit"
 *                                      (exit_group(2), which no task survives), "recant" (the same, but
 *                                      its third attempt only fails, as if it had), "fine"
 *     Calm                             logs "pid N" */
#undef NDEBUG
#include <assert.h>
#include <err.h>
#include <errno.h>
#include <error.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fettle/module.h>

static volatile size_t sink;

/* ---- overflows --------------------------------------------------------------------------- */

static void call_snprintf(void)
{
    char text[64];
    sink = (size_t)snprintf(text, sizeof text, "%s %d %g %p", "text", 17, 3.25, (void *)text);
}

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void call_qsort(void)
{
    int numbers[] = {5, 4, 9, 1, 0, 3, 7, 2, 8, 6};
    qsort(numbers, sizeof numbers / sizeof *numbers, sizeof *numbers, compare);
}

static void call_malloc(void)
{
    static size_t size = 1; /* a race that does no harm */
    void *volatile block = malloc((size += 37) % 5000);
    free(block);
}

static size_t descend(void (*call)(void), size_t step, size_t depth)
{
    volatile char *frame = __builtin_alloca(step);
    frame[0] = (char)depth;
    call();
    if (sink == SIZE_MAX)
        return depth;
    return descend(call, step, depth + 1) + (size_t)frame[0];
}

static int overflow_by(struct ftl_run *run, void (*call)(void))
{
    json_int_t step = 64;
    (void)json_unpack(ftl_run_args(run), "[I]", &step);
    sink = descend(call, (size_t)step, 1);
    return 0;
}

static int overflow_in_snprintf(struct ftl_run *run)
{
    return overflow_by(run, call_snprintf);
}

static int overflow_in_qsort(struct ftl_run *run)
{
    return overflow_by(run, call_qsort);
}

static int overflow_in_malloc(struct ftl_run *run)
{
    return overflow_by(run, call_malloc);
}

/* ---- calls ------------------------------------------------------------------------------- */

static int fail_assert(struct ftl_run *run)
{
    assert(run == NULL);
    return 0;
}

static int call_err(struct ftl_run *run)
{
    (void)run;
    errno = ENOENT;
    err(1, "cannot open %s", "it");
}

static int call_errx(struct ftl_run *run)
{
    (void)run;
    errx(1, "no %d", 17);
}

static int call_error(struct ftl_run *run)
{
    (void)run;
    error(0, 0, "so far so good"); /* returns */
    error(2, ENOENT, "cannot open %s", "it");
    return 0;
}

static int call_posix_exit(struct ftl_run *run)
{
    (void)run;
    _exit(0);
}

static int call_iso_exit(struct ftl_run *run)
{
    (void)run;
    _Exit(1);
}

static int call_quick_exit(struct ftl_run *run)
{
    (void)run;
    quick_exit(1);
}

static void *exit_in_order(void *arg)
{
    (void)arg;
    (void)pthread_setname_np(pthread_self(), "stray");
    exit(0);
}

static int exit_in_a_thread(struct ftl_run *run)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, exit_in_order, NULL) != 0)
        return ftl_run_fail(run, "ThreadError", "no thread");
    pthread_join(thread, NULL);
    return 0;
}

/* The compiler must not see how much is written. */
static int smash(struct ftl_run *run)
{
    char array[8];
    volatile size_t size = 64;
    (void)run;
    for (size_t i = 0; i < size; i++)
        ((volatile char *)array)[i] = 1;
    sink = (size_t)array[0];
    return 0;
}

static void *divide(void *arg)
{
    volatile int one = 1, zero = 0;
    sink = (size_t)(one / zero);
    return arg;
}

static int detach(struct ftl_run *run)
{
    const struct ftl_spawn_options options = {.name = "detached"};
    return ftl_spawn(ftl_runtime_current(), divide, NULL, &options, NULL) == 0
               ? 0
               : ftl_run_fail(run, "SpawnError", "no task");
}

static int damage(struct ftl_run *run)
{
    const volatile char *volatile nowhere = NULL;
    size_t size;
    char *text = (char *)(uintptr_t)ftl_run_job_text(run, &size);
    if (ftl_run_attempt(run) > 1)
        return 0;
    memset(text + size / 2, '#', 3);
    sink = (size_t)*nowhere;
    return 0;
}

static int fork_and_exit(struct ftl_run *run)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        exit(3);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
        WEXITSTATUS(status) != 3)
        return ftl_run_fail(run, "ChildError", "status %x", (unsigned)status);
    return 0;
}

static int fork_and_forget(struct ftl_run *run)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60); /* nobody else may end it */
        pause();
        _exit(0);
    }
    ftl_run_log(run, "pid %d", (int)pid);
    return pid > 0 ? 0 : ftl_run_fail(run, "ForkError", "no child");
}

static int calm(struct ftl_run *run)
{
    ftl_run_log(run, "pid %d", (int)getpid());
    return 0;
}

static int moody(struct ftl_run *run)
{
    const volatile char *volatile nowhere = NULL;
    json_t *args = ftl_run_args(run);
    const char *how = json_string_value(json_array_get(args, 0));
    const char *file = json_string_value(json_array_get(args, 1));
    (void)calm(run);
    while (file != NULL && access(file, F_OK) != 0)
        if (ftl_sleep(5 * FTL_MS) != 0)
            return FTL_ECANCELED;
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "recant") == 0 && ftl_run_attempt(run) > 2)
        return ftl_run_fail(run, "ExitStatus", "so it says");
    if (strcmp(how, "exit") == 0 || strcmp(how, "recant") == 0)
        (void)syscall(SYS_exit_group, 3);
    if (strcmp(how, "null") == 0)
        sink = (size_t)*nowhere;
    return 0;
}

FTL_MODULE("crash", {"Snprintf", overflow_in_snprintf}, {"Qsort", overflow_in_qsort},
           {"Malloc", overflow_in_malloc}, {"Assert", fail_assert}, {"Smash", smash},
           {"Err", call_err}, {"Errx", call_errx}, {"Error", call_error}, {"PosixExit", call_posix_exit},
           {"IsoExit", call_iso_exit}, {"QuickExit", call_quick_exit},
           {"ThreadExit", exit_in_a_thread}, {"Detached", detach}, {"Damage", damage}, {"ForkExit", fork_and_exit},
           {"Fork", fork_and_forget}, {"Moody", moody}, {"Calm", calm});
