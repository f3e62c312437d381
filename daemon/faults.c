/* SPDX-License-Identifier: MIT
 *
 * DESIGN. A counter for each class, raised by the workers on which they happen, or by control when a
 * child process has told of one, and read by control. What follows from a fault is decided elsewhere
 * (parts.c, daemon.c). */
#include "daemon/faults.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/log.h"

static const char *const classes[FTL__FAULT_CLASSES] = {
    "StackOverflow", "SIGFPE", "SIGILL",  "SIGTRAP", "Abort",
    "Assert",        "Exit",   "SIGSEGV", "SIGBUS",  "StackProtector"};

void ftl__faults_count(struct ftl__faults *faults, const char *class)
{
    for (int i = 0; i < FTL__FAULT_CLASSES; i++)
        if (strcmp(classes[i], class) == 0)
            atomic_fetch_add_explicit(&faults->count[i], 1, memory_order_relaxed);
}

bool ftl__faults_is_crash(const char *error_class)
{
    for (size_t i = 0; i < FTL__FAULT_CLASSES; i++)
        if (strcmp(classes[i], error_class) == 0)
            return true;
    return false;
}

void ftl__faults_log(const struct ftl__faults *faults)
{
    char text[FTL__FAULT_CLASSES * 40] = "";
    uint64_t total = 0;
    size_t used = 0;

    for (int i = 0; i < FTL__FAULT_CLASSES; i++) {
        uint64_t count = atomic_load_explicit(&faults->count[i], memory_order_relaxed);
        if (count == 0)
            continue;
        total += count;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s=%" PRIu64,
                                 used > 0 ? " " : "", classes[i], count);
    }
    if (total > 0)
        ftl__log(FTL__EV_DAEMON_FAULTS, FTL__UINT("total", total), FTL__STR("classes", text));
}
