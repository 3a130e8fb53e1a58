// Elementwise ops on operands of one shape with any strides: dimensions are merged where every operand
// allows, and the innermost loop runs in a kernel.
#include <cmath>
#include <cstring>

#include "kernels_of.h"
#include "loop.h"
#include "parallel_chunks.h"
#include "power.h"
#include "table.h"

namespace drivetrain {
namespace {

constexpr size_t kChunk = 32768;  // elements that one thread takes at once
constexpr size_t kGather = 1024;  // elements gathered at once where the innermost stride is neither 0 nor 1

void gather(const char* from, int64_t stride, size_t bytes, size_t n, char* to) {
  for (size_t i = 0; i < n; i++)
    std::memcpy(to + i * bytes, from + static_cast<int64_t>(i) * stride * static_cast<int64_t>(bytes), bytes);
}

void scatter(const char* from, size_t bytes, size_t n, char* to, int64_t stride) {
  for (size_t i = 0; i < n; i++)
    std::memcpy(to + static_cast<int64_t>(i) * stride * static_cast<int64_t>(bytes), from + i * bytes, bytes);
}

// Calls run(pointers, steps, n) over pieces of the iteration space; steps are 0 or 1 and the last operand,
// the output, always has step 1. Pieces are cut by shape alone.
template <class Run>
void for_each_piece(const OpCall& call, Run run) {
  const Loop loop(call);
  const size_t inner = loop.inner(), outer = loop.outer();
  if (inner == 0 || outer == 0) return;
  const int last = loop.rank - 1;
  bool direct = true;
  for (int o = 0; o < loop.operands; o++) {
    const int64_t stride = loop.strides[o][last];
    direct = direct && (stride == 1 || (stride == 0 && o + 1 < loop.operands));
  }
  if (direct && outer == 1 && inner <= kChunk) {
    // One piece: small calls are the most frequent ones.
    char* pointers[kMaxOperands];
    size_t steps[kMaxOperands];
    for (int o = 0; o < loop.operands; o++) {
      pointers[o] = loop.data[o];
      steps[o] = static_cast<size_t>(loop.strides[o][last]);
    }
    run(pointers, steps, inner);
    return;
  }
  const size_t piece = direct ? kChunk : kGather;
  const size_t per_row = (inner + piece - 1) / piece;
  const size_t pieces = outer * per_row;
  const size_t typical = inner < piece ? inner : piece;
  const size_t per_chunk = typical >= kChunk ? 1 : (kChunk + typical - 1) / typical;
  parallel_chunks(pieces, per_chunk, [&](size_t first, size_t end) {
    alignas(64) char buffers[kMaxOperands][kGather * 8];
    for (size_t p = first; p < end; p++) {
      const size_t row = p / per_row, column = (p % per_row) * piece;
      const size_t n = inner - column < piece ? inner - column : piece;
      char* pointers[kMaxOperands];
      size_t steps[kMaxOperands];
      for (int o = 0; o < loop.operands; o++) {
        const int64_t stride = loop.strides[o][last];
        pointers[o] = loop.at(o, row, column);
        steps[o] = stride == 0 ? 0 : 1;
        if (direct || stride == 0 || stride == 1) continue;
        if (o + 1 < loop.operands) gather(pointers[o], stride, loop.bytes[o], n, buffers[o]);
        pointers[o] = buffers[o];
      }
      run(pointers, steps, n);
      const int out = loop.operands - 1;
      if (pointers[out] == buffers[out]) {
        scatter(buffers[out], loop.bytes[out], n, loop.at(out, row, column), loop.strides[out][last]);
      }
    }
  });
}

template <class T>
void unary_of(const OpCall& call, Unary op) {
  const auto kernel = kernels_of<T>().unary[op];
  for_each_piece(call, [kernel](char** at, const size_t* steps, size_t n) {
    T* out = reinterpret_cast<T*>(at[1]);
    if (steps[0] == 1 || n == 1) {
      kernel(reinterpret_cast<const T*>(at[0]), out, n);
    } else {
      kernel(reinterpret_cast<const T*>(at[0]), out, 1);
      kernels_of<T>().fill(out[0], out, n);
    }
  });
}

// attrs: [min, max]
template <class T>
void clamp_of(const OpCall& call) {
  const T low = static_cast<T>(call.attrs[0]), high = static_cast<T>(call.attrs[1]);
  for_each_piece(call, [=](char** at, const size_t* steps, size_t n) {
    T* out = reinterpret_cast<T*>(at[1]);
    kernels_of<T>().binary[kMaximum](reinterpret_cast<const T*>(at[0]), steps[0], &low, 0, out, n);
    kernels_of<T>().binary[kMinimum](out, 1, &high, 0, out, n);
  });
}

// attrs: [exponent]
template <class T>
void pow_of(const OpCall& call) {
  const double exponent = call.attrs[0];
  for_each_piece(call, [=](char** at, const size_t* steps, size_t n) {
    const T* x = reinterpret_cast<const T*>(at[0]);
    T* out = reinterpret_cast<T*>(at[1]);
    if (exponent == 2) return kernels_of<T>().binary[kMul](x, steps[0], x, steps[0], out, n);
    if (exponent == 0.5 && steps[0] == 1) return kernels_of<T>().unary[kSqrt](x, out, n);
    for (size_t i = 0; i < n; i++) out[i] = power(x[i * steps[0]], static_cast<T>(exponent));
  });
}

void unary(const OpCall& call, Unary op) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, unary_of, call, op); }

template <class T, class Out, class Kernel>
void binary_with(const OpCall& call, Kernel kernel) {
  for_each_piece(call, [kernel](char** at, const size_t* steps, size_t n) {
    kernel(reinterpret_cast<const T*>(at[0]), steps[0], reinterpret_cast<const T*>(at[1]), steps[1],
           reinterpret_cast<Out*>(at[2]), n);
  });
}

void binary(const OpCall& call, Binary op) {
  if (call[0].dtype == DType::kF64) {
    binary_with<double, double>(call, kernels_of<double>().binary[op]);
  } else {
    binary_with<float, float>(call, kernels_of<float>().binary[op]);
  }
}

// Comparison of integers, for labels and masks.
template <class T, Compare op>
void compare_integers(const T* a, size_t a_step, const T* b, size_t b_step, uint8_t* out, size_t n) {
  for (size_t i = 0; i < n; i++) {
    const T x = a[i * a_step], y = b[i * b_step];
    out[i] = op == kEqual ? x == y : x > y;
  }
}

template <Compare op>
void compare(const OpCall& call) {
  switch (call[0].dtype) {
    case DType::kF32:
      return binary_with<float, uint8_t>(call, kernels_of<float>().compare[op]);
    case DType::kF64:
      return binary_with<double, uint8_t>(call, kernels_of<double>().compare[op]);
    case DType::kI64:
      return binary_with<int64_t, uint8_t>(call, compare_integers<int64_t, op>);
    case DType::kI32:
      return binary_with<int32_t, uint8_t>(call, compare_integers<int32_t, op>);
    case DType::kI8:
      return binary_with<int8_t, uint8_t>(call, compare_integers<int8_t, op>);
    default:
      return binary_with<uint8_t, uint8_t>(call, compare_integers<uint8_t, op>);
  }
}

template <class T>
void where_of(const OpCall& call) {
  const auto kernel = kernels_of<T>().where;
  for_each_piece(call, [kernel](char** at, const size_t* steps, size_t n) {
    kernel(reinterpret_cast<const uint8_t*>(at[0]), steps[0], reinterpret_cast<const T*>(at[1]), steps[1],
           reinterpret_cast<const T*>(at[2]), steps[2], reinterpret_cast<T*>(at[3]), n);
  });
}

}  // namespace

#define DRIVETRAIN_UNARY(name, op) \
  void op_##name(const OpCall& call) { unary(call, op); }
DRIVETRAIN_UNARY(neg, kNeg)
DRIVETRAIN_UNARY(abs, kAbs)
DRIVETRAIN_UNARY(sign, kSign)
DRIVETRAIN_UNARY(exp, kExp)
DRIVETRAIN_UNARY(log, kLog)
DRIVETRAIN_UNARY(sqrt, kSqrt)
DRIVETRAIN_UNARY(tanh, kTanh)
DRIVETRAIN_UNARY(sigmoid, kSigmoid)
DRIVETRAIN_UNARY(relu, kRelu)
DRIVETRAIN_UNARY(gelu, kGelu)
#undef DRIVETRAIN_UNARY

#define DRIVETRAIN_BINARY(name, op) \
  void op_##name(const OpCall& call) { binary(call, op); }
DRIVETRAIN_BINARY(add, kAdd)
DRIVETRAIN_BINARY(sub, kSub)
DRIVETRAIN_BINARY(mul, kMul)
DRIVETRAIN_BINARY(div, kDiv)
DRIVETRAIN_BINARY(maximum, kMaximum)
DRIVETRAIN_BINARY(minimum, kMinimum)
DRIVETRAIN_BINARY(reluGrad, kReluGrad)
DRIVETRAIN_BINARY(geluGrad, kGeluGrad)
#undef DRIVETRAIN_BINARY

void op_equal(const OpCall& call) { compare<kEqual>(call); }
void op_greater(const OpCall& call) { compare<kGreater>(call); }

void op_clamp(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, clamp_of, call); }
void op_pow(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, pow_of, call); }

void op_where(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[1].dtype, where_of, call); }

}  // namespace drivetrain
