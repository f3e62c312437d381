/* SPDX-License-Identifier: MIT
 *
 * The context switch: what the ABI wants preserved is preserved, each task has floating-point
 * control words of its own, and every way of walking a stack comes to an end at its bottom. */
#include <execinfo.h>
#include <fenv.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include "runtime/context.h"
#include "runtime/sanitizer.h"
#include "tests/unit/task_fixture.h"

/* ---- registers ---- */

/* Loads `values` into the registers that a function must preserve, all at once, switches, and then
 * stores what is in them. */
void switch_with(const uint64_t *values, uint64_t *ret_values, void **save, void *load);
extern const char switch_with_return[]; /* where the switch returns to */

#if defined __x86_64__

enum { REGISTERS = 6 };

__asm__("    .text\n"
        "    .globl switch_with\n"
        "    .type switch_with, @function\n"
        "switch_with:\n"
        "    .cfi_startproc\n"
        "    pushq %rbx\n    .cfi_adjust_cfa_offset 8\n    .cfi_rel_offset rbx, 0\n"
        "    pushq %rbp\n    .cfi_adjust_cfa_offset 8\n    .cfi_rel_offset rbp, 0\n"
        "    pushq %r12\n    .cfi_adjust_cfa_offset 8\n    .cfi_rel_offset r12, 0\n"
        "    pushq %r13\n    .cfi_adjust_cfa_offset 8\n    .cfi_rel_offset r13, 0\n"
        "    pushq %r14\n    .cfi_adjust_cfa_offset 8\n    .cfi_rel_offset r14, 0\n"
        "    pushq %r15\n    .cfi_adjust_cfa_offset 8\n    .cfi_rel_offset r15, 0\n"
        "    pushq %rsi\n    .cfi_adjust_cfa_offset 8\n"
        "    movq 0(%rdi), %rbx\n"
        "    movq 8(%rdi), %rbp\n"
        "    movq 16(%rdi), %r12\n"
        "    movq 24(%rdi), %r13\n"
        "    movq 32(%rdi), %r14\n"
        "    movq 40(%rdi), %r15\n"
        "    movq %rdx, %rdi\n"
        "    movq %rcx, %rsi\n"
        "    call ftl__context_switch@PLT\n"
        "switch_with_return:\n"
        "    popq %rsi\n     .cfi_adjust_cfa_offset -8\n"
        "    movq %rbx, 0(%rsi)\n"
        "    movq %rbp, 8(%rsi)\n"
        "    movq %r12, 16(%rsi)\n"
        "    movq %r13, 24(%rsi)\n"
        "    movq %r14, 32(%rsi)\n"
        "    movq %r15, 40(%rsi)\n"
        "    popq %r15\n     .cfi_adjust_cfa_offset -8\n    .cfi_restore r15\n"
        "    popq %r14\n     .cfi_adjust_cfa_offset -8\n    .cfi_restore r14\n"
        "    popq %r13\n     .cfi_adjust_cfa_offset -8\n    .cfi_restore r13\n"
        "    popq %r12\n     .cfi_adjust_cfa_offset -8\n    .cfi_restore r12\n"
        "    popq %rbp\n     .cfi_adjust_cfa_offset -8\n    .cfi_restore rbp\n"
        "    popq %rbx\n     .cfi_adjust_cfa_offset -8\n    .cfi_restore rbx\n"
        "    ret\n"
        "    .cfi_endproc\n"
        "    .size switch_with, . - switch_with\n");

#elif defined __aarch64__

enum { REGISTERS = 19 }; /* x19 to x29, d8 to d15 */

__asm__("    .text\n"
        "    .globl switch_with\n"
        "    .type switch_with, %function\n"
        "switch_with:\n"
        "    stp x29, x30, [sp, #-176]!\n"
        "    stp x19, x20, [sp, #16]\n"
        "    stp x21, x22, [sp, #32]\n"
        "    stp x23, x24, [sp, #48]\n"
        "    stp x25, x26, [sp, #64]\n"
        "    stp x27, x28, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    str x1, [sp, #160]\n"
        "    ldp x19, x20, [x0, #0]\n"
        "    ldp x21, x22, [x0, #16]\n"
        "    ldp x23, x24, [x0, #32]\n"
        "    ldp x25, x26, [x0, #48]\n"
        "    ldp x27, x28, [x0, #64]\n"
        "    ldr x29, [x0, #80]\n"
        "    ldp d8, d9, [x0, #88]\n"
        "    ldp d10, d11, [x0, #104]\n"
        "    ldp d12, d13, [x0, #120]\n"
        "    ldp d14, d15, [x0, #136]\n"
        "    mov x0, x2\n"
        "    mov x1, x3\n"
        "    bl ftl__context_switch\n"
        "    ldr x1, [sp, #160]\n"
        "    stp x19, x20, [x1, #0]\n"
        "    stp x21, x22, [x1, #16]\n"
        "    stp x23, x24, [x1, #32]\n"
        "    stp x25, x26, [x1, #48]\n"
        "    stp x27, x28, [x1, #64]\n"
        "    str x29, [x1, #80]\n"
        "    stp d8, d9, [x1, #88]\n"
        "    stp d10, d11, [x1, #104]\n"
        "    stp d12, d13, [x1, #120]\n"
        "    stp d14, d15, [x1, #136]\n"
        "    ldp x19, x20, [sp, #16]\n"
        "    ldp x21, x22, [sp, #32]\n"
        "    ldp x23, x24, [sp, #48]\n"
        "    ldp x25, x26, [sp, #64]\n"
        "    ldp x27, x28, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    ldp x29, x30, [sp], #176\n"
        "    ret\n"
        "    .size switch_with, . - switch_with\n");

#endif

/* One of two flows of control that switch to each other, with values of its own each time. */
struct side {
    void *sp;
    uint64_t state;
    uint64_t values[REGISTERS], found[REGISTERS];
    int rounds, wrong;
};

static struct side here, there;
static _Alignas(16) char stack[64 << 10];

static uint64_t next_random(uint64_t *state) /* splitmix64, Steele et al. 2014 */
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void choose(struct side *side)
{
    for (int i = 0; i < REGISTERS; i++)
        side->values[i] = next_random(&side->state);
}

static void compare(struct side *side)
{
    side->rounds++;
    side->wrong += memcmp(side->values, side->found, sizeof side->values) != 0;
}

enum { ROUNDS = 10000 };

/* The last way back is not a switch, but the return. */
FTL__UNTRACKED static void *switch_and_return(void *arg)
{
    struct side *side = arg;
    while (side->rounds < ROUNDS - 1) {
        choose(side);
        switch_with(side->values, side->found, &side->sp, here.sp);
        compare(side);
    }
    return here.sp;
}

START_TEST(a_switch_preserves_registers)
{
    uint64_t seed = (uint64_t)getpid();
    printf("# seed %ju\n", (uintmax_t)seed);
    here = (struct side){.state = seed};
    there = (struct side){.state = ~seed};
    there.sp = ftl__context_make(stack + sizeof stack, switch_and_return, &there);
    for (int i = 0; i < ROUNDS; i++) {
        choose(&here);
        switch_with(here.values, here.found, &here.sp, there.sp);
        compare(&here);
    }
    ck_assert_int_eq(here.rounds, ROUNDS);
    ck_assert_int_eq(there.rounds, ROUNDS - 1);
    ck_assert_int_eq(here.wrong, 0);
    ck_assert_int_eq(there.wrong, 0);
}
END_TEST

/* ---- control words ---- */

/* A third in the way that each unit (on x86-64: SSE for double, x87 for long double) rounds now. */
static double third(void)
{
    volatile double one = 1, three = 3;
    return one / three;
}

static long double long_third(void)
{
    volatile long double one = 1, three = 3;
    return one / three;
}

struct rounding {
    int mode;
    double third;
    long double long_third;
};

static struct rounding rounding_of(int mode)
{
    struct rounding rounding = {.mode = mode};
    ck_assert_int_eq(fesetround(mode), 0);
    rounding.third = third();
    rounding.long_third = long_third();
    ck_assert_int_eq(fesetround(FE_TONEAREST), 0);
    return rounding;
}

static void *round_and_yield(void *arg)
{
    const struct rounding *own = arg;
    ftl_assert(fegetround() == FE_TONEAREST); /* a task begins as its worker's thread did */
    ftl_assert(fesetround(own->mode) == 0);
    for (int i = 0; i < 100; i++) {
        ftl_assert(ftl_yield() == 0);
        ftl_assert(fegetround() == own->mode);
        ftl_assert(third() >= own->third && third() <= own->third);
        ftl_assert(long_third() >= own->long_third && long_third() <= own->long_third);
    }
    return NULL;
}

START_TEST(each_task_rounds_in_its_own_way)
{
    struct rounding up = rounding_of(FE_UPWARD), down = rounding_of(FE_DOWNWARD);
    ck_assert(up.third > down.third);
    ck_assert(up.long_third > down.long_third);
    struct ftl_task *tasks[8];
    for (int i = 0; i < 8; i++)
        tasks[i] = fixture_spawn(round_and_yield, i % 2 ? &up : &down);
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(fixture_join(tasks[i]), FTL_COMPLETED);
}
END_TEST

static void *round_and_end(void *arg)
{
    const int *mode = arg;
    ftl_assert(fegetround() == FE_TONEAREST);
    ftl_assert(fesetround(*mode) == 0);
    return NULL;
}

START_TEST(a_task_that_ends_leaves_no_rounding_behind)
{
    int up = FE_UPWARD, down = FE_DOWNWARD;
    for (int i = 0; i < 100; i++)
        fixture_run(round_and_end, i % 2 ? &up : &down);
}
END_TEST

/* ---- unwinding ---- */

enum { DEPTH = 20, FRAMES_MAX = 200 };

/* Calls of one task, innermost last: where each will return to. */
struct calls {
    void (*at_the_end)(struct calls *calls);
    int depth;
    void *return_to[DEPTH];
    int found;                /* of them, in order, by whatever walked the stack */
    int frames;
    _Unwind_Reason_Code code;
    uintptr_t frame;          /* the last one seen */
};

static void see(struct calls *calls, void *address)
{
    calls->frames++;
    if (calls->found < DEPTH && address == calls->return_to[DEPTH - 1 - calls->found])
        calls->found++;
}

/* The barriers keep the compiler from turning the last call into a jump. */
__attribute__((noinline, no_sanitize("thread"))) static void descend(struct calls *calls)
{
    calls->return_to[calls->depth++] =
        __builtin_extract_return_addr(__builtin_return_address(0));
    if (calls->depth < DEPTH)
        descend(calls);
    else
        calls->at_the_end(calls);
    __asm__ volatile("");
}

static void *run_calls(void *arg)
{
    descend(arg);
    __asm__ volatile("");
    return NULL;
}

static _Unwind_Reason_Code unwound(struct _Unwind_Context *context, void *arg)
{
    struct calls *calls = arg;
    uintptr_t frame = _Unwind_GetCFA(context);
    ftl_assert(frame >= calls->frame); /* outwards */
    calls->frame = frame;
    see(calls, (void *)_Unwind_GetIP(context));
    return calls->frames < FRAMES_MAX ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

static void unwind(struct calls *calls)
{
    calls->code = _Unwind_Backtrace(unwound, calls);
}

START_TEST(the_unwinder_comes_to_the_end_of_a_tasks_stack)
{
    struct calls calls = {.at_the_end = unwind};
    fixture_run(run_calls, &calls);
    ck_assert_int_eq(calls.code, _URC_END_OF_STACK);
    ck_assert_int_eq(calls.found, DEPTH);
    ck_assert_int_le(calls.frames, DEPTH + 10);
}
END_TEST

static void libc_backtrace(struct calls *calls)
{
    void *frames[FRAMES_MAX];
    int count = backtrace(frames, FRAMES_MAX);
    for (int i = 0; i < count; i++)
        see(calls, frames[i]);
}

START_TEST(backtrace_comes_to_the_end_of_a_tasks_stack)
{
    struct calls calls = {.at_the_end = libc_backtrace};
    fixture_run(run_calls, &calls);
    ck_assert_int_eq(calls.found, DEPTH);
    ck_assert_int_le(calls.frames, DEPTH + 10);
}
END_TEST

static void panic(struct calls *calls)
{
    ftl_panic("at depth %d", calls->depth);
}

START_TEST(a_panics_frames_are_its_callers)
{
    struct calls calls = {.at_the_end = panic};
    struct ftl_outcome outcome;
    ck_assert_int_eq(ftl_task_join(fixture_spawn(run_calls, &calls), FTL_FOREVER, &outcome), 0);
    ck_assert_int_eq(outcome.kind, FTL_PANICKED);
    for (uint32_t i = 0; i < outcome.panic->frame_count; i++)
        see(&calls, outcome.panic->frames[i]);
    ck_assert_int_eq(calls.found, DEPTH);
    ck_assert_int_le(calls.frames, DEPTH + 10);
    ftl_outcome_clear(&outcome);
}
END_TEST

static void wait_for_abort(struct calls *calls)
{
    (void)calls;
    ftl_sleep(1000 * FTL_S);
}

static void look(void *arg, const char *name, uint64_t id, void *const *frames, size_t count)
{
    struct calls *calls = arg;
    (void)name, (void)id;
    calls->found = calls->frames = 0;
    for (size_t i = 0; i < count; i++)
        see(calls, frames[i]);
}

START_TEST(a_waiting_tasks_frames_are_its_callers)
{
    struct calls calls = {.at_the_end = wait_for_abort};
    struct ftl_outcome outcome;
    struct ftl_task *task = fixture_spawn(run_calls, &calls);
    int64_t deadline = ftl_deadline(60 * unit_slow() * FTL_S);
    while (calls.found < DEPTH && ftl_now() < deadline) { /* it may be on its way into the wait */
        ftl_sleep(FTL_MS);
        ftl_runtime_dump(fixture_runtime, look, &calls);
    }
    ck_assert_int_eq(calls.found, DEPTH);
    ck_assert_int_le(calls.frames, DEPTH + 10);
    ftl_abort(task, 0);
    ck_assert_int_eq(ftl_task_join(task, FTL_FOREVER, &outcome), 0);
    ck_assert_int_eq(outcome.kind, FTL_CANCELLED);
}
END_TEST

#if defined __x86_64__ && !defined FTL__ASAN && !defined FTL__TSAN

/* What profilers, debuggers and crash handlers do: walk the stack at any instruction. The processor
 * steps through two switches, there and back, and each step walks. */
struct steps {
    bool on, inside;
    int inside_count;
    int lost; /* walks that did not come past switch_with() to the end */
};

static struct steps steps;

struct walk {
    bool past_switch_with;
    int frames;
};

static _Unwind_Reason_Code step_frame(struct _Unwind_Context *context, void *arg)
{
    struct walk *walk = arg;
    walk->past_switch_with |= _Unwind_GetIP(context) == (uintptr_t)switch_with_return;
    return ++walk->frames < FRAMES_MAX ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

static void on_trap(int signo, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const greg_t trap_flag = 0x100;
    (void)signo, (void)info;
    registers[REG_EFL] = steps.on ? registers[REG_EFL] | trap_flag
                                  : registers[REG_EFL] & ~trap_flag;
    if (registers[REG_RIP] == (greg_t)(uintptr_t)ftl__context_switch)
        steps.inside = true;
    if (registers[REG_RIP] == (greg_t)(uintptr_t)switch_with_return)
        steps.inside = false;
    if (!steps.inside)
        return;
    struct walk walk = {0};
    _Unwind_Reason_Code code = _Unwind_Backtrace(step_frame, &walk);
    steps.inside_count++;
    steps.lost += code != _URC_END_OF_STACK || !walk.past_switch_with;
}

START_TEST(a_switch_can_be_unwound_at_each_instruction)
{
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO}, old;
    here = (struct side){.state = 1};
    there = (struct side){.state = 2};
    ck_assert_int_eq(fesetround(FE_UPWARD), 0); /* other control words there, which take longer */
    there.sp = ftl__context_make(stack + sizeof stack, switch_and_return, &there);
    ck_assert_int_eq(fesetround(FE_TONEAREST), 0);
    switch_with(here.values, here.found, &here.sp, there.sp); /* now it is inside switch_with() */
    ck_assert_int_eq(sigaction(SIGTRAP, &action, &old), 0);
    steps = (struct steps){.on = true};
    raise(SIGTRAP);
    switch_with(here.values, here.found, &here.sp, there.sp);
    steps.on = false;
    raise(SIGTRAP);
    ck_assert_int_eq(sigaction(SIGTRAP, &old, NULL), 0);
    ck_assert_int_gt(steps.inside_count, 2 * 20);
    ck_assert_int_eq(steps.lost, 0);
}
END_TEST

#endif

static void add_cases(Suite *suite)
{
    UNIT_CASE(suite, a_switch_preserves_registers);
    FIXTURE_CASE(suite, each_task_rounds_in_its_own_way);
    FIXTURE_CASE(suite, a_task_that_ends_leaves_no_rounding_behind);
    FIXTURE_CASE(suite, the_unwinder_comes_to_the_end_of_a_tasks_stack);
    FIXTURE_CASE(suite, backtrace_comes_to_the_end_of_a_tasks_stack);
    FIXTURE_CASE(suite, a_panics_frames_are_its_callers);
    FIXTURE_CASE(suite, a_waiting_tasks_frames_are_its_callers);
#if defined __x86_64__ && !defined FTL__ASAN && !defined FTL__TSAN
    UNIT_CASE(suite, a_switch_can_be_unwound_at_each_instruction);
#endif
}

UNIT_MAIN("context", add_cases)
