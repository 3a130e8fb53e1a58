// The table of kernels that each instruction set provides: plain function pointers, chosen once at load.
// Strides and steps count elements. Unless a kernel says otherwise, `out` may be the same pointer as any
// input of the same element type, n may be 0, and pointers need no alignment beyond their element's.
#pragma once
#include <cstddef>
#include <cstdint>

#include "optimizers.h"

namespace drivetrain {

enum Unary { kNeg, kAbs, kSign, kExp, kLog, kSqrt, kTanh, kSigmoid, kRelu, kGelu, kUnaryCount };
// kReluGrad and kGeluGrad take (x, dy) and give dy times the derivative at x.
enum Binary { kAdd, kSub, kMul, kDiv, kMaximum, kMinimum, kReluGrad, kGeluGrad, kBinaryCount };
enum Compare { kEqual, kGreater, kCompareCount };
enum class Activation : int { kNone, kRelu, kGelu };

// Of many values: their squares' sum, the largest |x| (NaN where one is NaN), and how many are not finite.
struct Extent {
  double sum_squares, largest;
  int64_t not_finite;
};

// C[m,n] = activation(alpha * A[m,k] B[k,n] + beta * C + bias[n]) + residual[m,n]. Any strides for A and B
// (so all transposes); columns of C and of the residual are contiguous. C shares memory with no other
// operand; beta 0 means that it is not read. Where k is 0 the product is 0.
template <class T>
struct GemmArgs {
  size_t m, n, k;
  const T* a;
  ptrdiff_t a_row, a_col;
  const T* b;
  ptrdiff_t b_row, b_col;
  T* c;
  ptrdiff_t c_row;
  T alpha, beta;
  const T* bias;  // n values or null
  Activation activation;
  const T* residual = nullptr;  // null: none
  ptrdiff_t residual_row = 0;
  const T* b_packed = nullptr;  // from pack_b of this table: then b is not read
  bool b_finite = false;        // B is known to be so: see packed_is_finite
};

// Whether all was finite that pack_b packed into so many bytes.
template <class T>
bool packed_is_finite(const T* packed, size_t bytes) {
  return packed[(bytes - 64) / sizeof(T)] == 1;
}

// Products that share all of GemmArgs but their place: count[0] * ... * count[rank - 1] of them, last
// dimension fastest. A step is the distance of neighbours along a dimension, 0 where they share a matrix;
// each has a C of its own. b_packed and bias are shared by all.
struct GemmBatch {
  static constexpr int kMaxRank = 6;
  int rank;
  size_t count[kMaxRank];
  ptrdiff_t a_step[kMaxRank], b_step[kMaxRank], c_step[kMaxRank], residual_step[kMaxRank];
};

// A product in f32 of matrices that may be f16 or bf16: `shape` says all but where A, B, C and the bias are.
// Values are widened exactly, and those of C rounded once, to nearest even.
enum class Element : int { kF32, kF16, kBF16 };
struct HalfGemmArgs {
  GemmArgs<float> shape;
  const void *a, *b;
  void* c;
  const void* bias;  // or null
  Element a_type, b_type, c_type, bias_type;
};

// Products of int8 matrices:
//   sum[i,j] = sum_k (A[i,k] - a_zero[i]) (B[k,j] - b_zero[j]), exact in s32 where that can
//              hold it, else modulo 2^32
//   y[i,j] = activation(a_scale[i] * b_scale[j] * sum[i,j] + bias[j]), rounded to f32 after each operation
// C is the sums (s32), y (f32), or y / c_scale rounded to the nearest even integer, plus c_zero, clamped (s8
// and u8; NaN counts as 0). The sums and y without GELU are the same bits on every instruction set.
enum class Int8Source : int {
  kS8,
  kU8,
  kF32
};  // f32 rows are quantized as by quantize_row while they are read
enum class Int8Result : int { kS32, kF32, kS8, kU8 };

// One for all rows or columns (step 0), or one for each (step 1).
struct Scales {
  const float* at;
  size_t step;
};
struct ZeroPoints {
  const void* at;  // of the same type as their matrix; null: all 0
  size_t step;
};

struct GemmS8Args {
  size_t m, n, k;
  Int8Source a_type;
  const void* a;
  ptrdiff_t a_row;         // A's columns are contiguous
  Scales a_scale;          // not read where A is f32
  ZeroPoints a_zero;       // nor these
  const int8_t* b_packed;  // from pack_s8
  bool b_unsigned;         // whether that was given u8
  Scales b_scale;
  ZeroPoints b_zero;
  const float* bias;  // n values or null
  Activation activation;
  Int8Result c_type;
  void* c;
  ptrdiff_t c_row;
  float c_scale;
  int32_t c_zero;
};

// Consecutive queries of one head, against all its keys: out = softmax(scale q k^T) v, row by row. Queries
// and keys have `depth` columns, values and out `width`; columns are contiguous.
template <class T>
struct AttentionArgs {
  size_t queries, keys, depth, width;
  size_t first;  // the first query's place in its sequence, for `causal`
  const T* q;
  ptrdiff_t q_row;
  const T* k;
  ptrdiff_t k_row;
  const T* v;
  ptrdiff_t v_row;
  const uint8_t* mask;  // query i may attend to key j where mask[i * mask_row + j * mask_col]; null: anywhere
  ptrdiff_t mask_row, mask_col;
  bool causal;  // query i of its sequence attends to keys 0 .. i
  T scale;
};

template <class T>
struct FloatKernels {
  void (*unary[kUnaryCount])(const T* x, T* out, size_t n);
  // A step of 0 repeats the first element, 1 walks.
  void (*binary[kBinaryCount])(const T* a, size_t a_step, const T* b, size_t b_step, T* out, size_t n);
  void (*compare[kCompareCount])(const T* a, size_t a_step, const T* b, size_t b_step, uint8_t* out,
                                 size_t n);
  void (*where)(const uint8_t* c, size_t c_step, const T* a, size_t a_step, const T* b, size_t b_step, T* out,
                size_t n);
  void (*fill)(T value, T* out, size_t n);

  // Reductions add in an order that depends on n alone. max propagates NaN; n >= 1 for max and argmax.
  T (*sum)(const T* x, size_t n);
  T (*max)(const T* x, size_t n);
  int64_t (*argmax)(const T* x, size_t n);  // the first of equals; the first NaN wins
  Extent (*extent)(const T* x, size_t n);   // in one pass
  // out[c] = the sum (or maximum) over rows, first row to last, of x[r * row_stride + c]. out is written, not
  // read.
  void (*sum_rows)(const T* x, size_t rows, size_t row_stride, T* out, size_t cols);
  void (*max_rows)(const T* x, size_t rows, size_t row_stride, T* out, size_t cols);

  // One row of n >= 1 values each.
  void (*softmax)(const T* x, T* out, size_t n);
  void (*log_softmax)(const T* x, T* out, size_t n);
  void (*softmax_grad)(const T* y, const T* dy, T* dx, size_t n);      // y: the softmax
  void (*log_softmax_grad)(const T* y, const T* dy, T* dx, size_t n);  // y: the log-softmax
  T (*cross_entropy)(const T* logits, size_t n, size_t target);        // log-sum-exp minus the target's logit
  void (*cross_entropy_grad)(const T* logits, size_t n, size_t target, T scale, T* dx);
  void (*layer_norm)(const T* x, const T* gamma, const T* beta, T eps, T* y, size_t n);
  void (*rms_norm)(const T* x, const T* gamma, T eps, T* y, size_t n);
  // Add to dgamma and dbeta.
  void (*layer_norm_grad)(const T* x, const T* gamma, const T* dy, T eps, T* dx, T* dgamma, T* dbeta,
                          size_t n);
  void (*rms_norm_grad)(const T* x, const T* gamma, const T* dy, T eps, T* dx, T* dgamma, size_t n);

  // Counter-based random numbers: element i of the stream comes from Philox4x32-10 with key `seed` and
  // counter `offset + i / 4`, word i % 4 (f64 takes two words: counter `offset + i / 2`). The call makes
  // elements first .. first + n of the stream; first is a multiple of 4. Elements 2i and 2i + 1 of normal
  // come from uniforms 2i and 2i + 1 (Box and Muller).
  void (*uniform)(uint64_t seed, uint64_t offset, size_t first, T* out, size_t n);  // [0, 1)
  void (*normal)(uint64_t seed, uint64_t offset, size_t first, T* out, size_t n);
  // Where uniform < p the output is 0, elsewhere x / (1 - p); p 0 copies, p 1 gives zeros.
  void (*dropout)(uint64_t seed, uint64_t offset, size_t first, T p, const T* x, T* out, size_t n);

  // B[k,n] with element strides, into the layout that gemm of this table reads (k * n values and a little).
  size_t (*packed_b_bytes)(size_t k, size_t n);
  void (*pack_b)(const T* b, ptrdiff_t b_row, ptrdiff_t b_col, size_t k, size_t n, T* packed);
  // These use parallel_for and scratch by themselves; the result does not depend on the number of threads.
  void (*gemm)(const GemmArgs<T>& args);  // one product, for the native tests: ops call gemm_batched
  void (*gemm_batched)(const GemmArgs<T>& first, const GemmBatch& batch);

  OptimizerKernels<T> optim;
  // A query that may attend to nothing gives zeros. log_sum[i] is the base-2 logarithm of the sum of e^score
  // of query i, infinity where there is none; out has rows of `width`.
  void (*attention)(const AttentionArgs<T>& args, T* out, T* log_sum);
  // The gradients for the queries of `args`, from out, log_sum and the gradient of out; dk and dv are what
  // these queries contribute, for all keys.
  void (*attention_grad)(const AttentionArgs<T>& args, const T* out, const T* log_sum, const T* dout, T* dq,
                         T* dk, T* dv);
};

struct Kernels {
  const char* name;  // "scalar", "avx2", "avx512", "neon"; with other int8 kernels "avx2-vnni",
                     // "avx512-vnni", "neon-dot"
  FloatKernels<float> f32;
  FloatKernels<double> f64;

  // Round to nearest even; NaN stays NaN; f16 overflow gives infinity; denormals are exact.
  void (*f32_to_bf16)(const float* x, uint16_t* out, size_t n);
  void (*bf16_to_f32)(const uint16_t* x, float* out, size_t n);
  void (*f32_to_f16)(const float* x, uint16_t* out, size_t n);
  void (*f16_to_f32)(const uint16_t* x, float* out, size_t n);

  void (*gemm_half)(const HalfGemmArgs& args, const GemmBatch& batch);  // as gemm_batched

  // out[c * out_row + r] = x[r * x_row + c] for values of four bytes, whatever they are.
  void (*transpose)(const float* x, ptrdiff_t x_row, float* out, ptrdiff_t out_row, size_t rows, size_t cols,
                    bool stream);
  // Copies past the caches, which is faster for an output that they would not keep.
  void (*stream)(const void* from, void* to, size_t bytes);

  // q = round(x / scale) to nearest even, within [-127, 127], with scale = max |x| / 127, which is returned
  // (1 where all are 0, or so small that the scale would be under 2^-125, or n is 0). The same bits on every
  // instruction set. NaN or infinity in x: the scale is NaN and q is all 0.
  float (*quantize_row)(const float* x, int8_t* q, size_t n);
  // q = x / scale rounded to the nearest even integer, plus zero, clamped to s8 or u8; NaN counts as 0. The
  // same bits on every instruction set.
  void (*quantize_linear)(const float* x, float scale, int32_t zero, bool is_unsigned, void* q, size_t n);
  void (*dequantize)(const int8_t* q, float scale, float* out, size_t n);

  // Adam on f32 parameters, from the beginning of a block on.
  void (*adam_eight_bit)(const AdamArgs& args, float* param, const float* grad, const EightBitState& state,
                         size_t n);

  // B[k,n], s8 or u8, with element strides, into the layout that gemm_s8 of this table reads.
  size_t (*packed_s8_bytes)(size_t k, size_t n);
  void (*pack_s8)(const void* b, bool b_unsigned, ptrdiff_t b_row, ptrdiff_t b_col, size_t k, size_t n,
                  int8_t* packed);
  void (*gemm_s8)(const GemmS8Args& args);  // uses parallel_for and scratch by itself
};

// The table of each instruction set; null where this build does not have it. Calling into one needs the
// processor to have it too: runtime/cpu.h decides.
const Kernels* scalar_kernels();
const Kernels* avx2_kernels();
const Kernels* avx512_kernels();
const Kernels* neon_kernels();

// The same tables with int8 kernels for processors with a dot product of bytes.
const Kernels* avx2_vnni_kernels();
const Kernels* avx512_vnni_kernels();
const Kernels* avx512_amx_kernels();
const Kernels* neon_dot_kernels();

}  // namespace drivetrain
