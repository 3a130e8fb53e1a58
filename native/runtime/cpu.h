// What this processor and this process may use.
#pragma once
#include "../kernels/kernels.h"

namespace drivetrain {

constexpr int kMaxTables = 5;

// The instruction sets that this build and this processor share, best first. Returns how many.
int available_kernels(const Kernels* out[kMaxTables]);

// The table in use: the best one, or what DRIVETRAIN_ISA names; null where it names one that is not
// available.
const Kernels* selected_kernels();

// Processors that this process may really use: affinity mask and cgroup quota counted; at least 1.
int usable_processors();

}  // namespace drivetrain
