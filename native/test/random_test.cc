#include "../kernels/reference.h"
#include "harness.h"

namespace drivetrain::test {
namespace {

// Known answers published with Random123 (kat_vectors, philox4x32 10).
TEST(philox_reference_gives_the_published_answers) {
  const struct {
    uint32_t counter[4], key[2], out[4];
  } known[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const auto& answer : known) {
    uint32_t out[4];
    reference::philox(answer.counter, answer.key, out);
    expect(!std::memcmp(out, answer.out, sizeof out), "philox gives %08x", out[0]);
  }
}

constexpr uint64_t kSeed = 0x0123456789abcdef;

template <class T>
void check_uniform(const Kernels& k) {
  for (uint64_t offset :
       {uint64_t{0}, uint64_t{0xfffffffa}, ~uint64_t{2}})  // across the carry and round the end
    for (size_t n : kSizes) {
      Buffer<T> u(n);
      floats<T>(k).uniform(kSeed, offset, 8, u.data(), n);
      for (size_t i = 0; i < n; ++i) {
        const T want = reference::uniform(kSeed, offset, 8 + i, T());
        expect(u[i] == want && u[i] >= 0 && u[i] < 1, "uniform %zu of %zu: %g, want %g", i, n, double(u[i]),
               double(want));
      }
    }
}
TEST(uniform_f32) { check_uniform<float>(k); }
TEST(uniform_f64) { check_uniform<double>(k); }

template <class T>
void check_normal(const Kernels& k) {
  using R = Wider<T>;
  constexpr size_t n = 100003;
  Buffer<T> x(n), parts(n), scalar(n);
  floats<T>(k).normal(kSeed, 5, 0, x.data(), n);
  for (size_t from = 0, step = 4; from < n; from += step, step = (step * 2 + 12) / 4 * 4)
    floats<T>(k).normal(kSeed, 5, from, parts.data() + from, n - from < step ? n - from : step);
  expect(x.same_bits(parts), "normal depends on where the stream is cut");
  floats<T>(*scalar_kernels()).normal(kSeed, 5, 0, scalar.data(), n);
  expect(x.same_bits(scalar), "normal differs from the scalar target");
  R sum = 0, squares = 0, fourths = 0;
  for (size_t i = 0; i < n; ++i) {
    // Root, logarithm and trigonometric function are good to 2 ulps; libm's angle is rounded before it is
    // used.
    const R want = reference::normal<R>(kSeed, 5, i, T());
    expect(std::fabs(x[i] - want) <= 12 * kUnit<T> * (std::fabs(want) + 6), "normal %zu: %g, want %g", i,
           double(x[i]), double(want));
    sum += want, squares += R(x[i]) * x[i], fourths += R(x[i]) * x[i] * x[i] * x[i];
  }
  // Five standard errors of the mean, the variance and the fourth moment.
  expect(std::fabs(sum / n) < 5 / std::sqrt(R(n)), "mean %g", double(sum / n));
  expect(std::fabs(squares / n - 1) < 5 * std::sqrt(R(2) / n), "variance %g", double(squares / n));
  expect(std::fabs(fourths / n - 3) < 5 * std::sqrt(R(96) / n), "fourth moment %g", double(fourths / n));
  for (size_t small : kSizes) {
    Buffer<T> y(small);
    floats<T>(k).normal(kSeed, 5, 0, y.data(), small);
    expect(!small || !std::memcmp(y.data(), x.data(), small * sizeof(T)), "normal of %zu", small);
  }
}
TEST(normal_f32) { check_normal<float>(k); }
TEST(normal_f64) { check_normal<double>(k); }

template <class T>
void check_dropout(const Kernels& k) {
  Random random;
  for (size_t n : kSizes)
    for (T p : {T(0), T(0.3), T(1)}) {
      const Buffer<T> x = random.array<T>(n);
      Buffer<T> y(n), u(n), in_place(x);
      floats<T>(k).dropout(kSeed, 9, 4, p, x.data(), y.data(), n);
      floats<T>(k).dropout(kSeed, 9, 4, p, in_place.data(), in_place.data(), n);
      floats<T>(k).uniform(kSeed, 9, 4, u.data(), n);
      expect(y.same_bits(in_place), "dropout in place");
      for (size_t i = 0; i < n; ++i)
        expect(y[i] == (u[i] < p ? 0 : x[i] / (1 - p)), "dropout %g", double(y[i]));
    }
}
TEST(dropout_f32) { check_dropout<float>(k); }
TEST(dropout_f64) { check_dropout<double>(k); }

}  // namespace
}  // namespace drivetrain::test
