// A small test harness: TEST(name) { ... } runs once for every instruction set of this processor, with its
// table in `k`. Arrays end at an unreadable page, so that a kernel which touches a value too many stops the
// test.
#pragma once
#include <sys/mman.h>
#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <vector>
#include "../kernels/kernels.h"

namespace drivetrain::test {

struct Test {
  const char* name;
  void (*run)(const Kernels& k);
};
inline std::vector<Test>& tests() {
  static std::vector<Test> list;
  return list;
}
struct Register {
  Register(const char* name, void (*run)(const Kernels& k)) { tests().push_back({name, run}); }
};
#define TEST(name)                                    \
  static void name(const Kernels& k);                 \
  static const Register register_##name(#name, name); \
  static void name([[maybe_unused]] const Kernels& k)

inline int& failures() {
  static int count = 0;
  return count;
}
// Counts a failure and prints the first few of each test.
__attribute__((format(printf, 2, 3))) inline bool expect(bool ok, const char* format, ...) {
  if (!ok && ++failures() <= 5) {
    va_list arguments;
    va_start(arguments, format);
    std::printf("    ");
    std::vprintf(format, arguments);
    std::printf("\n");
    va_end(arguments);
  }
  return ok;
}

template <class T>
class Buffer {
 public:
  explicit Buffer(size_t n, T value = T()) : n_(n) {
    constexpr size_t kPage = 65536;  // at least a page everywhere
    bytes_ = (n * sizeof(T) + kPage - 1) / kPage * kPage + kPage;
    base_ =
        static_cast<char*>(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_ + bytes_ - kPage, kPage, PROT_NONE);
    data_ = reinterpret_cast<T*>(base_ + bytes_ - kPage) - n;
    for (size_t i = 0; i < n; ++i) data_[i] = value;
  }
  Buffer(const Buffer& other) : Buffer(other.n_) { std::memcpy(data_, other.data_, n_ * sizeof(T)); }
  ~Buffer() { munmap(base_, bytes_); }
  Buffer& operator=(const Buffer&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return n_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  bool same_bits(const Buffer& other) const { return std::memcmp(data_, other.data_, n_ * sizeof(T)) == 0; }

 private:
  size_t n_, bytes_;
  char* base_;
  T* data_;
};

// xorshift64*: test data that is the same everywhere.
struct Random {
  uint64_t state = 0x9E3779B97F4A7C15;
  uint64_t bits() {
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return state * 0x2545F4914F6CDD1D;
  }
  double uniform(double low, double high) { return low + (high - low) * double(bits() >> 11) * 0x1p-53; }
  template <class T>
  Buffer<T> array(size_t n, double low = -2, double high = 2) {
    Buffer<T> x(n);
    for (size_t i = 0; i < n; ++i) x[i] = T(uniform(low, high));
    return x;
  }
};

inline constexpr size_t kSizes[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 257, 1000};

template <class T>
struct WiderOf;
template <>
struct WiderOf<float> {
  using type = double;
};
template <>
struct WiderOf<double> {
  using type = long double;
};
template <class T>
using Wider = typename WiderOf<T>::type;

// The largest relative error of one rounding.
template <class T>
constexpr T kUnit = std::numeric_limits<T>::epsilon() / 2;

// |got - want| in units in the last place of T at want; NaN for NaN and equal infinities count as exact.
template <class T>
double ulps(T got, Wider<T> want) {
  using R = Wider<T>;
  const R limit = std::ldexp(R(1), std::numeric_limits<T>::max_exponent);
  if (std::isnan(want)) return std::isnan(got) ? 0 : 1e30;
  if (std::fabs(want) >= limit * (1 - R(kUnit<T>) / 2))
    return std::isinf(got) && (got > 0) == (want > 0) ? 0 : 1e30;
  if (std::isnan(got)) return 1e30;
  const int lowest = std::numeric_limits<T>::min_exponent - 1;
  const int exponent = want == 0 || std::ilogb(want) < lowest ? lowest : std::ilogb(want);
  const R value = std::isinf(got) ? (got > 0 ? limit : -limit) : R(got);
  return double(std::fabs(value - want) / std::ldexp(R(1), exponent - std::numeric_limits<T>::digits + 1));
}

template <class T>
const FloatKernels<T>& floats(const Kernels& k);
template <>
inline const FloatKernels<float>& floats(const Kernels& k) {
  return k.f32;
}
template <>
inline const FloatKernels<double>& floats(const Kernels& k) {
  return k.f64;
}

void measure_ulps(const Kernels& k);

}  // namespace drivetrain::test
