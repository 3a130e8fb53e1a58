#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "cgroup.h"
#include "system.h"

namespace drivetrain {

int usable_processors() {
  int count = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
  const double quota = cgroup_processors();
  if (quota < count) count = static_cast<int>(quota + 0.5);
  return count < 1 ? 1 : count;
}

bool has_dot_product() {
#if defined(__aarch64__)
  constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP
  return getauxval(AT_HWCAP) & kDotProduct;
#else
  return false;
#endif
}

#if defined(__x86_64__)

constexpr int kTileData = 18;  // XFEATURE_XTILEDATA, Linux 5.16

bool has_tiles() {
  constexpr int kSupported = 0x1021;  // ARCH_GET_XCOMP_SUPP
  unsigned long long features = 0;
  return syscall(SYS_arch_prctl, kSupported, &features) == 0 && features >> kTileData & 1;
}

bool request_tiles() {
  constexpr int kRequest = 0x1023;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

#else

bool has_tiles() { return false; }

bool request_tiles() { return false; }

#endif

void discard_pages(void* pages, size_t bytes) { madvise(pages, bytes, MADV_DONTNEED); }

// The linker has seen to it (-z nodelete).
void stay_loaded() {}

}  // namespace drivetrain
