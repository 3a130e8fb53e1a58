// Plain, obvious versions of the kernels, for tests. R is wider than the kernel's type (double for f32, long
// double for f64), so that their own rounding does not count. Here arrays are indexed and nothing is fast.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include "kernels.h"

namespace drivetrain::reference {

template <class R>
R unary(Unary op, R x) {
  switch (op) {
    case kNeg:
      return -x;
    case kAbs:
      return std::fabs(x);
    case kSign:
      return x < 0 ? -1 : x > 0 ? 1 : x;
    case kExp:
      return std::exp(x);
    case kLog:
      return std::log(x);
    case kSqrt:
      return std::sqrt(x);
    case kTanh:
      return std::tanh(x);
    case kSigmoid:
      return 1 / (1 + std::exp(-x));
    case kRelu:
      return x < 0 ? 0 : x;
    case kGelu:
      return x == -std::numeric_limits<R>::infinity() ? 0 : x * std::erfc(-x * std::sqrt(R(0.5))) / 2;
    default:
      return 0;
  }
}

// Phi(x) + x phi(x), the derivative of x Phi(x).
template <class R>
R gelu_slope(R x) {
  if (std::isinf(x)) return x > 0;
  const R density = std::exp(-x * x / 2) / std::sqrt(2 * std::acos(R(-1)));
  return std::erfc(-x * std::sqrt(R(0.5))) / 2 + x * density;
}

template <class R>
R binary(Binary op, R a, R b) {
  switch (op) {
    case kAdd:
      return a + b;
    case kSub:
      return a - b;
    case kMul:
      return a * b;
    case kDiv:
      return a / b;
    case kMaximum:
      return std::isnan(a) || a > b ? a : b;
    case kMinimum:
      return std::isnan(a) || a < b ? a : b;
    case kReluGrad:
      return a <= 0 ? 0 : b;
    case kGeluGrad:
      return b * gelu_slope(a);
    default:
      return 0;
  }
}

template <class R, class T>
R sum(const T* x, size_t n) {
  R total = 0;
  for (size_t i = 0; i < n; ++i) total += x[i];
  return total;
}

// The first of equals; the first NaN wins.
template <class T>
size_t argmax(const T* x, size_t n) {
  size_t best = 0;
  for (size_t i = 1; i < n; ++i)
    if (!std::isnan(x[best]) && (std::isnan(x[i]) || x[i] > x[best])) best = i;
  return best;
}

template <class R, class T>
R log_sum_exp(const T* x, size_t n) {
  const R top = x[argmax(x, n)];
  R total = 0;
  for (size_t i = 0; i < n; ++i) total += std::exp(x[i] - top);
  return top + std::log(total);
}

template <class R>
struct Norm {
  R mean, rstd;
};
template <class R, class T>
Norm<R> moments(const T* x, T eps, size_t n) {
  const R mean = sum<R>(x, n) / n;
  R squares = 0;
  for (size_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  return {mean, 1 / std::sqrt(squares / n + eps)};
}

// One value of C, and the sum of |a||b| that its error is measured against.
template <class R>
struct Dot {
  R value, magnitude;
};
template <class R, class T>
Dot<R> gemm(const GemmArgs<T>& g, size_t i, size_t j, T old) {
  R sum = 0, magnitude = 0;
  for (size_t p = 0; p < g.k; ++p) {
    const R term = R(g.a[(ptrdiff_t)i * g.a_row + (ptrdiff_t)p * g.a_col]) *
                   g.b[(ptrdiff_t)p * g.b_row + (ptrdiff_t)j * g.b_col];
    sum += term;
    magnitude += std::fabs(term);
  }
  R y = g.alpha * sum;
  magnitude *= std::fabs(g.alpha);
  if (g.beta != 0) y += R(g.beta) * old, magnitude += std::fabs(R(g.beta) * old);
  if (g.bias) y += g.bias[j], magnitude += std::fabs(g.bias[j]);
  if (g.activation == Activation::kRelu) y = unary<R>(kRelu, y);
  if (g.activation == Activation::kGelu) y = unary<R>(kGelu, y);
  if (g.residual) {
    const R r = g.residual[(ptrdiff_t)i * g.residual_row + (ptrdiff_t)j];
    y += r, magnitude += std::fabs(r);
  }
  return {y, magnitude};
}

// The weights of query i over all keys: the softmax of its scores, zeros where it may attend to none. Returns
// the base-2 logarithm of the sum of e^score.
template <class R, class T>
R attention_weights(const AttentionArgs<T>& a, size_t i, R* weights) {
  const R never = -std::numeric_limits<R>::infinity();
  R top = never, total = 0;
  for (size_t j = 0; j < a.keys; ++j) {
    R score = 0;
    for (size_t c = 0; c < a.depth; ++c)
      score += R(a.q[(ptrdiff_t)i * a.q_row + (ptrdiff_t)c]) * a.k[(ptrdiff_t)j * a.k_row + (ptrdiff_t)c];
    const bool hidden = (a.causal && j > a.first + i) ||
                        (a.mask && !a.mask[(ptrdiff_t)i * a.mask_row + (ptrdiff_t)j * a.mask_col]);
    weights[j] = hidden ? never : a.scale * score;
    top = std::fmax(top, weights[j]);
  }
  for (size_t j = 0; j < a.keys; ++j)
    total += weights[j] = weights[j] == never ? 0 : std::exp(weights[j] - top);
  for (size_t j = 0; j < a.keys && total > 0; ++j) weights[j] /= total;
  return total > 0 ? (top + std::log(total)) / std::log(R(2)) : -never;
}

// Philox4x32-10 on one block: four words of counter, two of key.
inline void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c[4], k[2] = {key[0], key[1]};
  std::memcpy(c, counter, sizeof c);
  for (int round = 0; round < 10; ++round, k[0] += 0x9E3779B9, k[1] += 0xBB67AE85) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    const uint32_t next[4] = {uint32_t(p1 >> 32) ^ c[1] ^ k[0], uint32_t(p1),
                              uint32_t(p0 >> 32) ^ c[3] ^ k[1], uint32_t(p0)};
    std::memcpy(c, next, sizeof c);
  }
  std::memcpy(out, c, sizeof c);
}

// Word w of the stream that begins at block `offset`.
inline uint32_t philox_word(uint64_t seed, uint64_t offset, uint64_t w) {
  const uint64_t block = offset + w / 4;
  const uint32_t counter[4] = {uint32_t(block), uint32_t(block >> 32), 0, 0};
  const uint32_t key[2] = {uint32_t(seed), uint32_t(seed >> 32)};
  uint32_t out[4];
  philox(counter, key, out);
  return out[w % 4];
}
inline float uniform(uint64_t seed, uint64_t offset, uint64_t i, float) {
  return float(philox_word(seed, offset, i) >> 8) * 0x1p-24f;
}
inline double uniform(uint64_t seed, uint64_t offset, uint64_t i, double) {
  const uint64_t low = philox_word(seed, offset, 2 * i), high = philox_word(seed, offset, 2 * i + 1);
  return double((high << 32 | low) >> 11) * 0x1p-53;
}
// Box and Muller on uniforms i and i + 1 for even i.
template <class R, class T>
R normal(uint64_t seed, uint64_t offset, uint64_t i, T type) {
  const uint64_t even = i / 2 * 2;
  const R u = uniform(seed, offset, even, type),
          angle = 2 * std::acos(R(-1)) * uniform(seed, offset, even + 1, type);
  return std::sqrt(-2 * std::log(1 - u)) * (i % 2 ? std::sin(angle) : std::cos(angle));
}

// x rounded to nearest even with `digits` significant bits and no exponent under `lowest`; overflow gives
// infinity.
inline double round_to(double x, int digits, int lowest, double largest) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int exponent = std::ilogb(x) < lowest ? lowest : std::ilogb(x);
  const double unit = std::ldexp(1.0, exponent - (digits - 1));
  const double y = std::nearbyint(x / unit) * unit;
  return std::fabs(y) > largest ? std::copysign(std::numeric_limits<double>::infinity(), x) : y;
}
inline double round_to_f16(double x) { return round_to(x, 11, -14, 65504); }
inline double round_to_bf16(double x) { return round_to(x, 8, -126, 0x1.fep127); }

// The value of an f16.
inline double f16_value(uint16_t h) {
  const int exponent = h >> 10 & 31, fraction = h & 1023;
  const double magnitude = exponent == 31
                               ? (fraction ? std::nan("") : std::numeric_limits<double>::infinity())
                           : exponent ? std::ldexp(1024 + fraction, exponent - 25)
                                      : std::ldexp(fraction, -24);
  return h & 0x8000 ? -magnitude : magnitude;
}

inline float quantize_row(const float* x, int8_t* q, size_t n) {
  float largest = 0;
  bool finite = true;
  for (size_t i = 0; i < n; ++i) {
    finite = finite && std::isfinite(x[i]);
    largest = std::fmax(largest, std::fabs(x[i]));
  }
  float scale = finite ? largest / 127 : std::nanf("");
  const bool zeros = !(scale >= 0x1p-125f);
  for (size_t i = 0; i < n; ++i) q[i] = zeros ? 0 : int8_t(std::nearbyintf(x[i] / scale));
  return finite && zeros ? 1 : scale;
}

// Value i of s8 or u8 memory.
inline int64_t byte(const void* at, bool is_unsigned, ptrdiff_t i) {
  return is_unsigned ? int64_t(static_cast<const uint8_t*>(at)[i]) : static_cast<const int8_t*>(at)[i];
}

// sum (a - a_zero) (b - b_zero) over k, wrapped to 32 bits. A is g.a, or its rows quantized.
inline int32_t sum_s8(const GemmS8Args& g, const void* a, const void* b, ptrdiff_t b_row, ptrdiff_t b_col,
                      size_t i, size_t j) {
  const bool a_unsigned = g.a_type == Int8Source::kU8;
  const int64_t a_zero = g.a_zero.at ? byte(g.a_zero.at, a_unsigned, ptrdiff_t(i * g.a_zero.step)) : 0;
  const int64_t b_zero = g.b_zero.at ? byte(g.b_zero.at, g.b_unsigned, ptrdiff_t(j * g.b_zero.step)) : 0;
  int64_t sum = 0;
  for (ptrdiff_t p = 0; p < ptrdiff_t(g.k); ++p)
    sum += (byte(a, a_unsigned, ptrdiff_t(i) * g.a_row + p) - a_zero) *
           (byte(b, g.b_unsigned, p * b_row + ptrdiff_t(j) * b_col) - b_zero);
  return int32_t(uint32_t(uint64_t(sum)));
}

// What becomes of a sum as f32, without GELU.
inline float scaled_s8(const GemmS8Args& g, float a_scale, int32_t sum, size_t j) {
  float y = a_scale * g.b_scale.at[j * g.b_scale.step] * float(sum);
  if (g.bias) y += g.bias[j];
  return g.activation == Activation::kRelu && y < 0 ? 0 : y;
}

// y / scale as an integer of 8 bits.
inline int requantized(float y, float scale, int zero, bool to_unsigned) {
  const float steps = y / scale;
  const double q = std::isnan(steps) ? zero : std::nearbyint(double(steps)) + zero;
  const int low = to_unsigned ? 0 : -128, high = to_unsigned ? 255 : 127;
  return q < low ? low : q > high ? high : int(q);
}

}  // namespace drivetrain::reference
