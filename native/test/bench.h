// What kernels_bench measures.
#pragma once
#include "../kernels/kernels.h"

namespace drivetrain::test {

void bench(const Kernels& k);
void bench_optimizers(const Kernels& k);
void bench_s8(const Kernels& k);
void once(const Kernels& k, const char* product);

}  // namespace drivetrain::test
