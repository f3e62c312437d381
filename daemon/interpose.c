/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Functions of the C library that end the process, defined ahead of it, since the program comes first
 * where the loader looks for names. In a task of a runtime that contains faults they end that task
 * instead, as a panic does; everywhere else (control, foreign threads, a forked child) they are the
 * library's own. What the library calls inside of itself, for a damaged heap or FORTIFY, does not
 * come here, and ends the process.
 *
 * An exit that main() has not decided on (a foreign thread's, or one inside of the library) would look
 * like an orderly stop, or like a wrong configuration, after which nobody starts the daemon again. It
 * becomes a SIGABRT, after a line on stderr.
 *
 * Part of the program only: libfettle interposes nothing, nor do the tests of the daemon's parts.
 * The library's own are looked up before main(). */
#include "daemon/interpose.h"

#include <assert.h>
#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "runtime/fault.h"

#define SAID_MAX 1024 /* bytes of what err(3) and error(3) say */

void __stack_chk_fail(void) FTL_NORETURN;
/* That of <error.h> is inline. */
void error(int status, int number, const char *format, ...) FTL_PRINTF(3, 4);

static struct {
    FTL_NORETURN void (*abort)(void);
    FTL_NORETURN void (*exit)(int status);
    FTL_NORETURN void (*leave)(int status); /* _exit, and _Exit, which is the same */
    FTL_NORETURN void (*quick_exit)(int status);
    FTL_NORETURN FTL_PRINTF(2, 0) void (*verr)(int status, const char *format, va_list args);
    FTL_NORETURN FTL_PRINTF(2, 0) void (*verrx)(int status, const char *format, va_list args);
    FTL_PRINTF(3, 4) void (*error)(int status, int number, const char *format, ...);
    FTL_NORETURN void (*assert_fail)(const char *expression, const char *file, unsigned line,
                                     const char *function);
    FTL_NORETURN void (*stack_chk_fail)(void);
} library;

static pid_t process;
static _Atomic bool may_end;

/* POSIX has functions in what ISO C knows as pointers to data. */
static void find(void *ret_function, const char *name)
{
    *(void **)ret_function = dlsym(RTLD_NEXT, name);
    if (*(void **)ret_function == NULL)
        (void)syscall(SYS_exit_group, 127); /* no C library that we know */
}

/* ---- an end that nobody has decided on --------------------------------------------------- */

void ftl__interpose_end(void)
{
    atomic_store(&may_end, true);
}

/* Returns in forked children, and where main() has said so. */
static void check_end(const char *call, int status)
{
    char thread[16] = "?";

    if (getpid() != process || atomic_load(&may_end))
        return;
    (void)prctl(PR_GET_NAME, thread);
    (void)dprintf(STDERR_FILENO, "fettle: %s(%d) in thread %s: not contained\n", call, status,
                  thread);
    library.abort();
}

static void on_end(int status, void *arg)
{
    (void)arg;
    check_end("exit", status);
}

__attribute__((constructor)) static void find_all(void)
{
    process = getpid();
    find(&library.abort, "abort");
    find(&library.exit, "exit");
    find(&library.leave, "_exit");
    find(&library.quick_exit, "quick_exit");
    find(&library.verr, "verr");
    find(&library.verrx, "verrx");
    find(&library.error, "error");
    find(&library.assert_fail, "__assert_fail");
    find(&library.stack_chk_fail, "__stack_chk_fail");
    if (on_exit(on_end, NULL) != 0)
        (void)syscall(SYS_exit_group, 127); /* no memory, before there is anything */
}

/* ---- calls that only end ----------------------------------------------------------------- */

/* The process first: in a forked child there is no runtime that could be asked. */
static bool in_task(void)
{
    return getpid() == process && ftl__fault_contains();
}

FTL_API void abort(void)
{
    if (in_task())
        ftl__fault_panic("Abort", "abort() was called");
    library.abort();
}

FTL_API void exit(int status)
{
    if (in_task())
        ftl__fault_panic("Exit", "exit(%d) was called", status);
    library.exit(status);
}

static FTL_NORETURN void leave(const char *call, int status)
{
    if (in_task())
        ftl__fault_panic("Exit", "%s(%d) was called", call, status);
    check_end(call, status);
    library.leave(status);
}

FTL_API void _exit(int status)
{
    leave("_exit", status);
}

FTL_API void _Exit(int status)
{
    leave("_Exit", status);
}

FTL_API void quick_exit(int status)
{
    if (in_task())
        ftl__fault_panic("Exit", "quick_exit(%d) was called", status);
    check_end("quick_exit", status);
    library.quick_exit(status);
}

FTL_API void __assert_fail(const char *expression, const char *file, unsigned line,
                           const char *function)
{
    if (in_task())
        ftl__fault_panic("Assert", "assertion failed: %s (%s:%u, %s)", expression, file, line,
                         function ? function : "?");
    library.assert_fail(expression, file, line, function);
}

FTL_API void __stack_chk_fail(void)
{
    if (in_task())
        ftl__fault_damaged("StackProtector"); /* returns if that is not contained */
    library.stack_chk_fail();
}

/* ---- calls that say why ------------------------------------------------------------------ */

/* On stderr as the library does, but in one piece, since the log goes there, too. `number` < 0: none. */
static FTL_NORETURN FTL_PRINTF(5, 0) void say(const char *call, const char *program, int status,
                                              int number, const char *format, va_list args)
{
    char said[SAID_MAX] = "";
    size_t used;

    if (format != NULL)
        (void)vsnprintf(said, sizeof said, format, args);
    used = strlen(said);
    if (number >= 0)
        (void)snprintf(said + used, sizeof said - used, "%s%s", used > 0 ? ": " : "",
                       strerror(number));
    (void)dprintf(STDERR_FILENO, "%s: %s\n", program, said);
    ftl__fault_panic("Exit", "%s(%d) was called: %s", call, status, said);
}

static FTL_NORETURN FTL_PRINTF(3, 0) void warn_and_exit(const char *call, int status,
                                                        const char *format, va_list args)
{
    if (in_task())
        say(call, program_invocation_short_name, status, errno, format, args);
    library.verr(status, format, args);
}

static FTL_NORETURN FTL_PRINTF(3, 0) void warnx_and_exit(const char *call, int status,
                                                         const char *format, va_list args)
{
    if (in_task())
        say(call, program_invocation_short_name, status, -1, format, args);
    library.verrx(status, format, args);
}

FTL_API void verr(int status, const char *format, va_list args)
{
    warn_and_exit("verr", status, format, args);
}

FTL_API void verrx(int status, const char *format, va_list args)
{
    warnx_and_exit("verrx", status, format, args);
}

FTL_API void err(int status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    warn_and_exit("err", status, format, args);
}

FTL_API void errx(int status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    warnx_and_exit("errx", status, format, args);
}

/* With a status of 0 it returns. */
FTL_API void error(int status, int number, const char *format, ...)
{
    char *said;
    va_list args;

    va_start(args, format);
    if (status != 0 && in_task())
        say("error", program_invocation_name, status, number > 0 ? number : -1, format, args);
    if (vasprintf(&said, format, args) < 0)
        said = NULL;
    va_end(args);
    library.error(status, number, "%s", said != NULL ? said : format);
    free(said);
}
