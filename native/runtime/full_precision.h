// MinGW's pow of two doubles computes in the x87 unit and counts on all 64 bits of its precision. Windows
// starts threads with 53, and the result is then eight units in the last place off.
#pragma once

#include <cstdint>

namespace drivetrain {

// The x87 unit's whole precision while in scope, on the one platform where that matters.
class FullPrecision {
 public:
#if defined(__MINGW32__) && defined(__x86_64__)
  FullPrecision() {
    asm volatile("fnstcw %0" : "=m"(saved_));
    const uint16_t full = saved_ | 0x0300;
    asm volatile("fldcw %0" ::"m"(full));
  }
  ~FullPrecision() { asm volatile("fldcw %0" ::"m"(saved_)); }

 private:
  uint16_t saved_;
#else
  FullPrecision() {}
#endif

 public:
  FullPrecision(const FullPrecision&) = delete;
  FullPrecision& operator=(const FullPrecision&) = delete;
};

}  // namespace drivetrain
