#include "../kernels/reference.h"
#include "../runtime/denormals.h"
#include "harness.h"

namespace drivetrain::test {
namespace {

const char* const kUnaryNames[] = {"neg",  "abs",  "sign",    "exp",  "log",
                                   "sqrt", "tanh", "sigmoid", "relu", "gelu"};
// Largest errors in ulps: of f32 as measured by --ulp over all targets, of f64 what libm promises and what is
// added.
constexpr double kUlps32[] = {0, 0, 0, 1.1, 0.9, 0.5001, 1.45, 2.3, 0, 7.6};
constexpr double kUlps64[] = {0, 0, 0, 1, 1, 0.5001, 2, 3, 0, 4};

// Zeros, ones, infinities, NaN, denormals, the largest, then random values of all magnitudes and of middling
// ones.
template <class T>
Buffer<T> awkward(size_t n, Random& random) {
  using L = std::numeric_limits<T>;
  const T special[] = {0,
                       T(-0.0),
                       1,
                       -1,
                       L::infinity(),
                       -L::infinity(),
                       L::quiet_NaN(),
                       L::denorm_min(),
                       -L::denorm_min(),
                       L::min(),
                       L::max(),
                       L::lowest(),
                       L::min() / 2,
                       T(0.5)};
  Buffer<T> x(n);
  const size_t shift = random.bits() % 14;
  for (size_t i = 0; i < n; ++i) {
    const uint64_t kind = random.bits() % 3;
    if (kind == 0) x[i] = special[(i + shift) % 14];
    if (kind == 1) x[i] = T(std::ldexp(random.uniform(-1, 1), int(random.uniform(-126, 127))));
    if (kind == 2) x[i] = T(random.uniform(-20, 20));
  }
  return x;
}

// Whether 0 was given for an f32 that is not normal, as e^ and what is made of it may.
template <class T>
bool flushed(T got, Wider<T> want) {
  return sizeof(T) == 4 && got == 0 && std::fabs(want) < std::numeric_limits<T>::min();
}

template <class T>
void check_unary(const Kernels& k) {
  const double* bounds = sizeof(T) == 4 ? kUlps32 : kUlps64;
  Random random;
  for (int op = 0; op < kUnaryCount; ++op)
    for (size_t n : kSizes) {
      const Buffer<T> x = awkward<T>(n, random);
      Buffer<T> y(n), in_place(x);
      floats<T>(k).unary[op](x.data(), y.data(), n);
      floats<T>(k).unary[op](in_place.data(), in_place.data(), n);
      expect(y.same_bits(in_place), "%s: in place differs, n %zu", kUnaryNames[op], n);
      for (size_t i = 0; i < n; ++i) {
        const double error = ulps<T>(y[i], reference::unary<Wider<T>>(Unary(op), x[i]));
        if (flushed<T>(y[i], reference::unary<Wider<T>>(Unary(op), x[i]))) continue;
        // GELU's product of a tail and x may lose bits among the denormals.
        const bool tiny = op == kGelu && std::fabs(y[i]) < std::numeric_limits<T>::min();
        // libm's erfc is given a rounded x / sqrt 2, which its steep end makes x^2 as large.
        const double steep = op == kGelu && sizeof(T) == 8 && x[i] < 0 ? 2 * double(x[i]) * double(x[i]) : 0;
        expect(error <= (tiny ? 8 : bounds[op]) + steep, "%s(%.9g) = %.9g, %g ulps", kUnaryNames[op],
               double(x[i]), double(y[i]), error);
      }
      Buffer<T> cut(n);
      for (size_t from = 0, step = 1; from < n; from += step, step = step * 2 + 1)
        floats<T>(k).unary[op](x.data() + from, cut.data() + from, n - from < step ? n - from : step);
      expect(cut.same_bits(y), "%s: cutting changes bits, n %zu", kUnaryNames[op], n);
    }
}
TEST(unary_f32) { check_unary<float>(k); }
TEST(unary_f64) { check_unary<double>(k); }

template <class T>
void check_binary(const Kernels& k) {
  Random random;
  for (int op = 0; op < kBinaryCount; ++op)
    for (size_t n : kSizes)
      for (int steps = 0; steps < 4; ++steps) {
        const size_t a_step = steps & 1, b_step = steps >> 1;
        const Buffer<T> a = awkward<T>(a_step ? n : 1, random), b = awkward<T>(b_step ? n : 1, random);
        Buffer<T> y(n), in_place(n);
        floats<T>(k).binary[op](a.data(), a_step, b.data(), b_step, y.data(), n);
        for (size_t i = 0; i < n; ++i) {
          const T left = a[i * a_step], right = b[i * b_step];
          const Wider<T> want = reference::binary<Wider<T>>(Binary(op), left, right);
          // The slope of GELU crosses zero, so its error is absolute: 6 roundings; infinity times a slope too
          // small for T is not compared. The rest are exactly rounded.
          if (op == kGeluGrad && std::isinf(right) &&
              std::fabs(reference::gelu_slope<Wider<T>>(left)) < kUnit<T>)
            continue;
          const bool ok = op == kGeluGrad && std::isfinite(want)
                              ? std::fabs(y[i] - want) <=
                                    std::fabs(right) * 6 * kUnit<T> + std::numeric_limits<T>::denorm_min()
                              : ulps<T>(y[i], want) <= 0.5001;
          expect(ok, "binary %d(%.9g, %.9g) = %.9g, want %.9g", op, double(left), double(right), double(y[i]),
                 double(want));
        }
        const Buffer<T>& walking = a_step ? a : b;
        if (!a_step && !b_step) continue;
        for (size_t i = 0; i < n; ++i) in_place[i] = walking[i];
        floats<T>(k).binary[op](a_step ? in_place.data() : a.data(), a_step,
                                a_step ? b.data() : in_place.data(), b_step, in_place.data(), n);
        expect(y.same_bits(in_place), "binary %d: in place differs, n %zu", op, n);
      }
}
TEST(binary_f32) { check_binary<float>(k); }
TEST(binary_f64) { check_binary<double>(k); }

template <class T>
void check_compare_where_fill(const Kernels& k) {
  Random random;
  for (size_t n : kSizes)
    for (int steps = 0; steps < 8; ++steps) {
      const size_t a_step = steps & 1, b_step = steps >> 1 & 1, c_step = steps >> 2;
      Buffer<T> a = awkward<T>(a_step ? n : 1, random), b = awkward<T>(b_step ? n : 1, random);
      if (a_step && b_step)
        for (size_t i = 0; i < n; i += 3) a[i] = b[i];
      Buffer<uint8_t> equal(n), greater(n), choose(c_step ? n : 1);
      for (size_t i = 0; i < choose.size(); ++i) choose[i] = uint8_t(random.bits() % 3);
      Buffer<T> y(n), filled(n);
      floats<T>(k).compare[kEqual](a.data(), a_step, b.data(), b_step, equal.data(), n);
      floats<T>(k).compare[kGreater](a.data(), a_step, b.data(), b_step, greater.data(), n);
      floats<T>(k).where(choose.data(), c_step, a.data(), a_step, b.data(), b_step, y.data(), n);
      floats<T>(k).fill(T(2.5), filled.data(), n);
      for (size_t i = 0; i < n; ++i) {
        const T left = a[i * a_step], right = b[i * b_step], &chosen = choose[i * c_step] ? left : right;
        expect(equal[i] == (left == right), "%g == %g gives %d", double(left), double(right), equal[i]);
        expect(greater[i] == (left > right), "%g > %g gives %d", double(left), double(right), greater[i]);
        expect(!std::memcmp(&y[i], &chosen, sizeof(T)), "where chose %g", double(y[i]));
        expect(filled[i] == T(2.5), "fill wrote %g", double(filled[i]));
      }
    }
}
TEST(compare_where_fill_f32) { check_compare_where_fill<float>(k); }
TEST(compare_where_fill_f64) { check_compare_where_fill<double>(k); }

// Every 10007th float.
TEST(unary_f32_over_all_magnitudes) {
  constexpr size_t kCount = (size_t(1) << 32) / 10007;
  Buffer<float> x(kCount), y(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    const uint32_t u = uint32_t(i * 10007);
    std::memcpy(&x[i], &u, sizeof u);
  }
  for (int op = kExp; op < kUnaryCount; ++op) {
    k.f32.unary[op](x.data(), y.data(), kCount);
    for (size_t i = 0; i < kCount; ++i) {
      const double want = reference::unary<double>(Unary(op), x[i]), error = ulps<float>(y[i], want);
      if (flushed<float>(y[i], want)) continue;
      const bool tiny = op == kGelu && std::fabs(y[i]) < 0x1p-126f;
      expect(error <= (tiny ? 8 : kUlps32[op]), "%s(%.9g) = %.9g, %g ulps", kUnaryNames[op], x[i], y[i],
             error);
    }
  }
}

// With denormals flushed, as inside the runtime, no function gives a NaN that it would not give otherwise.
TEST(unary_f32_with_flushed_denormals) {
  Random random;
  const Buffer<float> x = awkward<float>(1000, random);
  Buffer<float> y(1000), flushed(1000);
  for (int op = 0; op < kUnaryCount; ++op) {
    k.f32.unary[op](x.data(), y.data(), x.size());
    {
      FlushDenormals flush;
      k.f32.unary[op](x.data(), flushed.data(), x.size());
    }
    for (size_t i = 0; i < x.size(); ++i) {
      const bool denormal = std::fpclassify(x[i]) == FP_SUBNORMAL || std::fabs(y[i]) <= 0x1p-126f;
      const bool same = std::memcmp(&y[i], &flushed[i], sizeof(float)) == 0;
      const bool special = std::isnan(y[i]) || (denormal && !std::isnan(flushed[i]));
      expect(same || special, "%s(%g): %g, flushed %g", kUnaryNames[op], x[i], y[i], flushed[i]);
    }
  }
}

}  // namespace

// Largest errors over every 101st float.
void measure_ulps(const Kernels& k) {
  constexpr size_t kBlock = 1 << 16, kCount = (size_t(1) << 32) / 101;
  std::vector<float> x(kBlock), y(kBlock);
  for (int op = kExp; op < kUnaryCount; ++op) {
    double worst = 0, worst_tiny = 0;
    float at = 0;
    for (size_t start = 0; start < kCount; start += kBlock) {
      for (size_t i = 0; i < kBlock; ++i) {
        const uint32_t u = uint32_t((start + i) * 101);
        std::memcpy(&x[i], &u, sizeof u);
      }
      k.f32.unary[op](x.data(), y.data(), kBlock);
      for (size_t i = 0; i < kBlock; ++i) {
        const double want = reference::unary<double>(Unary(op), x[i]), error = ulps<float>(y[i], want);
        if (flushed<float>(y[i], want)) continue;
        if (std::fabs(y[i]) < 0x1p-126f)
          worst_tiny = error > worst_tiny ? error : worst_tiny;
        else if (error > worst)
          worst = error, at = x[i];
      }
    }
    std::printf("%s %s: %.3f ulps at %.9g; %.3f where the result is denormal and not 0\n", k.name,
                kUnaryNames[op], worst, at, worst_tiny);
  }
  double worst = 0;
  for (float v = -20; v < 20; v += 1e-5f) {
    const float one = 1;
    float slope;
    k.f32.binary[kGeluGrad](&v, 1, &one, 1, &slope, 1);
    worst = std::fmax(worst, std::fabs(slope - reference::gelu_slope<double>(v)));
  }
  std::printf("%s slope of gelu: %.2f * 2^-24, absolute\n", k.name, worst * 0x1p24);
}

}  // namespace drivetrain::test
