/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The handlers of SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT and SIGTRAP. They run on the worker's
 * alternate stack, while the strand that has faulted is the one that the worker runs. A fault is
 *   - contained: the handler writes down what there is to say, changes the context to which the
 *     signal returns into the scheduler's, as if the strand had switched out for the last time, and
 *     returns. There is no longjmp, and nothing is restored that the kernel does not restore;
 *   - contained, and the process tainted: the same, but memory may be damaged, or something stay
 *     locked for ever. What follows from that is for the hook (on_fault) to decide;
 *   - not contained: in the runtime itself, on its way to the scheduler from an earlier one, by a
 *     thread that is no worker, by a signal that somebody has sent. It goes to the handler that was
 *     there before; if there was none the process ends, by the same signal at the same place, after
 *     a record on stderr if it was a worker.
 *
 * Code is told apart by the object that holds it: the runtime's (libfettle), handlers' (the object of
 * the task's function, and those that ftl__fault_own() names), and all others, that is libraries.
 *
 * Stack overflow is what touches the guard with a stack pointer that is at it. It mostly happens in
 * the C library, which may hold a lock at that moment. So most of the guard is opened, and the
 * strand goes on, one instruction at a time (the trap flag of x86-64), until it is back in the code
 * of its handler; there it is cut off with nothing of the library's left undone. If it waits on the
 * way, the scheduler runs at full speed, and the strand is led on when it is resumed. Where that
 * does not succeed (the reserve overflows too, it takes too long, another machine), the process is
 * tainted.
 *
 * The handlers allocate nothing, take no lock and call what is async-signal-safe only. Sanitizers
 * have handlers of their own: in their builds none is installed. */
#include <config.h>

#include "runtime/fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/context.h"
#include "runtime/worker.h"

#if defined FTL__ASAN || defined FTL__TSAN
#define CONTAINS false
#else
#define CONTAINS true
#endif

enum {
    OWNED_MAX = 256,
    AT_THE_GUARD = 256,  /* bytes above it at which a stack pointer has reached it: a red zone */
    STEPS_MAX = 1000000, /* some seconds of processor time; snprintf has some thousands */
};

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
enum { SIGNALS = sizeof signals / sizeof signals[0] };

/* Written once, before the handlers are there. */
static struct sigaction previous[SIGNALS];
static pid_t process;

static _Atomic(const void *) owned[OWNED_MAX];
static _Atomic uint32_t owned_count;

/* ---- whose code it is ---- */

/* What stands for the object that holds the address; NULL: none does. */
static const void *object_of(const void *address)
{
#ifdef HAVE__DL_FIND_OBJECT
    struct dl_find_object found;
    if (_dl_find_object((void *)(uintptr_t)address, &found) == 0)
        return found.dlfo_map_start;
#else
    Dl_info found;
    if (dladdr(address, &found) != 0)
        return found.dli_fbase;
#endif
    return NULL;
}

void ftl__fault_own(const void *address)
{
    const void *object = object_of(address);
    uint32_t count = atomic_load(&owned_count);
    for (uint32_t i = 0; i < count && i < OWNED_MAX; i++)
        if (atomic_load(&owned[i]) == object)
            return;
    count = atomic_fetch_add(&owned_count, 1);
    if (count < OWNED_MAX)
        atomic_store(&owned[count], object);
}

static bool is_runtime(const void *object)
{
    return object == object_of((const void *)(uintptr_t)ftl__fault_own);
}

bool ftl__fault_is_ours(const void *function)
{
    return is_runtime(object_of(function));
}

static bool is_handler(const struct ftl_task *task, const void *object)
{
    uint32_t count = atomic_load(&owned_count);
    if (!object || is_runtime(object))
        return false;
    for (uint32_t i = 0; i < count && i < OWNED_MAX; i++)
        if (atomic_load(&owned[i]) == object)
            return true;
    return object == object_of((const void *)(uintptr_t)task->fn);
}

/* ---- what is written down ---- */

/* A place outside of all objects was called through a bad pointer: only its caller is known. */
static uint32_t frames_of(const struct ftl__stack *stack, const void *ucontext, void **frames)
{
    size_t count = ftl__context_frames_interrupted(ucontext, stack->low, stack->top, frames,
                                                   FTL_PANIC_FRAMES - 1);
    void *caller =
        object_of(frames[0]) ? NULL : ftl__context_caller(ucontext, stack->low, stack->top);
    if (!caller)
        return (uint32_t)count;
    for (size_t i = count++; i > 1; i--)
        frames[i] = frames[i - 1];
    frames[1] = caller;
    return (uint32_t)count;
}

static void begin(struct ftl__fault *fault, struct ftl__strand *strand, int signal,
                  const char *class, const void *address)
{
    fault->strand = strand;
    fault->signal = signal;
    fault->class = class;
    fault->address = address;
    fault->overflow = fault->tainted = false;
    fault->unwound = strand->unwound;
}

static void write_down(struct ftl__fault *fault, struct ftl__strand *strand, int signal,
                       const siginfo_t *info, const void *ucontext)
{
    begin(fault, strand, signal, ftl__crash_signal_name(signal), info->si_addr);
    fault->sp = ftl__context_sp(ucontext);
    fault->frame_count = frames_of(strand->stack, ucontext, fault->frames);
}

static bool is_overflow(const struct ftl__stack *stack, int signal, const siginfo_t *info,
                        const char *sp)
{
    return signal == SIGSEGV && sp <= stack->low + AT_THE_GUARD &&
           ftl__stack_guards(stack, info->si_addr);
}

/* ---- the three ways on: true = the signal has been dealt with ---- */

static bool land(struct ftl__worker *worker, void *ucontext, bool tainted)
{
    struct ftl__fault *fault = worker->fault;
    if (tainted && worker->runtime->containment != FTL_CONTAIN_ALL)
        return false;
    fault->tainted = tainted;
    fault->stage = FTL__FAULT_LANDING;
    worker->why = FTL__SWITCH_FAULT;
    ftl__context_land(ucontext, worker->sp);
    return true;
}

static bool lead_out(struct ftl__worker *worker, void *ucontext)
{
    struct ftl__fault *fault = worker->fault;
    if (!ftl__stack_open_reserve(&worker->runtime->stacks, fault->strand->stack) ||
        !ftl__context_step(ucontext))
        return land(worker, ucontext, true);
    fault->stage = FTL__FAULT_STEPPING;
    fault->steps = 0;
    return true;
}

/* Being led out, it has executed an instruction. */
static bool step(struct ftl__worker *worker, void *ucontext)
{
    struct ftl__fault *fault = worker->fault;
    const struct ftl__stack *stack = fault->strand->stack;
    const char *sp = ftl__context_sp(ucontext);
    if (sp == worker->sp) { /* it waits, or has ended: from here on this is the scheduler */
        fault->stage = FTL__FAULT_NONE;
        ftl__context_stop_steps(ucontext);
        return true;
    }
    if (sp > stack->top || sp < ftl__stack_floor(stack))
        return land(worker, ucontext, true);
    /* It has panicked, or its wait was aborted: its defers are for the other stack. */
    if (fault->strand->unwound && !fault->unwound)
        return land(worker, ucontext, false);
    const void *object = object_of(ftl__context_pc(ucontext));
    if (is_handler(fault->strand->task, object)) {
        /* The place stays; who has called is told better from here. */
        fault->frame_count =
            1 + (uint32_t)ftl__context_frames_interrupted(ucontext, stack->low, stack->top,
                                                          fault->frames + 1, FTL_PANIC_FRAMES - 1);
        return land(worker, ucontext, false);
    }
    if (object && ftl__context_blocks_steps(ucontext))
        return false; /* the process would end there without a word */
    if (++fault->steps >= STEPS_MAX)
        return land(worker, ucontext, true);
    return ftl__context_step(ucontext);
}

void ftl__fault_lead_on(struct ftl__worker *worker, struct ftl__strand *strand)
{
    struct ftl__fault *fault = worker->fault;
    if (!fault)
        return;
    begin(fault, strand, SIGSEGV, "StackOverflow", NULL);
    fault->overflow = true;
    fault->frames[0] = __builtin_return_address(0); /* another one may have been written down */
    fault->frame_count = 1;
    fault->steps = 0;
    fault->stage = FTL__FAULT_STEPPING;
    ftl__context_trap();
}

static bool judge(struct ftl__worker *worker, int signal, const siginfo_t *info, void *ucontext)
{
    struct ftl__fault *fault = worker->fault;
    const struct ftl__stack *stack = fault->strand->stack;
    const void *object = object_of(ftl__context_pc(ucontext));
    bool handler = is_handler(fault->strand->task, object);
    if (is_overflow(stack, signal, info, fault->sp)) {
        fault->overflow = true;
        fault->class = "StackOverflow";
        if (ftl__stack_guards(stack, fault->sp) || (const char *)fault->sp >= stack->low)
            return handler ? land(worker, ucontext, false) : lead_out(worker, ucontext);
        return land(worker, ucontext, true); /* it has jumped over the guard */
    }
    if (is_runtime(object))
        return false;
    bool clean = signal == SIGFPE || signal == SIGILL || signal == SIGTRAP;
    return land(worker, ucontext, !handler || !clean);
}

static bool contain(struct ftl__worker *worker, int signal, const siginfo_t *info, void *ucontext)
{
    struct ftl__strand *strand = ftl__worker_strand(worker);
    struct ftl__fault *fault = worker->fault;
    if (!strand || !fault || signal == SIGABRT)
        return false;
    if (fault->stage == FTL__FAULT_LANDING) { /* the next step of one that found damage on its way */
        bool by_call = signal == SIGTRAP && fault->signal == 0;
        if (by_call)
            ftl__context_stop_steps(ucontext);
        return by_call;
    }
    if (fault->strand != strand) /* a debugger has swallowed the last step */
        fault->stage = FTL__FAULT_NONE;
    if (fault->stage == FTL__FAULT_STEPPING)
        return signal == SIGTRAP ? step(worker, ucontext) : land(worker, ucontext, true);
    write_down(fault, strand, signal, info, ucontext);
    return judge(worker, signal, info, ucontext);
}

/* ---- the handler ---- */

/* Without a handler from before, the default: a fault comes again when this returns, and what was sent
 * is sent again. */
static void pass_on(int signal, siginfo_t *info, void *ucontext)
{
    int i = 0;
    while (signals[i] != signal)
        i++;
    if (previous[i].sa_flags & SA_SIGINFO) {
        previous[i].sa_sigaction(signal, info, ucontext);
    } else if (previous[i].sa_handler != SIG_DFL && previous[i].sa_handler != SIG_IGN) {
        previous[i].sa_handler(signal);
    } else if (previous[i].sa_handler == SIG_DFL || info->si_code > 0) {
        const struct sigaction die = {.sa_handler = SIG_DFL};
        (void)sigaction(signal, &die, NULL);
        if (info->si_code <= 0 || signal == SIGTRAP)
            (void)syscall(SYS_tgkill, getpid(), gettid(), signal);
    }
}

static void record(const struct ftl__worker *worker, int signal, const siginfo_t *info,
                   const void *ucontext)
{
    const struct ftl__strand *strand = ftl__worker_strand(worker);
    const struct ftl__fault *fault = worker->fault;
    bool stepping = fault && fault->stage == FTL__FAULT_STEPPING && signal == SIGTRAP;
    const char *class = stepping ? fault->class : ftl__crash_signal_name(signal);
    void *frames[FTL_PANIC_FRAMES] = {(void *)(uintptr_t)ftl__context_pc(ucontext)};
    uint32_t count = 1;
    if (strand && strand->stack)
        count = frames_of(strand->stack, ucontext, frames);
    ftl__crash_record(worker, strand, class, info->si_code > 0 ? info->si_addr : NULL, frames,
                      count);
}

static void on_signal(int signal, siginfo_t *info, void *ucontext)
{
    int saved = errno;
    bool mine = getpid() == process; /* not in a child that shares this memory, or has a copy */
    struct ftl__worker *worker = mine ? ftl__worker_current() : NULL;
    /* What libc raises in abort() is a fault, too. */
    bool fault = info->si_code > 0 || (signal == SIGABRT && info->si_code == SI_TKILL);
    if (!worker || !fault || !contain(worker, signal, info, ucontext)) {
        if (worker && fault)
            record(worker, signal, info, ucontext);
        pass_on(signal, info, ucontext);
    }
    errno = saved;
}

static int install_error;

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < SIGNALS; i++)
        sigaddset(&action.sa_mask, signals[i]);
    process = getpid();
    for (int i = 0; i < SIGNALS; i++)
        if (sigaction(signals[i], NULL, &previous[i]) != 0 ||
            sigaction(signals[i], &action, NULL) != 0)
            install_error = errno;
}

int ftl__fault_install(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (CONTAINS)
        pthread_once(&once, install);
    return install_error;
}

/* ---- a worker ---- */

void ftl__fault_enter(struct ftl__worker *worker)
{
    if (!CONTAINS || worker->runtime->containment == FTL_CONTAIN_NOTHING || worker->fault)
        return;
    worker->fault = calloc(1, sizeof *worker->fault);
    if (worker->fault)
        worker->fault->spare = malloc(sizeof *worker->fault->spare);
}

void ftl__fault_exit(struct ftl__worker *worker)
{
    if (worker->fault)
        free(worker->fault->spare);
    free(worker->fault);
    worker->fault = NULL;
}

void ftl__fault_tell(const struct ftl_task *task, const char *class, bool tainted,
                     const struct ftl_panic *panic)
{
    struct ftl_runtime *runtime = task->runtime;
    const struct ftl_fault fault = {.class = class,
                                    .tainted = tainted,
                                    .task_name = task->name,
                                    .task_id = task->id,
                                    .panic = panic};
    atomic_fetch_add_explicit(&runtime->faults, 1, memory_order_relaxed);
    if (!runtime->on_fault)
        return;
    struct ftl__worker *worker = ftl__worker_call_begin();
    runtime->on_fault(runtime->hook_arg, &fault);
    ftl__worker_call_end(worker);
}

/* ---- what is found, or done, by a call ---- */

bool ftl__fault_contains(void)
{
    struct ftl__worker *worker = ftl__worker_current();
    return worker && worker->runtime->containment != FTL_CONTAIN_NOTHING &&
           ftl__worker_strand(worker);
}

void ftl__fault_damaged(const char *class)
{
    struct ftl__worker *worker = ftl__worker_current();
    struct ftl__strand *strand = worker ? ftl__worker_strand(worker) : NULL;
    if (!strand || !worker->fault || worker->runtime->containment != FTL_CONTAIN_ALL)
        return;
    struct ftl__fault *fault = worker->fault;
    begin(fault, strand, 0, class, NULL);
    fault->tainted = true;
    fault->frame_count = (uint32_t)ftl__context_frames_here(strand->stack->low, strand->stack->top,
                                                            fault->frames, FTL_PANIC_FRAMES);
    fault->stage = FTL__FAULT_LANDING;
    ftl__worker_switch_out(strand, FTL__SWITCH_FAULT);
    __builtin_unreachable();
}
