// NEON on arm64: 4 f32 lanes, 32 vector registers. A 6 x 4 tile uses 24 for sums, 4 for B, 1 for A.

struct Mask {
  uint32x4_t v;
};

struct W {  // four doubles
  float64x2_t low, high;
  static DT_INLINE W set1(double x) { return {vdupq_n_f64(x), vdupq_n_f64(x)}; }
};

struct F {
  using T = float;
  using Wide = W;
  static constexpr size_t kLanes = 4;
  static constexpr float kLeastPower = -88;
  static constexpr int kTileRows = 6, kTileVecs = 4, kDotRows = 4;
  static constexpr bool kMasks = false;
  float32x4_t v;

  static DT_INLINE F set1(float x) { return {vdupq_n_f32(x)}; }
  static DT_INLINE F load(const float* p) { return {vld1q_f32(p)}; }
  static DT_INLINE F load_n(const float* p, size_t n, float fill = 0);
};

struct I {
  int32x4_t v;
  static DT_INLINE I load(const int32_t* p) { return {vld1q_s32(p)}; }
  static DT_INLINE I set1(int32_t x) { return {vdupq_n_s32(x)}; }
};

struct Product {
  I low, high;
};

// There are no masked loads: the tail goes through memory.
DT_INLINE F F::load_n(const float* p, size_t n, float fill) {
  float lane[kLanes] = {fill, fill, fill, fill};
  for (size_t i = 0; i < n; ++i) lane[i] = p[i];
  return load(lane);
}
DT_INLINE void store(float* p, F x) { vst1q_f32(p, x.v); }
DT_INLINE void store_n(float* p, F x, size_t n) {
  float lane[F::kLanes];
  store(lane, x);
  for (size_t i = 0; i < n; ++i) p[i] = lane[i];
}

DT_INLINE void stream(float* p, F x) { store(p, x); }  // there is no intrinsic
DT_INLINE void stream_end() {}

DT_INLINE F operator+(F a, F b) { return {vaddq_f32(a.v, b.v)}; }
DT_INLINE F operator-(F a, F b) { return {vsubq_f32(a.v, b.v)}; }
DT_INLINE F operator*(F a, F b) { return {vmulq_f32(a.v, b.v)}; }
DT_INLINE F operator/(F a, F b) { return {vdivq_f32(a.v, b.v)}; }
DT_INLINE F mul_add(F a, F b, F c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
DT_INLINE F sqrt(F x) { return {vsqrtq_f32(x.v)}; }
DT_INLINE F abs(F x) { return {vabsq_f32(x.v)}; }
DT_INLINE F negate(F x) { return {vnegq_f32(x.v)}; }
DT_INLINE F copysign(F x, F sign) { return {vbslq_f32(vdupq_n_u32(0x80000000), sign.v, x.v)}; }
DT_INLINE F min(F a, F b) { return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)}; }
DT_INLINE F max(F a, F b) { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }
DT_INLINE Mask less(F a, F b) { return {vcltq_f32(a.v, b.v)}; }
DT_INLINE Mask at_most(F a, F b) { return {vcleq_f32(a.v, b.v)}; }
DT_INLINE Mask equal(F a, F b) { return {vceqq_f32(a.v, b.v)}; }
DT_INLINE Mask is_nan(F a) { return {vmvnq_u32(vceqq_f32(a.v, a.v))}; }
DT_INLINE bool any(Mask m) { return vmaxvq_u32(m.v) != 0; }
DT_INLINE size_t list_unset(Mask m, uint32_t first, uint32_t* to) {
  uint32_t set[4];
  vst1q_u32(set, m.v);
  size_t count = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    to[count] = first + i;
    count += !set[i];
  }
  return count;
}
DT_INLINE F select(Mask m, F a, F b) { return {vbslq_f32(m.v, a.v, b.v)}; }
DT_INLINE float reduce_add(F x) { return vaddvq_f32(x.v); }  // (0 + 1) + (2 + 3)

DT_INLINE F product_error(F a, F b, F p) { return {vnegq_f32(vfmsq_f32(p.v, a.v, b.v))}; }

DT_INLINE W widen(F x) { return {vcvt_f64_f32(vget_low_f32(x.v)), vcvt_high_f64_f32(x.v)}; }
DT_INLINE W load_wide(const float* p) { return widen(F::load(p)); }
DT_INLINE W operator+(W a, W b) { return {vaddq_f64(a.low, b.low), vaddq_f64(a.high, b.high)}; }
DT_INLINE W mul_add(W a, W b, W c) {
  return {vfmaq_f64(c.low, a.low, b.low), vfmaq_f64(c.high, a.high, b.high)};
}
DT_INLINE double reduce_add(W x) { return vaddvq_f64(vaddq_f64(x.low, x.high)); }
DT_INLINE void store(double* p, W x) {
  vst1q_f64(p, x.low);
  vst1q_f64(p + 2, x.high);
}

DT_INLINE I operator+(I a, I b) { return {vaddq_s32(a.v, b.v)}; }
DT_INLINE I operator-(I a, I b) { return {vsubq_s32(a.v, b.v)}; }
DT_INLINE I operator^(I a, I b) { return {veorq_s32(a.v, b.v)}; }
DT_INLINE I operator&(I a, I b) { return {vandq_s32(a.v, b.v)}; }
template <int kBits>
DT_INLINE I shift_left(I a) {
  return {vshlq_n_s32(a.v, kBits)};
}
template <int kBits>
DT_INLINE I shift_right(I a) {  // arithmetic
  return {vshrq_n_s32(a.v, kBits)};
}
DT_INLINE Product mul_wide(I a, I b) {
  const uint32x4_t x = vreinterpretq_u32_s32(a.v), y = vreinterpretq_u32_s32(b.v);
  const int32x4_t start = vreinterpretq_s32_u64(vmull_u32(vget_low_u32(x), vget_low_u32(y)));
  const int32x4_t end = vreinterpretq_s32_u64(vmull_high_u32(x, y));
  return {{vuzp1q_s32(start, end)}, {vuzp2q_s32(start, end)}};
}
DT_INLINE I bits(F x) { return {vreinterpretq_s32_f32(x.v)}; }
DT_INLINE F from_bits(I i) { return {vreinterpretq_f32_s32(i.v)}; }
DT_INLINE F to_float(I i) { return {vcvtq_f32_s32(i.v)}; }
DT_INLINE Mask nonzero(I i) { return {vtstq_s32(i.v, i.v)}; }
DT_INLINE void store(int32_t* p, I x) { vst1q_s32(p, x.v); }
DT_INLINE void store_n(int32_t* p, I x, size_t n) {
  int32_t lane[F::kLanes];
  store(lane, x);
  for (size_t i = 0; i < n; ++i) p[i] = lane[i];
}

DT_INLINE F lookup8(const float* table, I i) {
  const uint8x16x2_t bytes = {vld1q_u8((const uint8_t*)table), vld1q_u8((const uint8_t*)(table + 4))};
  const uint32x4_t low = vandq_u32(vreinterpretq_u32_s32(i.v), vdupq_n_u32(7));
  const uint32x4_t first = vmulq_n_u32(low, 0x04040404);
  const uint32x4_t index = vaddq_u32(first, vdupq_n_u32(0x03020100));
  return {vreinterpretq_f32_u8(vqtbl2q_u8(bytes, vreinterpretq_u8_u32(index)))};
}
DT_INLINE I minus_one_where(Mask m, I a) { return {vaddq_s32(a.v, vreinterpretq_s32_u32(m.v))}; }
DT_INLINE I load_u8(const uint8_t* p) {
  uint32_t four;
  memcpy(&four, p, sizeof four);
  const uint16x8_t words = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
  return {vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(words)))};
}
template <int kPlus>
DT_INLINE void store_u8(uint8_t* p, const I (&four)[4]) {
  const int16x8_t plus = vdupq_n_s16(kPlus);
  const int16x8_t first = vaddq_s16(vcombine_s16(vmovn_s32(four[0].v), vmovn_s32(four[1].v)), plus);
  const int16x8_t second = vaddq_s16(vcombine_s16(vmovn_s32(four[2].v), vmovn_s32(four[3].v)), plus);
  vst1q_u8(p, vcombine_u8(vqmovun_s16(first), vqmovun_s16(second)));
}
DT_INLINE I max(I a, I b) { return {vmaxq_s32(a.v, b.v)}; }
DT_INLINE I nearest(F x) { return {vcvtnq_s32_f32(x.v)}; }
DT_INLINE I negate_where(I i, F x) {
  const uint32x4_t negative = vcltzq_s32(vreinterpretq_s32_f32(x.v));
  return {vbslq_s32(negative, vnegq_s32(i.v), i.v)};
}

// The products of two s8 fit in s16 (at most 2^14), and pairs of those are added into s32: nothing saturates.
struct Dot2 {
  using Elem = int8_t;
  using Word = int16_t;  // two of them
  using Words = int8x8_t;
  static constexpr size_t kDepth = 2;
  using Byte = int8_t;
  static constexpr bool kWidens = false, kUnrolls = false;

  static DT_INLINE Words set1(Word w) { return vreinterpret_s8_s16(vdup_n_s16(w)); }
  static DT_INLINE Words load(const int8_t* p) { return vld1_s8(p); }
  static DT_INLINE I dot(I acc, Words a, Words b) { return {vpadalq_s16(acc.v, vmull_s8(a, b))}; }
};

DT_INLINE void convert_f32_to_f16(const float* x, uint16_t* out) {
  vst1_u16(out, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x))));
}
DT_INLINE void convert_f16_to_f32(const uint16_t* x, float* out) {
  vst1q_f32(out, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x))));
}

DT_INLINE void transpose4(const float* src, ptrdiff_t src_row, float* dst, ptrdiff_t dst_row) {
  const float32x4x2_t top = vtrnq_f32(vld1q_f32(src), vld1q_f32(src + src_row));
  const float32x4x2_t end = vtrnq_f32(vld1q_f32(src + 2 * src_row), vld1q_f32(src + 3 * src_row));
  vst1q_f32(dst, vcombine_f32(vget_low_f32(top.val[0]), vget_low_f32(end.val[0])));
  vst1q_f32(dst + dst_row, vcombine_f32(vget_low_f32(top.val[1]), vget_low_f32(end.val[1])));
  vst1q_f32(dst + 2 * dst_row, vcombine_f32(vget_high_f32(top.val[0]), vget_high_f32(end.val[0])));
  vst1q_f32(dst + 3 * dst_row, vcombine_f32(vget_high_f32(top.val[1]), vget_high_f32(end.val[1])));
}
