// Attention and its gradients against the plain formulas. u = kUnit is the error of one rounding; bounds
// follow it through scores, weights and sums to first order, and are doubled for the rest.
#include "../kernels/reference.h"
#include "harness.h"

namespace drivetrain::test {
namespace {

enum Masking { kNoMask, kPadding, kDense, kNothing };

struct Case {
  size_t queries, keys, depth, width;
  bool causal = false;
  Masking masking = kNoMask;
  size_t first = 0;
  double low = -1, high = 1;
};

// Inputs with gaps between their rows, each array of exactly the values it needs.
template <class T>
struct Problem {
  Buffer<T> q, k, v, dout;
  Buffer<uint8_t> mask;
  AttentionArgs<T> args;

  static size_t extent(size_t rows, size_t lead, size_t cols) {
    return rows && cols ? (rows - 1) * lead + cols : 0;
  }
  static Buffer<uint8_t> masked(const Case& c, Random& random) {
    Buffer<uint8_t> mask(c.masking == kNoMask ? 0 : c.masking == kPadding ? c.keys : c.queries * c.keys);
    for (size_t i = 0; i < mask.size(); ++i)
      mask[i] =
          c.masking == kPadding ? i < (c.keys + 1) / 2 && i != 1 : c.masking == kDense && random.bits() % 3;
    if (c.masking == kDense && c.queries > 2)  // a query that sees nothing
      for (size_t j = 0; j < c.keys; ++j) mask[c.keys + j] = 0;
    return mask;
  }
  Problem(const Case& c, Random random = {})
      : q(random.array<T>(extent(c.queries, c.depth + 3, c.depth), c.low, c.high)),
        k(random.array<T>(extent(c.keys, c.depth + 5, c.depth), c.low, c.high)),
        v(random.array<T>(extent(c.keys, c.width + 1, c.width))),
        dout(random.array<T>(c.queries * c.width)),
        mask(masked(c, random)) {
    args = {c.queries,
            c.keys,
            c.depth,
            c.width,
            c.first,
            q.data(),
            ptrdiff_t(c.depth + 3),
            k.data(),
            ptrdiff_t(c.depth + 5),
            v.data(),
            ptrdiff_t(c.width + 1),
            mask.size() ? mask.data() : nullptr,
            c.masking == kPadding ? 0 : ptrdiff_t(c.keys),
            1,
            c.causal,
            T(c.depth ? 1 / std::sqrt(double(c.depth)) : 1)};
  }
};

// What each query's weights, output and their errors are.
template <class T>
struct Expected {
  using R = Wider<T>;
  std::vector<R> weights, out, log_sum, weight_error, out_error;  // weight_error is relative, per query

  explicit Expected(const AttentionArgs<T>& a)
      : weights(a.queries * a.keys),
        out(a.queries * a.width),
        log_sum(a.queries),
        weight_error(a.queries),
        out_error(a.queries * a.width) {
    const R u = kUnit<T>;
    for (size_t i = 0; i < a.queries; ++i) {
      R* w = weights.data() + i * a.keys;
      log_sum[i] = reference::attention_weights<R>(a, i, w);
      R largest = 0;
      for (size_t j = 0; j < a.keys; ++j) {
        R magnitude = 0;
        for (size_t c = 0; c < a.depth; ++c)
          magnitude += std::fabs(R(a.q[i * a.q_row + c]) * a.k[j * a.k_row + c]);
        largest = std::fmax(largest, magnitude * a.scale);
      }
      // A score: depth products and sums, the scale, log2 e, the difference to another score. Its
      // exponential: 1 ulp. The sum: a term and a rescaling for each key at most; the division.
      weight_error[i] = 2 * (2 * R(a.depth + 5) * u * largest + (3 * R(a.keys) + 8) * u);
      for (size_t c = 0; c < a.width; ++c) {
        R magnitude = 0;
        for (size_t j = 0; j < a.keys; ++j) {
          out[i * a.width + c] += w[j] * a.v[j * a.v_row + c];
          magnitude += w[j] * std::fabs(a.v[j * a.v_row + c]);
        }
        out_error[i * a.width + c] = weight_error[i] * magnitude + R(a.keys) * std::numeric_limits<T>::min();
      }
    }
  }
};

template <class T>
void check_attention(const Kernels& k, const Case& c) {
  using R = Wider<T>;
  const Problem<T> problem(c);
  const AttentionArgs<T>& a = problem.args;
  const Expected<T> want(a);
  Buffer<T> out(c.queries * c.width, T(77)), log_sum(c.queries, T(77));
  floats<T>(k).attention(a, out.data(), log_sum.data());
  const auto name = [&](const char* what, size_t i, R got, R wanted, R error) {
    expect(false, "%s of %zu x %zu x %zu x %zu, causal %d, mask %d: [%zu] is %g, want %g +- %g", what,
           c.queries, c.keys, c.depth, c.width, c.causal, c.masking, i, double(got), double(wanted),
           double(error));
  };
  for (size_t i = 0; i < out.size(); ++i)
    if (!(std::fabs(out[i] - want.out[i]) <= want.out_error[i]))
      return name("output", i, out[i], want.out[i], want.out_error[i]);
  for (size_t i = 0; i < c.queries; ++i) {
    const R error = 2 * want.weight_error[i] + 2 * kUnit<T> * std::fabs(want.log_sum[i]);
    if (log_sum[i] != want.log_sum[i] && !(std::fabs(log_sum[i] - want.log_sum[i]) <= error))
      return name("log-sum", i, log_sum[i], want.log_sum[i], error);
  }

  const size_t n = c.keys;
  std::vector<R> dq(c.queries * c.depth), dk(n * c.depth), dv(n * c.width), dq_error(dq), dk_error(dk),
      dv_error(dv);
  const R u = kUnit<T>;
  for (size_t i = 0; i < c.queries; ++i) {
    R dot = 0, dot_error = 0;
    for (size_t x = 0; x < c.width; ++x) {
      const size_t at = i * c.width + x;
      dot += problem.dout[at] * want.out[at];
      dot_error +=
          std::fabs(problem.dout[at]) * (want.out_error[at] + R(c.width + 2) * u * std::fabs(want.out[at]));
    }
    const R finite = std::isinf(want.log_sum[i]) ? 0 : want.log_sum[i];
    const R relative = 2 * want.weight_error[i] + 4 * u * std::fabs(finite);
    for (size_t j = 0; j < n; ++j) {
      const R w = want.weights[i * n + j];
      R slope = 0, slope_error = dot_error;
      for (size_t x = 0; x < c.width; ++x) {
        const R term = R(problem.dout[i * c.width + x]) * a.v[j * a.v_row + x];
        slope += term, slope_error += R(c.width + 2) * u * std::fabs(term);
        dv[j * c.width + x] += w * problem.dout[i * c.width + x];
        dv_error[j * c.width + x] +=
            w * (relative + R(c.queries + 2) * u) * std::fabs(problem.dout[i * c.width + x]);
      }
      const R ds = a.scale * w * (slope - dot);
      const R ds_error =
          a.scale * w * (slope_error + (relative + 4 * u) * (std::fabs(slope) + std::fabs(dot)));
      for (size_t x = 0; x < c.depth; ++x) {
        const R key = a.k[j * a.k_row + x], query = a.q[i * a.q_row + x];
        dq[i * c.depth + x] += ds * key, dk[j * c.depth + x] += ds * query;
        dq_error[i * c.depth + x] += (ds_error + R(n + 2) * u * std::fabs(ds)) * std::fabs(key);
        dk_error[j * c.depth + x] += (ds_error + R(c.queries + 2) * u * std::fabs(ds)) * std::fabs(query);
      }
    }
  }
  Buffer<T> got_dq(dq.size(), T(77)), got_dk(dk.size(), T(77)), got_dv(dv.size(), T(77));
  floats<T>(k).attention_grad(a, out.data(), log_sum.data(), problem.dout.data(), got_dq.data(),
                              got_dk.data(), got_dv.data());
  const auto compare = [&](const char* what, const Buffer<T>& got, const std::vector<R>& wanted,
                           const std::vector<R>& error) {
    for (size_t i = 0; i < got.size(); ++i) {
      const R bound = 2 * error[i] + 1e4 * std::numeric_limits<T>::min();
      if (!(std::fabs(got[i] - wanted[i]) <= bound)) return name(what, i, got[i], wanted[i], bound);
    }
  };
  compare("gradient of q", got_dq, dq, dq_error);
  compare("gradient of k", got_dk, dk, dk_error);
  compare("gradient of v", got_dv, dv, dv_error);
}

template <class T>
void check_attentions(const Kernels& k) {
  int turn = 0;
  for (size_t queries : {0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 33, 64, 65, 100})
    for (size_t keys : {0, 1, 2, 7, 16, 33, 127, 128, 129, 300}) {
      const size_t depths[] = {0, 1, 3, 8, 17, 64}, widths[] = {1, 64, 5, 0, 33, 16};
      const Masking masking[] = {kNoMask, kPadding, kDense, kNoMask, kNothing};
      check_attention<T>(k, {queries, keys, depths[turn % 6], widths[turn / 2 % 6], turn % 3 == 0,
                             masking[turn % 5], turn % 4 == 3 ? size_t(turn % 50) : 0});
      ++turn;
    }
  for (bool causal : {false, true})
    for (Masking masking : {kNoMask, kPadding, kDense})
      check_attention<T>(k, {130, 280, 64, 64, causal, masking});
  // Scores in the hundreds: nearly all weight on one key, and many weights of 0.
  check_attention<T>(k, {70, 200, 64, 8, false, kNoMask, 0, -20, 20});
  check_attention<T>(k, {2, 200, 64, 8, false, kNoMask, 0, -20, 20});
}
TEST(attention_f32) { check_attentions<float>(k); }
TEST(attention_f64) { check_attentions<double>(k); }

// With q 0 and one key the weight that the gradients use is 2^-log_sum, and dv is that.
TEST(attention_exp2) {
  constexpr size_t n = 64;
  const float zero[n] = {};
  float ones[n], log_sum[n], out[n] = {}, dq[n], dk, dv;
  for (float& x : ones) x = 1;
  double worst = 0;
  for (float x = 0; x > -130; x -= 0.000731f) {
    for (size_t i = 0; i < n; ++i) log_sum[i] = i == 17 ? -x : std::numeric_limits<float>::infinity();
    k.f32.attention_grad({n, 1, 1, 1, 0, zero, 1, ones, 1, ones, 1, nullptr, 0, 0, false, 1}, out, log_sum,
                         ones, dq, &dk, &dv);
    if (x >= -126)
      worst = std::fmax(worst, ulps<float>(dv, std::exp2(double(x))));
    else
      expect(dv <= 0x1p-126f, "2^%g is %g", double(x), double(dv));
  }
  expect(worst <= 1, "2^x is off by %g ulps", worst);
}

// Infinite and NaN scores spoil their own query, as in softmax; hidden ones spoil nothing.
TEST(attention_keeps_nan) {
  for (size_t queries : {1, 20})
    for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("1")}) {
      std::vector<float> q(queries * 2, 1), keys(300, 0.5f), values(300, 2), out(queries), log_sum(queries);
      std::vector<uint8_t> mask(300, 1);
      q[0] = bad;
      AttentionArgs<float> a{queries, 150,           2, 1,       0, q.data(), 2,     keys.data(),
                             2,       values.data(), 2, nullptr, 0, 1,        false, 1};
      k.f32.attention(a, out.data(), log_sum.data());
      expect(std::isnan(out[0]) && std::isnan(log_sum[0]), "%zu queries: %g in a query is hidden", queries,
             double(bad));
      for (size_t i = 1; i < queries; ++i) expect(std::fabs(out[i] - 2) < 1e-5, "a query spoils another");
      q[0] = 1, keys[290] = bad;
      k.f32.attention(a, out.data(), log_sum.data());
      for (size_t i = 0; i < queries; ++i) expect(std::isnan(out[i]), "%g in a key is hidden", double(bad));
      mask[145] = 0, a.mask = mask.data();
      k.f32.attention(a, out.data(), log_sum.data());
      for (size_t i = 0; i < queries; ++i)
        expect(std::fabs(out[i] - 2) < 1e-5, "a hidden key spoils a query");
    }
}

}  // namespace
}  // namespace drivetrain::test
