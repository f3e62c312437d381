/* SPDX-License-Identifier: MIT
 *
 * AAPCS64. A suspended stack holds, from its stack pointer up:
 *     fpcr, pad, d8…d15, x19…x28, x29 (frame pointer), x30 (link register): 176 bytes.
 * FPCR is written only where it differs. */
#if defined __aarch64__

    .text
    .macro save_context /* to *x0; leaves FPCR in x9 */
    sub sp, sp, #176
    .cfi_adjust_cfa_offset 176
    mrs x9, fpcr
    str x9, [sp, #0]
    stp d8, d9, [sp, #16]
    stp d10, d11, [sp, #32]
    stp d12, d13, [sp, #48]
    stp d14, d15, [sp, #64]
    stp x19, x20, [sp, #80]
    stp x21, x22, [sp, #96]
    stp x23, x24, [sp, #112]
    stp x25, x26, [sp, #128]
    stp x27, x28, [sp, #144]
    stp x29, x30, [sp, #160]
    .cfi_rel_offset x19, 80
    .cfi_rel_offset x20, 88
    .cfi_rel_offset x21, 96
    .cfi_rel_offset x22, 104
    .cfi_rel_offset x23, 112
    .cfi_rel_offset x24, 120
    .cfi_rel_offset x25, 128
    .cfi_rel_offset x26, 136
    .cfi_rel_offset x27, 144
    .cfi_rel_offset x28, 152
    .cfi_rel_offset x29, 160
    .cfi_rel_offset x30, 168
    mov x10, sp
    str x10, [x0]
    .endm

    .macro load_context /* from sp */
    ldr x10, [sp, #0]
    cmp x9, x10
    b.eq 1f
    msr fpcr, x10
1:  ldp d8, d9, [sp, #16]
    ldp d10, d11, [sp, #32]
    ldp d12, d13, [sp, #48]
    ldp d14, d15, [sp, #64]
    ldp x19, x20, [sp, #80]
    ldp x21, x22, [sp, #96]
    ldp x23, x24, [sp, #112]
    ldp x25, x26, [sp, #128]
    ldp x27, x28, [sp, #144]
    ldp x29, x30, [sp, #160]
    add sp, sp, #176
    .cfi_adjust_cfa_offset -176
    .cfi_restore x19
    .cfi_restore x20
    .cfi_restore x21
    .cfi_restore x22
    .cfi_restore x23
    .cfi_restore x24
    .cfi_restore x25
    .cfi_restore x26
    .cfi_restore x27
    .cfi_restore x28
    .cfi_restore x29
    .cfi_restore x30
    ret
    .endm

    .globl ftl__context_switch
    .type ftl__context_switch, %function
    .align 4
ftl__context_switch:
    .cfi_startproc
    hint #34 /* bti c */
    save_context
    mov sp, x1
    load_context
    .cfi_endproc
    .size ftl__context_switch, . - ftl__context_switch

    .globl ftl__context_begin_here
    .hidden ftl__context_begin_here
    .type ftl__context_begin_here, %function
    .align 4
ftl__context_begin_here:
    .cfi_startproc
    hint #34 /* bti c */
    save_context
    mov sp, x1
    mov x29, xzr /* ends the chain of frame pointers */
    mov x19, x2
    mov x20, x3
    b ftl__context_start
    .cfi_endproc
    .size ftl__context_begin_here, . - ftl__context_begin_here

/* The bottom of every stack: x19 = entry, x20 = its argument. Unwinders stop here. What the entry
 * returns is resumed for good. */
    .globl ftl__context_start
    .hidden ftl__context_start
    .type ftl__context_start, %function
    .align 4
ftl__context_start:
    .cfi_startproc
    .cfi_undefined x30
    .cfi_undefined x29
    hint #36 /* bti j */
    mov x0, x20
    blr x19
    mov x1, x0
    mrs x9, fpcr
    b ftl__context_leave
    .cfi_endproc
    .size ftl__context_start, . - ftl__context_start

/* Where a signal handler sends a strand that has faulted (ftl__context_land()): x0 is resumed. */
    .globl ftl__context_landing
    .hidden ftl__context_landing
    .type ftl__context_landing, %function
    .align 4
ftl__context_landing:
    .cfi_startproc
    .cfi_undefined x30
    .cfi_undefined x29
    hint #34 /* bti c */
    mov x1, x0
    mrs x9, fpcr
    b ftl__context_leave
    .cfi_endproc
    .size ftl__context_landing, . - ftl__context_landing

    .type ftl__context_leave, %function
    .align 4
ftl__context_leave:
    .cfi_startproc
    .cfi_undefined x30
    mov sp, x1
    .cfi_def_cfa sp, 176
    .cfi_offset x19, -96
    .cfi_offset x20, -88
    .cfi_offset x21, -80
    .cfi_offset x22, -72
    .cfi_offset x23, -64
    .cfi_offset x24, -56
    .cfi_offset x25, -48
    .cfi_offset x26, -40
    .cfi_offset x27, -32
    .cfi_offset x28, -24
    .cfi_offset x29, -16
    .cfi_offset x30, -8
    load_context
    .cfi_endproc
    .size ftl__context_leave, . - ftl__context_leave

    .section .note.GNU-stack, "", %progbits

/* BTI: every entry above carries its landing pad. */
    .section .note.gnu.property, "a"
    .align 3
    .long 4, 16, 5
    .asciz "GNU"
    .long 0xc0000000, 4, 1, 0

#endif
