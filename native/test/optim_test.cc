#include "../kernels/reference.h"
#include "harness.h"

namespace drivetrain::test {
namespace {

template <class T>
void check_sgd(const Kernels& k) {
  using R = Wider<T>;
  Random random;
  for (int options = 0; options < 32; ++options)
    for (size_t n : kSizes) {
      const bool has_momentum = options & 1;
      const SgdArgs s{0.1,
                      0.9,
                      options & 2 ? 0.3 : 0,
                      options & 4 ? 0.01 : 0,
                      bool(options & 8),
                      bool(options & 16),
                      n % 2 == 0,
                      0.5};
      const Buffer<T> param = random.array<T>(n), grad = random.array<T>(n), momentum = random.array<T>(n);
      Buffer<T> p(param), m(momentum), p_cut(param), m_cut(momentum);
      floats<T>(k).sgd(s, p.data(), grad.data(), has_momentum ? m.data() : nullptr, n);
      for (size_t from = 0; from < n; from += 13)
        floats<T>(k).sgd(s, p_cut.data() + from, grad.data() + from,
                         has_momentum ? m_cut.data() + from : nullptr, n - from < 13 ? n - from : 13);
      expect(p.same_bits(p_cut) && m.same_bits(m_cut), "cutting changes bits");
      for (size_t i = 0; i < n; ++i) {
        const auto want = reference::sgd<R>(s, {param[i], momentum[i]}, grad[i], has_momentum);
        // Every term stays under |param| + 3 |grad| + 2 |momentum|; ten roundings of it, hyperparameters
        // included.
        const R size = std::fabs(param[i]) + 3 * std::fabs(grad[i]) + 2 * std::fabs(momentum[i]);
        expect(std::fabs(p[i] - want.param) <= 10 * kUnit<T> * size, "sgd %g, want %g", double(p[i]),
               double(want.param));
        expect(std::fabs(m[i] - want.momentum) <= 10 * kUnit<T> * size, "momentum %g", double(m[i]));
      }
    }
}
TEST(sgd_f32) { check_sgd<float>(k); }
TEST(sgd_f64) { check_sgd<double>(k); }

template <class T>
void check_adamw(const Kernels& k) {
  using R = Wider<T>;
  const R u = kUnit<T>;
  Random random;
  for (int step : {1, 10, 100000})
    for (bool maximize : {false, true})
      for (size_t n : kSizes) {
        const AdamWArgs s{1e-2,     0.9, 0.999, 1e-8, 0.1, 1 - std::pow(0.9, step), 1 - std::pow(0.999, step),
                          maximize, 0.25};
        const Buffer<T> param = random.array<T>(n), grad = random.array<T>(n), m0 = random.array<T>(n);
        const Buffer<T> v0 = random.array<T>(n, 0, 1);
        Buffer<T> p(param), m(m0), v(v0), p_cut(param), m_cut(m0), v_cut(v0);
        floats<T>(k).adamw(s, p.data(), grad.data(), m.data(), v.data(), n);
        for (size_t from = 0; from < n; from += 13)
          floats<T>(k).adamw(s, p_cut.data() + from, grad.data() + from, m_cut.data() + from,
                             v_cut.data() + from, n - from < 13 ? n - from : 13);
        expect(p.same_bits(p_cut) && m.same_bits(m_cut) && v.same_bits(v_cut), "cutting changes bits");
        for (size_t i = 0; i < n; ++i) {
          const auto want = reference::adamw<R>(s, {param[i], m0[i], v0[i]}, grad[i]);
          const R m_error = 5 * u * (std::fabs(m0[i]) + std::fabs(grad[i])), v_error = 6 * u * want.v;
          expect(std::fabs(m[i] - want.m) <= m_error, "m %g, want %g", double(m[i]), double(want.m));
          expect(std::fabs(v[i] - want.v) <= v_error, "v %g, want %g", double(v[i]), double(want.v));
          // update = lr / bias1 * m / denominator: the error of m, half of v's, six roundings; then the sum.
          const R root = std::sqrt(want.v / R(s.bias2)) + s.eps, rate = s.lr / s.bias1;
          const R bound = rate * (m_error + 9 * u * std::fabs(want.m)) / root +
                          3 * u * (std::fabs(param[i]) + std::fabs(want.param));
          expect(std::fabs(p[i] - want.param) <= bound, "adamw %g, want %g", double(p[i]),
                 double(want.param));
        }
      }
}
TEST(adamw_f32) { check_adamw<float>(k); }
TEST(adamw_f64) { check_adamw<double>(k); }

}  // namespace
}  // namespace drivetrain::test
