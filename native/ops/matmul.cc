// Matrix products: operands [a, b, out] or [a, b, bias, out], of ranks 2 to 8 with batch dimensions already
// broadcast (stride 0). attrs: [activation].
#include "kernels_of.h"
#include "parallel_chunks.h"
#include "table.h"

namespace drivetrain {
namespace {

template <class T>
T* matrix_at(const TensorRef& t, const TensorRef& out, size_t batch) {
  T* data = t.as<T>();
  for (int i = out.rank - 3; i >= 0; i--) {
    const size_t extent = static_cast<size_t>(out.shape[i]);
    data += static_cast<int64_t>(batch % extent) * t.strides[i];
    batch /= extent;
  }
  return data;
}

template <class T>
void matmul_of(const OpCall& call) {
  const TensorRef &a = call[0], &b = call[1], &out = call[call.count - 1];
  const int last = out.rank - 1;
  GemmArgs<T> args{};
  args.m = static_cast<size_t>(out.shape[last - 1]);
  args.n = static_cast<size_t>(out.shape[last]);
  args.k = static_cast<size_t>(a.shape[last]);
  args.a_row = a.strides[last - 1], args.a_col = a.strides[last];
  args.b_row = b.strides[last - 1], args.b_col = b.strides[last];
  args.c_row = out.strides[last - 1];
  args.alpha = 1, args.beta = 0;
  args.bias = call.count == 4 ? call[2].as<T>() : nullptr;
  args.activation = static_cast<Activation>(static_cast<int>(call.attrs[0]));
  if (args.m == 0 || args.n == 0) return;

  const size_t batches = out.size() / (args.m * args.n);
  // One matrix per chunk where they are many; a single large one is cut by gemm itself.
  parallel_chunks(batches, 1, [&](size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
      GemmArgs<T> one = args;
      one.a = matrix_at<T>(a, out, i);
      one.b = matrix_at<T>(b, out, i);
      one.c = matrix_at<T>(out, out, i);
      kernels_of<T>().gemm(one);
    }
  });
}

}  // namespace

void op_matmul(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, matmul_of, call); }

}  // namespace drivetrain
