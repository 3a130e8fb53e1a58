// AVX2 with FMA and F16C: 8 f32 lanes, 16 vector registers. A 6 x 2 tile uses 12 for sums, 2 for B, 1 for A.

struct Mask {
  __m256 v;
};

struct W {  // eight doubles
  __m256d low, high;
  static DT_INLINE W set1(double x) { return {_mm256_set1_pd(x), _mm256_set1_pd(x)}; }
};

struct F {
  using T = float;
  using Wide = W;
  static constexpr size_t kLanes = 8;
  static constexpr float kLeastPower = -88;
  static constexpr int kTileRows = 6, kTileVecs = 2, kDotRows = 2;
  static constexpr bool kMasks = true;
  __m256 v;

  static DT_INLINE F set1(float x) { return {_mm256_set1_ps(x)}; }
  static DT_INLINE F load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static DT_INLINE F load_n(const float* p, size_t n);
  static DT_INLINE F load_n(const float* p, size_t n, float fill);
};

struct I {
  __m256i v;
  static DT_INLINE I load(const int32_t* p) { return {_mm256_loadu_si256((const __m256i*)p)}; }
  static DT_INLINE I set1(int32_t x) { return {_mm256_set1_epi32(x)}; }
};

struct Product {
  I low, high;
};

// All ones in the first n lanes.
DT_INLINE __m256i first_lanes(size_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
DT_INLINE F F::load_n(const float* p, size_t n) { return {_mm256_maskload_ps(p, first_lanes(n))}; }
DT_INLINE F F::load_n(const float* p, size_t n, float fill) {
  const __m256i mask = first_lanes(n);
  return {_mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask))};
}
DT_INLINE void store(float* p, F x) { _mm256_storeu_ps(p, x.v); }
DT_INLINE void store_n(float* p, F x, size_t n) { _mm256_maskstore_ps(p, first_lanes(n), x.v); }

DT_INLINE void stream(float* p, F x) { _mm256_stream_ps(p, x.v); }
DT_INLINE void stream_end() { _mm_sfence(); }

DT_INLINE F operator+(F a, F b) { return {_mm256_add_ps(a.v, b.v)}; }
DT_INLINE F operator-(F a, F b) { return {_mm256_sub_ps(a.v, b.v)}; }
DT_INLINE F operator*(F a, F b) { return {_mm256_mul_ps(a.v, b.v)}; }
DT_INLINE F operator/(F a, F b) { return {_mm256_div_ps(a.v, b.v)}; }
DT_INLINE F mul_add(F a, F b, F c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
DT_INLINE F sqrt(F x) { return {_mm256_sqrt_ps(x.v)}; }
DT_INLINE F abs(F x) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.v)}; }
DT_INLINE F negate(F x) { return {_mm256_xor_ps(_mm256_set1_ps(-0.0f), x.v)}; }
DT_INLINE F copysign(F x, F sign) {
  return {_mm256_or_ps(abs(x).v, _mm256_and_ps(_mm256_set1_ps(-0.0f), sign.v))};
}
DT_INLINE F min(F a, F b) { return {_mm256_min_ps(a.v, b.v)}; }
DT_INLINE F max(F a, F b) { return {_mm256_max_ps(a.v, b.v)}; }
DT_INLINE Mask less(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
DT_INLINE Mask at_most(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
DT_INLINE Mask equal(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
DT_INLINE Mask is_nan(F a) { return {_mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q)}; }
DT_INLINE bool any(Mask m) { return _mm256_movemask_ps(m.v) != 0; }
// For each set of lanes their numbers, a byte each, in order.
struct LanesOf {
  uint64_t set[256] = {};
  constexpr LanesOf() {
    for (uint64_t s = 0; s < 256; ++s)
      for (uint64_t lane = 0, at = 0; lane < 8; ++lane)
        if (s >> lane & 1) set[s] |= lane << at, at += 8;
  }
};
constexpr LanesOf kLanesOf;
DT_INLINE size_t list_unset(Mask m, uint32_t first, uint32_t* to) {
  const unsigned unset = (unsigned)_mm256_movemask_ps(m.v) ^ 0xff;
  const __m256i lanes = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)kLanesOf.set[unset]));
  _mm256_storeu_si256((__m256i*)to, _mm256_add_epi32(lanes, _mm256_set1_epi32((int)first)));
  return (size_t)__builtin_popcount(unset);
}
DT_INLINE F select(Mask m, F a, F b) { return {_mm256_blendv_ps(b.v, a.v, m.v)}; }
DT_INLINE float reduce_add(F x) {
  const __m128 half = _mm_add_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  const __m128 quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}

DT_INLINE F product_error(F a, F b, F p) { return {_mm256_fmsub_ps(a.v, b.v, p.v)}; }

DT_INLINE W widen(F x) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(x.v)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.v, 1))};
}
DT_INLINE W load_wide(const float* p) {  // conversion from memory needs no shuffle
  return {_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))};
}
DT_INLINE W operator+(W a, W b) { return {_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)}; }
DT_INLINE W mul_add(W a, W b, W c) {
  return {_mm256_fmadd_pd(a.low, b.low, c.low), _mm256_fmadd_pd(a.high, b.high, c.high)};
}
DT_INLINE double reduce_add(W x) {
  const __m256d half = _mm256_add_pd(x.low, x.high);
  const __m128d quarter = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
  return _mm_cvtsd_f64(_mm_add_sd(quarter, _mm_unpackhi_pd(quarter, quarter)));
}
DT_INLINE void store(double* p, W x) {
  _mm256_storeu_pd(p, x.low);
  _mm256_storeu_pd(p + 4, x.high);
}

DT_INLINE I operator+(I a, I b) { return {_mm256_add_epi32(a.v, b.v)}; }
DT_INLINE I operator-(I a, I b) { return {_mm256_sub_epi32(a.v, b.v)}; }
DT_INLINE I operator^(I a, I b) { return {_mm256_xor_si256(a.v, b.v)}; }
DT_INLINE I operator&(I a, I b) { return {_mm256_and_si256(a.v, b.v)}; }
template <int kBits>
DT_INLINE I shift_left(I a) {
  return {_mm256_slli_epi32(a.v, kBits)};
}
template <int kBits>
DT_INLINE I shift_right(I a) {  // arithmetic
  return {_mm256_srai_epi32(a.v, kBits)};
}
DT_INLINE Product mul_wide(I a, I b) {
  const __m256i even = _mm256_mul_epu32(a.v, b.v);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a.v, 32), _mm256_srli_epi64(b.v, 32));
  return {{_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa)},
          {_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa)}};
}
DT_INLINE I bits(F x) { return {_mm256_castps_si256(x.v)}; }
DT_INLINE F from_bits(I i) { return {_mm256_castsi256_ps(i.v)}; }
DT_INLINE F to_float(I i) { return {_mm256_cvtepi32_ps(i.v)}; }
DT_INLINE Mask nonzero(I i) {
  return {_mm256_castsi256_ps(
      _mm256_xor_si256(_mm256_cmpeq_epi32(i.v, _mm256_setzero_si256()), _mm256_set1_epi32(-1)))};
}
DT_INLINE void store(int32_t* p, I x) { _mm256_storeu_si256((__m256i*)p, x.v); }
DT_INLINE void store_n(int32_t* p, I x, size_t n) { _mm256_maskstore_epi32(p, first_lanes(n), x.v); }

DT_INLINE F lookup8(const float* table, I i) {
  return {_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), i.v)};
}
DT_INLINE I load_u8(const uint8_t* p) { return {_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p))}; }
template <int kPlus>
DT_INLINE void store_u8(uint8_t* p, const I (&four)[4]) {  // packs within halves, and orders at the end
  const __m256i plus = _mm256_set1_epi16(kPlus);
  const __m256i first = _mm256_add_epi16(_mm256_packs_epi32(four[0].v, four[1].v), plus);
  const __m256i second = _mm256_add_epi16(_mm256_packs_epi32(four[2].v, four[3].v), plus);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256((__m256i*)p, _mm256_permutevar8x32_epi32(_mm256_packus_epi16(first, second), order));
}
DT_INLINE I max(I a, I b) { return {_mm256_max_epi32(a.v, b.v)}; }
DT_INLINE I nearest(F x) { return {_mm256_cvtps_epi32(x.v)}; }
DT_INLINE I negate_where(I i, F x) { return {_mm256_sign_epi32(i.v, _mm256_castps_si256(x.v))}; }
DT_INLINE I minus_one_where(Mask m, I a) { return {_mm256_add_epi32(a.v, _mm256_castps_si256(m.v))}; }

struct Dot2 {
  using Elem = int16_t;
  using Word = int32_t;  // two of them
  using Words = I;
  static constexpr size_t kDepth = 2;
  using Byte = int8_t;
  static constexpr bool kWidens = true, kUnrolls = true;

  static DT_INLINE Words set1(Word w) { return I::set1(w); }
  static DT_INLINE Words load(const int8_t* p) {
    return {_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)p))};
  }
  static DT_INLINE Words load(const int16_t* p) { return {_mm256_loadu_si256((const __m256i*)p)}; }
  // Adds in place: from the intrinsic GCC 12 makes new registers for the sums, and spills the tile.
  static DT_INLINE I dot(I acc, Words a, Words b) {
    asm("vpaddd %1, %0, %0" : "+x"(acc.v) : "x"(_mm256_madd_epi16(a.v, b.v)));
    return acc;
  }
};

DT_INLINE void convert_f32_to_f16(const float* x, uint16_t* out) {
  _mm_storeu_si128((__m128i*)out, _mm256_cvtps_ph(_mm256_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT));
}
DT_INLINE void convert_f16_to_f32(const uint16_t* x, float* out) {
  _mm256_storeu_ps(out, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)x)));
}

DT_INLINE void transpose4(const float* src, ptrdiff_t src_row, float* dst, ptrdiff_t dst_row) {
  __m128 r0 = _mm_loadu_ps(src), r1 = _mm_loadu_ps(src + src_row);
  __m128 r2 = _mm_loadu_ps(src + 2 * src_row), r3 = _mm_loadu_ps(src + 3 * src_row);
  _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
  _mm_storeu_ps(dst, r0);
  _mm_storeu_ps(dst + dst_row, r1);
  _mm_storeu_ps(dst + 2 * dst_row, r2);
  _mm_storeu_ps(dst + 3 * dst_row, r3);
}
