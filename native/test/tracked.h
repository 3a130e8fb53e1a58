// Tracked<T>: a number in the wider type with a bound of the error that a computation in T has there. Each
// operation adds one rounding to what its operands bring, so that running a reference on it derives the bound
// that the kernel has to keep. A fused multiply-add rounds less than that.
#pragma once
#include "harness.h"

namespace drivetrain::test {

template <class T>
struct Tracked {
  using R = Wider<T>;
  R value = 0, error = 0;

  Tracked() = default;
  explicit Tracked(double x) : value(x), error(rounding(value)) {}
  Tracked(R v, R carried) : value(v), error(carried + rounding(v)) {}
  // A value of T, as it stands in memory.
  static Tracked exact(T x) {
    Tracked t;
    t.value = x;
    return t;
  }
  // One unit of T and one of the wider type itself; results under the normal range may be flushed to zero.
  static R rounding(R v) {
    return std::fabs(v) * (kUnit<T> + std::numeric_limits<R>::epsilon()) + std::numeric_limits<T>::min();
  }
  bool holds(T got) const { return std::fabs(R(got) - value) <= error * R(1.001); }
};

template <class T>
Tracked<T> operator+(Tracked<T> a, Tracked<T> b) {
  return {a.value + b.value, a.error + b.error};
}
template <class T>
Tracked<T> operator-(Tracked<T> a, Tracked<T> b) {
  return {a.value - b.value, a.error + b.error};
}
template <class T>
Tracked<T> operator*(Tracked<T> a, Tracked<T> b) {
  return {a.value * b.value, std::fabs(a.value) * b.error + std::fabs(b.value) * a.error + a.error * b.error};
}
template <class T>
Tracked<T> operator/(Tracked<T> a, Tracked<T> b) {
  const auto least = std::fabs(b.value) - b.error, quotient = a.value / b.value;
  return {quotient, (a.error + std::fabs(quotient) * b.error) / (least > 0 ? least : 0)};
}
template <class T>
Tracked<T> sqrt(Tracked<T> a) {
  const auto root = std::sqrt(a.value > 0 ? a.value : 0);
  const auto least = a.value - a.error;
  const auto low = std::sqrt(least > 0 ? least : 0);
  return {root, root - low > a.error ? root - low : a.error / (root + low > 0 ? root + low : 1)};
}
template <class T>
Tracked<T> abs(Tracked<T> a) {
  a.value = std::fabs(a.value);
  return a;
}
template <class T>
bool operator<(Tracked<T> a, Tracked<T> b) {
  return a.value < b.value;
}

}  // namespace drivetrain::test
