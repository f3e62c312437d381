/* SPDX-License-Identifier: MIT
 *
 * Hardware faults in tasks: from the signal to the point where the worker is back in its scheduler,
 * and (rescue.c) the end of the strand from there. Only for runtimes that were started with
 * `containment`. */
#ifndef FETTLE_RUNTIME_FAULT_H
#define FETTLE_RUNTIME_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include <fettle/task.h>

struct ftl__stack;
struct ftl__strand;
struct ftl__worker;
struct ftl_runtime;

enum ftl__fault_stage {
    FTL__FAULT_NONE,
    FTL__FAULT_STEPPING, /* its strand is being led out of a library, one instruction at a time */
    FTL__FAULT_LANDING,  /* on its way to the scheduler */
};

/* What a worker knows of the last fault in a task of its. The worker's thread only. */
struct ftl__fault {
    enum ftl__fault_stage stage;
    struct ftl__strand *strand;
    int signal; /* 0: by a call, not by a signal */
    bool overflow, tainted;
    bool unwound; /* the strand was at its end already */
    const char *class;
    const void *address, *sp; /* the memory it touched; its stack pointer */
    uint32_t steps; /* by which it was led out so far */
    uint32_t frame_count;
    void *frames[FTL_PANIC_FRAMES];
    struct ftl_panic *spare; /* for a fault after which the allocator is not to be trusted */
};

/* Installs the handlers of the signals, once in the process. 0 or an errno value. */
int ftl__fault_install(void);

/* Around what a worker's thread does. Without memory it contains nothing. */
void ftl__fault_enter(struct ftl__worker *worker);
void ftl__fault_exit(struct ftl__worker *worker);

/* The object (module, program) that holds `address` is code of handlers: of tasks, though it does not
 * hold their functions. There is room for 256 of them, and what has none is a library. Any thread. */
void ftl__fault_own(const void *address);

/* For a strand that has waited while it was led out, and is running again: it is led on. */
void ftl__fault_lead_on(struct ftl__worker *worker, struct ftl__strand *strand);

/* The function is the runtime's own. */
bool ftl__fault_is_ours(const void *function);

/* Counts it and tells the hook. */
void ftl__fault_tell(const struct ftl_task *task, const char *class, bool tainted,
                     const struct ftl_panic *panic);

/* The caller is a task of a runtime that contains faults. */
bool ftl__fault_contains(void);

/* Ends the calling task as a panic does, with a class of its own, and tells on_fault: of calls that
 * would end the process. The message is that of the panic. */
FTL_NORETURN void ftl__fault_panic(const char *class, const char *format, ...) FTL_PRINTF(2, 3);
/* The same for one whose memory is damaged: nothing of its own runs any more. Returns if the
 * runtime does not contain that. */
void ftl__fault_damaged(const char *class);

/* ---- crash.c ---- */

/* The record of a fault that ends the process, on stderr. Async-signal-safe. */
void ftl__crash_record(const struct ftl__worker *worker, const struct ftl__strand *strand,
                       const char *class, const void *address, void *const *frames,
                       uint32_t count);
/* "SIGSEGV", … Async-signal-safe. */
const char *ftl__crash_signal_name(int signal);

/* ---- rescue.c: in the scheduler ---- */

/* After FTL__SWITCH_FAULT: keeps the panic, tells the hook, and makes the strand ready to end on
 * another stack. */
void ftl__rescue(struct ftl__worker *worker);
/* After all that: sets memory aside for the next one. If the allocator is locked for ever only the
 * worker is lost. */
void ftl__rescue_provide(struct ftl__worker *worker);
/* Whatever lies buried under this stack, whose strand has ended. */
void ftl__rescue_end(struct ftl__worker *worker, struct ftl__stack *stack);

#endif
