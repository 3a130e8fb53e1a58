// Matrix products. Operands [a, b, (bias,) (residual,) out], a and b with batch dimensions already broadcast
// (stride 0), of ranks 2 to 8; a packed b has rank 1 and no batch. attrs: [activation, alpha, has bias, has
// residual, b is packed, beta]. All are f32 or all are f64; or a, b, bias and out are each f32, f16 or bf16,
// where b is not packed, and a residual is f32 as out is.
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

// The operands of a call, by what they are.
struct Operands {
  const TensorRef &a, &b, &out;
  const TensorRef *bias, *residual;
  bool packed;

  explicit Operands(const OpCall& call)
      : a(call[0]),
        b(call[1]),
        out(call[call.count - 1]),
        bias(call.attrs[2] != 0 ? &call[2] : nullptr),
        residual(call.attrs[3] != 0 ? &call[call.count - 2] : nullptr),
        packed(call.attrs[4] != 0) {}
};

// Everything but the addresses of a, b, out and bias, which may be of other types.
template <class T>
Batch<T> batch_of(const OpCall& call, const Operands& of) {
  const int last = of.out.rank - 1;
  Batch<T> batch;
  GemmArgs<T>& args = batch.args;
  args.m = static_cast<size_t>(of.out.shape[last - 1]);
  args.n = static_cast<size_t>(of.out.shape[last]);
  args.k = static_cast<size_t>(of.a.shape[last]);
  args.a_row = of.a.strides[last - 1], args.a_col = of.a.strides[last];
  if (!of.packed) args.b_row = of.b.strides[last - 1], args.b_col = of.b.strides[last];
  args.c_row = of.out.strides[last - 1];
  args.alpha = static_cast<T>(call.attrs[1]), args.beta = static_cast<T>(call.attrs[5]);
  args.activation = static_cast<Activation>(static_cast<int>(call.attrs[0]));
  if (of.residual) args.residual = of.residual->as<T>(), args.residual_row = of.residual->strides[last - 1];
  for (int d = 0; d < last - 1; d++)
    batch.append(static_cast<size_t>(of.out.shape[d]), of.a.strides[d], of.packed ? 0 : of.b.strides[d],
                 of.out.strides[d], of.residual ? of.residual->strides[d] : 0);
  batch.stack();
  return batch;
}

template <class T>
void matmul_of(const OpCall& call, const Operands& of) {
  Batch<T> batch = batch_of<T>(call, of);
  batch.args.a = of.a.as<T>();
  (of.packed ? batch.args.b_packed : batch.args.b) = of.b.as<T>();
  batch.args.b_finite =
      of.packed && packed_is_finite(of.b.as<T>(), static_cast<size_t>(of.b.shape[0]) * sizeof(T));
  batch.args.c = of.out.as<T>();
  if (of.bias) batch.args.bias = of.bias->as<T>();
  kernels_of<T>().gemm_batched(batch.args, batch.dims);
}

bool is_half(const TensorRef& t) { return t.dtype == DType::kF16 || t.dtype == DType::kBF16; }

Element element_of(const TensorRef& t) {
  return t.dtype == DType::kF16 ? Element::kF16 : t.dtype == DType::kBF16 ? Element::kBF16 : Element::kF32;
}

void matmul_half(const OpCall& call, const Operands& of) {
  const Batch<float> batch = batch_of<float>(call, of);
  HalfGemmArgs args{};
  args.shape = batch.args;
  args.a = of.a.data, args.a_type = element_of(of.a);
  args.b = of.b.data, args.b_type = element_of(of.b);
  args.c = of.out.data, args.c_type = element_of(of.out);
  if (of.bias) args.bias = of.bias->data, args.bias_type = element_of(*of.bias);
  selected_kernels()->gemm_half(args, batch.dims);
}

template <class T>
void pack_matmul_of(const OpCall& call) {
  const TensorRef& b = call[0];
  kernels_of<T>().pack_b(b.as<T>(), b.strides[0], b.strides[1], static_cast<size_t>(b.shape[0]),
                         static_cast<size_t>(b.shape[1]), call[1].as<T>());
}

}  // namespace

void op_matmul(const OpCall& call) {
  const Operands of(call);
  if (is_half(of.a) || is_half(of.b) || is_half(of.out) || (of.bias && is_half(*of.bias)))
    return matmul_half(call, of);
  DRIVETRAIN_FLOAT_DISPATCH(of.a.dtype, matmul_of, call, of);
}

// operands: b [k, n] of any strides, packed [bytes / element]
void op_packMatmul(const OpCall& call) { DRIVETRAIN_FLOAT_DISPATCH(call[0].dtype, pack_matmul_of, call); }

}  // namespace drivetrain
