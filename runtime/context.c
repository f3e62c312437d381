/* SPDX-License-Identifier: MIT
 *
 * DESIGN
 * The parts of a context switch that need no assembly: the first frame of a new stack, and walking
 * frame pointers. Knows the two layouts that context_x86_64.S and context_aarch64.S describe. */
#include "runtime/context.h"

#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

void ftl__context_start(void); /* in the assembly: never called from C */

#if defined __x86_64__

enum { SAVED_WORDS = 8, FRAME_WORD = 6, RETURN_WORD = 7 };

void *ftl__context_make(void *top, ftl__context_entry *entry, void *arg)
{
    /* Two words of zero above the frame end the chain of frame pointers. */
    uintptr_t *sp = (uintptr_t *)top - 2 - SAVED_WORDS;
    memset(sp, 0, (SAVED_WORDS + 2) * sizeof *sp);
    uint32_t mxcsr = __builtin_ia32_stmxcsr();
    uint16_t x87;
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    sp[0] = mxcsr | (uintptr_t)x87 << 32;
    sp[3] = (uintptr_t)arg;   /* r13 */
    sp[4] = (uintptr_t)entry; /* r12 */
    sp[RETURN_WORD] = (uintptr_t)ftl__context_start;
    return sp;
}

#elif defined __aarch64__

enum { SAVED_WORDS = 22, FRAME_WORD = 20, RETURN_WORD = 21 };

void *ftl__context_make(void *top, ftl__context_entry *entry, void *arg)
{
    uintptr_t *sp = (uintptr_t *)top - 2 - SAVED_WORDS;
    memset(sp, 0, (SAVED_WORDS + 2) * sizeof *sp);
    uintptr_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    sp[0] = fpcr;
    sp[10] = (uintptr_t)entry; /* x19 */
    sp[11] = (uintptr_t)arg;   /* x20 */
    sp[RETURN_WORD] = (uintptr_t)ftl__context_start;
    return sp;
}

#else
#error "fettle runs on x86-64 and aarch64"
#endif

/* A saved return address without its signature, where pointers are authenticated (Armv8.3). */
static void *strip(uintptr_t address)
{
#if defined __aarch64__
    register uintptr_t x30 __asm__("x30") = address;
    __asm__("hint #7" : "+r"(x30)); /* xpaclri: does nothing on older machines */
    address = x30;
#endif
    return (void *)address;
}

__attribute__((no_sanitize("address", "thread"))) static size_t
walk(uintptr_t frame, const void *low, const void *high, void **frames, size_t count, size_t max)
{
    while (count < max && frame >= (uintptr_t)low && frame + 16 <= (uintptr_t)high &&
           frame % sizeof(void *) == 0) {
        const uintptr_t *pair = (const uintptr_t *)frame; /* saved frame pointer, return address */
        if (pair[1] == 0)
            break;
        frames[count++] = strip(pair[1]);
        if (pair[0] <= frame)
            break;
        frame = pair[0];
    }
    return count;
}

__attribute__((no_sanitize("address", "thread"))) size_t
ftl__context_frames(const void *sp, const void *low, const void *high, void **frames, size_t max)
{
    const uintptr_t *word = sp;
    if (max == 0)
        return 0;
    frames[0] = (void *)word[RETURN_WORD];
    return walk(word[FRAME_WORD], low, high, frames, 1, max);
}

size_t ftl__context_frames_here(const void *low, const void *high, void **frames, size_t max)
{
    return walk((uintptr_t)__builtin_frame_address(0), low, high, frames, 0, max);
}

__attribute__((no_sanitize("address", "thread"))) size_t
ftl__context_frames_interrupted(const void *ucontext, const void *low, const void *high,
                                void **frames, size_t max)
{
    const ucontext_t *context = ucontext;
    if (max == 0)
        return 0;
#if defined __x86_64__
    frames[0] = (void *)context->uc_mcontext.gregs[REG_RIP];
    return walk((uintptr_t)context->uc_mcontext.gregs[REG_RBP], low, high, frames, 1, max);
#else
    frames[0] = (void *)context->uc_mcontext.pc;
    return walk(context->uc_mcontext.regs[29], low, high, frames, 1, max);
#endif
}

__attribute__((no_sanitize("address", "thread"))) void *
ftl__context_caller(const void *ucontext, const void *low, const void *high)
{
    const ucontext_t *context = ucontext;
#if defined __x86_64__
    uintptr_t sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
    if (sp < (uintptr_t)low || sp + sizeof(void *) > (uintptr_t)high)
        return NULL;
    return *(void **)sp;
#else
    (void)low, (void)high;
    return (void *)context->uc_mcontext.regs[30];
#endif
}

/* ---- what a signal has interrupted ---- */

void ftl__context_landing(void); /* in the assembly: never called from C */

#if defined __x86_64__

enum { TRAP_FLAG = 0x100, DIRECTION_FLAG = 0x400 };

const void *ftl__context_pc(const void *ucontext)
{
    return (const void *)((const ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP];
}

const void *ftl__context_sp(const void *ucontext)
{
    return (const void *)((const ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RSP];
}

void ftl__context_land(void *ucontext, void *load)
{
    greg_t *registers = ((ucontext_t *)ucontext)->uc_mcontext.gregs;
    registers[REG_RIP] = (greg_t)(uintptr_t)ftl__context_landing;
    registers[REG_RSP] = registers[REG_RDI] = (greg_t)(uintptr_t)load;
    registers[REG_EFL] &= ~(greg_t)(TRAP_FLAG | DIRECTION_FLAG);
}

bool ftl__context_step(void *ucontext)
{
    ((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
    return true;
}

void ftl__context_stop_steps(void *ucontext)
{
    ((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
}

bool ftl__context_blocks_steps(const void *ucontext)
{
    const greg_t *registers = ((const ucontext_t *)ucontext)->uc_mcontext.gregs;
    const unsigned char *code = ftl__context_pc(ucontext);
    if (code[0] != 0x0f || code[1] != 0x05 || registers[REG_RAX] != SYS_rt_sigprocmask ||
        registers[REG_RDI] == SIG_UNBLOCK || registers[REG_RSI] == 0)
        return false;
    return *(const uint64_t *)(uintptr_t)registers[REG_RSI] >> (SIGTRAP - 1) & 1;
}

#else

const void *ftl__context_pc(const void *ucontext)
{
    return (const void *)((const ucontext_t *)ucontext)->uc_mcontext.pc;
}

const void *ftl__context_sp(const void *ucontext)
{
    return (const void *)((const ucontext_t *)ucontext)->uc_mcontext.sp;
}

void ftl__context_land(void *ucontext, void *load)
{
    enum { BRANCH_TYPE = 0xc00 }; /* of PSTATE */
    mcontext_t *machine = &((ucontext_t *)ucontext)->uc_mcontext;
    machine->pc = (uintptr_t)ftl__context_landing;
    machine->sp = machine->regs[0] = (uintptr_t)load;
    machine->pstate &= ~(uint64_t)BRANCH_TYPE;
}

bool ftl__context_step(void *ucontext)
{
    (void)ucontext; /* only a debugger may */
    return false;
}

void ftl__context_stop_steps(void *ucontext)
{
    (void)ucontext;
}

bool ftl__context_blocks_steps(const void *ucontext)
{
    (void)ucontext;
    return false;
}

#endif
