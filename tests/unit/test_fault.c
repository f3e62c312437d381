/* SPDX-License-Identifier: MIT
 *
 * Faults in tasks: what is contained, what the rest of the process notices of it, what is not
 * contained and how the process ends then. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fettle/io.h>
#include <fettle/join.h>
#include <fettle/mutex.h>
#include <fettle/runtime.h>
#include <fettle/semaphore.h>

#include "runtime/fault.h"
#include "runtime/sanitizer.h"
#include "runtime/strand.h"
#include "tests/unit/task_fixture.h"

#if defined FTL__ASAN || defined FTL__TSAN
#define CONTAINED false
#else
#define CONTAINED true
#endif

static struct ftl_runtime *runtime;
static volatile size_t sink;

/* ---- the runtime ---- */

static _Atomic unsigned told, told_tainted;

static void on_fault(void *arg, const struct ftl_fault *fault)
{
    (void)arg;
    atomic_fetch_add(fault->tainted ? &told_tainted : &told, 1);
}

static void start(enum ftl_containment containment)
{
    const struct ftl_runtime_options options = {
        .workers = 2, .extra_workers = -1, .containment = containment, .on_fault = on_fault};
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
}

static void stop(void)
{
    ck_assert_uint_eq(ftl_runtime_shutdown(runtime, ftl_deadline(60 * FTL_S)), 0);
    ftl_runtime_free(runtime);
}

static struct ftl_outcome outcome_of(ftl_task_fn fn, void *arg,
                                     const struct ftl_spawn_options *options)
{
    struct ftl_outcome outcome;
    struct ftl_task *task;
    ck_assert_int_eq(ftl_spawn(runtime, fn, arg, options, &task), 0);
    ck_assert_int_eq(ftl_task_join(task, ftl_deadline(120 * FTL_S), &outcome), 0);
    return outcome;
}

static void expect(struct ftl_outcome outcome, const char *class, bool tainted)
{
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    ck_assert_msg(outcome.panic->fault && strcmp(outcome.panic->fault, class) == 0,
                  "%s instead of %s: %s", outcome.panic->fault, class, outcome.panic->message);
    ck_assert_int_eq(outcome.panic->tainted, tainted);
    ftl_outcome_clear(&outcome);
}

static void *fine(void *arg)
{
    ftl_yield();
    return arg;
}

/* ---- what goes wrong ---- */

static void *divide(void *arg)
{
    volatile int one = 1, zero = 0; /* of a constant the compiler makes a comparison */
    sink = (size_t)(one / zero);
    return arg;
}

#ifdef __x86_64__
#define ILLEGAL "ud2"
#define BREAKPOINT "int3"
#else
#define ILLEGAL "udf #0"
#define BREAKPOINT "brk #1000"
#endif

static void *illegal(void *arg)
{
    __asm__ volatile(ILLEGAL);
    return arg;
}

/* What __builtin_trap() is on aarch64. */
static void *breakpoint(void *arg)
{
    __asm__ volatile(BREAKPOINT);
    return arg;
}

static void *read_nowhere(void *arg)
{
    const volatile char *volatile nowhere = arg;
    sink = (size_t)*nowhere;
    return arg;
}

static void *call_nowhere(void *arg)
{
    void (*volatile nowhere)(void) = NULL;
    nowhere();
    return arg;
}

/* Behind the end of a file. */
static void *read_behind(void *arg)
{
    int file = memfd_create("empty", MFD_CLOEXEC);
    const volatile char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    ftl_assert(page != MAP_FAILED);
    close(file);
    sink = (size_t)*page;
    return arg;
}

static void *in_the_library(void *arg)
{
    const char *volatile nowhere = arg;
    sink = strlen(nowhere);
    return arg;
}

static size_t recurse(size_t depth)
{
    volatile char frame[512];
    frame[depth % sizeof frame] = (char)depth;
    if (sink == SIZE_MAX)
        return depth;
    return recurse(depth + 1) + (size_t)frame[depth % sizeof frame];
}

static void *overflow(void *arg)
{
    sink = recurse(1);
    return arg;
}

/* Calls what is given at each depth, in steps of `arg` bytes. */
struct descent {
    void (*call)(void);
    size_t step;
};

static size_t descend(const struct descent *descent, size_t depth)
{
    volatile char *frame = __builtin_alloca(descent->step);
    frame[0] = (char)depth;
    descent->call();
    if (sink == SIZE_MAX)
        return depth;
    return descend(descent, depth + 1) + (size_t)frame[0];
}

static void *descend_main(void *arg)
{
    sink = descend(arg, 1);
    return NULL;
}

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
    static const int numbers[] = {5, 4, 9, 1, 0, 3, 7, 2, 8, 6};
    int sorted[10];
    memcpy(sorted, numbers, sizeof sorted);
    qsort(sorted, 10, sizeof sorted[0], compare);
}

static void call_malloc(void)
{
    static _Atomic size_t size = 1;
    void *volatile block = malloc(atomic_fetch_add(&size, 37) % 5000);
    free(block);
}

/* ---- kinds ---- */

static const struct {
    ftl_task_fn fn;
    void *arg;
    const char *class;
    int signal;
    bool tainted;
} kinds[] = {
    {divide, NULL, "SIGFPE", SIGFPE, false},
    {illegal, NULL, "SIGILL", SIGILL, false},
    {breakpoint, NULL, "SIGTRAP", SIGTRAP, false},
    {overflow, NULL, "StackOverflow", SIGSEGV, false},
    {read_nowhere, NULL, "SIGSEGV", SIGSEGV, true},
    {read_nowhere, (void *)0x7fff123456789abc, "SIGSEGV", SIGSEGV, true}, /* no such address */
    {call_nowhere, NULL, "SIGSEGV", SIGSEGV, true},
    {in_the_library, (void *)16, "SIGSEGV", SIGSEGV, true},
    {read_behind, NULL, "SIGBUS", SIGBUS, true},
};
enum { KINDS = sizeof kinds / sizeof kinds[0], CLEAN_KINDS = 4 };

static void expect_kind(int i, bool blocking)
{
    const struct ftl_spawn_options options = {.blocking = blocking};
    struct ftl_outcome outcome = outcome_of(kinds[i].fn, kinds[i].arg, &options);
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    ck_assert_int_eq(outcome.panic->signal, kinds[i].signal);
    ck_assert_uint_ge(outcome.panic->frame_count, 1);
    expect(outcome, kinds[i].class, kinds[i].tainted);
}

START_TEST(each_is_a_panic_of_its_class)
{
    if (!CONTAINED)
        return;
    start(FTL_CONTAIN_ALL);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < KINDS; i++) {
#if !defined __x86_64__ /* where no division traps */
            if (kinds[i].fn == divide)
                continue;
#endif
            expect_kind(i, false);
            expect_kind(i, true);
            ck_assert_int_eq(outcome_of(fine, NULL, NULL).kind, FTL_COMPLETED);
        }
    stop();
    ck_assert_uint_gt(atomic_load(&told), 0);
    ck_assert_uint_eq(atomic_load(&told_tainted), 3 * 2 * (KINDS - CLEAN_KINDS));
}
END_TEST

static bool has_frame_of(const struct ftl_panic *panic, const void *function)
{
    for (uint32_t i = 0; i < panic->frame_count; i++) {
        const char *frame = panic->frames[i];
        if (frame >= (const char *)function && frame < (const char *)function + 512)
            return true;
    }
    return false;
}

START_TEST(the_backtrace_begins_where_it_happened)
{
    if (!CONTAINED)
        return;
    start(FTL_CONTAIN_ALL);
    struct ftl_outcome outcome = outcome_of(read_nowhere, (void *)0x10, NULL);
    ck_assert(has_frame_of(outcome.panic, (const void *)(uintptr_t)read_nowhere));
    ck_assert_ptr_nonnull(strstr(outcome.panic->message, "address 0x10"));
    ftl_outcome_clear(&outcome);
    outcome = outcome_of(call_nowhere, NULL, NULL);
    ck_assert(has_frame_of(outcome.panic, (const void *)(uintptr_t)call_nowhere));
    ftl_outcome_clear(&outcome);
    stop();
}
END_TEST

/* ---- overflow inside of the C library ---- */

static unsigned overflow_by(void (*call)(void), const char *name)
{
    unsigned in_library = 0;
    Dl_info own;
    ck_assert_int_ne(dladdr((void *)(uintptr_t)descend, &own), 0);
    for (size_t step = 16; step <= 16 * 64; step += 16) {
        struct descent descent = {call, step};
        struct ftl_outcome outcome = outcome_of(descend_main, &descent, NULL);
        Dl_info where = {0};
        ck_assert_int_eq(outcome.kind, FTL_PANICKED);
        (void)dladdr(outcome.panic->frames[0], &where);
        bool library = where.dli_fbase != own.dli_fbase;
        ck_assert_msg(strcmp(outcome.panic->fault, "StackOverflow") == 0, "%s, %zu: %s: %s", name,
                      step, outcome.panic->fault, outcome.panic->message);
#ifdef __x86_64__
        ck_assert_msg(!outcome.panic->tainted, "%s, %zu", name, step);
#else
        ck_assert(outcome.panic->tainted == library); /* it cannot be led out */
#endif
        in_library += library;
        ftl_outcome_clear(&outcome);
    }
    return in_library;
}

static void *use_the_library(void *arg)
{
    for (int i = 0; i < 1000; i++) {
        call_snprintf();
        call_qsort();
        call_malloc();
    }
    return arg;
}

START_TEST(an_overflow_in_libc_is_led_out_of_it)
{
    if (!CONTAINED)
        return;
    start(FTL_CONTAIN_ALL);
    /* How many overflow there is chance, since the tops of stacks differ; that some do is not. */
    ck_assert_uint_gt(overflow_by(call_snprintf, "snprintf"), 0);
    ck_assert_uint_gt(overflow_by(call_qsort, "qsort"), 0);
    ck_assert_uint_gt(overflow_by(call_malloc, "malloc"), 0);
    for (int i = 0; i < 20; i++) /* nothing of it is locked */
        ck_assert_int_eq(outcome_of(use_the_library, NULL, NULL).kind, FTL_COMPLETED);
    stop();
}
END_TEST

/* Recursion inside of the library: there is no way out that ends before the reserve does. */
static int compare_deeper(const void *a, const void *b)
{
    int numbers[] = {3, 1, 2};
    (void)a, (void)b;
    qsort(numbers, 3, sizeof numbers[0], compare_deeper);
    return 0;
}

static void *sort_for_ever(void *arg)
{
    compare_deeper(NULL, NULL);
    return arg;
}

START_TEST(a_recursion_through_libc_overflows_too)
{
    if (!CONTAINED)
        return;
    start(FTL_CONTAIN_ALL);
    for (int i = 0; i < 50; i++) {
        struct ftl_outcome outcome = outcome_of(sort_for_ever, NULL, NULL);
        ck_assert_int_eq(outcome.kind, FTL_PANICKED);
        ck_assert_str_eq(outcome.panic->fault, "StackOverflow");
        ftl_outcome_clear(&outcome);
    }
    stop();
}
END_TEST

/* ---- overflow inside of the runtime ---- */

static size_t room(void)
{
    return (size_t)((const char *)__builtin_frame_address(0) - ftl__strand_current()->stack->low);
}

static void call_yield(void)
{
    ftl_yield();
}

static void call_sleep(void)
{
    if (room() < 4096) /* before that it only costs time */
        ftl_sleep(1);
}

static int wait_a_bit(void *arg)
{
    (void)arg;
    ftl_yield();
    return 0;
}

static void call_join(void)
{
    struct ftl_branch branches[] = {{.fn = wait_a_bit}, {.fn = wait_a_bit}};
    if (room() < 4096)
        (void)ftl_join(branches, 2);
}

START_TEST(an_overflow_in_a_wait_goes_on_to_its_end)
{
    if (!CONTAINED)
        return;
    start(FTL_CONTAIN_ALL);
    for (int i = 0; i < 3; i++) { /* in the end on stacks that have overflowed before */
        ck_assert_uint_gt(overflow_by(call_yield, "ftl_yield"), 0);
        ck_assert_uint_gt(overflow_by(call_sleep, "ftl_sleep"), 0);
        ck_assert_uint_gt(overflow_by(call_join, "ftl_join"), 0);
    }
    ck_assert_uint_eq(atomic_load(&told), 3 * 3 * 64);
    ck_assert_int_eq(outcome_of(use_the_library, NULL, NULL).kind, FTL_COMPLETED);
    stop();
}
END_TEST

#ifdef __x86_64__
static _Atomic size_t panic_at;

static void call_panic(void)
{
    if (room() < atomic_load(&panic_at))
        ftl_panic("at the end");
}

static void count_call(void *arg)
{
    atomic_fetch_add((_Atomic unsigned *)arg, 1);
}

static _Atomic unsigned defers_run;

static void *descend_with_defers(void *arg)
{
    FTL_DEFER(count_call, &defers_run);
    FTL_DEFER(count_call, &defers_run);
    return descend_main(arg);
}

START_TEST(a_panic_at_the_end_of_the_stack_is_a_panic)
{
    struct ftl_runtime_stats stats;
    struct descent descent = {call_panic, 16}, printing = {call_snprintf, 64};
    if (!CONTAINED)
        return;
    start(FTL_CONTAIN_ALL);
    for (size_t at = 150; at < 2048; at += 16) {
        atomic_store(&panic_at, at);
        atomic_store(&defers_run, 0);
        struct ftl_outcome outcome = outcome_of(descend_with_defers, &descent, NULL);
        ck_assert_int_eq(outcome.kind, FTL_PANICKED);
        ck_assert_uint_eq(atomic_load(&defers_run), 2);
        ck_assert(!outcome.panic->tainted);
        ck_assert_msg(outcome.panic->fault == NULL ||
                          strcmp(outcome.panic->fault, "StackOverflow") == 0,
                      "%zu: %s", at, outcome.panic->fault);
        ftl_outcome_clear(&outcome);
        expect(outcome_of(descend_main, &printing, NULL), "StackOverflow", false);
    }
    ftl_runtime_stats(runtime, &stats);
    ck_assert_uint_le(stats.stacks_mapped, 64); /* they were used again */
    stop();
}
END_TEST
#endif

/* ---- the hook ---- */

static _Atomic bool in_hook, let_go;

static void wait_in_hook(void *arg, const struct ftl_fault *fault)
{
    (void)arg, (void)fault;
    atomic_store(&in_hook, true);
    while (!atomic_load(&let_go))
        usleep(1000);
}

static void *release_hook(void *arg)
{
    atomic_store(&let_go, true);
    return arg;
}

/* A hook that takes its time keeps nobody else. */
START_TEST(a_worker_in_the_hook_is_stood_in_for)
{
    const struct ftl_runtime_options options = {
        .workers = 1, .extra_workers = 1, .containment = FTL_CONTAIN_ALL, .on_fault = wait_in_hook};
    struct ftl_task *task;
    if (!CONTAINED)
        return;
    ck_assert_int_eq(ftl_runtime_start(&options, &runtime), 0);
    ck_assert_int_eq(ftl_spawn(runtime, read_nowhere, NULL, NULL, &task), 0);
    while (!atomic_load(&in_hook))
        usleep(1000);
    ck_assert_int_eq(outcome_of(release_hook, NULL, NULL).kind, FTL_COMPLETED);
    struct ftl_outcome outcome;
    ck_assert_int_eq(ftl_task_join(task, ftl_deadline(120 * FTL_S), &outcome), 0);
    expect(outcome, "SIGSEGV", true);
    stop();
}
END_TEST

/* ---- what it held ---- */

static _Atomic int cleaned, args_freed;
static struct ftl_semaphore *semaphore;
static struct ftl_mutex *mutex;
static struct ftl_fd *left_open;

static void clean(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
    ftl_sleep(FTL_MS); /* defers may wait */
}

static void free_arg(void *arg)
{
    (void)arg;
    atomic_fetch_add(&args_freed, 1);
}

static void *hold_and(void *arg)
{
    int kind = (int)(intptr_t)arg;
    FTL_PERMIT(permit);
    FTL_PERMIT(lock);
    FTL_FD(end);
    FTL_DEFER(clean, &cleaned);
    ftl_assert(ftl_semaphore_acquire(semaphore, 2, FTL_FOREVER, &permit) == 0);
    ftl_assert(ftl_mutex_lock(mutex, FTL_FOREVER, &lock) == 0);
    ftl_assert(ftl_pipe(ftl_runtime_current(), &end, &left_open) == 0);
    return kinds[kind].fn(kinds[kind].arg);
}

START_TEST(what_it_held_is_given_back)
{
    const struct ftl_spawn_options options = {.arg_free = free_arg};
    if (!CONTAINED)
        return;
    start(FTL_CONTAIN_ALL);
    signal(SIGPIPE, SIG_IGN);
    semaphore = ftl_semaphore_new(2);
    mutex = ftl_mutex_new();
    for (int i = 0; i < KINDS; i++) {
        int error = 0;
        atomic_store(&cleaned, 0);
        atomic_store(&args_freed, 0);
        expect(outcome_of(hold_and, (void *)(intptr_t)i, &options), kinds[i].class,
               kinds[i].tainted);
        ck_assert_int_eq(atomic_load(&args_freed), 1);
        ck_assert_int_eq(atomic_load(&cleaned), !kinds[i].tainted);
        ck_assert_uint_eq(ftl_semaphore_available(semaphore), 2);
        ck_assert(!ftl_mutex_is_locked(mutex));
        /* the other end was closed */
        ck_assert_int_eq(ftl_fd_write_all(left_open, "x", 1, ftl_deadline(FTL_S), &error),
                         FTL_ESYS);
        ftl_fd_close(left_open);
    }
    ftl_mutex_free(mutex);
    ftl_semaphore_free(semaphore);
    stop();
}
END_TEST

static void fault_again(void *arg)
{
    (void)divide(arg);
}

static void overflow_again(void *arg)
{
    (void)overflow(arg);
}

static void *fault_in_defers(void *arg)
{
    FTL_DEFER(clean, &cleaned);
    FTL_DEFER(fault_again, NULL);
    FTL_DEFER(clean, &cleaned);
    FTL_DEFER(overflow_again, NULL);
    FTL_DEFER(clean, &cleaned);
    return illegal(arg);
}

START_TEST(a_fault_in_a_defer_lets_the_rest_run)
{
    if (!CONTAINED)
        return;
    start(FTL_CONTAIN_ALL);
    for (int i = 0; i < 30; i++) {
        atomic_store(&cleaned, 0);
        expect(outcome_of(fault_in_defers, NULL, NULL), "SIGILL", false); /* the first is kept */
        ck_assert_int_eq(atomic_load(&cleaned), 3);
    }
    stop();
}
END_TEST

/* ---- strands ---- */

static int wait_for_ever(void *arg)
{
    FTL_DEFER(clean, arg);
    return ftl_sleep(3600 * FTL_S);
}

static int branch_fault(void *arg)
{
    int kind = (int)(intptr_t)arg;
    FTL_DEFER(clean, &cleaned);
    ftl_yield();
    kinds[kind].fn(kinds[kind].arg);
    return 0;
}

static void *join_with_fault(void *arg)
{
    struct ftl_branch branches[] = {{.fn = wait_for_ever, .arg = &cleaned},
                                    {.fn = branch_fault, .arg = arg},
                                    {.fn = wait_for_ever, .arg = &cleaned}};
    FTL_DEFER(clean, &cleaned);
    (void)ftl_join(branches, 3);
    return NULL;
}

START_TEST(a_fault_in_a_branch_ends_the_task)
{
    if (!CONTAINED)
        return;
    start(FTL_CONTAIN_ALL);
    for (int i = 0; i < KINDS; i++) {
        struct ftl_outcome outcome;
        atomic_store(&cleaned, 0);
        outcome = outcome_of(join_with_fault, (void *)(intptr_t)i, NULL);
        ck_assert_int_eq(outcome.kind, FTL_PANICKED);
        ck_assert(has_frame_of(outcome.panic, (const void *)(uintptr_t)join_with_fault) ||
                  outcome.panic->frame_count == FTL_PANIC_FRAMES);
        expect(outcome, kinds[i].class, kinds[i].tainted);
        /* Its siblings and its parent were not hurt. */
        ck_assert_int_eq(atomic_load(&cleaned), 3 + !kinds[i].tainted);
    }
    stop();
}
END_TEST

/* ---- many ---- */

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%*d %ld", &pages), 1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void fault_many(int count)
{
    enum { ROW = 50 };
    struct ftl_task *tasks[ROW];
    for (int i = 0; i < count; i += ROW) {
        for (int j = 0; j < ROW; j++)
            ck_assert_int_eq(ftl_spawn(runtime, kinds[j % CLEAN_KINDS].fn, NULL, NULL, &tasks[j]),
                             0);
        for (int j = 0; j < ROW; j++) {
            struct ftl_outcome outcome;
            ck_assert_int_eq(ftl_task_join(tasks[j], FTL_FOREVER, &outcome), 0);
            expect(outcome, kinds[j % CLEAN_KINDS].class, false);
        }
    }
}

START_TEST(thousands_of_faults_cost_no_memory)
{
    struct ftl_runtime_stats stats;
    if (!CONTAINED)
        return;
    start(FTL_CONTAIN_CLEAN);
    fault_many(1000);
    long before = resident_kib();
    fault_many(5000);
    ck_assert_int_le(resident_kib() - before, 2048);
    ftl_runtime_stats(runtime, &stats);
    ck_assert_uint_eq(stats.faults, 6000);
    ck_assert_uint_le(stats.stacks_buried, 16);
    ck_assert_uint_le(stats.stacks_mapped, 400);
    stop();
}
END_TEST

/* ---- what is not contained ---- */

/* How a child ends that does this; what it says on stderr goes to `said`. */
static int status_of(void (*body)(void), char *said, size_t room)
{
    int ends[2], status;
    size_t used = 0;
    ssize_t n;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        for (int signal = 1; signal < 32; signal++)
            if (signal != SIGKILL && signal != SIGSTOP)
                sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
        dup2(ends[1], STDERR_FILENO);
        body();
        _exit(77);
    }
    close(ends[1]);
    while ((n = read(ends[0], said + used, room - 1 - used)) > 0)
        used += (size_t)n;
    said[used] = '\0';
    close(ends[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static void run_in(enum ftl_containment containment, ftl_task_fn fn, void *arg)
{
    const struct ftl_runtime_options options = {.workers = 1, .containment = containment};
    const struct ftl_spawn_options named = {.name = "culprit"};
    struct ftl_outcome outcome;
    struct ftl_task *task;
    if (ftl_runtime_start(&options, &runtime) != 0 ||
        ftl_spawn(runtime, fn, arg, &named, &task) != 0)
        _exit(1);
    (void)ftl_task_join(task, FTL_FOREVER, &outcome);
}

static void die_of_no_containment(void)
{
    run_in(FTL_CONTAIN_NOTHING, divide, NULL);
}

static void die_of_a_wild_read(void)
{
    run_in(FTL_CONTAIN_CLEAN, read_nowhere, NULL);
}

static void *fault_in_the_runtime(void *arg)
{
    struct ftl_mutex *volatile none = arg;
    return ftl_mutex_is_locked(none) ? arg : NULL;
}

static void die_in_the_runtime(void)
{
    run_in(FTL_CONTAIN_ALL, fault_in_the_runtime, NULL);
}

static void *abort_by_libc(void *arg)
{
    raise(SIGABRT); /* as abort() does */
    return arg;
}

static void die_of_libc(void)
{
    run_in(FTL_CONTAIN_ALL, abort_by_libc, NULL);
}

static void *send_to_itself(void *arg)
{
    kill(getpid(), SIGSEGV);
    return ftl_sleep(10 * FTL_S) == 0 ? arg : NULL;
}

static void die_of_a_sent_signal(void)
{
    run_in(FTL_CONTAIN_ALL, send_to_itself, NULL);
}

#ifdef __x86_64__
static void call_system(void)
{
    if (room() < 400) /* it overflows before it blocks the signals */
        sink = (size_t)system("true");
}

static void die_where_signals_are_blocked(void)
{
    struct descent descent = {call_system, 16};
    run_in(FTL_CONTAIN_ALL, descend_main, &descent);
}
#endif

static void die_on_a_foreign_thread(void)
{
    run_in(FTL_CONTAIN_ALL, fine, NULL);
    (void)divide(NULL);
}

static void exit_9(int signal)
{
    (void)signal;
    _exit(9);
}

static void previous_handler(void)
{
    signal(SIGFPE, exit_9);
    run_in(FTL_CONTAIN_ALL, fine, NULL);
    (void)divide(NULL);
}

static const struct {
    void (*body)(void);
    int signal;
    const char *said; /* NULL: nothing */
} deaths[] = {
    {die_of_no_containment, SIGFPE, NULL},
    {die_of_a_wild_read, SIGSEGV, "fettle: SIGSEGV at 0x0 in task culprit (0), a worker of ftl: "},
    {die_in_the_runtime, SIGSEGV, "in task culprit (0)"},
    {die_of_libc, SIGABRT, "fettle: SIGABRT in task culprit (0)"},
    {die_of_a_sent_signal, SIGSEGV, NULL},
    {die_on_a_foreign_thread, SIGFPE, NULL},
#ifdef __x86_64__
    {die_where_signals_are_blocked, SIGTRAP, "fettle: StackOverflow at"},
#endif
};

START_TEST(what_is_not_contained_ends_the_process_by_its_signal)
{
    char said[16384];
    if (!CONTAINED)
        return;
    for (size_t i = 0; i < sizeof deaths / sizeof deaths[0]; i++) {
        int status = status_of(deaths[i].body, said, sizeof said);
        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == deaths[i].signal,
                      "%zu: status %x: %s", i, (unsigned)status, said);
        if (deaths[i].said)
            ck_assert_msg(strstr(said, deaths[i].said) && strstr(said, "\n  #0 "), "%zu: %s", i,
                          said);
        else
            ck_assert_msg(said[0] == '\0', "%zu: %s", i, said);
    }
    int status = status_of(previous_handler, said, sizeof said);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 9, "status %x", (unsigned)status);
}
END_TEST

START_TEST(who_does_not_ask_keeps_the_dispositions)
{
    static const int all[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    struct sigaction before[6], after;
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(sigaction(all[i], NULL, &before[i]), 0);
    start(CONTAINED ? FTL_CONTAIN_NOTHING : FTL_CONTAIN_ALL);
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(sigaction(all[i], NULL, &after), 0);
        ck_assert(after.sa_handler == before[i].sa_handler);
    }
    stop();
}
END_TEST

/* ---- calls ---- */

static void *end_by_a_call(void *arg)
{
    FTL_DEFER(clean, &cleaned);
    ftl__fault_panic("Abort", "abort() was called by %s", (const char *)arg);
}

static void *find_damage(void *arg)
{
    FTL_DEFER(clean, &cleaned);
    ftl__fault_damaged("StackProtector");
    return arg;
}

START_TEST(calls_that_would_end_the_process_are_panics)
{
    start(FTL_CONTAIN_ALL);
    struct ftl_outcome outcome = outcome_of(end_by_a_call, (void *)(uintptr_t)"me", NULL);
    ck_assert_str_eq(outcome.panic->message, "abort() was called by me");
    expect(outcome, "Abort", false);
    ck_assert_int_eq(atomic_load(&cleaned), 1);
    ck_assert_uint_eq(atomic_load(&told), 1);
    outcome = outcome_of(find_damage, NULL, NULL);
    if (CONTAINED)
        expect(outcome, "StackProtector", true);
    else
        ck_assert_int_eq(outcome.kind, FTL_COMPLETED); /* the caller is told by the return */
    ck_assert_int_eq(atomic_load(&cleaned), CONTAINED ? 1 : 2);
    stop();
}
END_TEST

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, each_is_a_panic_of_its_class);
    UNIT_CASE(suite, the_backtrace_begins_where_it_happened);
    UNIT_CASE(suite, an_overflow_in_libc_is_led_out_of_it);
    UNIT_CASE(suite, a_recursion_through_libc_overflows_too);
    UNIT_CASE(suite, an_overflow_in_a_wait_goes_on_to_its_end);
#ifdef __x86_64__
    UNIT_CASE(suite, a_panic_at_the_end_of_the_stack_is_a_panic);
#endif
    UNIT_CASE(suite, a_worker_in_the_hook_is_stood_in_for);
    UNIT_CASE(suite, what_it_held_is_given_back);
    UNIT_CASE(suite, a_fault_in_a_defer_lets_the_rest_run);
    UNIT_CASE(suite, a_fault_in_a_branch_ends_the_task);
    UNIT_CASE(suite, thousands_of_faults_cost_no_memory);
    UNIT_CASE(suite, what_is_not_contained_ends_the_process_by_its_signal);
    UNIT_CASE(suite, who_does_not_ask_keeps_the_dispositions);
    UNIT_CASE(suite, calls_that_would_end_the_process_are_panics);
}

UNIT_MAIN("fault", add_cases)
