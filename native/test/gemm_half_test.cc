// Products of f16 and bf16 matrices, against the plain product of the widened values.
#include "../kernels/reference.h"
#include "../runtime/thread_pool.h"
#include "harness.h"

namespace drivetrain::test {
namespace {

// Values of one element type, and the same as f32.
struct Values {
  Buffer<uint16_t> halves;
  Buffer<float> floats;
  Element type;

  // With `zeros` three values of four are 0, in runs.
  Values(const Kernels& k, Random& random, Element element, size_t n, bool zeros = false)
      : halves(n), floats(random.array<float>(n)), type(element) {
    for (size_t i = 0; zeros && i < n; ++i)
      if (i / 5 % 4 > 0) floats[i] = 0;
    if (type == Element::kF16) k.f32_to_f16(floats.data(), halves.data(), n);
    if (type == Element::kF16) k.f16_to_f32(halves.data(), floats.data(), n);
    if (type == Element::kBF16) k.f32_to_bf16(floats.data(), halves.data(), n);
    if (type == Element::kBF16) k.bf16_to_f32(halves.data(), floats.data(), n);
  }
  const void* data() const {
    return type == Element::kF32 ? static_cast<const void*>(floats.data()) : halves.data();
  }
};

// The largest error of rounding `value`, which may be a denormal, once.
double rounding(Element type, double value) {
  if (type == Element::kF32) return 0;
  return type == Element::kF16 ? std::fabs(value) * 0x1p-11 + 0x1p-25 : std::fabs(value) * 0x1p-8;
}

struct Case {
  size_t m, n, k;
  Element a, b, c;
  bool a_transposed, b_transposed;
  size_t outer = 1, inner = 1;  // a batch of outer x inner, whose inner products share B
  bool bias = false, residual = false;
  Activation activation = Activation::kNone;
  float beta = 0;
  bool a_zeros = false, b_zeros = false;
};

void check_half(const Kernels& k, const Case& c, size_t sample = 1) {
  Random random;
  const size_t count = c.outer * c.inner, a_size = c.m * c.k, b_size = c.k * c.n, c_lead = c.n + 1;
  const size_t c_size = c.m * c_lead;
  const Values a(k, random, c.a, count * a_size, c.a_zeros), b(k, random, c.b, c.outer * b_size, c.b_zeros);
  const Values bias(k, random, c.b, c.n);
  const Buffer<float> residual = random.array<float>(count * c_size);
  HalfGemmArgs g{};
  GemmArgs<float>& s = g.shape;
  s.m = c.m, s.n = c.n, s.k = c.k, s.alpha = 0.75, s.beta = c.beta, s.activation = c.activation;
  s.a_row = c.a_transposed ? 1 : ptrdiff_t(c.k), s.a_col = c.a_transposed ? ptrdiff_t(c.m) : 1;
  s.b_row = c.b_transposed ? 1 : ptrdiff_t(c.n), s.b_col = c.b_transposed ? ptrdiff_t(c.k) : 1;
  s.c_row = ptrdiff_t(c_lead);
  if (c.residual) s.residual = residual.data(), s.residual_row = ptrdiff_t(c_lead);
  g.a = a.data(), g.b = b.data(), g.bias = c.bias ? bias.data() : nullptr;
  g.a_type = a.type, g.b_type = b.type, g.bias_type = bias.type, g.c_type = c.c;
  GemmBatch batch{};
  if (count > 1) {
    batch.rank = 2;
    batch.count[0] = c.outer, batch.count[1] = c.inner;
    const auto steps = [&](ptrdiff_t(&to)[GemmBatch::kMaxRank], size_t size, bool shared) {
      to[0] = ptrdiff_t(shared ? size : size * c.inner), to[1] = shared ? 0 : ptrdiff_t(size);
    };
    steps(batch.a_step, a_size, false), steps(batch.b_step, b_size, true);
    steps(batch.c_step, c_size, false), steps(batch.residual_step, c_size, false);
  }
  // What lies between rows stays.
  constexpr uint16_t kUntouched = 0x7777;
  const size_t values = count * c_size, words = c.c == Element::kF32 ? 2 * values : values;
  const Values before(k, random, c.c, values);
  Buffer<uint16_t> old(words, kUntouched);
  for (size_t row = 0; c.beta != 0 && row < count * c.m; ++row)
    std::memcpy(old.data() + row * c_lead * (words / values),
                static_cast<const char*>(before.data()) + row * c_lead * (words / values) * 2,
                c.n * (words / values) * 2);
  Buffer<uint16_t> first(old);
  for (int threads : {1, 2, 4}) {
    set_threads(threads);
    Buffer<uint16_t> out(old);
    g.c = out.data();
    k.gemm_half(g, batch);
    if (threads > 1) {
      expect(out.same_bits(first), "m %zu n %zu k %zu: %d threads change bits", c.m, c.n, c.k, threads);
      continue;
    }
    std::memcpy(first.data(), out.data(), words * sizeof(uint16_t));
    Buffer<float> got(values);
    if (c.c == Element::kF32) std::memcpy(got.data(), out.data(), values * sizeof(float));
    if (c.c == Element::kF16) k.f16_to_f32(out.data(), got.data(), values);
    if (c.c == Element::kBF16) k.bf16_to_f32(out.data(), got.data(), values);
    Buffer<uint16_t> untouched(2, kUntouched);
    for (size_t product = 0; product < count; ++product) {
      GemmArgs<float> want = s;
      want.a = a.floats.data() + product * a_size, want.b = b.floats.data() + product / c.inner * b_size;
      want.bias = c.bias ? bias.floats.data() : nullptr;
      if (c.residual) want.residual += product * c_size;
      for (size_t i = 0; i < c.m; ++i) {
        const size_t row = product * c_size + i * c_lead, gap = (row + c.n) * (words / values);
        expect(!std::memcmp(&out[gap], untouched.data(), words / values * 2), "wrote between rows");
        for (size_t j = 0; j < c.n; ++j) {
          if (sample > 1 && (i * 7919 + j) % sample) continue;
          const auto exact = reference::gemm<double>(want, i, j, before.floats[row + j]);
          // As in gemm_test.cc, and the rounding of the result.
          const double error = (double(c.k) + 5) * kUnit<float> / (1 - double(c.k + 5) * kUnit<float>);
          double bound = error * exact.magnitude;
          if (c.activation == Activation::kGelu) bound = 1.13 * bound + 8 * kUnit<float> * exact.magnitude;
          bound += rounding(c.c, std::fabs(exact.value) + bound);
          if (!expect(std::fabs(got[row + j] - exact.value) <= bound,
                      "%d x %d -> %d, m %zu n %zu k %zu ta %d tb %d: C[%zu,%zu] = %.9g, want %.9g", int(c.a),
                      int(c.b), int(c.c), c.m, c.n, c.k, c.a_transposed, c.b_transposed, i, j, got[row + j],
                      exact.value))
            return;
        }
      }
    }
  }
  set_threads(2);
}

constexpr Element kTypes[][3] = {
    {Element::kF16, Element::kF16, Element::kF16}, {Element::kBF16, Element::kBF16, Element::kBF16},
    {Element::kF32, Element::kF16, Element::kF32}, {Element::kF32, Element::kBF16, Element::kF32},
    {Element::kF32, Element::kF32, Element::kF16}, {Element::kF32, Element::kF32, Element::kBF16}};

TEST(gemm_half) {
  int turn = 0;
  for (size_t m : {0, 1, 3, 16, 17, 33})
    for (size_t n : {0, 1, 2, 15, 16, 33, 70})
      for (size_t depth : {0, 1, 7, 16, 40})
        for (const auto& [a, b, c] : kTypes) {
          check_half(k, {m, n, depth, a, b, c, bool(turn & 1), bool(turn & 2), 1 + size_t(turn % 7 == 0),
                         1 + size_t(turn % 5 == 0) * 2, turn % 3 > 0, c == Element::kF32 && turn % 4 > 1,
                         Activation(turn / 3 % 3),
                         turn % 4 == 0   ? -0.5f
                         : turn % 4 == 1 ? 1.f
                                         : 0});
          ++turn;
        }
}

// Over the sizes of blocks and chunks.
TEST(gemm_half_large) {
  const size_t large[][3] = {
      {1, 1000, 1100}, {7, 300, 2100}, {250, 300, 270}, {490, 20, 520}, {20, 700, 100}};
  for (const auto& [m, n, depth] : large)
    for (int form = 0; form < 4; ++form)
      for (const auto& [a, b, c] : kTypes)
        check_half(k,
                   {m, n, depth, a, b, c, bool(form & 1), bool(form & 2), 1, 1, true, c == Element::kF32,
                    Activation::kNone, form % 2 ? 0.5f : 0},
                   37);
}

// Where steps of k are left out.
TEST(gemm_half_zeros) {
  for (const auto& [a, b, c] : kTypes) {
    check_half(k, {.m = 40, .n = 300, .k = 400, .a = a, .b = b, .c = c, .a_zeros = true}, 37);
    check_half(
        k, {.m = 256, .n = 300, .k = 128, .a = a, .b = b, .c = c, .a_transposed = true, .b_zeros = true}, 37);
  }
}

// Rows and columns that both have gaps, or are one element over and over.
TEST(gemm_half_of_any_strides) {
  constexpr size_t m = 5, n = 70, depth = 90;
  Random random;
  const Values a(k, random, Element::kBF16, m * depth * 6), b(k, random, Element::kBF16, depth * n * 2);
  for (ptrdiff_t b_col : {0, 2}) {
    Buffer<float> out(m * n);
    HalfGemmArgs g{};
    g.shape = {m, n, depth, nullptr, 3 * ptrdiff_t(depth), 2, nullptr, 2 * ptrdiff_t(n), b_col, nullptr,
               n, 1, 0,     nullptr, Activation::kNone};
    g.a = a.data(), g.b = b.data(), g.c = out.data();
    g.a_type = g.b_type = Element::kBF16;
    k.gemm_half(g, {});
    for (size_t i = 0; i < m; ++i)
      for (size_t j = 0; j < n; ++j) {
        double sum = 0, magnitude = 0;
        for (size_t p = 0; p < depth; ++p) {
          const double term =
              double(a.floats[i * 3 * depth + 2 * p]) * b.floats[p * 2 * n + j * size_t(b_col)];
          sum += term, magnitude += std::fabs(term);
        }
        expect(std::fabs(out[i * n + j] - sum) <= (depth + 2) * kUnit<float> * magnitude,
               "step %td: C[%zu,%zu] = %.9g, want %.9g", b_col, i, j, out[i * n + j], sum);
      }
  }
}

}  // namespace
}  // namespace drivetrain::test
