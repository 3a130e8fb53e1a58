// Reductions, softmax and its kin, normalisation. u = kUnit is the error of one rounding; bounds count
// roundings.
#include "../kernels/reference.h"
#include "harness.h"

namespace drivetrain::test {
namespace {

template <class T>
void check_sums(const Kernels& k) {
  using R = Wider<T>;
  Random random;
  for (size_t n : {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 1000, 100003}) {
    const Buffer<T> x = random.array<T>(n);
    R magnitude = 0, squares = 0;
    for (size_t i = 0; i < n; ++i) magnitude += std::fabs(x[i]), squares += R(x[i]) * x[i];
    // 16 parts of n / 16 additions in double each, 4 more to join them, one rounding to T.
    const R steps = R(n) / 16 + 5, u = kUnit<double>;
    const R want = reference::sum<R>(x.data(), n), got = floats<T>(k).sum(x.data(), n);
    expect(std::fabs(got - want) <= steps * u * magnitude + R(kUnit<T>) * std::fabs(want),
           "sum of %zu: %g, want %g", n, double(got), double(want));
    expect(T(got) == floats<T>(*scalar_kernels()).sum(x.data(), n), "sum of %zu is not the scalar target's",
           n);
    R largest = 0;
    for (size_t i = 0; i < n; ++i) largest = std::fmax(largest, std::fabs(x[i]));
    const Extent all = floats<T>(k).extent(x.data(), n);
    expect(std::fabs(all.sum_squares - squares) <= (steps + 1) * u * squares, "squares of %zu: %g, want %g",
           n, double(all.sum_squares), double(squares));
    expect(all.largest == largest && all.not_finite == 0, "extent of %zu: largest %g, %d not finite", n,
           all.largest, int(all.not_finite));
    expect(all.sum_squares == floats<T>(*scalar_kernels()).extent(x.data(), n).sum_squares,
           "squares of %zu are not the scalar target's", n);
  }
}
TEST(sums_f32) { check_sums<float>(k); }
TEST(sums_f64) { check_sums<double>(k); }

template <class T>
void check_extent_of_spoiled(const Kernels& k) {
  using L = std::numeric_limits<T>;
  for (size_t n : {1, 2, 15, 16, 17, 40, 100})
    for (size_t at = 0; at < n; ++at) {
      Buffer<T> x(n, T(-2));
      x[at] = T(-1e30);
      Extent e = floats<T>(k).extent(x.data(), n);
      expect(std::isfinite(e.sum_squares) && e.largest == T(1e30) && e.not_finite == 0,
             "extent of a huge value at %zu of %zu: %g %g", at, n, e.sum_squares, e.largest);
      x[at] = -L::infinity();
      e = floats<T>(k).extent(x.data(), n);
      expect(std::isinf(e.sum_squares) && std::isinf(e.largest) && e.not_finite == 1,
             "infinity at %zu of %zu", at, n);
      x[n - 1] = L::quiet_NaN();
      e = floats<T>(k).extent(x.data(), n);
      expect(std::isnan(e.sum_squares) && std::isnan(e.largest) && e.not_finite == 2 - (at == n - 1),
             "NaN at %zu of %zu", n - 1, n);
      x[n - 1] = x[at] = L::max();
      e = floats<T>(k).extent(x.data(), n);
      expect(e.largest == L::max() && e.not_finite == 0 && std::isfinite(e.sum_squares) == (sizeof(T) == 4),
             "the largest number at %zu of %zu", at, n);
    }
}
TEST(extent_of_spoiled_f32) { check_extent_of_spoiled<float>(k); }
TEST(extent_of_spoiled_f64) { check_extent_of_spoiled<double>(k); }

template <class T>
void check_max(const Kernels& k) {
  using L = std::numeric_limits<T>;
  Random random;
  const auto check = [&](const Buffer<T>& x, const char* what) {
    const size_t best = reference::argmax(x.data(), x.size());
    const T got = floats<T>(k).max(x.data(), x.size());
    expect(got == x[best] || (std::isnan(got) && std::isnan(x[best])), "max of %zu %s: %g", x.size(), what,
           double(got));
    const int64_t at = floats<T>(k).argmax(x.data(), x.size());
    expect(size_t(at) == best, "argmax of %zu %s: %d, want %zu", x.size(), what, int(at), best);
  };
  for (size_t n : kSizes) {
    if (n == 0) continue;
    Buffer<T> x = random.array<T>(n);
    check(x, "random");
    for (size_t i = 0; i < n; ++i) x[i] = T(int(random.bits() % 3));
    check(x, "with equals");
    x[random.bits() % n] = L::infinity();
    check(x, "with infinity");
    x[random.bits() % n] = L::quiet_NaN();
    x[random.bits() % n] = L::quiet_NaN();
    check(x, "with NaN");
    check(Buffer<T>(n, -L::infinity()), "-infinity");
    check(Buffer<T>(n, T(-1)), "negative");
  }
}
TEST(max_f32) { check_max<float>(k); }
TEST(max_f64) { check_max<double>(k); }

template <class T>
void check_rows(const Kernels& k) {
  using R = Wider<T>;
  Random random;
  for (size_t cols : {0, 1, 3, 8, 15, 16, 17, 64, 65, 130})
    for (size_t rows : {0, 1, 2, 7, 50}) {
      const size_t stride = cols + 3;
      Buffer<T> x = random.array<T>(rows ? (rows - 1) * stride + cols : 0);
      if (rows > 1 && cols > 1) x[stride + 1] = std::numeric_limits<T>::quiet_NaN();
      Buffer<T> sums(cols), tops(cols);
      floats<T>(k).sum_rows(x.data(), rows, stride, sums.data(), cols);
      floats<T>(k).max_rows(x.data(), rows, stride, tops.data(), cols);
      for (size_t c = 0; c < cols; ++c) {
        R sum = 0, magnitude = 0;
        T top = -std::numeric_limits<T>::infinity();
        for (size_t r = 0; r < rows; ++r) {
          const T v = x[r * stride + c];
          sum += v, magnitude += std::fabs(v);
          top = std::isnan(top) || top > v ? top : v;
        }
        const bool spoiled = std::isnan(sum);
        expect(spoiled ? std::isnan(sums[c]) : std::fabs(sums[c] - sum) <= rows * kUnit<T> * magnitude,
               "sum_rows");
        expect(spoiled ? std::isnan(tops[c]) : tops[c] == top, "max_rows");
      }
    }
}
TEST(rows_f32) { check_rows<float>(k); }
TEST(rows_f64) { check_rows<double>(k); }

// The error of one e^(x - top), relative: x - top is rounded once, e^ is good to 2 ulps (4 u).
template <class T>
Wider<T> exp_error(Wider<T> x, Wider<T> top) {
  return kUnit<T> * (std::fabs(x - top) + 4);
}
// That of a sum of them: each one's, weighted, and at most 256 additions in T before the total goes on in
// double.
template <class T>
Wider<T> sum_exp_error(const Buffer<T>& x, Wider<T> top) {
  Wider<T> sum = 0, error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const Wider<T> e = std::exp(x[i] - top);
    sum += e, error += e * exp_error<T>(x[i], top);
  }
  return error / sum + 257 * kUnit<T>;
}

template <class T>
void check_softmax(const Kernels& k) {
  using R = Wider<T>;
  const R u = kUnit<T>,
          tiny = std::numeric_limits<T>::min();  // results under it may be denormal: no relative bound
  Random random;
  for (size_t n : kSizes)
    for (double range : {1.0, 80.0, 3000.0}) {
      if (n == 0) continue;
      const Buffer<T> x = random.array<T>(n, -range, range), dy = random.array<T>(n);
      const R lse = reference::log_sum_exp<R>(x.data(), n), top = x[reference::argmax(x.data(), n)];
      const R sum_error = sum_exp_error(x, top);
      Buffer<T> y(n), log_y(n), dx(n), log_dx(n), ce(n), in_place(x);
      floats<T>(k).softmax(x.data(), y.data(), n);
      floats<T>(k).softmax(in_place.data(), in_place.data(), n);
      expect(y.same_bits(in_place), "softmax in place, n %zu", n);
      floats<T>(k).log_softmax(x.data(), log_y.data(), n);
      const size_t target = random.bits() % n;
      const R loss = floats<T>(k).cross_entropy(x.data(), n, target), want_loss = lse - x[target];
      expect(std::fabs(loss - want_loss) <=
                 sum_error + 3 * u * (std::fabs(lse - top) + std::fabs(x[target] - top)),
             "cross_entropy %g, want %g", double(loss), double(want_loss));
      floats<T>(k).cross_entropy_grad(x.data(), n, target, T(0.25), ce.data());
      floats<T>(k).softmax_grad(y.data(), dy.data(), dx.data(), n);
      floats<T>(k).log_softmax_grad(log_y.data(), dy.data(), log_dx.data(), n);
      R dot = 0, dot_magnitude = 0, total = 0, magnitude = 0;
      for (size_t i = 0; i < n; ++i)
        dot += R(y[i]) * dy[i], dot_magnitude += std::fabs(R(y[i]) * dy[i]), total += dy[i],
            magnitude += std::fabs(dy[i]);
      for (size_t i = 0; i < n; ++i) {
        const R want = std::exp(x[i] - lse),
                error = want * (exp_error<T>(x[i], top) + sum_error + 3 * u) + tiny;
        expect(std::fabs(y[i] - want) <= error, "softmax %g, want %g", double(y[i]), double(want));
        const R log_error = sum_error + 3 * u * (std::fabs(x[i] - top) + std::fabs(lse - top));
        expect(std::fabs(log_y[i] - (x[i] - lse)) <= log_error, "log_softmax %g", double(log_y[i]));
        const R want_ce = 0.25 * (want - (i == target));
        expect(std::fabs(ce[i] - want_ce) <= 0.25 * (error + 2 * u), "cross_entropy_grad %g", double(ce[i]));
        // The gradients are checked at the y that the kernel made.
        const R want_dx = y[i] * (dy[i] - dot);
        expect(std::fabs(dx[i] - want_dx) <=
                   y[i] * (4 * u * (std::fabs(dy[i]) + std::fabs(dot)) + n * kUnit<double> * dot_magnitude) +
                       tiny,
               "softmax_grad %g, want %g", double(dx[i]), double(want_dx));
        const R p = std::exp(R(log_y[i])), want_log = dy[i] - p * total;
        expect(std::fabs(log_dx[i] - want_log) <= 8 * u * (std::fabs(dy[i]) + p * std::fabs(total)) +
                                                      n * kUnit<double> * p * magnitude + tiny,
               "log_softmax_grad %g, want %g", double(log_dx[i]), double(want_log));
      }
      Buffer<T> reused(dy);
      floats<T>(k).softmax_grad(y.data(), reused.data(), reused.data(), n);
      expect(reused.same_bits(dx), "softmax_grad in place");
    }
  const T infinity = std::numeric_limits<T>::infinity();
  const T masked[] = {1, -infinity, 1};
  T y[3];
  floats<T>(k).softmax(masked, y, 3);
  expect(y[0] == T(0.5) && y[1] == 0 && y[2] == T(0.5), "softmax with a masked value");
  const T none[] = {-infinity, -infinity, -infinity};
  floats<T>(k).softmax(none, y, 3);
  expect(std::isnan(y[0]), "softmax of -infinity alone");
}
TEST(softmax_f32) { check_softmax<float>(k); }
TEST(softmax_f64) { check_softmax<double>(k); }

template <class T>
void check_layer_norm(const Kernels& k) {
  using R = Wider<T>;
  const R u = kUnit<T>;
  Random random;
  for (size_t n : kSizes)
    for (double mean : {0.0, 30.0, 1e4}) {
      if (n == 0) continue;
      const Buffer<T> x = random.array<T>(n, mean - 2, mean + 2), gamma = random.array<T>(n);
      const Buffer<T> beta = random.array<T>(n), dy = random.array<T>(n), old = random.array<T>(2 * n);
      const T eps = T(1e-5);
      Buffer<T> y(n), dx(n), dgamma(n), dbeta(n), in_place(x);
      for (size_t i = 0; i < n; ++i) dgamma[i] = old[i], dbeta[i] = old[n + i];
      floats<T>(k).layer_norm(x.data(), gamma.data(), beta.data(), eps, y.data(), n);
      floats<T>(k).layer_norm(in_place.data(), gamma.data(), beta.data(), eps, in_place.data(), n);
      expect(y.same_bits(in_place), "layer_norm in place");
      floats<T>(k).layer_norm_grad(x.data(), gamma.data(), dy.data(), eps, dx.data(), dgamma.data(),
                                   dbeta.data(), n);
      const auto [centre, rstd] = reference::moments<R>(x.data(), eps, n);
      R mean_g = 0, mean_gh = 0, size_g = 0, size_gh = 0;
      for (size_t i = 0; i < n; ++i) {
        const R g = R(dy[i]) * gamma[i] / n, h = (x[i] - centre) * rstd;
        mean_g += g, mean_gh += g * h, size_g += std::fabs(g), size_gh += std::fabs(g * h);
      }
      // In T: the rounding of the mean, then the subtraction, rstd, the product. In double: n / 16 + 5
      // additions.
      const R wide = (R(n) / 16 + 9) * kUnit<double>;
      for (size_t i = 0; i < n; ++i) {
        const R h = (x[i] - centre) * rstd, g = R(dy[i]) * gamma[i];
        // The variance of f32 is a difference of larger numbers in double.
        const R taken = sizeof(T) == 4 ? centre * rstd : R(0);
        const R h_error = u * (std::fabs(centre) * rstd + 4 * std::fabs(h)) +
                          wide * ((std::fabs(centre) + 4) * rstd + std::fabs(h) * (1 + taken * taken));
        const R want = h * gamma[i] + beta[i];
        expect(std::fabs(y[i] - want) <=
                   h_error * std::fabs(gamma[i]) + 3 * u * (std::fabs(h * gamma[i]) + std::fabs(beta[i])),
               "layer_norm %g, want %g", double(y[i]), double(want));
        const R want_dx = rstd * (g - mean_g - h * mean_gh);
        const R dx_error =
            6 * u * (std::fabs(g) + std::fabs(mean_g) + std::fabs(h * mean_gh)) +
            h_error * std::fabs(mean_gh) + u * size_g +  // g and h are rounded to T before they are added up
            u * std::fabs(h) * (5 * size_gh + std::fabs(centre) * rstd * size_g) +
            wide * (size_g + std::fabs(h) * (size_gh + 2 * size_g * (std::fabs(centre) + 4) * rstd));
        expect(std::fabs(dx[i] - want_dx) <= rstd * dx_error, "layer_norm_grad dx %g, want %g", double(dx[i]),
               double(want_dx));
        const R want_dgamma = old[i] + dy[i] * h, want_dbeta = R(old[n + i]) + dy[i];
        expect(std::fabs(dgamma[i] - want_dgamma) <=
                   h_error * std::fabs(dy[i]) + 3 * u * (std::fabs(dy[i] * h) + std::fabs(old[i])),
               "layer_norm_grad dgamma %g, want %g", double(dgamma[i]), double(want_dgamma));
        expect(std::fabs(dbeta[i] - want_dbeta) <= u * std::fabs(want_dbeta), "layer_norm_grad dbeta");
      }
    }
}
TEST(layer_norm_f32) { check_layer_norm<float>(k); }
TEST(layer_norm_f64) { check_layer_norm<double>(k); }

template <class T>
void check_rms_norm(const Kernels& k) {
  using R = Wider<T>;
  const R u = kUnit<T>;
  Random random;
  for (size_t n : kSizes)
    for (double size : {1e-4, 1.0, 1e15}) {
      if (n == 0) continue;
      const Buffer<T> x = random.array<T>(n, -size, size), gamma = random.array<T>(n),
                      dy = random.array<T>(n);
      const Buffer<T> old = random.array<T>(n);
      const T eps = T(1e-6);
      Buffer<T> y(n), dx(n), dgamma(old), in_place(x), dx_in_place(dy), same(old);
      floats<T>(k).rms_norm(x.data(), gamma.data(), eps, y.data(), n);
      floats<T>(k).rms_norm(in_place.data(), gamma.data(), eps, in_place.data(), n);
      expect(y.same_bits(in_place), "rms_norm in place");
      floats<T>(k).rms_norm_grad(x.data(), gamma.data(), dy.data(), eps, dx.data(), dgamma.data(), n);
      floats<T>(k).rms_norm_grad(x.data(), gamma.data(), dx_in_place.data(), eps, dx_in_place.data(),
                                 same.data(), n);
      expect(dx.same_bits(dx_in_place) && dgamma.same_bits(same), "rms_norm_grad in place");
      R squares = 0, mean_gh = 0, size_gh = 0;
      for (size_t i = 0; i < n; ++i) squares += R(x[i]) * x[i];
      const R rrms = 1 / std::sqrt(squares / n + eps);
      for (size_t i = 0; i < n; ++i) {
        const R gh = R(dy[i]) * gamma[i] * x[i] * rrms / n;
        mean_gh += gh, size_gh += std::fabs(gh);
      }
      // Of h = x / rms, relative: rrms is good to half of n / 16 + 6 additions in double and to one rounding
      // to T; one product. Of the mean of g h: that of h, that of g, and the additions.
      const R wide = (R(n) / 16 + 9) * kUnit<double>, h_error = 2 * u + wide, mean_error = 3 * u + 2 * wide;
      for (size_t i = 0; i < n; ++i) {
        const R h = x[i] * rrms, g = R(dy[i]) * gamma[i], want = h * gamma[i];
        expect(std::fabs(y[i] - want) <= (h_error + 2 * u) * std::fabs(want), "rms_norm %g, want %g",
               double(y[i]), double(want));
        const R want_dx = rrms * (g - h * mean_gh);
        const R dx_error = 4 * u * (std::fabs(g) + std::fabs(h * mean_gh)) + h_error * std::fabs(g) +
                           std::fabs(h) * (mean_error * size_gh + 2 * h_error * std::fabs(mean_gh));
        expect(std::fabs(dx[i] - want_dx) <= rrms * dx_error, "rms_norm_grad dx %g, want %g", double(dx[i]),
               double(want_dx));
        const R want_dgamma = old[i] + dy[i] * h;
        expect(std::fabs(dgamma[i] - want_dgamma) <=
                   h_error * std::fabs(dy[i] * h) + 3 * u * (std::fabs(dy[i] * h) + std::fabs(old[i])),
               "rms_norm_grad dgamma %g, want %g", double(dgamma[i]), double(want_dgamma));
      }
    }
}
TEST(rms_norm_f32) { check_rms_norm<float>(k); }
TEST(rms_norm_f64) { check_rms_norm<double>(k); }

}  // namespace
}  // namespace drivetrain::test
