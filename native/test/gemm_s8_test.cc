#include "../kernels/reference.h"
#include "../runtime/thread_pool.h"
#include "harness.h"

namespace drivetrain::test {
namespace {

enum Zeros { kNoZeros, kOneZero, kManyZeros };

struct CaseS8 {
  size_t m, n, k;
  Int8Source a_type = Int8Source::kS8;
  bool b_unsigned = false, b_transposed = false;
  Zeros a_zeros = kNoZeros, b_zeros = kNoZeros;
  bool one_scale = false, bias = false;
  Activation activation = Activation::kNone;
  int a_fill = 256, b_fill = 256, a_zero_fill = 256;  // in place of random values
  bool a_clear = false;                               // most of A is 0, in runs
};

size_t extent(size_t count, size_t lead, size_t width) {
  return count && width ? (count - 1) * lead + width : 0;
}

Buffer<uint8_t> bytes(Random& random, size_t n, int fill) {
  Buffer<uint8_t> x(n);
  for (size_t i = 0; i < n; ++i) x[i] = uint8_t(fill < 256 ? fill : int(random.bits() >> 11));
  return x;
}

// Everything that C may be, under 1, 2 and 4 threads; A, B and C with gaps between their rows.
void check_s8(const Kernels& k, const CaseS8& c) {
  Random random;
  const bool quantizes = c.a_type == Int8Source::kF32;
  const size_t a_lead = c.k + 3, b_lead = (c.b_transposed ? c.k : c.n) + 2, c_lead = c.n + 1;
  Buffer<float> a_floats = random.array<float>(quantizes ? extent(c.m, a_lead, c.k) : 0, -9, 7);
  Buffer<uint8_t> a_bytes = bytes(random, quantizes ? 0 : extent(c.m, a_lead, c.k), c.a_fill);
  for (size_t i = 0; c.a_clear && i < a_floats.size() + a_bytes.size(); ++i)
    if (i / 7 % 4 > 0) quantizes ? void(a_floats[i] = 0) : void(a_bytes[i] = 0);
  const Buffer<uint8_t> b =
      bytes(random, c.b_transposed ? extent(c.n, b_lead, c.k) : extent(c.k, b_lead, c.n), c.b_fill);
  const ptrdiff_t b_row = c.b_transposed ? 1 : ptrdiff_t(b_lead),
                  b_col = c.b_transposed ? ptrdiff_t(b_lead) : 1;
  const Buffer<uint8_t> a_zero = bytes(random, c.a_zeros == kManyZeros ? c.m : 1, c.a_zero_fill);
  const Buffer<uint8_t> b_zero = bytes(random, c.b_zeros == kManyZeros ? c.n : 1, 256);
  const Buffer<float> a_scale = random.array<float>(c.one_scale ? 1 : c.m, 0.001, 0.1);
  const Buffer<float> b_scale = random.array<float>(c.one_scale ? 1 : c.n, -0.001, 0.1);
  const Buffer<float> bias = random.array<float>(c.n, -30, 30);
  Buffer<int8_t> packed(k.packed_s8_bytes(c.k, c.n));
  k.pack_s8(b.data(), c.b_unsigned, b_row, b_col, c.k, c.n, packed.data());

  GemmS8Args g{};
  g.m = c.m, g.n = c.n, g.k = c.k;
  g.a_type = c.a_type, g.a_row = ptrdiff_t(a_lead);
  g.a = quantizes ? static_cast<const void*>(a_floats.data()) : a_bytes.data();
  if (!quantizes) g.a_scale = {a_scale.data(), !c.one_scale};
  if (c.a_zeros && !quantizes) g.a_zero = {a_zero.data(), c.a_zeros == kManyZeros};
  g.b_packed = packed.data(), g.b_unsigned = c.b_unsigned;
  g.b_scale = {b_scale.data(), !c.one_scale};
  if (c.b_zeros) g.b_zero = {b_zero.data(), c.b_zeros == kManyZeros};
  g.bias = c.bias ? bias.data() : nullptr;
  g.activation = c.activation;
  g.c_row = ptrdiff_t(c_lead), g.c_scale = 0.37f;

  Buffer<int8_t> quantized(quantizes ? a_floats.size() : 0);
  std::vector<float> scales(c.m);
  for (size_t i = 0; i < c.m; ++i)
    scales[i] =
        quantizes ? reference::quantize_row(a_floats.data() + i * a_lead, quantized.data() + i * a_lead, c.k)
                  : a_scale[c.one_scale ? 0 : i];
  const void* a_read = quantizes ? static_cast<const void*>(quantized.data()) : a_bytes.data();
  std::vector<int32_t> sums(c.m * c.n);
  for (size_t i = 0; i < c.m; ++i)
    for (size_t j = 0; j < c.n; ++j)
      sums[i * c.n + j] = reference::sum_s8(g, a_read, b.data(), b_row, b_col, i, j);

  const size_t size = extent(c.m, c_lead, c.n);
  const auto complain = [&](const char* what, size_t i, size_t j, double got, double want) {
    return expect(false, "m %zu n %zu k %zu, A %d B %d: %s[%zu,%zu] = %.9g, want %.9g", c.m, c.n, c.k,
                  int(c.a_type), c.b_unsigned, what, i, j, got, want);
  };
  for (int threads : {1, 2, 4}) {
    set_threads(threads);
    Buffer<int32_t> s32(size, -77);
    Buffer<float> f32(size, -77);
    Buffer<int8_t> s8(size, -77);
    Buffer<uint8_t> u8(size, 77);
    g.c_type = Int8Result::kS32, g.c = s32.data();
    k.gemm_s8(g);
    g.c_type = Int8Result::kF32, g.c = f32.data();
    k.gemm_s8(g);
    g.c_type = Int8Result::kS8, g.c = s8.data(), g.c_zero = -5;
    k.gemm_s8(g);
    g.c_type = Int8Result::kU8, g.c = u8.data(), g.c_zero = 131;
    k.gemm_s8(g);
    for (size_t i = 0; i < c.m; ++i)
      for (size_t j = 0; j < c.n; ++j) {
        const size_t at = i * c_lead + j;
        const int32_t sum = sums[i * c.n + j];
        const float y = reference::scaled_s8(g, scales[i], sum, j);
        const int as_s8 = reference::requantized(y, g.c_scale, -5, false);
        const int as_u8 = reference::requantized(y, g.c_scale, 131, true);
        if (s32[at] != sum && !complain("s32", i, j, s32[at], sum)) return;
        if (f32[at] != y && !complain("f32", i, j, f32[at], y)) return;
        if (s8[at] != as_s8 && !complain("s8", i, j, s8[at], as_s8)) return;
        if (u8[at] != as_u8 && !complain("u8", i, j, u8[at], as_u8)) return;
      }
    for (size_t at = c.n; at < size; at += c_lead)
      expect(s32[at] == -77 && f32[at] == -77 && s8[at] == -77 && u8[at] == 77, "wrote between rows");
  }
  set_threads(2);
}

TEST(gemm_s8) {
  const size_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65};
  uint32_t turn = 0;
  const auto next = [&](uint32_t choices) { return (turn = turn * 1664525 + 1013904223) / 65536 % choices; };
  for (size_t m : sizes)
    for (size_t n : sizes)
      for (size_t depth : sizes) {
        CaseS8 c{m, n, depth};
        c.a_type = Int8Source(next(3)), c.b_unsigned = next(3) == 0, c.b_transposed = next(2);
        c.a_zeros = Zeros(next(3)), c.b_zeros = Zeros(next(3));
        c.one_scale = next(2), c.bias = next(2), c.activation = Activation(next(2));
        check_s8(k, c);
      }
}

// Into threads, into several blocks of rows, of columns, of both; panels of B widened and not.
TEST(gemm_s8_large) {
  for (Int8Source type : {Int8Source::kS8, Int8Source::kU8, Int8Source::kF32}) {
    check_s8(k, {1, 900, 1000, type});
    check_s8(k, {2, 700, 999, type});
    check_s8(k, {5, 1100, 402, type, false, true, kNoZeros, kManyZeros});
    check_s8(k, {60, 300, 129, type, true, false, kManyZeros, kOneZero, false, true});
    check_s8(k, {100, 140, 257, type, false, true, kOneZero, kNoZeros, true, true, Activation::kRelu});
    check_s8(k, {800, 65, 40, type, false, false, kManyZeros});
    // Sums of several blocks of k; panels high and low, and a last one of few rows.
    check_s8(k, {30, 70, 4300, type});
    check_s8(k, {12, 70, 1100, type});
    check_s8(k, {35, 40, 2100, type, false, true, kManyZeros, kManyZeros});
    check_s8(k, {70, 40, 2100, type});
    check_s8(k, {300, 70, 1100, type});
  }
}

// Of one row the words that are 0 are left out.
TEST(gemm_s8_zeros) {
  for (Int8Source type : {Int8Source::kS8, Int8Source::kU8, Int8Source::kF32})
    for (size_t n : {1, 10, 64, 128, 200, 256, 2000})
      for (size_t depth : {1, 3, 28, 100, 783, 784, 1030}) {
        CaseS8 c{1, n, depth, type};
        c.a_clear = true;
        check_s8(k, c);
        c.b_unsigned = true, c.bias = true, c.activation = Activation::kRelu;
        check_s8(k, c);
        c.b_unsigned = false, c.b_zeros = kManyZeros;
        check_s8(k, c);
        c.a_zeros = kOneZero;  // where nothing is left out
        check_s8(k, c);
        c.a_zeros = kManyZeros, c.a_zero_fill = 0;  // of which the one is 0
        check_s8(k, c);
      }
}

TEST(gemm_s8_does_not_saturate) {
  for (int a : {127, -128, 255})
    for (int b : {127, -128, 255}) {
      CaseS8 c{13, 70, 1001};
      c.a_type = a == 255 ? Int8Source::kU8 : Int8Source::kS8, c.b_unsigned = b == 255;
      c.a_fill = a, c.b_fill = b;
      check_s8(k, c);
    }
}

// The deepest sums that s32 holds: 131071 * 2^14, 65793 * 255 * 128, 33025 * 255 * 255.
TEST(gemm_s8_is_exact_to_its_bound) {
  CaseS8 c{3, 2, 131071};
  c.a_fill = c.b_fill = -128;
  check_s8(k, c);
  c.k = 65793, c.a_type = Int8Source::kU8, c.a_fill = 255;
  check_s8(k, c);
  c.k = 33025, c.b_unsigned = true, c.b_fill = 255;
  check_s8(k, c);
}

TEST(gemm_s8_spoiled_rows) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float a[] = {1, -2, std::nanf(""), 1, infinity, 1, 0, 0};
  const int8_t b[] = {3, 4};
  const float one = 1;
  Buffer<int8_t> packed(k.packed_s8_bytes(2, 1));
  k.pack_s8(b, false, 1, 2, 2, 1, packed.data());
  float c[4];
  int8_t q[4];
  GemmS8Args g{};
  g.m = 4, g.n = 1, g.k = 2, g.a_type = Int8Source::kF32, g.a = a, g.a_row = 2;
  g.b_packed = packed.data(), g.b_scale = {&one, 0};
  g.c_type = Int8Result::kF32, g.c = c, g.c_row = 1, g.c_scale = 1;
  k.gemm_s8(g);
  expect(c[0] < 0 && std::isnan(c[1]) && std::isnan(c[2]) && c[3] == 0, "%g %g %g %g", c[0], c[1], c[2],
         c[3]);
  g.c_type = Int8Result::kS8, g.c = q, g.c_zero = 9;
  k.gemm_s8(g);
  expect(q[0] == 4 && q[1] == 9 && q[2] == 9 && q[3] == 9, "%d %d %d %d", q[0], q[1], q[2], q[3]);
}

}  // namespace
}  // namespace drivetrain::test
