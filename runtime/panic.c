/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * A panic ends the calling task: message and backtrace are kept, the defers run, the outcome is
 * FTL_PANICKED. The first panic of a task is the one that is kept: one in a defer lets the rest of
 * them run. Where there is no memory for the record, a static one stands in, whose message says
 * so. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/context.h"
#include "runtime/fault.h"
#include "runtime/strands.h"
#include "runtime/worker.h"

static struct ftl_panic no_memory = {.message = "out of memory"};

struct ftl_panic *ftl__panic_no_memory(void)
{
    return &no_memory;
}

void ftl__panic_add_callers(struct ftl_panic *panic, const struct ftl__strand *strand)
{
    size_t count = panic->frame_count;
    while ((strand = ftl__branch_parent(strand)) != NULL) /* as if it had called the branch */
        count += ftl__context_frames(strand->sp, strand->stack->low, strand->stack->top,
                                     panic->frames + count, FTL_PANIC_FRAMES - count);
    panic->frame_count = (uint32_t)count;
}

FTL_PRINTF(3, 0)
static struct ftl_panic *record(const struct ftl__strand *strand, const char *class,
                                const char *format, va_list args)
{
    struct ftl_panic *panic = malloc(sizeof *panic);
    if (!panic)
        return &no_memory;
    panic->signal = 0;
    panic->fault = class;
    panic->tainted = false;
    vsnprintf(panic->message, sizeof panic->message, format, args);
    ftl__shadow_pause();
    panic->frame_count = (uint32_t)ftl__context_frames_here(
        strand->stack->low, strand->stack->top, panic->frames, FTL_PANIC_FRAMES);
    ftl__panic_add_callers(panic, strand);
    ftl__shadow_resume();
    return panic;
}

void ftl_panic(const char *format, ...)
{
    struct ftl__strand *strand = ftl__strand_current();
    va_list args;
    va_start(args, format);
    if (!strand->task) {
        fputs("panic outside of a task: ", stderr);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        abort();
    }
    if (!strand->task->panic)
        strand->task->panic = record(strand, NULL, format, args);
    va_end(args);
    strand->unwound = strand->panicked = true;
    ftl__strand_unwind(strand);
}

void ftl__fault_panic(const char *class, const char *format, ...)
{
    struct ftl__strand *strand = ftl__strand_current();
    struct ftl_task *task = strand->task;
    va_list args;
    va_start(args, format);
    struct ftl_panic *panic = record(strand, class, format, args);
    va_end(args);
    ftl__fault_tell(task, class, false, panic);
    ftl__panic_keep(task, panic);
    strand->unwound = strand->panicked = true;
    ftl__strand_unwind(strand);
}

void ftl__panic_keep(struct ftl_task *task, struct ftl_panic *panic)
{
    struct ftl_outcome second = {.kind = FTL_PANICKED, .panic = panic};
    if (task->panic)
        ftl_outcome_clear(&second);
    else
        task->panic = panic;
}

void ftl_outcome_clear(struct ftl_outcome *outcome)
{
    if (outcome->panic != &no_memory)
        free(outcome->panic);
    memset(outcome, 0, sizeof *outcome);
}

/* A return address is one past the call, which may be the next function's first byte: `place` has
 * the call. */
static int format_frame(char *buf, size_t size, uint32_t index, void *frame, void *place)
{
    Dl_info info;
    if (!dladdr(place, &info) || !info.dli_fname)
        return snprintf(buf, size, "#%u %p\n", index, frame);
    if (!info.dli_sname)
        return snprintf(buf, size, "#%u %p +0x%zx (%s)\n", index, frame,
                        (size_t)((char *)frame - (char *)info.dli_fbase), info.dli_fname);
    return snprintf(buf, size, "#%u %p %s+0x%zx (%s)\n", index, frame, info.dli_sname,
                    (size_t)((char *)frame - (char *)info.dli_saddr), info.dli_fname);
}

size_t ftl_panic_format(const struct ftl_panic *panic, char *buf, size_t size)
{
    size_t used = 0;
    if (size == 0)
        return 0;
    buf[0] = '\0';
    for (uint32_t i = 0; i < panic->frame_count; i++) {
        void *frame = panic->frames[i];
        bool fault = i == 0 && panic->signal != 0;
        int n = format_frame(buf + used, size - used, i, frame, (char *)frame - !fault);
        if (n < 0 || (size_t)n >= size - used)
            break; /* whole lines only */
        used += (size_t)n;
    }
    buf[used] = '\0';
    return used;
}
