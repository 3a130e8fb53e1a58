#include <algorithm>
#include "../kernels/optim_reference.h"
#include "tracked.h"

namespace drivetrain::test {
namespace {

constexpr size_t kMostStates = 3;

// Holds a kernel against its reference on one vector length, and against itself on pieces of that.
template <class T, class Args>
void check(OptimizerStep<T, Args> kernel,
           void (*reference)(const Args&, Tracked<T>&, Tracked<T>, Tracked<T>*), const Args& args,
           Random& random, size_t n, double lowest_state) {
  Buffer<T> param = random.array<T>(n), grad = random.array<T>(n);
  Buffer<T> states[kMostStates] = {random.array<T>(n, lowest_state, 1), random.array<T>(n, 0, 1),
                                   random.array<T>(n, 0, 1)};
  for (size_t i = 0; i < n; i += 7) grad[i] = 0;
  Buffer<T> p(param), p_cut(param), s[kMostStates] = {states[0], states[1], states[2]},
                                    s_cut[kMostStates] = {states[0], states[1], states[2]};
  T* const pointers[] = {s[0].data(), s[1].data(), s[2].data()};
  step_piece(kernel, args, p.data(), grad.data(), pointers, n);
  std::vector<OptimizerPiece<T>> pieces;
  for (size_t at = 0; at < n; at += 13)
    pieces.push_back({p_cut.data() + at, grad.data() + at, at, n - at < 13 ? n - at : 13});
  T* const cut[] = {s_cut[0].data(), s_cut[1].data(), s_cut[2].data()};
  kernel(args, pieces.data(), pieces.size(), cut);
  expect(p.same_bits(p_cut), "cutting changes the parameter's bits");
  for (size_t k = 0; k < kMostStates; ++k)
    expect(s[k].same_bits(s_cut[k]), "cutting changes the bits of state %zu", k);
  for (size_t i = 0; i < n; ++i) {
    Tracked<T> at[kMostStates], want = Tracked<T>::exact(param[i]);
    for (size_t k = 0; k < kMostStates; ++k) at[k] = Tracked<T>::exact(states[k][i]);
    reference(args, want, Tracked<T>::exact(grad[i]), at);
    expect(want.holds(p[i]), "parameter %g, want %g within %g", double(p[i]), double(want.value),
           double(want.error));
    for (size_t k = 0; k < kMostStates; ++k)
      expect(at[k].holds(s[k][i]), "state %zu: %g, want %g within %g", k, double(s[k][i]),
             double(at[k].value), double(at[k].error));
  }
}

template <class T, class Args, size_t kCases>
void check_all(OptimizerStep<T, Args> kernel,
               void (*reference)(const Args&, Tracked<T>&, Tracked<T>, Tracked<T>*),
               const Args (&cases)[kCases], double lowest_state = -1) {
  Random random;
  for (const Args& args : cases)
    for (size_t n : kSizes) check<T>(kernel, reference, args, random, n, lowest_state);
}

#define OPTIMIZER_TEST(name, lowest_state, ...)                                                       \
  TEST(name##_f32) {                                                                                  \
    check_all<float>(k.f32.optim.name, reference::name<Tracked<float>>, __VA_ARGS__, lowest_state);   \
  }                                                                                                   \
  TEST(name##_f64) {                                                                                  \
    check_all<double>(k.f64.optim.name, reference::name<Tracked<double>>, __VA_ARGS__, lowest_state); \
  }

const SgdArgs kSgd[] = {
    {1, 0, 0.1, 0, 0, false, false},       {-1, 0.01, 0.1, 0, 0.3, false, false},
    {1, 0, 0.1, 0.9, 0, false, false},     {1, 0.01, 0.1, 0.9, 0.3, false, false},
    {1, 0.01, 0.1, 0.9, 0.3, false, true}, {-1, 0, 0.1, 0.9, 0, true, false},
    {0.5, 0, 0.1, 0.9, 0, true, true},
};
OPTIMIZER_TEST(sgd, -1, kSgd)

const AdamArgs kAdam[] = {
    {1, 0, 0.9, 0.999, 1, 1e-2, 0, 31.6, 1e-8, false, true},    // the first step
    {1, 0, 0.9, 0.999, 1, 1e-3, 0, 1, 1e-8, false, true},       // a late one
    {-1, 0.1, 0.9, 0.99, 0.999, 1e-2, 0, 2, 1e-3, true, true},  // the largest v
    {1, 0, 0, 0, 0.99, 1e-2, 0, 1, 1e-8, false, true},          // no averages
    {1, 0.1, 0.9, 0.999, 1, 1e-2, 3e-2, 2, 1e-8, false, true},  // with the gradient itself
    {1, 0.1, 0.9, 0.999, 1, 1e-2, 0, 1, 1e-8, false, false},    // no denominator
};
OPTIMIZER_TEST(adam, -1, kAdam)

const AdamArgs kAdabelief[] = {
    {1, 0, 0.9, 0.999, 1, 1e-2, 0, 31.6, 1e-8, false, true},
    {-1, 0, 0.5, 0.99, 0.999, 1e-2, 0, 1, 1e-4, false, true},
};
OPTIMIZER_TEST(adabelief, -1, kAdabelief)

const AdamaxArgs kAdamax[] = {{1, 0, 0.9, 0.999, 1e-2, 1e-8}, {-1, 0.1, 0.5, 0.9, 1e-3, 1e-3}};
OPTIMIZER_TEST(adamax, -1, kAdamax)

const AdagradArgs kAdagrad[] = {{1, 0, 1e-2, 1e-10}, {-1, 0.1, 1e-3, 1e-2}};
OPTIMIZER_TEST(adagrad, 0, kAdagrad)

const AdadeltaArgs kAdadelta[] = {{1, 0, 1, 0.9, 1e-6}, {-1, 0.1, 0.5, 0.5, 1e-2}};
OPTIMIZER_TEST(adadelta, 0, kAdadelta)

const RmspropArgs kRmsprop[] = {
    {1, 0, 1e-2, 0.99, 1e-8, 0, false},
    {-1, 0.1, 1e-2, 0.9, 1e-3, 0.9, false},
};
OPTIMIZER_TEST(rmsprop, 0, kRmsprop)

const LionArgs kLion[] = {{1, 1, 1e-2, 0.9, 0.99}, {-1, 0.999, 1e-3, 0.5, 0.5}};
OPTIMIZER_TEST(lion, -1, kLion)

const LarsArgs kLars[] = {{1, 0, 1e-2, 0.9}, {-1, 0.1, 1e-3, 0}};
OPTIMIZER_TEST(lars, -1, kLars)

template <class T>
void check_lamb(const OptimizerKernels<T>& kernels) {
  Random random;
  const LambArgs cases[] = {{1, 0.9, 0.999, 10, 31.6, 1e-6, 0}, {-1, 0.5, 0.9, 1, 1, 1e-3, 0.1}};
  for (const LambArgs& args : cases)
    for (size_t n : {size_t(0), size_t(1), size_t(17), size_t(1023), size_t(1025), size_t(5000)}) {
      const Buffer<T> param = random.array<T>(n), grad = random.array<T>(n), m0 = random.array<T>(n);
      const Buffer<T> v0 = random.array<T>(n, 0, 1);
      Buffer<T> p(param), m(m0), v(v0);
      const NormSquares got = kernels.lamb_moments(args, param.data(), grad.data(), m.data(), v.data(), n);
      constexpr double kRate = 0.01;
      kernels.lamb_apply(args, kRate, p.data(), m.data(), v.data(), n);
      long double params = 0, updates = 0, updates_error = 0;
      for (size_t i = 0; i < n; ++i) {
        Tracked<T> state[] = {Tracked<T>::exact(m0[i]), Tracked<T>::exact(v0[i])};
        const Tracked<T> before = Tracked<T>::exact(param[i]);
        const Tracked<T> update = reference::lamb_update(args, before, Tracked<T>::exact(grad[i]), state);
        const Tracked<T> want = before - Tracked<T>(kRate) * update;
        expect(state[0].holds(m[i]) && state[1].holds(v[i]), "moments %g and %g", double(m[i]), double(v[i]));
        expect(want.holds(p[i]), "lamb %g, want %g", double(p[i]), double(want.value));
        params += (long double)param[i] * param[i];
        updates += (long double)update.value * update.value;
        updates_error += 2 * std::fabs(update.value) * update.error + update.error * update.error;
      }
      // n + 1 roundings of sums in double.
      const long double u = double(n + 1) * 0x1p-53;
      expect(std::fabs(got.param - params) <= u * params, "squares %g, want %g", got.param, double(params));
      expect(std::fabs(got.update - updates) <= updates_error + u * updates, "squares of updates %g, want %g",
             got.update, double(updates));
    }
}
TEST(lamb_f32) { check_lamb<float>(k.f32.optim); }
TEST(lamb_f64) { check_lamb<double>(k.f64.optim); }

// The map of arXiv:2110.02861, as its authors describe it: sorted.
std::vector<double> dynamic_map(bool is_signed) {
  std::vector<double> map = {0, 1};
  for (int i = 0; i < 7; ++i) {
    const int cells = (is_signed ? 1 : 2) << i;
    for (int j = 0; j < cells; ++j) {
      const double middle = (0.1 + 0.9 * (j + 0.5) / cells) * std::pow(10, i - 6);
      map.push_back(middle);
      if (is_signed) map.push_back(-middle);
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}

// x / scale is at its nearest number of the map, or at another one that is as near but for rounding.
void expect_nearest(const std::vector<double>& map, double x, double scale, uint8_t code) {
  const double y = x / scale;
  double nearest = 2;
  for (const double number : map) nearest = std::min(nearest, std::fabs(y - number));
  expect(std::fabs(y - map[code]) <= nearest + 2e-5 * std::fabs(y),
         "%g has code %d (%g); the nearest is %g away", y, code, map[code], nearest);
}

TEST(adam_eight_bit) {
  const std::vector<double> signed_map = dynamic_map(true), unsigned_map = dynamic_map(false);
  expect(signed_map.size() == 256 && unsigned_map.size() == 256, "the map has 256 numbers");
  Random random;
  const AdamArgs args = kAdam[0];
  for (size_t n : {size_t(1), size_t(255), size_t(256), size_t(257), size_t(1000), size_t(4096)}) {
    const size_t blocks = (n + kEightBitBlock - 1) / kEightBitBlock;
    const Buffer<float> param = random.array<float>(n);
    Buffer<float> grad = random.array<float>(n), p(param), want_p(param);
    // Moments over many decades, a block of zeros, and a gradient of zero.
    for (size_t i = 0; i < n; ++i) grad[i] *= float(std::pow(10, random.uniform(-8, 2)));
    for (size_t i = 256; i < 512 && i < n; ++i) grad[i] = 0;
    Buffer<uint8_t> m(n), v(n);
    Buffer<float> m_scale(blocks), v_scale(blocks), want_m(n), want_v(n);
    for (size_t i = 0; i < n; ++i) m[i] = uint8_t(random.bits()), v[i] = uint8_t(random.bits());
    for (size_t b = 0; b < blocks; ++b) {
      m_scale[b] = b == 1 ? 0 : float(random.uniform(0.1, 3));
      v_scale[b] = b == 1 ? 0 : float(random.uniform(0.1, 3));
    }
    for (size_t i = 0; i < n; ++i) {
      want_m[i] = float(signed_map[m[i]]) * m_scale[i / kEightBitBlock];
      want_v[i] = float(unsigned_map[v[i]]) * v_scale[i / kEightBitBlock];
    }
    const Buffer<uint8_t> old_m(m);
    const Buffer<float> old_m_scale(m_scale);
    k.adam_eight_bit(args, p.data(), grad.data(), {m.data(), v.data(), m_scale.data(), v_scale.data()}, n);
    float* const states[] = {want_m.data(), want_v.data()};
    step_piece(k.f32.optim.adam, args, want_p.data(), grad.data(), states, n);
    for (size_t i = 0; i < n; ++i) {
      // The kernel's numbers of the map are exact to some 12 units: they come from a difference.
      const double m0 = signed_map[old_m[i]] * old_m_scale[i / kEightBitBlock];
      const double update = args.step_m * (std::fabs(m0) + std::fabs(grad[i])) /
                            (std::sqrt(double(want_v[i])) * args.root + args.eps);
      expect(std::fabs(p[i] - want_p[i]) <= 64 * kUnit<float> * (std::fabs(param[i]) + update),
             "parameter %g, with f32 moments %g", double(p[i]), double(want_p[i]));
      const size_t b = i / kEightBitBlock;
      if (b == 1) {
        expect(m_scale[b] == 0 && m[i] == 127 && v[i] == 0, "zeros stay zeros");
        continue;
      }
      expect_nearest(signed_map, want_m[i], m_scale[b], m[i]);
      expect_nearest(unsigned_map, want_v[i], v_scale[b], v[i]);
    }
  }
}

TEST(adam_eight_bit_shows_nan) {
  constexpr size_t n = 600;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> p(n, 1), g(n, 0.5f), scales[2] = {std::vector<float>(3), std::vector<float>(3)};
    std::vector<uint8_t> m(n, 127), v(n, 0);
    g[300] = bad;
    for (int step = 0; step < 2; ++step)
      k.adam_eight_bit(kAdam[0], p.data(), g.data(), {m.data(), v.data(), scales[0].data(), scales[1].data()},
                       n);
    expect(std::isnan(p[300]), "a gradient of %g gives %g", double(bad), double(p[300]));
    expect(std::isfinite(p[255]) && std::isfinite(p[512]), "other blocks stay as they were");
  }
}

// Centred, the variance must not be a difference of equals: the average stays under the root of the mean
// square. Where rounding makes it negative it counts as 0.
template <class T>
void check_centered(OptimizerStep<T, RmspropArgs> kernel) {
  Random random;
  for (double momentum : {0.0, 0.9})
    for (size_t n : kSizes) {
      const RmspropArgs args{1, 0.1, 1e-2, 0.9, 1e-3, momentum, true};
      const Buffer<T> param = random.array<T>(n), grad = random.array<T>(n);
      const Buffer<T> square = random.array<T>(n, 4, 5), buffer = random.array<T>(n),
                      mean = random.array<T>(n);
      const size_t last = 1 + (momentum != 0);
      Buffer<T> p(param), s0(square), s1(momentum != 0 ? buffer : mean), s2(mean);
      T* const state[] = {s0.data(), s1.data(), s2.data()};
      step_piece(kernel, args, p.data(), grad.data(), state, n);
      for (size_t i = 0; i < n; ++i) {
        Tracked<T> want = Tracked<T>::exact(param[i]);
        Tracked<T> at[3] = {Tracked<T>::exact(square[i]), Tracked<T>::exact(buffer[i])};
        at[last] = Tracked<T>::exact(mean[i]);
        reference::rmsprop(args, want, Tracked<T>::exact(grad[i]), at);
        expect(want.holds(p[i]) && at[last].holds(state[last][i]), "centred %g, want %g", double(p[i]),
               double(want.value));
      }
    }
  T p = 1, g = 3, square = 9 * (1 - std::numeric_limits<T>::epsilon()), mean = 3;
  T* const state[] = {&square, &mean};
  step_piece<T, RmspropArgs>(kernel, {1, 0, 0.5, 0.5, 1, 0, true}, &p, &g, state, 1);
  expect(p == T(-0.5), "a negative variance gives %g", double(p));
}
TEST(rmsprop_centered_f32) { check_centered<float>(k.f32.optim.rmsprop); }
TEST(rmsprop_centered_f64) { check_centered<double>(k.f64.optim.rmsprop); }

// What is not finite shows in the parameter; the values beside it are as without it.
TEST(optimizers_show_nan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto run = [&](auto kernel, const auto& args, float bad) {
    float p[20], g[20], s[3][20] = {}, clean_p[20], clean_g[20], clean_s[3][20] = {};
    for (int i = 0; i < 20; ++i) p[i] = clean_p[i] = 1, g[i] = clean_g[i] = 0.5f;
    g[3] = g[18] = bad;
    float *const state[] = {s[0], s[1], s[2]}, *const clean[] = {clean_s[0], clean_s[1], clean_s[2]};
    step_piece(kernel, args, p, g, state, 20);
    step_piece(kernel, args, clean_p, clean_g, clean, 20);
    for (int i = 0; i < 20; ++i)
      expect(i == 3 || i == 18 ? std::isnan(p[i]) : p[i] == clean_p[i], "NaN at 3 and 18 gives %g at %d",
             double(p[i]), i);
  };
  run(k.f32.optim.sgd, kSgd[3], nan);
  for (const AdamArgs& args : kAdam) run(k.f32.optim.adam, args, nan);
  run(k.f32.optim.adabelief, kAdabelief[0], nan);
  run(k.f32.optim.adamax, kAdamax[0], nan);
  run(k.f32.optim.adagrad, kAdagrad[0], nan);
  run(k.f32.optim.adadelta, kAdadelta[0], nan);
  run(k.f32.optim.rmsprop, RmspropArgs{1, 0, 1e-2, 0.9, 1e-3, 0.9, true}, nan);
  run(k.f32.optim.lion, kLion[0], nan);
}

}  // namespace
}  // namespace drivetrain::test
