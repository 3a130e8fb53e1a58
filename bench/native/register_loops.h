// Loops that touch no memory: what the arithmetic units of one core can do. Compiled once for each
// instruction set, in files of their own. A loop returns what it counted: operations, or values.
#pragma once
#include <cstddef>

namespace drivetrain::bench {

using Loop = double (*)(size_t steps);

struct RegisterLoops {
  Loop fma;       // FLOP
  Loop widening;  // operations of the widening 16-bit multiply-add that exact int8 products need without more
  Loop dot;  // operations of the four-way int8 dot product, for processors that have it; null where the build
             // has not
  Loop tiles;   // the same of tiles of registers (AMX), for processes that may use them; null likewise
  Loop divide;  // values, each with one root and one quotient
};

// Null where the build or the processor lacks the instruction set.
const RegisterLoops* avx2_loops();
const RegisterLoops* avx512_loops();
const RegisterLoops* neon_loops();

namespace {

// Repeats `step` on as many independent accumulators as hide its latency: 12, with one operand 13 of 16
// registers. The empty statement keeps the compiler from folding steps together.
template <class Vector, class Step>
[[maybe_unused]] double repeat(Vector zero, double counted, size_t steps, Step step) {
  Vector a0 = zero, a1 = zero, a2 = zero, a3 = zero, a4 = zero, a5 = zero;
  Vector b0 = zero, b1 = zero, b2 = zero, b3 = zero, b4 = zero, b5 = zero;
  for (size_t i = 0; i < steps; ++i) {
    a0 = step(a0), a1 = step(a1), a2 = step(a2), a3 = step(a3), a4 = step(a4), a5 = step(a5);
    b0 = step(b0), b1 = step(b1), b2 = step(b2), b3 = step(b3), b4 = step(b4), b5 = step(b5);
#if defined(__x86_64__)
    asm volatile("" : "+v"(a0), "+v"(a1), "+v"(a2), "+v"(a3), "+v"(a4), "+v"(a5));
    asm volatile("" : "+v"(b0), "+v"(b1), "+v"(b2), "+v"(b3), "+v"(b4), "+v"(b5));
#elif defined(__aarch64__)
    asm volatile("" : "+w"(a0), "+w"(a1), "+w"(a2), "+w"(a3), "+w"(a4), "+w"(a5));
    asm volatile("" : "+w"(b0), "+w"(b1), "+w"(b2), "+w"(b3), "+w"(b4), "+w"(b5));
#endif
  }
  return 12 * counted * static_cast<double>(steps);
}

}  // namespace
}  // namespace drivetrain::bench
