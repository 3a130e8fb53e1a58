// One target's kernels, gathered into its table.
#include "math-inl.h"
#include "elementwise-inl.h"
#include "reduce-inl.h"
#include "softmax-inl.h"
#include "norm-inl.h"
#include "random-inl.h"
#include "gemm-cut-inl.h"
#include "gemm-tile-inl.h"
#include "gemm-zeros-inl.h"
#include "gemm-pack-inl.h"
#include "gemm-thin-inl.h"
#include "gemm-blocks-inl.h"
#include "gemm-flipped-inl.h"
#include "gemm-inl.h"
#include "gemm-batched-inl.h"
#include "quantize-inl.h"
#include "gemm-s8-inl.h"
#include "gemm-s8-row-inl.h"
#include "attention-tile-inl.h"
#include "attention-inl.h"
#include "attention-grad-inl.h"
#include "optim-inl.h"
#include "optim-momentum-inl.h"
#include "optim-adam-inl.h"
#include "optim-adaptive-inl.h"
#include "optim-norm-inl.h"
#include "optim-adafactor-inl.h"
#include "optim-muon-inl.h"
#include "optim-eight-bit-inl.h"
#include "convert-inl.h"
#include "gemm-half-inl.h"
#include "move-inl.h"

template <class V, class T = typename V::T>
constexpr FloatKernels<T> float_kernels() {
  return {
      .unary = {unary<V, Neg>, unary<V, Abs>, unary<V, Sign>, unary<V, Exp>, unary<V, Log>, unary<V, Sqrt>,
                unary<V, Tanh>, unary<V, Sigmoid>, unary<V, Relu>, unary<V, Gelu>},
      .binary = {binary<V, Add>, binary<V, Sub>, binary<V, Mul>, binary<V, Div>, binary<V, Maximum>,
                 binary<V, Minimum>, binary<V, ReluGrad>, binary<V, GeluGrad>},
      .compare = {compare<T, true>, compare<T, false>},
      .where = where<T>,
      .fill = fill<T>,
      .sum = sum<V>,
      .max = row_max<V>,
      .argmax = argmax<V>,
      .extent = extent<V>,
      .sum_rows = sum_rows<V>,
      .max_rows = max_rows<V>,
      .softmax = softmax<V>,
      .log_softmax = log_softmax<V>,
      .softmax_grad = softmax_grad<V>,
      .log_softmax_grad = log_softmax_grad<V>,
      .cross_entropy = cross_entropy<V>,
      .cross_entropy_grad = cross_entropy_grad<V>,
      .layer_norm = layer_norm<V>,
      .rms_norm = rms_norm<V>,
      .layer_norm_grad = layer_norm_grad<V>,
      .rms_norm_grad = rms_norm_grad<V>,
      .uniform = uniform<T>,
      .normal = normal<V>,
      .dropout = dropout<V>,
      .packed_b_bytes = packed_b_bytes<V>,
      .pack_b = pack_b<V>,
      .gemm = gemm<V>,
      .gemm_batched = gemm_batched<V>,
      .optim = {.sgd = sgd<V>,
                .adam = adam<V>,
                .adabelief = adabelief<V>,
                .adamax = adamax<V>,
                .adagrad = adagrad<V>,
                .adadelta = adadelta<V>,
                .rmsprop = rmsprop<V>,
                .lion = lion<V>,
                .lars = lars<V>,
                .lamb_moments = lamb_moments<V>,
                .lamb_apply = lamb_apply<V>,
                .sum_squares_tile = sum_squares_tile<V>,
                .adafactor_moment = adafactor_moment<V>,
                .adafactor_squares = adafactor_squares<V>,
                .adafactor_apply = adafactor_apply<V>,
                .muon_momentum = muon_momentum<V>,
                .muon_direction = muon_direction<V>},
      .attention = attention<V>,
      .attention_grad = attention_grad<V>,
  };
}

constexpr Kernels make_table(const char* name) {
  return {
      .name = name,
      .f32 = float_kernels<F>(),
      .f64 = float_kernels<D>(),
      .f32_to_bf16 = f32_to_bf16,
      .bf16_to_f32 = bf16_to_f32,
      .f32_to_f16 = f32_to_f16,
      .f16_to_f32 = f16_to_f32,
      .gemm_half = gemm_half,
      .transpose = transpose,
      .stream = stream,
      .quantize_row = quantize_row,
      .quantize_linear = quantize_linear,
      .dequantize = dequantize,
      .adam_eight_bit = adam_eight_bit,
      .packed_s8_bytes = packed_s8_bytes<Dot2>,
      .pack_s8 = pack_s8<Dot2>,
      .gemm_s8 = gemm_s8<Dot2>,
  };
}
