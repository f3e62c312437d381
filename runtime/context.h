/* SPDX-License-Identifier: MIT
 *
 * Machine contexts: a suspended flow of control is its stack pointer; everything else that the ABI
 * wants preserved (callee-saved registers, floating-point control words) lies on its stack. */
#ifndef FETTLE_RUNTIME_CONTEXT_H
#define FETTLE_RUNTIME_CONTEXT_H

#include <stddef.h>

/* Suspends the caller, whose stack pointer goes to *save, and resumes `load`. Returns when somebody
 * resumes *save. In context_x86_64.S, context_aarch64.S. */
void ftl__context_switch(void **save, void *load);

/* Prepares a fresh stack, growing down from `top` (16-byte aligned), so that the first switch to the
 * returned stack pointer calls entry(arg), which must not return. */
void *ftl__context_make(void *top, void (*entry)(void *arg), void *arg);

/* Return addresses of a suspended context / of the caller, innermost first, by frame pointers that
 * stay inside [low, high). */
size_t ftl__context_frames(const void *sp, const void *low, const void *high, void **frames,
                           size_t max);
size_t ftl__context_frames_here(const void *low, const void *high, void **frames, size_t max);

#endif
