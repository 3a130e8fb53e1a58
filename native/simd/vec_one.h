// One<T>: the vector layer with a single lane, in plain C++. One<float> is the whole of the scalar target,
// and D = One<double> runs the f64 kernels of every target (correct, not tuned, the same bits everywhere).
//
// The layer, for a float vector V (lane type V::T, V::kLanes lanes):
//   load, store, set1
//   load_n, store_n          n < kLanes values, never a byte beyond; load_n fills the other lanes
//   + - * /                  exactly rounded
//   mul_add(a, b, c)         a * b + c; fused where the instruction set has it, else two roundings
//   sqrt, abs, negate, copysign
//   min(a, b)                a < b ? a : b, so a NaN in either gives b, and equal zeros give b; max likewise
//   less, at_most, equal, is_nan, any, select(mask, a, b)   a where the mask is set, else b
//   list_unset(mask, first, to)   writes first + i for each lane i that is not set, in order, and returns how
//                            many; to has room for kLanes
//   reduce_add(v)            a fixed order of addition
//   transpose4               a 4 x 4 block, from memory to memory
//   stream, stream_end       store past the caches, at a multiple of V's size
//   V::Wide                  kLanes sums in double: load_wide, widen, +, mul_add, reduce_add, set1, store
// F, the target's f32 vector, adds an s32 vector I:
//   bits(F), from_bits(I), to_float(I), + - & ^, shift_left, shift_right, nonzero
//   product_error(a, b, p)   a * b - p exactly, for p the rounded a * b
//   mul_wide(a, b)           the unsigned 64-bit products, in halves
//   lookup8(table, i)        table[i modulo 8] of 8 floats
//   minus_one_where(mask, i) i - 1 where the mask is set, else i
//   max(I, I)                of signed numbers
//   nearest(F)               the nearest integer, the even one of two
//   negate_where(i, x)       -i where x is negative, else i; 0 may have either sign
//   load_u8                  kLanes bytes as s32
//   store_u8<kPlus>(p, four) four vectors of s32 plus kPlus, as bytes: less than 0 is 0, more than 255 does
//   not come convert_f32_to_f16, convert_f16_to_f32 Dot2                     for int8: see gemm-s8-inl.h
// F::kLeastPower: at it and below, scale gives 0 for e^x.
// The target also fixes the matmul tile: kTileRows x kTileVecs vectors of sums, and kDotRows rows of dot
// products, and kMasks: whether load_n and store_n take no longer than load and store.
//
// Included inside a target's anonymous namespace, like all of native/simd and every *-inl.h: the compiler may
// use the target's instructions in any function here, so the linker must never merge it with another target's
// copy.

#define DT_INLINE inline __attribute__((always_inline))

// Before a loop over the rows or vectors of a tile: its sums are in registers only if it is unrolled in full.
#ifdef __clang__
#define DT_UNROLL _Pragma("unroll")
#else
#define DT_UNROLL _Pragma("GCC unroll 16")
#endif

template <class Elem>
struct One {
  using T = Elem;
  using Wide = One<double>;
  static constexpr size_t kLanes = 1;
  static constexpr float kLeastPower = -88;
  static constexpr int kTileRows = 4, kTileVecs = 4, kDotRows = 2;
  static constexpr bool kMasks = false;
  T v;

  static DT_INLINE One set1(T x) { return {x}; }
  static DT_INLINE One load(const T* p) { return {*p}; }
  static DT_INLINE One load_n(const T* p, size_t n, T fill = 0) { return {n ? *p : fill}; }
};

using D = One<double>;

template <class T>
DT_INLINE void store(T* p, One<T> x) {
  *p = x.v;
}
template <class T>
DT_INLINE void store_n(T* p, One<T> x, size_t n) {
  if (n) *p = x.v;
}
template <class T>
DT_INLINE One<T> operator+(One<T> a, One<T> b) {
  return {a.v + b.v};
}
template <class T>
DT_INLINE One<T> operator-(One<T> a, One<T> b) {
  return {a.v - b.v};
}
template <class T>
DT_INLINE One<T> operator*(One<T> a, One<T> b) {
  return {a.v * b.v};
}
template <class T>
DT_INLINE One<T> operator/(One<T> a, One<T> b) {
  return {a.v / b.v};
}
template <class T>
DT_INLINE One<T> mul_add(One<T> a, One<T> b, One<T> c) {
  return {a.v * b.v + c.v};
}
DT_INLINE One<float> sqrt(One<float> x) { return {__builtin_sqrtf(x.v)}; }
DT_INLINE One<double> sqrt(One<double> x) { return {__builtin_sqrt(x.v)}; }
DT_INLINE One<float> abs(One<float> x) { return {__builtin_fabsf(x.v)}; }
DT_INLINE One<double> abs(One<double> x) { return {__builtin_fabs(x.v)}; }
DT_INLINE One<float> copysign(One<float> x, One<float> sign) { return {__builtin_copysignf(x.v, sign.v)}; }
template <class T>
DT_INLINE One<T> negate(One<T> x) {
  return {-x.v};
}
template <class T>
DT_INLINE One<T> min(One<T> a, One<T> b) {
  return {a.v < b.v ? a.v : b.v};
}
template <class T>
DT_INLINE One<T> max(One<T> a, One<T> b) {
  return {a.v > b.v ? a.v : b.v};
}
template <class T>
DT_INLINE bool less(One<T> a, One<T> b) {
  return a.v < b.v;
}
template <class T>
DT_INLINE bool at_most(One<T> a, One<T> b) {
  return a.v <= b.v;
}
template <class T>
DT_INLINE bool equal(One<T> a, One<T> b) {
  return a.v == b.v;
}
template <class T>
DT_INLINE bool is_nan(One<T> a) {
  return a.v != a.v;
}
DT_INLINE bool any(bool m) { return m; }
DT_INLINE size_t list_unset(bool m, uint32_t first, uint32_t* to) {
  *to = first;
  return !m;
}
template <class T>
DT_INLINE One<T> select(bool m, One<T> a, One<T> b) {
  return m ? a : b;
}
template <class T>
DT_INLINE T reduce_add(One<T> x) {
  return x.v;
}
template <class T>
DT_INLINE D widen(One<T> x) {
  return {(double)x.v};
}
template <class T>
DT_INLINE D load_wide(const T* p) {
  return {(double)*p};
}

// dst[j * dst_row + i] = src[i * src_row + j] for a 4 x 4 block.
template <class T>
DT_INLINE void transpose4(const T* src, ptrdiff_t src_row, T* dst, ptrdiff_t dst_row) {
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) dst[j * dst_row + i] = src[i * src_row + j];
}
