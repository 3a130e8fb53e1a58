// Sums of gradients over several batches, each over the number of batches. attrs: that number, and how many
// tensors there are. Operands: how many batches the sums hold (f64; at 0 they begin anew), the sums, the
// gradients; the outputs are the same number afterwards (0 when all are there), whether that is so (f64), and
// the sums. Outputs may be the inputs themselves.
#include "gradient_control.h"
#include "pieces.h"
#include "table.h"

namespace drivetrain {
namespace {

template <class T>
void add_scaled(bool first_batch, T scale, const TensorRef& sum, const TensorRef& gradient,
                const TensorRef& out, size_t from, size_t n) {
  const FloatKernels<T>& k = kernels_of<T>();
  T block[kGradientBlock];
  for (size_t end = from + n; from < end; from += kGradientBlock) {
    const size_t count = std::min(end - from, kGradientBlock);
    load_gradient<T>(gradient, from, count, block);
    k.binary[kMul](block, 1, &scale, 0, block, count);
    if (!first_batch) k.binary[kAdd](sum.as<T>() + from, 1, block, 1, block, count);
    std::copy(block, block + count, out.as<T>() + from);
  }
}

}  // namespace

void op_accumulate(const OpCall& call) {
  const double batches = call.attrs[0];
  const size_t count = static_cast<size_t>(call.attrs[1]);
  const TensorRef *const sums = call.operands + 1, *const gradients = sums + count,
                         *const outputs = gradients + count + 2;
  const double held = *call[0].as<double>();
  for_each_piece_of(
      sums, count, [](size_t) {},
      [&](size_t, size_t i, size_t first, size_t n) {
        if (sums[i].dtype == DType::kF64)
          add_scaled<double>(held == 0, 1 / batches, sums[i], gradients[i], outputs[i], first, n);
        else
          add_scaled<float>(held == 0, static_cast<float>(1 / batches), sums[i], gradients[i], outputs[i],
                            first, n);
      });
  const bool whole = held + 1 >= batches;
  *outputs[-2].as<double>() = whole ? 0 : held + 1;
  *outputs[-1].as<double>() = whole;
}

}  // namespace drivetrain
