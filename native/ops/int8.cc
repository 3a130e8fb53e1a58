// INT8: rows quantized symmetrically by their own scale, weights by a scale per output channel, exact integer
// sums.
#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {

// operands: x f32 [..., n], q i8 [..., n], scales f32 [...]
void op_quantizeRows(const OpCall& call) {
  const size_t n = call[0].cols(), rows = call[0].rows();
  parallel_chunks(rows, rows_per_chunk(n), [&](size_t first, size_t end) {
    for (size_t r = first; r < end; r++) {
      call[2].as<float>()[r] =
          selected_kernels()->quantize_row(call[0].as<float>() + r * n, call[1].as<int8_t>() + r * n, n);
    }
  });
}

// operands: q i8 [..., n], scales f32 [...], out f32 [..., n]
void op_dequantizeRows(const OpCall& call) {
  const size_t n = call[0].cols(), rows = call[0].rows();
  parallel_chunks(rows, rows_per_chunk(n), [&](size_t first, size_t end) {
    for (size_t r = first; r < end; r++) {
      selected_kernels()->dequantize(call[0].as<int8_t>() + r * n, call[1].as<float>()[r],
                                     call[2].as<float>() + r * n, n);
    }
  });
}

// operands: x f32 [...], scale f32 (one), zero point i8 or u8 (one), q of its dtype [...]
void op_quantizeLinear(const OpCall& call) {
  const float* x = call[0].as<float>();
  const bool is_unsigned = call[2].dtype == DType::kU8;
  const int32_t zero = is_unsigned ? *call[2].as<uint8_t>() : *call[2].as<int8_t>();
  parallel_chunks(call[0].size(), rows_per_chunk(1), [&](size_t first, size_t end) {
    selected_kernels()->quantize_linear(x + first, *call[1].as<float>(), zero, is_unsigned,
                                        call[3].as<uint8_t>() + first, end - first);
  });
}

// operands: weight i8 or u8 [n, k], packed of the same dtype [n, bytes]
void op_packInt8(const OpCall& call) {
  const size_t n = static_cast<size_t>(call[0].shape[0]), k = static_cast<size_t>(call[0].shape[1]);
  selected_kernels()->pack_s8(call[0].data, call[0].dtype == DType::kU8, call[0].strides[1],
                              call[0].strides[0], k, n, call[1].as<int8_t>());
}

// operands: a i8, u8 or f32 [m, k], packed weight i8 or u8 [n, bytes], those of the following that the second
// number names, out i32, f32, i8 or u8 [m, n]; attrs: [activation, parts]
void op_matmulInt8(const OpCall& call) {
  const int parts = static_cast<int>(call.attrs[1]);
  size_t next = 2;
  const auto part = [&](int bit) { return parts & 1 << bit ? &call[next++] : nullptr; };
  const TensorRef *a_scale = part(0), *b_scale = part(1), *a_zero = part(2), *b_zero = part(3),
                  *bias = part(4), *c_scale = part(5), *c_zero = part(6);
  const auto scales = [](const TensorRef* t) { return t ? Scales{t->as<float>(), t->size() > 1} : Scales{}; };
  const auto zeros = [](const TensorRef* t) { return t ? ZeroPoints{t->data, t->size() > 1} : ZeroPoints{}; };
  const TensorRef &a = call[0], &b = call[1], &c = call[next];
  GemmS8Args args{};
  args.m = c.rows(), args.n = c.cols(), args.k = a.cols();
  args.a = a.data, args.a_row = static_cast<ptrdiff_t>(args.k);
  args.a_type = a.dtype == DType::kF32  ? Int8Source::kF32
                : a.dtype == DType::kU8 ? Int8Source::kU8
                                        : Int8Source::kS8;
  args.a_scale = scales(a_scale), args.a_zero = zeros(a_zero);
  args.b_packed = b.as<int8_t>(), args.b_unsigned = b.dtype == DType::kU8;
  args.b_scale = scales(b_scale), args.b_zero = zeros(b_zero);
  args.bias = bias ? bias->as<float>() : nullptr;
  args.activation = static_cast<Activation>(static_cast<int>(call.attrs[0]));
  args.c = c.data, args.c_row = static_cast<ptrdiff_t>(args.n);
  args.c_type = c.dtype == DType::kI32   ? Int8Result::kS32
                : c.dtype == DType::kF32 ? Int8Result::kF32
                : c.dtype == DType::kU8  ? Int8Result::kU8
                                         : Int8Result::kS8;
  if (c_scale) args.c_scale = *c_scale->as<float>();
  if (c_zero) args.c_zero = c.dtype == DType::kU8 ? *c_zero->as<uint8_t>() : *c_zero->as<int8_t>();
  selected_kernels()->gemm_s8(args);
}

}  // namespace drivetrain
