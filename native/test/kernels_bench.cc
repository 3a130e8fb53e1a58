// Measures the kernels of every instruction set that this processor has.
//   kernels_bench [--isa NAME] [--optimizers | --s8 | --once PRODUCT]
#include <cstdio>
#include <cstring>
#include "../runtime/cpu.h"
#include "bench.h"

using namespace drivetrain;

int main(int argc, char** argv) {
  const char *isa = nullptr, *product = nullptr;
  void (*measure)(const Kernels&) = test::bench;
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--isa") && i + 1 < argc)
      isa = argv[++i];
    else if (!std::strcmp(argv[i], "--optimizers"))
      measure = test::bench_optimizers;
    else if (!std::strcmp(argv[i], "--s8"))
      measure = test::bench_s8;
    else if (!std::strcmp(argv[i], "--once") && i + 1 < argc)
      product = argv[++i];
    else
      return std::fprintf(stderr, "unknown argument %s\n", argv[i]), 2;
  }
  const Kernels* tables[kMaxTables];
  const int count = available_kernels(tables);
  for (int t = 0; t < count; ++t) {
    if ((isa && std::strcmp(isa, tables[t]->name)) || !enable(*tables[t])) continue;
    product ? test::once(*tables[t], product) : measure(*tables[t]);
  }
}
