// AVX-512 (F, BW, VL, DQ): 16 f32 lanes, 32 vector registers, masks in registers of their own. A 12 x 2 tile
// uses 24 for sums, 2 for B; A's value is broadcast by the multiply-add itself.

struct Mask {
  __mmask16 v;
};

struct W {  // sixteen doubles
  __m512d low, high;
  static DT_INLINE W set1(double x) { return {_mm512_set1_pd(x), _mm512_set1_pd(x)}; }
};

struct F {
  using T = float;
  using Wide = W;
  static constexpr size_t kLanes = 16;
  static constexpr float kLeastPower = -104;
  static constexpr int kTileRows = 12, kTileVecs = 2, kDotRows = 4;
  static constexpr bool kMasks = true;
  __m512 v;

  static DT_INLINE F set1(float x) { return {_mm512_set1_ps(x)}; }
  static DT_INLINE F load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static DT_INLINE F load_n(const float* p, size_t n, float fill = 0);
};

struct I {
  __m512i v;
  static DT_INLINE I load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
  static DT_INLINE I set1(int32_t x) { return {_mm512_set1_epi32(x)}; }
};

struct Product {
  I low, high;
};

DT_INLINE __mmask16 first_lanes(size_t n) { return (__mmask16)((1u << n) - 1); }
DT_INLINE F F::load_n(const float* p, size_t n, float fill) {
  return {_mm512_mask_loadu_ps(_mm512_set1_ps(fill), first_lanes(n), p)};
}
DT_INLINE void store(float* p, F x) { _mm512_storeu_ps(p, x.v); }
DT_INLINE void store_n(float* p, F x, size_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), x.v); }

DT_INLINE void stream(float* p, F x) { _mm512_stream_ps(p, x.v); }
DT_INLINE void stream_end() { _mm_sfence(); }

DT_INLINE F operator+(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
DT_INLINE F operator-(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
DT_INLINE F operator*(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
DT_INLINE F operator/(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
DT_INLINE F mul_add(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
DT_INLINE F sqrt(F x) { return {_mm512_sqrt_ps(x.v)}; }
DT_INLINE F abs(F x) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), x.v)}; }
DT_INLINE F negate(F x) { return {_mm512_xor_ps(_mm512_set1_ps(-0.0f), x.v)}; }
DT_INLINE F copysign(F x, F sign) {
  return {_mm512_or_ps(abs(x).v, _mm512_and_ps(_mm512_set1_ps(-0.0f), sign.v))};
}
DT_INLINE F min(F a, F b) { return {_mm512_min_ps(a.v, b.v)}; }
DT_INLINE F max(F a, F b) { return {_mm512_max_ps(a.v, b.v)}; }
DT_INLINE Mask less(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
DT_INLINE Mask at_most(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
DT_INLINE Mask equal(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
DT_INLINE Mask is_nan(F a) { return {_mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q)}; }
DT_INLINE bool any(Mask m) { return m.v != 0; }
DT_INLINE size_t list_unset(Mask m, uint32_t first, uint32_t* to) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __mmask16 unset = (__mmask16)~m.v;
  // Into a register first: some processors take a hundred cycles to compress into memory.
  _mm512_storeu_si512(
      to, _mm512_maskz_compress_epi32(unset, _mm512_add_epi32(lanes, _mm512_set1_epi32((int)first))));
  return (size_t)__builtin_popcount(unset);
}
DT_INLINE F select(Mask m, F a, F b) { return {_mm512_mask_blend_ps(m.v, b.v, a.v)}; }
DT_INLINE float reduce_add(F x) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  const __m128 eighth = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_add_ss(eighth, _mm_movehdup_ps(eighth)));
}

DT_INLINE F product_error(F a, F b, F p) { return {_mm512_fmsub_ps(a.v, b.v, p.v)}; }
// x 2^n, for any whole n: see math-inl.h.
DT_INLINE F scale(F x, F n) { return {_mm512_scalef_ps(x.v, n.v)}; }
DT_INLINE F scale_down(F x, F n) { return scale(x, n); }

DT_INLINE W widen(F x) {
  return {_mm512_cvtps_pd(_mm512_castps512_ps256(x.v)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(x.v, 1))};
}
DT_INLINE W load_wide(const float* p) {  // conversion from memory needs no shuffle
  return {_mm512_cvtps_pd(_mm256_loadu_ps(p)), _mm512_cvtps_pd(_mm256_loadu_ps(p + 8))};
}
DT_INLINE W operator+(W a, W b) { return {_mm512_add_pd(a.low, b.low), _mm512_add_pd(a.high, b.high)}; }
DT_INLINE W mul_add(W a, W b, W c) {
  return {_mm512_fmadd_pd(a.low, b.low, c.low), _mm512_fmadd_pd(a.high, b.high, c.high)};
}
DT_INLINE double reduce_add(W x) {
  const __m512d half = _mm512_add_pd(x.low, x.high);
  const __m256d quarter = _mm256_add_pd(_mm512_castpd512_pd256(half), _mm512_extractf64x4_pd(half, 1));
  const __m128d eighth = _mm_add_pd(_mm256_castpd256_pd128(quarter), _mm256_extractf128_pd(quarter, 1));
  return _mm_cvtsd_f64(_mm_add_sd(eighth, _mm_unpackhi_pd(eighth, eighth)));
}
DT_INLINE void store(double* p, W x) {
  _mm512_storeu_pd(p, x.low);
  _mm512_storeu_pd(p + 8, x.high);
}

DT_INLINE I operator+(I a, I b) { return {_mm512_add_epi32(a.v, b.v)}; }
DT_INLINE I operator-(I a, I b) { return {_mm512_sub_epi32(a.v, b.v)}; }
DT_INLINE I operator^(I a, I b) { return {_mm512_xor_si512(a.v, b.v)}; }
DT_INLINE I operator&(I a, I b) { return {_mm512_and_si512(a.v, b.v)}; }
template <int kBits>
DT_INLINE I shift_left(I a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
DT_INLINE I shift_right(I a) {  // arithmetic
  return {_mm512_srai_epi32(a.v, kBits)};
}
DT_INLINE Product mul_wide(I a, I b) {
  const __m512i even = _mm512_mul_epu32(a.v, b.v);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), _mm512_srli_epi64(b.v, 32));
  return {{_mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32))},
          {_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd)}};
}
DT_INLINE I bits(F x) { return {_mm512_castps_si512(x.v)}; }
DT_INLINE F from_bits(I i) { return {_mm512_castsi512_ps(i.v)}; }
DT_INLINE F to_float(I i) { return {_mm512_cvtepi32_ps(i.v)}; }
DT_INLINE Mask nonzero(I i) { return {_mm512_test_epi32_mask(i.v, i.v)}; }
DT_INLINE void store(int32_t* p, I x) { _mm512_storeu_si512(p, x.v); }
DT_INLINE void store_n(int32_t* p, I x, size_t n) { _mm512_mask_storeu_epi32(p, first_lanes(n), x.v); }

DT_INLINE F lookup8(const float* table, I i) {
  return {_mm512_permutexvar_ps(i.v, _mm512_broadcast_f32x8(_mm256_loadu_ps(table)))};
}
DT_INLINE I load_u8(const uint8_t* p) { return {_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p))}; }
template <int kPlus>
DT_INLINE void store_u8(uint8_t* p, const I (&four)[4]) {
  for (int i = 0; i < 4; ++i) {
    const __m512i x = _mm512_add_epi32(four[i].v, _mm512_set1_epi32(kPlus));
    const __m512i least = kPlus == 0 ? x : _mm512_max_epi32(x, _mm512_setzero_si512());
    _mm_storeu_si128((__m128i*)(p + 16 * i), _mm512_cvtepi32_epi8(least));
  }
}
DT_INLINE I max(I a, I b) { return {_mm512_max_epi32(a.v, b.v)}; }
DT_INLINE I nearest(F x) { return {_mm512_cvtps_epi32(x.v)}; }
DT_INLINE I negate_where(I i, F x) {
  const __mmask16 negative = _mm512_cmplt_epi32_mask(_mm512_castps_si512(x.v), _mm512_setzero_si512());
  return {_mm512_mask_sub_epi32(i.v, negative, _mm512_setzero_si512(), i.v)};
}
DT_INLINE I minus_one_where(Mask m, I a) {
  return {_mm512_mask_sub_epi32(a.v, m.v, a.v, _mm512_set1_epi32(1))};
}

struct Dot2 {
  using Elem = int16_t;
  using Word = int32_t;  // two of them
  using Words = I;
  static constexpr size_t kDepth = 2;
  using Byte = int8_t;
  static constexpr bool kWidens = true, kUnrolls = true;

  static DT_INLINE Words set1(Word w) { return I::set1(w); }
  static DT_INLINE Words load(const int8_t* p) {
    return {_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)p))};
  }
  static DT_INLINE Words load(const int16_t* p) { return {_mm512_loadu_si512(p)}; }
  static DT_INLINE I dot(I acc, Words a, Words b) {  // in place: see vec_avx2.h
    asm("vpaddd %1, %0, %0" : "+v"(acc.v) : "v"(_mm512_madd_epi16(a.v, b.v)));
    return acc;
  }
};

DT_INLINE void convert_f32_to_f16(const float* x, uint16_t* out) {
  _mm256_storeu_si256((__m256i*)out, _mm512_cvtps_ph(_mm512_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT));
}
DT_INLINE void convert_f16_to_f32(const uint16_t* x, float* out) {
  _mm512_storeu_ps(out, _mm512_maskz_cvtph_ps((__mmask16)-1, _mm256_loadu_si256((const __m256i*)x)));
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
