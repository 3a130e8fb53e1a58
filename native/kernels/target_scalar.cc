// The kernels compiled for any processor, in plain C++. Everything stands in an anonymous namespace: see
// native/simd/vec_one.h.
#include <math.h>
#include <string.h>
#include "kernels.h"
#include "parallel.h"

namespace drivetrain::scalar {
namespace {
#include "../simd/vec_one.h"
#include "../simd/vec_scalar.h"
#include "table-inl.h"
constexpr Kernels kTable = make_table("scalar");
}  // namespace
}  // namespace drivetrain::scalar

const drivetrain::Kernels* drivetrain::scalar_kernels() { return &scalar::kTable; }
