#include "../kernels/reference.h"
#include "../runtime/thread_pool.h"
#include "gemm_matrix.h"
#include "harness.h"

namespace drivetrain::test {
namespace {

struct Case {
  size_t m, n, k;
  bool a_transposed, b_transposed;
  double alpha = 1, beta = 0;
  bool bias = false;
  Activation activation = Activation::kNone;
  bool residual = false, packed = false;
  size_t gap = 2;  // between the rows of C and of the residual
  bool a_zeros = false, b_zeros = false;
};

// How far y * Phi(y) and max(0, y) may be off where y is off by `error`: their slopes are at most 1.13, and
// GELU has an error of its own of a few units in the last place.
template <class T, class R>
R activation_error(Activation activation, R error, R value) {
  return activation == Activation::kGelu ? R(1.13) * error + 8 * kUnit<T> * std::fabs(value) : error;
}

// Runs one product under 1, 2 and 4 threads and checks every `sample`th value.
template <class T>
void check_gemm(const Kernels& kernels, const Case& c, size_t sample = 1) {
  using R = Wider<T>;
  const FloatKernels<T>& k = floats<T>(kernels);
  Random random;
  Matrix<T> a(random, c.m, c.k, c.a_transposed, 3), b(random, c.k, c.n, c.b_transposed, 1);
  if (c.a_zeros) a.clear(random, c.m, c.k, 6, 1);
  if (c.b_zeros) b.clear(random, c.k, c.n, 1, 10);
  const Matrix<T> residual(random, c.m, c.n, false, c.gap);
  const Buffer<T> bias = random.array<T>(c.n);
  Matrix<T> old(random, c.m, c.n, false, c.gap);
  // What must not be read is NaN.
  if (c.beta == 0)
    for (size_t i = 0; i < old.data.size(); ++i) old.data[i] = std::numeric_limits<T>::quiet_NaN();
  GemmArgs<T> g{
      c.m,         c.n,   c.k,     a.data.data(), a.row,      a.col,     b.data.data(),
      b.row,       b.col, nullptr, old.row,       T(c.alpha), T(c.beta), c.bias ? bias.data() : nullptr,
      c.activation};
  if (c.residual) g.residual = residual.data.data(), g.residual_row = residual.row;
  Buffer<T> packed(c.packed ? k.packed_b_bytes(c.k, c.n) / sizeof(T) : 0);
  if (c.packed) k.pack_b(g.b, g.b_row, g.b_col, c.k, c.n, packed.data());
  Buffer<T> first(old.data);
  for (int threads : {1, 2, 4}) {
    set_threads(threads);
    Buffer<T> out(old.data);
    g.c = out.data();
    GemmArgs<T> run = g;
    if (c.packed) use_packed(run, packed);
    k.gemm(run);
    if (threads > 1) {
      expect(out.same_bits(first), "m %zu n %zu k %zu: %d threads change bits", c.m, c.n, c.k, threads);
      continue;
    }
    std::memcpy(first.data(), out.data(), out.size() * sizeof(T));
    for (size_t i = 0; i < c.m; ++i)
      for (size_t j = 0; j < c.n; ++j) {
        const size_t at = i * old.lead + j;
        if (sample > 1 && (i * 7919 + j) % sample) continue;
        const auto want = reference::gemm<R>(g, i, j, old.data[at]);
        // gamma(k) of the sum, and a rounding each for alpha, beta, bias and residual: all relative to the
        // sum of magnitudes.
        const R steps = R(c.k + 5) * kUnit<T>, error = steps / (1 - steps) * want.magnitude;
        const R bound = activation_error<T>(c.activation, error, want.magnitude);
        if (!expect(std::fabs(out[at] - want.value) <= bound,
                    "m %zu n %zu k %zu ta %d tb %d packed %d: C[%zu,%zu] = %.9g, want %.9g", c.m, c.n, c.k,
                    c.a_transposed, c.b_transposed, c.packed, i, j, double(out[at]), double(want.value)))
          return;
      }
    for (size_t i = 0; i + 1 < c.m; ++i)  // between the rows nothing is written
      for (size_t j = c.n; j < old.lead && c.n; ++j)
        expect(!std::memcmp(&out[i * old.lead + j], &old.data[i * old.lead + j], sizeof(T)),
               "wrote between rows");
  }
  set_threads(2);
}

// Every combination of the sizes, and with them in turn everything else that a product may ask for.
template <class T>
void check_sizes(const Kernels& k, std::initializer_list<size_t> sizes) {
  int turn = 0;
  for (size_t m : sizes)
    for (size_t n : sizes)
      for (size_t depth : sizes) {
        const double alpha = turn % 3 == 0 ? 0.75 : 1, beta = turn % 5 == 0 ? -0.5 : turn % 5 == 1 ? 1 : 0;
        check_gemm<T>(k, {m, n, depth, bool(turn & 1), bool(turn & 2), alpha, beta, turn % 7 < 3,
                          Activation(turn / 4 % 3), turn % 11 < 4, turn % 13 < 4});
        ++turn;
      }
}

template <class T>
void check_large(const Kernels& k) {
  // Around the sizes of blocks (256 deep, 144 rows, 1024 columns), chunks and panels, every way to store A
  // and B, few rows, few columns.
  const size_t large[][3] = {{100, 130, 300},  {257, 300, 513}, {1, 1000, 900},   {4, 700, 333},
                             {13, 900, 77},    {900, 2, 400},   {2000, 40, 50},   {800, 70, 60},
                             {5, 4200, 40},    {900, 1, 600},   {145, 1025, 257}, {144, 1024, 256},
                             {143, 1023, 255}, {300, 1, 300},   {64, 512, 512}};
  for (const auto& [m, n, depth] : large)
    for (int form = 0; form < 8; ++form)
      check_gemm<T>(k,
                    {m, n, depth, bool(form & 1), bool(form & 2), 1.25, form % 4 == 1 ? 0.5 : 0, form % 4 > 0,
                     form == 2   ? Activation::kRelu
                     : form == 3 ? Activation::kGelu
                                 : Activation::kNone,
                     form % 4 > 1, form > 3},
                    37);
}
// Rows and columns of wider matrices, into vectors without gaps: a column may be computed as a row.
template <class T>
void check_vectors(const Kernels& k) {
  for (size_t length : {1, 2, 5, 40, 700})
    for (size_t depth : {1, 3, 70, 300})
      for (int form = 0; form < 16; ++form) {
        Case c{length, 1, depth, bool(form & 1), bool(form & 2), 1, form & 4 ? 0.5 : 0};
        c.residual = form & 8, c.gap = 0;
        check_gemm<T>(k, c);
        std::swap(c.m, c.n);
        check_gemm<T>(k, c);
      }
}
TEST(gemm_vectors) {
  check_vectors<float>(k);
  check_vectors<double>(k);
}

TEST(gemm_f32) { check_sizes<float>(k, {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65}); }
TEST(gemm_f64) { check_sizes<double>(k, {0, 1, 2, 3, 4, 5, 9, 17, 33}); }
TEST(gemm_f32_large) { check_large<float>(k); }
TEST(gemm_f64_large) { check_large<double>(k); }

// Where A or B has many zeros, steps of k are left out.
TEST(gemm_zeros) {
  for (const auto& [m, n, depth] : kZeroShapes)
    for (int form = 0; form < 16; ++form) {
      // Not so large that GELU gives denormals, which threads of the pool flush and this one does not.
      const auto activation = Activation(form % 3);
      const double alpha = activation == Activation::kGelu ? 0.05 : 1.25;
      Case c{m, n, depth, bool(form & 1), bool(form & 2), alpha, form % 5 == 1 ? 0.5 : 0, form % 3 > 0};
      c.activation = activation, c.residual = form % 7 > 3, c.packed = form & 4, c.a_zeros = true;
      check_gemm<float>(k, c, form & 8 ? 5 : 37);
      if (m == 1) check_gemm<double>(k, c, 37);
      // The gradient of a weight: A is transposed, and nothing comes after the sum.
      check_gemm<float>(k,
                        {.m = n,
                         .n = m + size_t(form) * 9,
                         .k = depth,
                         .a_transposed = true,
                         .b_transposed = false,
                         .alpha = 0.5,
                         .gap = size_t(form),
                         .b_zeros = true},
                        37);
    }
}

TEST(gemm_every_size_to_70) {
  for (size_t size = 0; size <= 70; ++size) {
    const bool ta = size & 1, tb = size & 2;
    for (bool packed : {false, true}) {
      check_gemm<float>(
          k, {.m = size, .n = 19, .k = 21, .a_transposed = ta, .b_transposed = tb, .packed = packed});
      check_gemm<float>(
          k, {.m = 19, .n = size, .k = 21, .a_transposed = ta, .b_transposed = tb, .packed = packed});
      check_gemm<float>(
          k, {.m = 19, .n = 21, .k = size, .a_transposed = ta, .b_transposed = tb, .packed = packed});
    }
  }
}

TEST(gemm_keeps_nan) {
  const float a[] = {std::nanf(""), 1}, b[] = {1, 1};
  for (Activation activation : {Activation::kRelu, Activation::kGelu}) {
    float c[] = {0, 0};
    k.f32.gemm({2, 1, 1, a, 1, 1, b, 1, 1, c, 1, 1, 0, nullptr, activation});
    expect(std::isnan(c[0]) && c[1] > 0.8f, "activation %d hides a NaN: %g", int(activation), c[0]);
  }
}

// GELU within the product has the bits of GELU after it.
TEST(gemm_gelu_is_the_gelu_kernel) {
  constexpr size_t m = 13, n = 45, depth = 20;
  Random random;
  const Buffer<float> a = random.array<float>(m * depth), b = random.array<float>(depth * n);
  Buffer<float> plain(m * n), fused(m * n), after(m * n);
  GemmArgs<float> g{m, n, depth,   a.data(),         depth, 1, b.data(), n, 1, plain.data(), n,
                    1, 0, nullptr, Activation::kNone};
  k.f32.gemm(g);
  g.c = fused.data(), g.activation = Activation::kGelu;
  k.f32.gemm(g);
  k.f32.unary[kGelu](plain.data(), after.data(), m * n);
  expect(fused.same_bits(after), "GELU differs");
}

// A batch of counts[0] x counts[1] products: each has the bits of the product alone, whatever is shared.
template <class T>
void check_batched(const Kernels& kernels, size_t m, size_t n, size_t depth, const size_t (&counts)[2],
                   bool share_a, bool share_b, bool packed, bool b_transposed) {
  const FloatKernels<T>& k = floats<T>(kernels);
  Random random;
  const size_t count = counts[0] * counts[1];
  const Buffer<T> a = random.array<T>((share_a ? counts[0] : count) * m * depth);
  const Buffer<T> b = random.array<T>((share_b || packed ? 1 : count) * depth * n), bias = random.array<T>(n);
  const Buffer<T> residual = random.array<T>(count * m * n);
  Buffer<T> alone(count * m * n), packed_b(packed ? k.packed_b_bytes(depth, n) / sizeof(T) : 0);
  GemmArgs<T> g{m,
                n,
                depth,
                a.data(),
                ptrdiff_t(depth),
                1,
                b.data(),
                b_transposed ? 1 : ptrdiff_t(n),
                b_transposed ? ptrdiff_t(depth) : 1,
                alone.data(),
                ptrdiff_t(n),
                T(0.5),
                0,
                bias.data(),
                Activation::kRelu};
  g.residual = residual.data(), g.residual_row = ptrdiff_t(n);
  if (packed) {
    k.pack_b(g.b, g.b_row, g.b_col, depth, n, packed_b.data());
    use_packed(g, packed_b);
  }
  GemmBatch batch{};
  batch.rank = 2;
  const auto steps = [&](ptrdiff_t(&to)[GemmBatch::kMaxRank], size_t size, bool outer, bool inner) {
    to[0] = outer ? ptrdiff_t(size * (inner ? counts[1] : 1)) : 0, to[1] = inner ? ptrdiff_t(size) : 0;
  };
  batch.count[0] = counts[0], batch.count[1] = counts[1];
  steps(batch.a_step, m * depth, true, !share_a);
  steps(batch.b_step, depth * n, !share_b && !packed, !share_b && !packed);
  steps(batch.c_step, m * n, true, true);
  steps(batch.residual_step, m * n, true, true);
  set_threads(1);
  for (size_t i = 0; i < count; ++i) {
    GemmArgs<T> one = g;
    const size_t outer = i / counts[1], inner = i % counts[1];
    const auto move = [&](const ptrdiff_t(&step)[GemmBatch::kMaxRank]) {
      return ptrdiff_t(outer) * step[0] + ptrdiff_t(inner) * step[1];
    };
    one.a += move(batch.a_step), one.c += move(batch.c_step), one.residual += move(batch.residual_step);
    if (!packed) one.b += move(batch.b_step);
    k.gemm(one);
  }
  for (int threads : {1, 2, 4}) {
    set_threads(threads);
    Buffer<T> out(count * m * n, std::numeric_limits<T>::quiet_NaN());
    g.c = out.data();
    k.gemm_batched(g, batch);
    expect(out.same_bits(alone), "%zu of %zux%zux%zu, shared A %d B %d, packed %d, %d threads differ", count,
           m, n, depth, share_a, share_b, packed, threads);
  }
  set_threads(2);
}
TEST(gemm_batched) {
  const size_t shapes[][3] = {{1, 1, 1},    {8, 8, 8},  {5, 7, 3},  {32, 32, 32},
                              {33, 20, 64}, {1, 40, 9}, {9, 1, 40}, {4, 4, 0}};
  for (const auto& [m, n, depth] : shapes)
    for (int form = 0; form < 16; ++form) {
      check_batched<float>(k, m, n, depth, {3, 5}, form & 1, form & 2, form & 4, form & 8);
      check_batched<double>(k, m, n, depth, {2, 3}, form & 1, form & 2, form & 4, form & 8);
    }
  check_batched<float>(k, 8, 8, 8, {40, 64}, false, false, false, false);
  check_batched<float>(k, 170, 170, 170, {1, 3}, false, true, false, true);
  check_batched<float>(k, 8, 8, 8, {4, 0}, false, false, false, false);
}

}  // namespace
}  // namespace drivetrain::test
