// Looks at all gradients of a step before it is taken, in one pass: their norm, and whether they can be used.
// Operands: what the former step left (GradientControl), settings, the scale of the loss (its first number
// counts), whether to step at all (a number); then the gradients, of any float dtype; the output is a
// GradientControl.
#include "gradient_control.h"

#include "extent.h"
#include "table.h"

namespace drivetrain {
namespace {

// The order of lib/optim/gradient-control.ts.
struct Settings {
  double max_norm, max_value, max_magnitude;  // infinity: none
  double policy;
};
enum Policy { kUnseen, kRefuse, kSkip, kZero };

template <class T>
Extent extent_of(const TensorRef& gradient, double limit, size_t first, size_t n) {
  if (limit == 0 && bytes_of(gradient.dtype) == sizeof(T))
    return kernels_of<T>().extent(gradient.as<T>() + first, n);
  Extent all = {0, 0, 0};
  T block[kGradientBlock];
  for (size_t end = first + n; first < end; first += kGradientBlock) {
    const size_t count = std::min(end - first, kGradientBlock);
    load_gradient<T>(gradient, first, count, block);
    if (limit != 0) drop_beyond(limit, block, block, count);
    all += kernels_of<T>().extent(block, count);
  }
  return all;
}

Extent extent_of_all(const TensorRef* gradients, size_t count, double limit) {
  return extent_in_order(gradients, count, [&](size_t i, size_t first, size_t n) {
    return DRIVETRAIN_FLOAT_DISPATCH(gradients[i].dtype, extent_of, gradients[i], limit, first, n);
  });
}

}  // namespace

void op_gradientControl(const OpCall& call) {
  constexpr size_t kFixed = 4;
  const GradientControl before = *call[0].as<GradientControl>();
  const Settings settings = *call[1].as<Settings>();
  const double loss_scale = *call[2].as<double>();
  const bool wanted = *call[3].as<double>() != 0;
  const TensorRef* const gradients = call.operands + kFixed;
  const size_t count = call.count - kFixed - 1;

  GradientControl& control = *call[call.count - 1].as<GradientControl>();
  control = before;
  control.scale = 1 / loss_scale;
  control.clip = settings.max_value;
  control.limit = 0;
  control.skip = wanted ? 0 : 1;
  control.due = wanted;
  if (!wanted) return;
  control.looked = settings.policy != kUnseen;
  control.norm = control.largest = NAN;
  control.not_finite = 0;
  if (settings.policy != kUnseen) {
    const double limit = std::min(settings.max_magnitude * loss_scale, std::numeric_limits<double>::max());
    Extent extent = extent_of_all(gradients, count, 0);
    control.not_finite = static_cast<double>(extent.not_finite);
    control.largest = extent.largest / loss_scale;
    if (!(extent.largest <= limit)) {
      control.faulty += 1;
      if (settings.policy == kZero) {
        control.limit = limit;
        extent = extent_of_all(gradients, count, limit);
      } else {
        control.skip = 1;
        if (settings.policy == kRefuse) call.refusal->reason = Refusal::kGradients;
      }
    }
    control.norm = norm_of(extent, gradients, count) / loss_scale;
    control.scale *= std::min(1.0, settings.max_norm / (control.norm + 1e-6));
  }
  control.left_out = control.skip;
  control.skipped += control.skip;
}

}  // namespace drivetrain
