// What the stress tests share: a check that stays in release builds, and a small random number generator.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#define CHECK(condition)                                                           \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (0)

namespace drivetrain {

// A linear congruential generator: the same choices in every run, others in every thread.
class Choices {
 public:
  explicit Choices(uint64_t seed) : state_(seed * 2862933555777941757ull + 3037000493ull) {}
  unsigned below(unsigned n) {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<unsigned>((state_ >> 33) % n);
  }

 private:
  uint64_t state_;
};

}  // namespace drivetrain
