/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * Functions of the C library that end the process, defined ahead of it, since the program comes first
 * where the loader looks for names. In a task of a runtime that contains faults they end that task
 * instead, as a panic does; everywhere else (control, foreign threads, a forked child) they are the
 * library's own. What the library calls inside of itself, for a damaged heap or FORTIFY, does not
 * come here, and ends the process.
 *
 * Part of the program only: libfettle interposes nothing, nor do the tests of the daemon's parts.
 * The library's own are looked up before main(). */
#include <assert.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include "runtime/fault.h"

void __stack_chk_fail(void) FTL_NORETURN;

static struct {
    FTL_NORETURN void (*abort)(void);
    FTL_NORETURN void (*exit)(int status);
    FTL_NORETURN void (*assert_fail)(const char *expression, const char *file, unsigned line,
                                     const char *function);
    FTL_NORETURN void (*stack_chk_fail)(void);
} library;

static pid_t process;

/* POSIX has functions in what ISO C knows as pointers to data. */
static void find(void *ret_function, const char *name)
{
    *(void **)ret_function = dlsym(RTLD_NEXT, name);
    if (*(void **)ret_function == NULL)
        _exit(127); /* no C library that we know */
}

__attribute__((constructor)) static void find_all(void)
{
    process = getpid();
    find(&library.abort, "abort");
    find(&library.exit, "exit");
    find(&library.assert_fail, "__assert_fail");
    find(&library.stack_chk_fail, "__stack_chk_fail");
}

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
