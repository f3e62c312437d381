/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The record of a fault that ends the process: one line that says what and where, and one for each
 * frame, as OBJECT+OFFSET, for addr2line(1). Written from a signal handler: no symbols, which cost
 * locks, no stdio, no memory but what is on the stack. Whoever calls it ends the process. */
#include <config.h>

#include "runtime/fault.h"

#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#ifdef HAVE__DL_FIND_OBJECT
#include <link.h>
#endif

#include "runtime/worker.h"

enum { LINE = 512 };

struct line {
    size_t used;
    char text[LINE];
};

static void add(struct line *line, const char *text)
{
    while (*text && line->used < LINE - 1) /* the newline */
        line->text[line->used++] = *text++;
}

static void add_number(struct line *line, uintptr_t number, unsigned base)
{
    char digits[24];
    size_t at = sizeof digits;
    digits[--at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    add(line, base == 16 ? "0x" : "");
    add(line, digits + at);
}

/* Nobody is left to be told that it cannot be written: the process ends. */
static void put(struct line *line)
{
    line->text[line->used++] = '\n';
    ssize_t n = write(STDERR_FILENO, line->text, line->used);
    (void)n;
    line->used = 0;
}

const char *ftl__crash_signal_name(int signal)
{
    switch (signal) {
    case SIGSEGV:
        return "SIGSEGV";
    case SIGBUS:
        return "SIGBUS";
    case SIGFPE:
        return "SIGFPE";
    case SIGILL:
        return "SIGILL";
    case SIGABRT:
        return "SIGABRT";
    default:
        return "SIGTRAP";
    }
}

static void add_place(struct line *line, void *address)
{
#ifdef HAVE__DL_FIND_OBJECT
    struct dl_find_object found;
    if (_dl_find_object(address, &found) == 0 && found.dlfo_link_map) {
        const char *name = found.dlfo_link_map->l_name;
        add(line, name && name[0] ? name : "(program)");
        add(line, "+");
        address = (void *)((char *)address - (char *)found.dlfo_link_map->l_addr);
    }
#endif
    add_number(line, (uintptr_t)address, 16);
}

void ftl__crash_record(const struct ftl__worker *worker, const struct ftl__strand *strand,
                       const char *class, const void *address, void *const *frames,
                       uint32_t count)
{
    struct line line = {0};
    add(&line, "fettle: ");
    add(&line, class);
    if (strcmp(class, "SIGABRT") != 0) {
        add(&line, " at ");
        add_number(&line, (uintptr_t)address, 16);
    }
    add(&line, strand ? " in task " : " outside of tasks");
    if (strand) {
        add(&line, strand->task->name ? strand->task->name : "(unnamed)");
        add(&line, " (");
        add_number(&line, strand->task->id, 10);
        add(&line, ")");
    }
    add(&line, ", a worker of ");
    add(&line, worker->runtime->name);
    add(&line, ": not contained");
    put(&line);
    for (uint32_t i = 0; i < count; i++) {
        add(&line, "  #");
        add_number(&line, i, 10);
        add(&line, " ");
        add_place(&line, frames[i]);
        put(&line);
    }
}
