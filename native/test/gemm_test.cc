#include "../kernels/reference.h"
#include "../runtime/thread_pool.h"
#include <tuple>
#include "harness.h"

namespace drivetrain::test {
namespace {

struct Case {
  size_t m, n, k;
  bool a_transposed, b_transposed;
  double alpha, beta;
  bool bias;
  Activation activation;
};

// Runs one product with odd row strides under 1, 2 and 4 threads and checks every `sample`th value.
template <class T>
void check_gemm(const Kernels& k, const Case& c, size_t sample = 1) {
  using R = Wider<T>;
  Random random;
  const size_t a_lead = (c.a_transposed ? c.m : c.k) + 3, b_lead = (c.b_transposed ? c.k : c.n) + 1;
  const size_t a_count = c.a_transposed ? c.k : c.m, b_count = c.b_transposed ? c.n : c.k;
  const auto extent = [](size_t count, size_t lead, size_t width) {
    return count && width ? (count - 1) * lead + width : 0;
  };
  const Buffer<T> a = random.array<T>(extent(a_count, a_lead, a_lead - 3));
  const Buffer<T> b = random.array<T>(extent(b_count, b_lead, b_lead - 1)), bias = random.array<T>(c.n);
  const size_t c_lead = c.n + 2;
  // What beta = 0 must not read is NaN.
  Buffer<T> old = random.array<T>(extent(c.m, c_lead, c.n));
  if (c.beta == 0)
    for (size_t i = 0; i < old.size(); ++i) old[i] = std::numeric_limits<T>::quiet_NaN();
  Buffer<T> first(0);
  GemmArgs<T> g{
      c.m,         c.n, c.k,     a.data(),          0,          0,         b.data(),
      0,           0,   nullptr, ptrdiff_t(c_lead), T(c.alpha), T(c.beta), c.bias ? bias.data() : nullptr,
      c.activation};
  g.a_row = c.a_transposed ? 1 : ptrdiff_t(a_lead), g.a_col = c.a_transposed ? ptrdiff_t(a_lead) : 1;
  g.b_row = c.b_transposed ? 1 : ptrdiff_t(b_lead), g.b_col = c.b_transposed ? ptrdiff_t(b_lead) : 1;
  Buffer<T> reference_bits(old);
  for (int threads : {1, 2, 4}) {
    set_threads(threads);
    Buffer<T> out(old);
    g.c = out.data();
    floats<T>(k).gemm(g);
    if (threads == 1) {
      std::memcpy(reference_bits.data(), out.data(), out.size() * sizeof(T));
      for (size_t i = 0; i < c.m; ++i)
        for (size_t j = 0; j < c.n; ++j) {
          const size_t at = i * c_lead + j;
          if (sample > 1 && (i * 7919 + j) % sample) continue;
          const auto want = reference::gemm<R>(g, i, j, old[at]);
          // k products and sums, then alpha, beta, bias.
          const R bound = R(c.k + 4) * kUnit<T> * 2 * want.magnitude;
          if (!expect(std::fabs(out[at] - want.value) <= bound,
                      "m %zu n %zu k %zu ta %d tb %d: C[%zu,%zu] = %g, want %g", c.m, c.n, c.k,
                      c.a_transposed, c.b_transposed, i, j, double(out[at]), double(want.value)))
            return;
        }
      for (size_t i = 0; i + 1 < c.m; ++i)  // between the rows nothing is written
        for (size_t j = c.n; j < c_lead && c.n; ++j)
          expect(!std::memcmp(&out[i * c_lead + j], &old[i * c_lead + j], sizeof(T)), "wrote between rows");
    } else {
      expect(out.same_bits(reference_bits), "m %zu n %zu k %zu: %d threads change bits", c.m, c.n, c.k,
             threads);
    }
  }
  set_threads(2);
}

template <class T>
void check_gemms(const Kernels& k) {
  const size_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65};
  int turn = 0;
  for (size_t m : sizes)
    for (size_t n : sizes)
      for (size_t depth : sizes) {
        const double alpha = turn % 3 == 0 ? 0.75 : 1, beta = turn % 5 == 0 ? -0.5 : 0;
        check_gemm<T>(k, {m, n, depth, bool(turn & 1), bool(turn & 2), alpha, beta, turn % 7 < 3,
                          turn % 4 < 2 ? Activation::kNone : Activation::kRelu});
        ++turn;
      }
  // Over the block sizes (256 deep, 4096 wide) and into threads, every way to store A and B, few rows, few
  // columns.
  const size_t large[][3] = {{100, 130, 300}, {257, 300, 513}, {1, 1000, 900}, {4, 700, 333}, {13, 900, 77},
                             {900, 2, 400},   {2000, 40, 50},  {800, 70, 60},  {5, 4200, 40}, {900, 1, 600}};
  for (const auto& [m, n, depth] : large)
    for (int form = 0; form < 4; ++form)
      check_gemm<T>(k,
                    {m, n, depth, bool(form & 1), bool(form & 2), 1.25, form == 1 ? 0.5 : 0, form > 0,
                     form == 2 ? Activation::kRelu : Activation::kNone},
                    37);
}
TEST(gemm_f32) { check_gemms<float>(k); }
TEST(gemm_f64) { check_gemms<double>(k); }

TEST(gemm_keeps_nan) {
  const float a[] = {std::nanf(""), 1}, b[] = {1, 1};
  float c[] = {0, 0};
  k.f32.gemm({2, 1, 1, a, 1, 1, b, 1, 1, c, 1, 1, 0, nullptr, Activation::kRelu});
  expect(std::isnan(c[0]) && c[1] == 1, "ReLU hides a NaN: %g", c[0]);
}

void check_gemm_s8(const Kernels& k, size_t m, size_t n, size_t depth, int fill, bool b_transposed, bool bias,
                   Activation activation) {
  Random random;
  const size_t a_lead = depth + 3;
  Buffer<int8_t> a(m && depth ? (m - 1) * a_lead + depth : 0), b(depth * n);
  for (size_t i = 0; i < a.size(); ++i) a[i] = int8_t(fill ? fill : int(random.bits()));
  for (size_t i = 0; i < b.size(); ++i) b[i] = int8_t(fill ? fill : int(random.bits()));
  const Buffer<float> a_scale = random.array<float>(m, 0.001, 0.1),
                      b_scale = random.array<float>(n, 0.001, 0.1);
  const Buffer<float> shift = random.array<float>(n);
  const ptrdiff_t b_row = b_transposed ? 1 : ptrdiff_t(n), b_col = b_transposed ? ptrdiff_t(depth) : 1;
  Buffer<int8_t> packed(k.packed_s8_bytes(depth, n));
  k.pack_s8(b.data(), b_row, b_col, depth, n, packed.data());
  const size_t c_lead = n + 1;
  Buffer<float> first(m && n ? (m - 1) * c_lead + n : 0, -77);
  for (int threads : {1, 2, 4}) {
    set_threads(threads);
    Buffer<float> c(first.size(), -77), c_only(first.size(), -77);
    Buffer<int32_t> sums(m * n), sums_only(m * n);
    GemmS8Args g{m,
                 n,
                 depth,
                 a.data(),
                 ptrdiff_t(a_lead),
                 packed.data(),
                 a_scale.data(),
                 b_scale.data(),
                 bias ? shift.data() : nullptr,
                 activation,
                 c.data(),
                 ptrdiff_t(c_lead),
                 sums.data()};
    k.gemm_s8(g);
    g.sums = nullptr, g.c = c_only.data();
    k.gemm_s8(g);
    g.c = nullptr, g.sums = sums_only.data();
    k.gemm_s8(g);
    expect(c.same_bits(c_only) && sums.same_bits(sums_only), "outputs depend on each other");
    for (size_t i = 0; i < m; ++i)
      for (size_t j = 0; j < n; ++j) {
        const int32_t want =
            reference::dot_s8(a.data() + i * a_lead, b.data() + ptrdiff_t(j) * b_col, b_row, depth);
        expect(sums[i * n + j] == want, "m %zu n %zu k %zu: sum %d, want %d", m, n, depth, sums[i * n + j],
               want);
        float y = a_scale[i] * b_scale[j] * float(want);
        if (bias) y = y + shift[j];
        if (activation == Activation::kRelu) y = y < 0 ? 0 : y;
        expect(c[i * c_lead + j] == y, "m %zu n %zu k %zu: %.9g, want %.9g", m, n, depth, c[i * c_lead + j],
               y);
      }
  }
  set_threads(2);
}
TEST(gemm_s8) {
  const size_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65};
  int turn = 0;
  for (size_t m : sizes)
    for (size_t n : sizes)
      for (size_t depth : sizes) {
        check_gemm_s8(k, m, n, depth, 0, turn & 1, turn % 3 < 2,
                      turn & 4 ? Activation::kRelu : Activation::kNone);
        ++turn;
      }
  for (const auto& [m, n, depth] :
       {std::tuple<size_t, size_t, size_t>{1, 900, 1000}, {60, 300, 129}, {100, 40, 257}})
    check_gemm_s8(k, m, n, depth, 0, false, true, Activation::kNone);
}
TEST(gemm_s8_does_not_saturate) {
  for (int fill : {127, -128}) check_gemm_s8(k, 9, 70, 1001, fill, false, true, Activation::kNone);
  check_gemm_s8(k, 1, 1, 131071, -128, false, false, Activation::kNone);
}

}  // namespace
}  // namespace drivetrain::test
