/* System calls: a U-mode loop that calls an S-mode kernel, which saves all, dispatches, returns. */
#include "guest.h"

struct frame {
  uint64_t x[32];
  uint64_t pc;
};

static PAGE_ALIGNED struct frame saved;
static PAGE_ALIGNED uint64_t counters[8];
static PAGE_ALIGNED uint8_t user_stack[4096];
static PAGE_ALIGNED uint8_t kernel_stack[4096];
static PAGE_ALIGNED uint64_t root_table[512];
static uint64_t result;

static uint64_t call(uint64_t number, uint64_t argument) {
  register uint64_t a0 __asm__("a0") = argument;
  register uint64_t a7 __asm__("a7") = number;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a7) : "memory");
  return a0;
}

static NOINLINE void user(void) {
  uint64_t sum = 0;
  for (long i = 0; i < (long)ROUNDS * 1000; i++) {
    sum += call((uint64_t)i % 6, sum + (uint64_t)i);
    sum ^= sum << 7;
  }
  call(7, sum);
  for (;;) {
  }
}

/*
 * Called by the trap entry on the kernel's stack. Without a jump table: its addresses would lead
 * to where U-mode sees the code.
 */
__attribute__((optimize("no-jump-tables"))) void handle_call(void) {
  uint64_t argument = saved.x[10];
  saved.pc += 4;
  counters[saved.x[17] & 7]++;
  switch (saved.x[17]) {
    case 0: saved.x[10] = argument + 1; break;
    case 1: saved.x[10] = counters[0]; break;
    case 2: saved.x[10] = argument * 3; break;
    case 3: saved.x[10] = counters[argument & 7]; break;
    case 4: saved.x[10] = __builtin_popcountll(argument); break;
    case 5: saved.x[10] = ~argument; break;
    default:
      result = argument;
      finish(result);
  }
}

#define EACH(op)                                                                              \
  #op " x1, 8(sp)\n" #op " x3, 24(sp)\n" #op " x4, 32(sp)\n" #op " x5, 40(sp)\n"                \
  #op " x6, 48(sp)\n" #op " x7, 56(sp)\n" #op " x8, 64(sp)\n" #op " x9, 72(sp)\n"               \
  #op " x10, 80(sp)\n" #op " x11, 88(sp)\n" #op " x12, 96(sp)\n" #op " x13, 104(sp)\n"          \
  #op " x14, 112(sp)\n" #op " x15, 120(sp)\n" #op " x16, 128(sp)\n" #op " x17, 136(sp)\n"       \
  #op " x18, 144(sp)\n" #op " x19, 152(sp)\n" #op " x20, 160(sp)\n" #op " x21, 168(sp)\n"       \
  #op " x22, 176(sp)\n" #op " x23, 184(sp)\n" #op " x24, 192(sp)\n" #op " x25, 200(sp)\n"       \
  #op " x26, 208(sp)\n" #op " x27, 216(sp)\n" #op " x28, 224(sp)\n" #op " x29, 232(sp)\n"       \
  #op " x30, 240(sp)\n" #op " x31, 248(sp)\n"

__attribute__((naked, aligned(64))) static void trap_entry(void) {
  __asm__ volatile("csrrw sp, sscratch, sp\n" EACH(sd)
                   "csrr t0, sscratch\n sd t0, 16(sp)\n"
                   "csrr t0, sepc\n sd t0, 256(sp)\n"
                   "csrr t0, scause\n li t1, 8\n beq t0, t1, 1f\n j unexpected_trap\n 1:\n"
                   "mv s0, sp\n la sp, %[stack]\n li t0, 4096\n add sp, sp, t0\n"
                   "call handle_call\n"
                   "mv sp, s0\n ld t0, 256(sp)\n csrw sepc, t0\n"
                   "ld t0, 16(sp)\n csrw sscratch, t0\n" EACH(ld)
                   "csrrw sp, sscratch, sp\n sret\n"
                   :
                   : [stack] "i"(kernel_stack));
}

uint64_t benchmark(void) {
  /* Gigapages, one to one: devices and RAM, for U-mode too. The kernel uses SUM. */
  root_table[0] = 0xc7;
  root_table[2] = (0x80000ull << 10) | 0xdf;
  root_table[3] = (0x80000ull << 10) | 0xcf;
  /* S-mode cannot run what U-mode may: the kernel's code is mapped again at 3 GiB. */
  uint64_t entry = (uint64_t)trap_entry + 0x40000000ull;
  __asm__ volatile("csrw stvec, %0" ::"r"(entry));
  __asm__ volatile("csrw sscratch, %0" ::"r"(&saved));
  __asm__ volatile("csrw medeleg, %0" ::"r"(1ull << 8));
  __asm__ volatile("csrw satp, %0" ::"r"(8ull << 60 | (uint64_t)root_table >> 12));
  __asm__ volatile("sfence.vma");
  __asm__ volatile("csrc mstatus, %0" ::"r"(3ull << 11));
  __asm__ volatile("csrs mstatus, %0" ::"r"(1ull << 18));
  __asm__ volatile("csrw mepc, %0" ::"r"(user));
  __asm__ volatile("mv sp, %0\n mret" ::"r"(user_stack + sizeof user_stack));
  __builtin_unreachable();
}
