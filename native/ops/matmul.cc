// Matrix products. Operands [a, b, (bias,) (residual,) out], a and b with batch dimensions already broadcast
// (stride 0), of ranks 2 to 8; a packed b has rank 1 and no batch. attrs: [activation, alpha, has bias, has
// residual, b is packed].
#include "kernels_of.h"
#include "table.h"

namespace drivetrain {
namespace {

// One matrix of each operand, and the batch dimensions, those that lie in memory like one taken as one.
template <class T>
struct Batch {
  GemmArgs<T> args{};
  GemmBatch dims{};

  void append(size_t count, ptrdiff_t a, ptrdiff_t b, ptrdiff_t c, ptrdiff_t residual) {
    if (count == 1) return;
    const int last = dims.rank - 1;
    const auto n = static_cast<ptrdiff_t>(count);
    if (last >= 0 && dims.a_step[last] == a * n && dims.b_step[last] == b * n && dims.c_step[last] == c * n &&
        dims.residual_step[last] == residual * n) {
      dims.count[last] *= count;
    } else {
      dims.count[dims.rank++] = count;
    }
    const int at = dims.rank - 1;
    dims.a_step[at] = a, dims.b_step[at] = b, dims.c_step[at] = c, dims.residual_step[at] = residual;
  }

  // Matrices that share b and lie one under another are one matrix.
  void stack() {
    while (dims.rank > 0) {
      const int last = dims.rank - 1;
      const auto m = static_cast<ptrdiff_t>(args.m);
      if (dims.b_step[last] != 0 || dims.a_step[last] != m * args.a_row ||
          dims.c_step[last] != m * args.c_row || dims.residual_step[last] != m * args.residual_row)
        return;
      args.m *= dims.count[last];
      dims.rank--;
    }
  }
};

template <class T>
void matmul_of(const OpCall& call) {
  const bool has_bias = call.attrs[2] != 0, has_residual = call.attrs[3] != 0, packed = call.attrs[4] != 0;
  const TensorRef &a = call[0], &b = call[1], &out = call[call.count - 1];
  const TensorRef* residual = has_residual ? &call[call.count - 2] : nullptr;
  const int last = out.rank - 1;
  Batch<T> batch;
  GemmArgs<T>& args = batch.args;
  args.m = static_cast<size_t>(out.shape[last - 1]);
  args.n = static_cast<size_t>(out.shape[last]);
  args.k = static_cast<size_t>(a.shape[last]);
  args.a = a.as<T>(), args.a_row = a.strides[last - 1], args.a_col = a.strides[last];
  if (packed) {
    args.b_packed = b.as<T>();
  } else {
    args.b = b.as<T>(), args.b_row = b.strides[last - 1], args.b_col = b.strides[last];
  }
  args.c = out.as<T>(), args.c_row = out.strides[last - 1];
  args.alpha = static_cast<T>(call.attrs[1]), args.beta = 0;
  args.bias = has_bias ? call[2].as<T>() : nullptr;
  args.activation = static_cast<Activation>(static_cast<int>(call.attrs[0]));
  if (residual) args.residual = residual->as<T>(), args.residual_row = residual->strides[last - 1];
  for (int d = 0; d < last - 1; d++)
    batch.append(static_cast<size_t>(out.shape[d]), a.strides[d], packed ? 0 : b.strides[d], out.strides[d],
                 residual ? residual->strides[d] : 0);
  batch.stack();
  kernels_of<T>().gemm_batched(args, batch.dims);
}

template <class T>
void pack_matmul_of(const OpCall& call) {
  const TensorRef& b = call[0];
  kernels_of<T>().pack_b(b.as<T>(), b.strides[0], b.strides[1], static_cast<size_t>(b.shape[0]),
                         static_cast<size_t>(b.shape[1]), call[1].as<T>());
}

}  // namespace

void op_matmul(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, matmul_of, call); }

// operands: b [k, n] of any strides, packed [bytes / element]
void op_packMatmul(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, pack_matmul_of, call); }

}  // namespace drivetrain
