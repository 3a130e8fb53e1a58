// The instruction sets of this processor.
#pragma once
#include "../kernels/kernels.h"

namespace drivetrain {

constexpr int kMaxTables = 6;

// The instruction sets that this build and this processor share, best first. Returns how many.
int available_kernels(const Kernels* out[kMaxTables]);

// Asks the system for what a table's instructions need, before they are used; false where it is refused.
bool enable(const Kernels& kernels);

// The table in use: the best one, or what DRIVETRAIN_ISA names; null where it names one that is not
// available.
const Kernels* selected_kernels();

}  // namespace drivetrain
