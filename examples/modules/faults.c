/* SPDX-License-Identifier: MIT
 *
 * Jobs that go wrong on purpose, each in the way that its name says, to try what becomes of the
 * others. Not for production. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <fettle/module.h>

/* What the compiler cannot see through: each mistake below is made by the machine, not removed. */
static volatile size_t sink;

/* ---- arguments -------------------------------------------------------------------------- */

/* [seconds]; 1 without one. */
static double seconds_of(struct ftl_run *run)
{
    double seconds = 1;

    (void)json_unpack(ftl_run_args(run), "[F]", &seconds);
    return seconds;
}

/* ---- faults ----------------------------------------------------------------------------- */

/* Recursion without end, a page at a time. */
static size_t recurse(size_t depth)
{
    volatile char frame[4096];

    frame[depth % sizeof(frame)] = (char)depth;
    if (sink == SIZE_MAX) {
        return depth; /* never: but it is a way out */
    }
    return recurse(depth + 1) + (size_t)frame[depth % sizeof(frame)];
}

static int overflow(struct ftl_run *run)
{
    (void)run;
    sink = recurse(1);
    return 0;
}

static int divide_by_zero(struct ftl_run *run)
{
    volatile int one = 1, zero = 0;

    sink = (size_t)(one / zero);
    return ftl_run_fail(run, "SampleError", "this machine divides by zero without a trap");
}

static int illegal(struct ftl_run *run)
{
    (void)run;
#if defined(__x86_64__)
    __asm__ volatile("ud2");
#elif defined(__aarch64__)
    __asm__ volatile(".inst 0x00000000"); /* udf #0 */
#else
#error "no illegal instruction known for this machine"
#endif
    return 0;
}

static int abort_process(struct ftl_run *run)
{
    (void)run;
    abort();
}

static int null_read(struct ftl_run *run)
{
    const volatile char *volatile nowhere = NULL;

    (void)run;
    sink = (size_t)*nowhere;
    return 0;
}

static int wild_write(struct ftl_run *run)
{
    volatile char *volatile somewhere = (volatile char *)(uintptr_t)0x10; /* never mapped */

    (void)run;
    *somewhere = 1;
    return 0;
}

/* Writes over the allocator's own data behind a block: the C library notices when it is freed. */
static int heap_corruption(struct ftl_run *run)
{
    char *volatile block = malloc(24);
    char *volatile next = malloc(24);

    if (block == NULL || next == NULL) {
        free(block);
        free(next);
        return ftl_run_fail(run, "OutOfMemory", "no memory to corrupt");
    }
    for (volatile size_t i = 24; i < 40; i++) {
        block[i] = 'x';
    }
    free(next);
    free(block);
    return 0;
}

static int exit_process(struct ftl_run *run)
{
    (void)run;
    exit(1);
}

/* ---- hogs ------------------------------------------------------------------------------- */

/* [seconds]: keeps its worker busy, without a yield. */
static int spin(struct ftl_run *run)
{
    int64_t end = ftl_deadline((int64_t)(seconds_of(run) * (double)FTL_S));
    volatile size_t turns = 0; /* `sink` would be shared with other spinners */

    while (ftl_now() < end) {
        turns++;
    }
    return 0;
}

/* [seconds]: keeps its worker in the kernel. */
static int block_in_syscall(struct ftl_run *run)
{
    double seconds = seconds_of(run);
    struct timespec left = {.tv_sec = (time_t)seconds};

    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    while (nanosleep(&left, &left) != 0) {
        continue; /* a signal: the rest of it */
    }
    return 0;
}

/* [bytes]: takes memory, touches it, and forgets where it is. */
static int leak(struct ftl_run *run)
{
    json_int_t size = 1024;
    char *block;

    (void)json_unpack(ftl_run_args(run), "[I]", &size);
    block = malloc((size_t)size);
    if (block == NULL) {
        return ftl_run_fail(run, "OutOfMemory", "%lld bytes", (long long)size);
    }
    memset(block, 1, (size_t)size);
    sink = (size_t)(uintptr_t)block;
    return 0;
}

FTL_MODULE("faults", {"Overflow", overflow}, {"DivideByZero", divide_by_zero}, {"Illegal", illegal},
           {"Abort", abort_process}, {"NullRead", null_read}, {"WildWrite", wild_write},
           {"HeapCorruption", heap_corruption}, {"Exit", exit_process}, {"Spin", spin},
           {"BlockInSyscall", block_in_syscall}, {"Leak", leak});
