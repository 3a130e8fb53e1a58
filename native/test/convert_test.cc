// f16, bf16 and int8 quantization: all exact, so all compared bit for bit.
#include "../kernels/reference.h"
#include "../runtime/denormals.h"
#include <tuple>
#include "harness.h"

namespace drivetrain::test {
namespace {

TEST(all_65536_halves_widen_exactly) {
  Buffer<uint16_t> h(65536);
  Buffer<float> x(65536), y(65536), flushed(65536);
  for (size_t i = 0; i < h.size(); ++i) h[i] = uint16_t(i);
  k.f16_to_f32(h.data(), x.data(), h.size());
  k.bf16_to_f32(h.data(), y.data(), h.size());
  {
    FlushDenormals flush;
    k.f16_to_f32(h.data(), flushed.data(), h.size());
  }
  expect(x.same_bits(flushed), "f16_to_f32 flushes denormals");
  for (size_t i = 0; i < h.size(); ++i) {
    const double want = reference::f16_value(h[i]);
    expect(std::isnan(want) ? std::isnan(x[i]) : x[i] == want && std::signbit(x[i]) == std::signbit(want),
           "f16 %04zx is %g, want %g", i, x[i], want);
    const uint32_t u = uint32_t(i) << 16;
    expect(!std::memcmp(&u, &y[i], 4), "bf16 %04zx is %g", i, y[i]);
  }
  Buffer<uint16_t> back(65536);
  k.f32_to_f16(x.data(), back.data(), x.size());
  for (size_t i = 0; i < h.size(); ++i)
    expect(back[i] == h[i] || (back[i] | 0x200) == (h[i] | 0x200), "f16 %04zx comes back as %04x", i,
           back[i]);
}

// Every 997th float, each half way point between halves, and its neighbours.
TEST(narrowing_rounds_to_nearest_even) {
  std::vector<float> list;
  const auto add = [&](uint32_t u) {
    float x;
    std::memcpy(&x, &u, sizeof x);
    list.push_back(x);
  };
  for (uint64_t u = 0; u < uint64_t{1} << 32; u += 99991) add(uint32_t(u));
  for (uint32_t h = 0; h < 65536; h += 7)
    for (uint32_t near : {0x7fffu, 0x8000u, 0x8001u}) add((h << 16) + near);
  for (uint32_t h = 0; h < 0x7c00; ++h) {
    const float low = float(reference::f16_value(uint16_t(h)));
    const double high = h == 0x7bff ? 65536 : reference::f16_value(uint16_t(h + 1));
    const float middle = float((low + high) / 2);
    for (float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)})
      list.push_back(x), list.push_back(-x);
  }
  Buffer<float> x(list.size()), widened(list.size());
  std::memcpy(x.data(), list.data(), list.size() * sizeof(float));
  Buffer<uint16_t> half(x.size()), brain(x.size()), scalar(x.size());
  k.f32_to_f16(x.data(), half.data(), x.size());
  k.f32_to_bf16(x.data(), brain.data(), x.size());
  k.bf16_to_f32(brain.data(), widened.data(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = reference::round_to_f16(x[i]), got = reference::f16_value(half[i]);
    expect(std::isnan(want) ? std::isnan(got) : got == want && std::signbit(got) == std::signbit(want),
           "f16 of %.9g is %.9g, want %.9g", x[i], got, want);
    const double want_brain = reference::round_to_bf16(x[i]);
    expect(std::isnan(want_brain) ? std::isnan(widened[i]) : widened[i] == want_brain, "bf16 of %.9g is %.9g",
           x[i], widened[i]);
  }
  scalar_kernels()->f32_to_f16(x.data(), scalar.data(), x.size());
  expect(half.same_bits(scalar), "f32_to_f16 differs from the scalar target");
  for (size_t n : kSizes) {
    Buffer<float> few(n), wide(n);
    std::memcpy(few.data(), x.data(), n * sizeof(float));
    Buffer<uint16_t> a(n), b(n);
    k.f32_to_f16(few.data(), a.data(), n);
    k.f32_to_bf16(few.data(), b.data(), n);
    expect(!std::memcmp(a.data(), half.data(), 2 * n) && !std::memcmp(b.data(), brain.data(), 2 * n), "n %zu",
           n);
    k.f16_to_f32(a.data(), wide.data(), n);
    k.bf16_to_f32(b.data(), wide.data(), n);
    expect(!std::memcmp(wide.data(), widened.data(), 4 * n), "bf16_to_f32, n %zu", n);
  }
}

void check_quantize(const Kernels& k, const Buffer<float>& x, const char* what) {
  const size_t n = x.size();
  Buffer<int8_t> q(n), want(n);
  Buffer<float> back(n);
  const float scale = k.quantize_row(x.data(), q.data(), n);
  const float want_scale = reference::quantize_row(x.data(), want.data(), n);
  expect(scale == want_scale || (std::isnan(scale) && std::isnan(want_scale)), "%s: scale %g, want %g", what,
         scale, want_scale);
  expect(q.same_bits(want), "%s: q differs, n %zu", what, n);
  k.dequantize(q.data(), scale, back.data(), n);
  for (size_t i = 0; i < n; ++i)
    expect(back[i] == float(q[i]) * scale || std::isnan(scale), "%s: dequantize", what);
  for (size_t i = 0; i < n; ++i) expect(q[i] >= -127, "%s: %d", what, q[i]);
}
TEST(quantize) {
  Random random;
  const float infinity = std::numeric_limits<float>::infinity();
  for (size_t n : kSizes) {
    check_quantize(k, random.array<float>(n), "random");
    check_quantize(k, random.array<float>(n, -1e38, 3e38), "huge");
    check_quantize(k, random.array<float>(n, -1e-36, 1e-36), "small");
    check_quantize(k, random.array<float>(n, -1e-40, 1e-40), "denormal");
    check_quantize(k, Buffer<float>(n, 0), "zero");
    check_quantize(k, Buffer<float>(n, -3), "constant");
    Buffer<float> x = random.array<float>(n);
    for (size_t i = 0; i < n; ++i) x[i] = float(int(i % 255) - 127) / 2;  // ties, with scale 1/2
    check_quantize(k, x, "ties");
    if (n == 0) continue;
    x[random.bits() % n] = infinity;
    check_quantize(k, x, "infinity");
    x[random.bits() % n] = std::nanf("");
    check_quantize(k, x, "NaN");
  }
}

TEST(quantize_linear) {
  Random random;
  for (size_t n : kSizes) {
    Buffer<float> x = random.array<float>(n, -90, 90);
    for (size_t i = 0; i < n; i += 3) x[i] = std::rint(x[i]) * 0.25f;  // ties at the scale 0.5
    for (size_t i = 7; i < n; i += 31) x[i] = i % 2 ? std::nanf("") : std::numeric_limits<float>::infinity();
    for (const auto& [scale, zero, is_unsigned] : {std::tuple<float, int, bool>{0.5f, 0, false},
                                                   {0.5f, 255, true},
                                                   {0.3f, -128, false},
                                                   {1e-30f, 9, true}}) {
      Buffer<uint8_t> q(n);
      k.quantize_linear(x.data(), scale, zero, is_unsigned, q.data(), n);
      for (size_t i = 0; i < n; ++i) {
        const int want = reference::requantized(x[i], scale, zero, is_unsigned);
        expect((is_unsigned ? int(q[i]) : int(int8_t(q[i]))) == want, "%g / %g + %d: %d, want %d",
               double(x[i]), double(scale), zero, q[i], want);
      }
    }
  }
}

}  // namespace
}  // namespace drivetrain::test
