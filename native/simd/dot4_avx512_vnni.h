// AVX512-VNNI, beside vec_avx512.h: four products of u8 and s8 added into each of 16 s32 lanes; it wraps, and
// does not saturate.
struct Dot4 {
  using Elem = uint8_t;
  using Word = int32_t;  // four of them
  using Words = I;
  static constexpr size_t kDepth = 4;
  using Byte = uint8_t;
  static constexpr bool kWidens = false, kUnrolls = true;

  static DT_INLINE Words set1(Word w) { return I::set1(w); }
  static DT_INLINE Words load(const int8_t* p) { return {_mm512_loadu_si512(p)}; }
  static DT_INLINE I dot(I acc, Words a, Words b) {  // in place: see vec_avx2.h
    asm("vpdpbusd %2, %1, %0" : "+v"(acc.v) : "v"(a.v), "v"(b.v));
    return acc;
  }
};
