// AVX-VNNI, beside vec_avx2.h: four products of u8 and s8 added into each of 8 s32 lanes; it wraps, and does
// not saturate.
struct Dot4 {
  using Elem = uint8_t;
  using Word = int32_t;  // four of them
  using Words = I;
  static constexpr size_t kDepth = 4;
  using Byte = uint8_t;
  static constexpr bool kWidens = false, kUnrolls = true;

  static DT_INLINE Words set1(Word w) { return I::set1(w); }
  static DT_INLINE Words load(const int8_t* p) { return {_mm256_loadu_si256((const __m256i*)p)}; }
  static DT_INLINE I dot(I acc, Words a, Words b) {  // in place: see vec_avx2.h
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc.v) : "x"(a.v), "x"(b.v));
    return acc;
  }
};
