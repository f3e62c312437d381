/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * One wording for all kinds of handler that have child processes. No state, any thread. */
#include "jobs/ending.h"

#include <stdio.h>
#include <string.h>

#include "jobs/lines.h"

#define WHAT_MAX 512

const char *ftl__ending(const struct ftl_exit *exit, char text[FTL__ENDING_MAX])
{
    const char *core = exit->core_dumped ? " (core dumped)" : "";
    const char *name = sigabbrev_np(exit->signal);

    if (exit->code >= 0) {
        (void)snprintf(text, FTL__ENDING_MAX, "exit status %d", exit->code);
        return "ExitStatus";
    }
    if (name != NULL) {
        (void)snprintf(text, FTL__ENDING_MAX, "killed by SIG%s%s", name, core);
    } else {
        (void)snprintf(text, FTL__ENDING_MAX, "killed by signal %d%s", exit->signal, core);
    }
    return "Signal";
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
