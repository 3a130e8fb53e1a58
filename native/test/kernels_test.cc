// Tests of every kernel of every instruction set that this processor has.
//   kernels_test [--isa NAME] [--only TEST] [--skip NAME]... [--shard I/N] [--ulp]
// What is skipped is an instruction set or a test. A shard is every Nth of all tests, from the Ith on: N
// processes share them.
#include "../runtime/cpu.h"
#include "harness.h"

using namespace drivetrain;

int main(int argc, char** argv) {
  const char *isa = nullptr, *only = nullptr;
  std::vector<const char*> skips;
  int shard = 0, shards = 1;
  bool ulp = false;
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--isa") && i + 1 < argc)
      isa = argv[++i];
    else if (!std::strcmp(argv[i], "--skip") && i + 1 < argc)
      skips.push_back(argv[++i]);
    else if (!std::strcmp(argv[i], "--shard") && i + 1 < argc &&
             std::sscanf(argv[i + 1], "%d/%d", &shard, &shards) == 2 && shards > 0)
      ++i;
    else if (!std::strcmp(argv[i], "--only") && i + 1 < argc)
      only = argv[++i];
    else if (!std::strcmp(argv[i], "--ulp"))
      ulp = true;
    else
      return std::fprintf(stderr, "unknown argument %s\n", argv[i]), 2;
  }
  const auto skipped = [&skips](const char* name) {
    for (const char* skip : skips)
      if (!std::strcmp(skip, name)) return true;
    return false;
  };
  const Kernels* tables[kMaxTables];
  const int count = available_kernels(tables);
  int passed = 0, failed = 0, turn = 0;
  for (int t = 0; t < count; ++t) {
    if (isa && std::strcmp(isa, tables[t]->name)) continue;
    if (skipped(tables[t]->name) || !enable(*tables[t])) continue;
    if (ulp) {
      test::measure_ulps(*tables[t]);
      continue;
    }
    for (const test::Test& test : test::tests()) {
      if ((only && std::strcmp(only, test.name)) || skipped(test.name)) continue;
      // Tables such as avx2 and avx2-vnni, differ in their int8 kernels alone.
      const bool derived = std::strchr(tables[t]->name, '-') != nullptr;
      if (derived && !std::strstr(test.name, "s8") && !std::strstr(test.name, "quantize")) continue;
      if (turn++ % shards != shard) continue;
      test::failures() = 0;
      test.run(*tables[t]);
      const bool ok = test::failures() == 0;
      ++(ok ? passed : failed);
      if (!ok) std::printf("FAIL %s %s: %d checks\n", tables[t]->name, test.name, test::failures());
    }
  }
  if (ulp) return 0;
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0;
}
