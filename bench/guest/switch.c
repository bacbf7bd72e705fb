/* Jump tables: an interpreter of a small byte code, and a lexer. */
#include "guest.h"

enum { PUSH, ADD, SUB, MUL, XOR, DUP, SWAP, DROP, ROT, SHIFT, NOT, LOAD, STORE, JUMP, LOOP, END };

#define LENGTH 512
static PAGE_ALIGNED uint8_t code[LENGTH + 2];
static PAGE_ALIGNED uint64_t memory[16];

static NOINLINE uint64_t interpret(uint64_t seed, long loops) {
  uint64_t stack[8] = {seed};
  unsigned top = 0;
  for (const uint8_t *pc = code;;) {
    uint8_t op = *pc++;
    switch (op & 15) {
      case PUSH: stack[top = (top + 1) & 7] = op >> 4; break;
      case ADD: stack[top] += stack[(top - 1) & 7]; break;
      case SUB: stack[top] -= stack[(top - 1) & 7]; break;
      case MUL: stack[top] *= stack[(top - 1) & 7] | 1; break;
      case XOR: stack[top] ^= stack[(top - 1) & 7]; break;
      case DUP: stack[(top + 1) & 7] = stack[top]; top = (top + 1) & 7; break;
      case SWAP: {
        uint64_t t = stack[top];
        stack[top] = stack[(top - 1) & 7];
        stack[(top - 1) & 7] = t;
        break;
      }
      case DROP: top = (top - 1) & 7; break;
      case ROT: stack[top] = (stack[top] << 13) | (stack[top] >> 51); break;
      case SHIFT: stack[top] >>= op >> 4; break;
      case NOT: stack[top] = ~stack[top]; break;
      case LOAD: stack[top] ^= memory[op >> 4]; break;
      case STORE: memory[op >> 4] += stack[top]; break;
      case JUMP: pc += (stack[top] & 1); break;
      case LOOP: stack[top]++; break;
      case END:
        if (--loops == 0) return stack[top] + memory[3];
        pc = code;
        break;
    }
  }
}

uint64_t benchmark(void) {
  uint64_t seed = 5, sum = 0;
  for (int i = 0; i < LENGTH; i++) {
    uint8_t op = (uint8_t)next_random(&seed);
    code[i] = (op & 15) == END ? (uint8_t)(op - 1) : op;
  }
  code[LENGTH] = code[LENGTH + 1] = END;
  for (int round = 0; round < ROUNDS; round++) sum += interpret((uint64_t)round, 100);
  return sum;
}
