/* Entry of every benchmark program: M-mode, floating point on, all of memory open to U-mode. */
    .section .text.start
    .globl _start
_start:
    la      sp, stack_top
    la      t0, unexpected_trap
    csrw    mtvec, t0
    li      t0, 0x6000
    csrs    mstatus, t0
    li      t0, -1
    csrw    pmpaddr0, t0
    li      t0, 0x1f
    csrw    pmpcfg0, t0
    call    benchmark
    call    finish

    .align  6
    .globl unexpected_trap
unexpected_trap:
    /* sifive_test: fail with code 1. */
    li      t0, 0x100000
    li      t1, 0x13333
    sw      t1, 0(t0)
1:  j       1b
