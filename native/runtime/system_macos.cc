#include <dlfcn.h>
#include <sys/mman.h>

#include <thread>

#include "system.h"

namespace drivetrain {

int usable_processors() {
  const unsigned count = std::thread::hardware_concurrency();
  return count < 1 ? 1 : static_cast<int>(count);
}

// Apple's processors for Macs have had it from the first one on.
bool has_dot_product() {
#if defined(__aarch64__)
  return true;
#else
  return false;
#endif
}

bool has_tiles() { return false; }

bool request_tiles() { return false; }

void discard_pages(void* pages, size_t bytes) { madvise(pages, bytes, MADV_FREE); }

void stay_loaded() {
  Dl_info self;
  if (dladdr(reinterpret_cast<const void*>(&stay_loaded), &self) != 0) {
    dlopen(self.dli_fname, RTLD_LAZY | RTLD_NODELETE);
  }
}

}  // namespace drivetrain
