/* Doubles and singles: planets, a Mandelbrot set, a matrix product. */
#include "guest.h"

struct body {
  double position[3], velocity[3], mass;
};
static PAGE_ALIGNED struct body bodies[5];

static double square_root(double x) {
  double r;
  __asm__("fsqrt.d %0, %1" : "=f"(r) : "f"(x));
  return r;
}

static NOINLINE void advance(double step) {
  for (int i = 0; i < 5; i++) {
    for (int j = i + 1; j < 5; j++) {
      double d[3], square = 0;
      for (int k = 0; k < 3; k++) {
        d[k] = bodies[i].position[k] - bodies[j].position[k];
        square += d[k] * d[k];
      }
      double force = step / (square * square_root(square) + 1e-9);
      for (int k = 0; k < 3; k++) {
        bodies[i].velocity[k] -= d[k] * bodies[j].mass * force;
        bodies[j].velocity[k] += d[k] * bodies[i].mass * force;
      }
    }
  }
  for (int i = 0; i < 5; i++) {
    for (int k = 0; k < 3; k++) bodies[i].position[k] += step * bodies[i].velocity[k];
  }
}

static NOINLINE uint64_t mandelbrot(int size) {
  uint64_t sum = 0;
  for (int y = 0; y < size; y++) {
    for (int x = 0; x < size; x++) {
      double cr = 3.0 * x / size - 2.0, ci = 2.0 * y / size - 1.0, zr = 0, zi = 0;
      int n = 0;
      while (n < 50 && zr * zr + zi * zi < 4.0) {
        double t = zr * zr - zi * zi + cr;
        zi = 2 * zr * zi + ci;
        zr = t;
        n++;
      }
      sum += (uint64_t)n;
    }
  }
  return sum;
}

#define N 48
static PAGE_ALIGNED float x[N][N], y[N][N], z[N][N];

static NOINLINE void multiply(void) {
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < N; j++) {
      float sum = 0;
      for (int k = 0; k < N; k++) sum += x[i][k] * y[k][j];
      z[i][j] = sum;
    }
  }
}

uint64_t benchmark(void) {
  uint64_t seed = 6, sum = 0;
  for (int i = 0; i < 5; i++) {
    bodies[i].mass = 1.0 + i;
    for (int k = 0; k < 3; k++) {
      bodies[i].position[k] = (double)(next_random(&seed) >> 11) / (1ull << 50);
      bodies[i].velocity[k] = (double)(next_random(&seed) >> 11) / (1ull << 56);
    }
  }
  for (int i = 0; i < N; i++) {
    for (int j = 0; j < N; j++) {
      x[i][j] = (float)(next_random(&seed) & 1023) / 512.0f;
      y[i][j] = (float)(next_random(&seed) & 1023) / 256.0f;
    }
  }
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < 1000; i++) advance(0.001);
    sum += mandelbrot(40);
    multiply();
    x[round % N][3] += z[5][round % N] * 1e-6f;
  }
  union {
    double d;
    uint64_t bits;
  } last = {.d = bodies[0].position[0] + z[7][9]};
  return sum ^ last.bits;
}
