# Planets, a Mandelbrot set, a matrix product (guest/float.c) as a process.
work() { ./fp; }
