// Windows 10 and later, which Node needs too.
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#define _WIN32_WINNT 0x0A00
#include <windows.h>

#include <process.h>

#include <bit>
#include <cstdint>

#include "system.h"

namespace drivetrain {
namespace {

struct Start {
  void (*body)(void*);
  void* argument;
};

unsigned __stdcall enter(void* opaque) {
  const Start start = *static_cast<Start*>(opaque);
  delete static_cast<Start*>(opaque);
  start.body(start.argument);
  return 0;
}

// The affinity mask speaks of one group of at most 64 processors; a process without one of its own has them
// all.
int processors_in_affinity() {
  DWORD_PTR own = 0, all = 0;
  if (GetProcessAffinityMask(GetCurrentProcess(), &own, &all) && own != 0 && own != all) {
    return std::popcount(static_cast<uint64_t>(own));
  }
  return static_cast<int>(GetActiveProcessorCount(ALL_PROCESSOR_GROUPS));
}

// The share of all processors' time that the process's job (a container) has at most; 1 without a limit.
double job_share() {
  constexpr double kWhole = 10000;  // the rate is in hundredths of a percent
  JOBOBJECT_CPU_RATE_CONTROL_INFORMATION rate = {};
  if (!QueryInformationJobObject(nullptr, JobObjectCpuRateControlInformation, &rate, sizeof rate, nullptr)) {
    return 1;
  }
  constexpr DWORD kCapped = JOB_OBJECT_CPU_RATE_CONTROL_ENABLE | JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP;
  return (rate.ControlFlags & kCapped) == kCapped ? rate.CpuRate / kWhole : 1;
}

}  // namespace

int usable_processors() {
  const int all = static_cast<int>(GetActiveProcessorCount(ALL_PROCESSOR_GROUPS));
  const int quota = static_cast<int>(all * job_share() + 0.5), affinity = processors_in_affinity();
  const int count = quota < affinity ? quota : affinity;
  return count < 1 ? 1 : count;
}

bool has_dot_product() {
  constexpr DWORD kDotProduct = 43;  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
  return IsProcessorFeaturePresent(kDotProduct);
}

bool has_tiles() { return false; }

bool request_tiles() { return false; }

bool start_thread(void (*body)(void*), void* argument) {
  auto* const start = new Start{body, argument};
  const uintptr_t thread = _beginthreadex(nullptr, kStackBytes, enter, start, 0, nullptr);
  if (thread == 0) {
    delete start;
    return false;
  }
  CloseHandle(reinterpret_cast<HANDLE>(thread));
  return true;
}

size_t page_bytes() {
  SYSTEM_INFO system;
  GetSystemInfo(&system);
  return system.dwPageSize;
}

// Wine before version 9 lacks the function that gives memory back at once. What stands in for it lets the
// system take the pages when memory is short.
void discard_pages(void* pages, size_t bytes) {
  using Discard = DWORD(WINAPI*)(void*, SIZE_T);
  static const auto discard = reinterpret_cast<Discard>(
      reinterpret_cast<void*>(GetProcAddress(GetModuleHandleW(L"kernel32"), "DiscardVirtualMemory")));
  if (discard)
    discard(pages, bytes);
  else
    VirtualAlloc(pages, bytes, MEM_RESET, PAGE_READWRITE);
}

void stay_loaded() {
  HMODULE self;
  GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                     reinterpret_cast<LPCWSTR>(&stay_loaded), &self);
}

}  // namespace drivetrain
