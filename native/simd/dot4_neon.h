// NEON's dot product, beside vec_neon.h: four products of s8 added into each of 4 s32 lanes.
struct Dot4 {
  using Elem = int8_t;
  using Word = int32_t;  // four of them
  using Words = int8x16_t;
  static constexpr size_t kDepth = 4;
  using Byte = int8_t;
  static constexpr bool kWidens = false, kUnrolls = false;

  static DT_INLINE Words set1(Word w) { return vreinterpretq_s8_s32(vdupq_n_s32(w)); }
  static DT_INLINE Words load(const int8_t* p) { return vld1q_s8(p); }
  static DT_INLINE I dot(I acc, Words a, Words b) { return {vdotq_s32(acc.v, b, a)}; }
};
