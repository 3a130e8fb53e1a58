// The scalar target: one lane of plain C++, no intrinsics. It runs on every processor.

using F = One<float>;
using Mask = bool;

DT_INLINE void stream(float* p, F x) { *p = x.v; }
DT_INLINE void stream_end() {}

DT_INLINE F product_error(F a, F b, F p) { return {(float)((double)a.v * b.v - p.v)}; }

// The s32 vector. Its arithmetic wraps, as in the other targets, so it is done on unsigned values.
struct I {
  uint32_t v;
  static DT_INLINE I load(const int32_t* p) { return {(uint32_t)*p}; }
  static DT_INLINE I set1(int32_t x) { return {(uint32_t)x}; }
};

struct Product {
  I low, high;
};

DT_INLINE I operator+(I a, I b) { return {a.v + b.v}; }
DT_INLINE I operator-(I a, I b) { return {a.v - b.v}; }
DT_INLINE I operator^(I a, I b) { return {a.v ^ b.v}; }
DT_INLINE I operator&(I a, I b) { return {a.v & b.v}; }
template <int kBits>
DT_INLINE I shift_left(I a) {
  return {a.v << kBits};
}
template <int kBits>
DT_INLINE I shift_right(I a) {  // arithmetic
  return {(uint32_t)((int32_t)a.v >> kBits)};
}
DT_INLINE Product mul_wide(I a, I b) {
  const uint64_t product = (uint64_t)a.v * b.v;
  return {{(uint32_t)product}, {(uint32_t)(product >> 32)}};
}
DT_INLINE I bits(F x) {
  I i;
  memcpy(&i, &x, sizeof i);
  return i;
}
DT_INLINE F from_bits(I i) {
  F x;
  memcpy(&x, &i, sizeof x);
  return x;
}
DT_INLINE F to_float(I i) { return {(float)(int32_t)i.v}; }
DT_INLINE bool nonzero(I i) { return i.v != 0; }
DT_INLINE void store(int32_t* p, I x) { *p = (int32_t)x.v; }
DT_INLINE void store_n(int32_t* p, I x, size_t n) {
  if (n) *p = (int32_t)x.v;
}

DT_INLINE F lookup8(const float* table, I i) { return {table[i.v & 7]}; }
DT_INLINE I minus_one_where(Mask m, I a) { return {a.v - m}; }
DT_INLINE I load_u8(const uint8_t* p) { return {*p}; }
template <int kPlus>
DT_INLINE void store_u8(uint8_t* p, const I (&four)[4]) {
  for (int i = 0; i < 4; ++i) {
    const int32_t x = (int32_t)four[i].v + kPlus;
    p[i] = (uint8_t)(x < 0 ? 0 : x);
  }
}
DT_INLINE I max(I a, I b) { return (int32_t)a.v > (int32_t)b.v ? a : b; }
DT_INLINE I nearest(F x) {  // 1.5 * 2^23 leaves no bits for fractions
  const F rounded = {x.v + 12582912.0f};
  return {bits(rounded).v - 0x4b400000u};
}
DT_INLINE I negate_where(I i, F x) { return (int32_t)bits(x).v < 0 ? I{0u - i.v} : i; }

struct Dot2 {
  using Elem = int16_t;
  struct Word {
    int16_t first, second;
  };
  using Words = Word;
  static constexpr size_t kDepth = 2;
  using Byte = int8_t;
  static constexpr bool kWidens = false, kUnrolls = false;

  static DT_INLINE Words set1(Word w) { return w; }
  static DT_INLINE Words load(const int8_t* p) { return {p[0], p[1]}; }
  static DT_INLINE I dot(I acc, Words a, Words b) {
    return {acc.v + (uint32_t)(a.first * b.first + a.second * b.second)};
  }
};

// Round to nearest even on the bits. Values that f16 holds as denormals are rounded by adding 0.5: one unit
// in the last place of 0.5 is 2^-24, f16's smallest denormal.
DT_INLINE uint16_t f16_from_f32(float x) {
  uint32_t u, half;
  memcpy(&u, &x, sizeof u);
  const uint32_t sign = u >> 16 & 0x8000;
  u &= 0x7fffffff;
  if (u > 0x7f800000)
    return (uint16_t)(sign | 0x7e00 | (u >> 13 & 0x3ff));  // NaN: quiet, top of the payload kept
  if (u >= 0x477ff000) return (uint16_t)(sign | 0x7c00);   // from 65520 on, half way to 65536
  if (u >= 0x38800000) return (uint16_t)(sign | ((u - 0x38000000 + 0xfff + (u >> 13 & 1)) >> 13));
  float small;
  memcpy(&small, &u, sizeof small);
  small += 0.5f;
  memcpy(&half, &small, sizeof half);
  return (uint16_t)(sign | (half - 0x3f000000));
}
// Normal numbers only need a new exponent; denormals are integers times 2^-24.
DT_INLINE float f32_from_f16(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = h & 0x7fff;
  uint32_t u = magnitude >= 0x7c00 ? (magnitude << 13) + 0x70000000 : (magnitude << 13) + 0x38000000;
  if (magnitude > 0x7c00) u |= 0x400000;
  if (magnitude < 0x400) {
    const float small = (float)magnitude * 0x1p-24f;
    memcpy(&u, &small, sizeof u);
  }
  u |= sign;
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}
DT_INLINE void convert_f32_to_f16(const float* x, uint16_t* out) { *out = f16_from_f32(*x); }
DT_INLINE void convert_f16_to_f32(const uint16_t* x, float* out) { *out = f32_from_f16(*x); }
