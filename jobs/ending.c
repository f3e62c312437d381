/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * One wording for all kinds of handler that have child processes. No state, any thread.
 *
 * Of its limits it names what can be known from outside: that the kernel has killed the child's
 * cgroup for its memory, or sent SIGXCPU, or SIGKILL when that was ignored. A limit of address
 * space or of descriptors is an error of a call in the child, and what becomes of it is the
 * child's own. */
#include "jobs/ending.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "jobs/lines.h"

#define WHAT_MAX 512

static bool used_its_time(const struct ftl_exit *exit, const struct ftl_process_limits *limits)
{
    int64_t time = (int64_t)limits->cpu_seconds * FTL_S;

    return time > 0 && (exit->signal == SIGXCPU ||
                        (exit->signal == SIGKILL && exit->cpu_time > time + 4 * FTL_S));
}

/* Which limit it was, or "". */
static void limit(const struct ftl_exit *exit, const struct ftl_process_limits *limits,
                  char text[FTL__ENDING_MAX / 2])
{
    text[0] = '\0';
    if (exit->out_of_memory) {
        (void)snprintf(text, FTL__ENDING_MAX / 2, ": memory = %" PRIu64 " is used up",
                       limits->memory);
    } else if (used_its_time(exit, limits)) {
        (void)snprintf(text, FTL__ENDING_MAX / 2, ": cpu_seconds = %" PRIu64 " are used up",
                       limits->cpu_seconds);
    }
}

const char *ftl__ending(const struct ftl_exit *exit, const struct ftl_process_limits *limits,
                        char text[FTL__ENDING_MAX])
{
    char why[FTL__ENDING_MAX / 2];

    const char *core = exit->core_dumped ? " (core dumped)" : "";
    const char *name = sigabbrev_np(exit->signal);

    if (exit->code >= 0) {
        (void)snprintf(text, FTL__ENDING_MAX, "exit status %d", exit->code);
        return "ExitStatus";
    }
    limit(exit, limits, why);
    if (name != NULL) {
        (void)snprintf(text, FTL__ENDING_MAX, "killed by SIG%s%s%s", name, core, why);
    } else {
        (void)snprintf(text, FTL__ENDING_MAX, "killed by signal %d%s", exit->signal, core);
    }
    return exit->out_of_memory ? "OutOfMemory" : "Signal";
}

int ftl__ending_fail(struct ftl_run *run, const char *error_class, const char *what,
                     const char *tail, size_t tail_size)
{
    char message[WHAT_MAX + FTL__TAIL_BYTES];
    size_t size = strnlen(what, WHAT_MAX - 2);

    ftl_assert(tail_size <= FTL__TAIL_BYTES);
    memcpy(message, what, size);
    if (tail_size > 0) {
        memcpy(message + size, ": ", 2);
        memcpy(message + size + 2, tail, tail_size);
        size += 2 + tail_size;
    }
    return ftl__run_failed(run, error_class, message, size);
}
