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

// operands: weight i8 [n, k], packed i8 [bytes]
void op_packInt8(const OpCall& call) {
  const size_t n = static_cast<size_t>(call[0].shape[0]), k = static_cast<size_t>(call[0].shape[1]);
  selected_kernels()->pack_s8(call[0].as<int8_t>(), call[0].strides[1], call[0].strides[0], k, n,
                              call[1].as<int8_t>());
}

// operands: q i8 [m, k], row scales f32 [m], packed weight i8 [bytes], channel scales f32 [n], (bias f32
// [n],) out f32 [m, n]; attrs: [activation]
void op_matmulInt8(const OpCall& call) {
  const TensorRef &a = call[0], &out = call[call.count - 1];
  GemmS8Args args{};
  args.m = out.rows(), args.n = out.cols(), args.k = a.cols();
  args.a = a.as<int8_t>();
  args.a_row = static_cast<ptrdiff_t>(args.k);
  args.b_packed = call[2].as<int8_t>();
  args.a_scale = call[1].as<float>();
  args.b_scale = call[3].as<float>();
  args.bias = call.count == 6 ? call[4].as<float>() : nullptr;
  args.activation = static_cast<Activation>(static_cast<int>(call.attrs[0]));
  args.c = out.as<float>();
  args.c_row = static_cast<ptrdiff_t>(args.n);
  selected_kernels()->gemm_s8(args);
}

}  // namespace drivetrain
