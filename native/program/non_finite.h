// What an instruction made of finite values: for debugging, since it reads every element again.
#pragma once
#include "../ops/tensor_ref.h"

namespace drivetrain {

enum class Worst { kFinite, kInfinite, kNaN };

// The worst of a tensor's elements; integers are finite.
Worst worst_of(const TensorRef& t);

}  // namespace drivetrain
