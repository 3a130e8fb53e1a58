#include "cpu.h"

#include <cstdlib>
#include <cstring>

#include "system.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#define DRIVETRAIN_X86 1
#endif

namespace drivetrain {
namespace {

#ifdef DRIVETRAIN_X86

struct Features {
  bool avx2 = false, avx2_vnni = false;
  bool avx512 = false, avx512_vnni = false, avx512_amx = false;
};

// XCR0: the register states that the operating system saves when it switches threads.
unsigned long long saved_states() {
  unsigned low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<unsigned long long>(high) << 32) | low;
}

Features detect() {
  Features features;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return features;
  const bool xsave = c & (1u << 27), avx = c & (1u << 28), fma = c & (1u << 12), f16c = c & (1u << 29);
  if (!(xsave && avx && fma && f16c)) return features;
  constexpr unsigned long long kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000;
  const unsigned long long states = saved_states();
  if ((states & kYmm) != kYmm || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return features;
  features.avx2 = b & (1u << 5);
  const bool f = b & (1u << 16), dq = b & (1u << 17), bw = b & (1u << 30), vl = b & (1u << 31);
  features.avx512 = features.avx2 && f && dq && bw && vl && (states & kZmm) == kZmm;
  features.avx512_vnni = features.avx512 && c & (1u << 11);
  const bool tiles = d & (1u << 24), tiles_int8 = d & (1u << 25);
  features.avx512_amx = features.avx512_vnni && tiles && tiles_int8 && (states & kTiles) == kTiles;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) features.avx2_vnni = features.avx2 && a & (1u << 4);
  return features;
}

#endif

const Kernels* select() {
  const Kernels* tables[kMaxTables];
  const int count = available_kernels(tables);
  const char* const pinned = std::getenv("DRIVETRAIN_ISA");
  const bool any = pinned == nullptr || *pinned == '\0';
  for (int i = 0; i < count; i++) {
    if ((any || std::strcmp(tables[i]->name, pinned) == 0) && enable(*tables[i])) return tables[i];
  }
  return nullptr;
}

}  // namespace

int available_kernels(const Kernels* out[kMaxTables]) {
  int count = 0;
#ifdef DRIVETRAIN_X86
  const Features features = detect();
  if (features.avx512_amx && avx512_amx_kernels() && has_tiles()) out[count++] = avx512_amx_kernels();
  if (features.avx512_vnni && avx512_vnni_kernels()) out[count++] = avx512_vnni_kernels();
  if (features.avx512 && avx512_kernels()) out[count++] = avx512_kernels();
  if (features.avx2_vnni && avx2_vnni_kernels()) out[count++] = avx2_vnni_kernels();
  if (features.avx2 && avx2_kernels()) out[count++] = avx2_kernels();
#elif defined(__aarch64__)
  if (has_dot_product() && neon_dot_kernels()) out[count++] = neon_dot_kernels();
  out[count++] = neon_kernels();
#endif
  out[count++] = scalar_kernels();
  return count;
}

bool enable(const Kernels& kernels) { return &kernels != avx512_amx_kernels() || request_tiles(); }

const Kernels* selected_kernels() {
  static const Kernels* const kernels = select();
  return kernels;
}

}  // namespace drivetrain
