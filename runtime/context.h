/* SPDX-License-Identifier: MIT
 *
 * Machine contexts: a suspended flow of control is its stack pointer; everything else that the ABI
 * wants preserved (callee-saved registers, floating-point control words) lies on its stack. */
#ifndef FETTLE_RUNTIME_CONTEXT_H
#define FETTLE_RUNTIME_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Suspends the caller, whose stack pointer goes to *save, and resumes `load`. Returns when somebody
 * resumes *save. In context_x86_64.S, context_aarch64.S. */
void ftl__context_switch(void **save, void *load);

/* The first function of a context. What it returns is resumed, and its own context is over. */
typedef void *ftl__context_entry(void *arg);

/* Prepares a fresh stack, growing down from `top` (16-byte aligned), so that the first switch to
 * the returned stack pointer calls entry(arg). */
void *ftl__context_make(void *top, ftl__context_entry *entry, void *arg);

/* The two that follow are for whoever resumes one context after the other (a scheduler), inlined
 * into its loop: on x86-64 they make no call, so that calls and returns stay in pairs for the return
 * predictor, which else fails at each return of the resumed context. (AVX: more registers than are
 * named here.) */

/* ftl__context_switch(). */
static inline __attribute__((always_inline)) void ftl__context_resume(void **save, void *load)
{
#if defined __x86_64__ && !defined __AVX__
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\t" /* past the red zone */
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "jmp ftl__context_resume_jump\n"
                     "1:\tleaq 128(%%rsp), %%rsp"
                     : "+D"(save), "+S"(load)
                     :
                     : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc", "xmm0",
                       "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#else
    ftl__context_switch(save, load);
#endif
}

void ftl__context_begin_here(void **save, void *top, ftl__context_entry *entry, void *arg);

/* Suspends the caller as ftl__context_switch() does, and calls entry(arg) on a fresh stack (as for
 * ftl__context_make()), with the caller's control words. */
static inline __attribute__((always_inline)) void
ftl__context_begin(void **save, void *top, ftl__context_entry *entry, void *arg)
{
#if defined __x86_64__ && !defined __AVX__
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\t" /* past the red zone */
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "jmp ftl__context_begin_here\n"
                     "1:\tleaq 128(%%rsp), %%rsp"
                     : "+D"(save), "+S"(top), "+d"(entry), "+c"(arg)
                     :
                     : "rax", "r8", "r9", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2",
                       "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                       "xmm12", "xmm13", "xmm14", "xmm15");
#else
    ftl__context_begin_here(save, top, entry, arg);
#endif
}

/* Return addresses of a suspended context / of the caller, innermost first, by frame pointers that
 * stay inside [low, high). */
size_t ftl__context_frames(const void *sp, const void *low, const void *high, void **frames,
                           size_t max);
/* The same from where a signal (whose handler got `ucontext`) has interrupted the strand, and that
 * place first. Async-signal-safe. */
size_t ftl__context_frames_interrupted(const void *ucontext, const void *low, const void *high,
                                       void **frames, size_t max);
/* Who has called the function at whose first instruction a signal has interrupted the strand; NULL: its
 * stack pointer is not in [low, high). Async-signal-safe. */
void *ftl__context_caller(const void *ucontext, const void *low, const void *high);
size_t ftl__context_frames_here(const void *low, const void *high, void **frames, size_t max);

/* ---- in a signal handler, on its `ucontext`; all async-signal-safe ---- */

/* What it has interrupted: the place and the stack pointer. */
const void *ftl__context_pc(const void *ucontext);
const void *ftl__context_sp(const void *ucontext);
/* When the handler returns, `load` is resumed, as if what it has interrupted had switched to it for
 * the last time. */
void ftl__context_land(void *ucontext, void *load);
/* When the handler returns, one instruction is executed, then there is a SIGTRAP; and again, until
 * it lands. False: this machine does not do that. */
bool ftl__context_step(void *ucontext);
/* No further ones. */
void ftl__context_stop_steps(void *ucontext);

/* What comes next is the system call that blocks SIGTRAP: a step over it is the end of the process.
 * The place must be readable. */
bool ftl__context_blocks_steps(const void *ucontext);

/* A SIGTRAP right here, from which steps can begin. Where there are none: nothing. */
static inline void ftl__context_trap(void)
{
#if defined __x86_64__
    __asm__ volatile("int3" ::: "memory");
#endif
}

#endif
