/* SPDX-License-Identifier: MIT
 *
 * System V x86-64. A suspended stack holds, from its stack pointer up:
 *     mxcsr (4), x87 control word (2), pad (2), r15, r14, r13, r12, rbx, rbp, return address.
 * The layout is the same on both sides of a switch, so one CFI description serves both.
 * The control words are loaded only where they differ: loading them is what is slow. */
#if defined __x86_64__

    .text
/* Both parts take the caller to be a function of this file: cfa is past the return address. */
    .macro save_context /* to *rdi; leaves the control words in eax and dx */
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    pushq %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r12, 0
    pushq %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r13, 0
    pushq %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r14, 0
    pushq %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset r15, 0
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movl (%rsp), %eax
    movzwl 4(%rsp), %edx
    movq %rsp, (%rdi)
    .endm

    .macro load_context /* from rsp; the return address stays on the stack */
    cmpl (%rsp), %eax
    jne 3f
1:  cmpw 4(%rsp), %dx
    jne 4f
2:  addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    .cfi_remember_state
    popq %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore r15
    popq %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore r14
    popq %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore r13
    popq %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore r12
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbp
    .endm

    .macro jump_to_context /* not a return: the return predictor holds the other stack's callers */
    popq %rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register rip, rcx
    notrack jmp *%rcx
    .endm

    .macro load_control_words
    .cfi_restore_state
    .cfi_adjust_cfa_offset 8
3:  ldmxcsr (%rsp)
    jmp 1b
4:  fldcw 4(%rsp)
    jmp 2b
    .endm

    .globl ftl__context_switch
    .type ftl__context_switch, @function
    .align 16
ftl__context_switch:
    .cfi_startproc
    endbr64
    save_context
    movq %rsi, %rsp
    load_context
    jump_to_context
    load_control_words
    .cfi_endproc
    .size ftl__context_switch, . - ftl__context_switch

/* Reached by a jump (context.h). What the return predictor holds on top is the call by which a
 * context was left last, and where the next one was left the same way, that is where this return
 * goes. */
    .globl ftl__context_resume_jump
    .hidden ftl__context_resume_jump
    .type ftl__context_resume_jump, @function
    .align 16
ftl__context_resume_jump:
    .cfi_startproc
    save_context
    movq %rsi, %rsp
    load_context
    ret
    load_control_words
    .cfi_endproc
    .size ftl__context_resume_jump, . - ftl__context_resume_jump

/* Reached by a call or by a jump (context.h). There is no return without a call in here, and the
 * entry returns to its own: so, for the return predictor, a context that begins and ends leaves all
 * as it was. */
    .globl ftl__context_begin_here
    .hidden ftl__context_begin_here
    .type ftl__context_begin_here, @function
    .align 16
ftl__context_begin_here:
    .cfi_startproc
    endbr64
    movq %rdx, %r8
    save_context
    movq %rsi, %rsp
    xorl %ebp, %ebp /* ends the chain of frame pointers */
    movq %r8, %r12
    movq %rcx, %r13
    jmp ftl__context_start
    .cfi_endproc
    .size ftl__context_begin_here, . - ftl__context_begin_here

/* The bottom of every stack: r12 = entry, r13 = its argument. Unwinders stop here, since the return
 * address is undefined and the frame pointer zero. What the entry returns is resumed. */
    .globl ftl__context_start
    .hidden ftl__context_start
    .type ftl__context_start, @function
    .align 16
ftl__context_start:
    .cfi_startproc
    .cfi_undefined rip
    .cfi_undefined rbp
    endbr64
    movq %r13, %rdi
    call *%r12
    subq $16, %rsp
    movq %rax, %rsi
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movl (%rsp), %eax
    movzwl 4(%rsp), %edx
    jmp ftl__context_leave
    .cfi_endproc
    .size ftl__context_start, . - ftl__context_start

/* Where a signal handler sends a strand that has faulted (ftl__context_land()): rdi is resumed, below
 * which the stack is free. The strand's x87 state is not: a pending exception would strike here. */
    .globl ftl__context_landing
    .hidden ftl__context_landing
    .type ftl__context_landing, @function
    .align 16
ftl__context_landing:
    .cfi_startproc
    .cfi_undefined rip
    endbr64
    subq $16, %rsp
    movq %rdi, %rsi
    fninit
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movl (%rsp), %eax
    movzwl 4(%rsp), %edx
    jmp ftl__context_leave
    .cfi_endproc
    .size ftl__context_landing, . - ftl__context_landing

/* Resumes rsi for good: there is nothing to be saved. */
    .type ftl__context_leave, @function
    .align 16
ftl__context_leave:
    .cfi_startproc
    .cfi_undefined rip
    movq %rsi, %rsp
    .cfi_def_cfa rsp, 64
    .cfi_offset rip, -8
    .cfi_offset rbp, -16
    .cfi_offset rbx, -24
    .cfi_offset r12, -32
    .cfi_offset r13, -40
    .cfi_offset r14, -48
    .cfi_offset r15, -56
    load_context
    jump_to_context
    load_control_words
    .cfi_endproc
    .size ftl__context_leave, . - ftl__context_leave

    .section .note.GNU-stack, "", @progbits

/* IBT yes; shadow stacks no (tasks have none), so that the process runs without them. */
    .section .note.gnu.property, "a", @note
    .align 8
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0000002, 4, 1, 0

#endif
