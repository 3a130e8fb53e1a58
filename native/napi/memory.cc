// The operating system's side of slabs.
#include "exports.h"
#include "values.h"
#include "../runtime/system.h"

#ifdef DRIVETRAIN_ASAN
#include <sanitizer/asan_interface.h>
#endif

#include <cstdint>

namespace drivetrain {
namespace {

char* range_begin(napi_env env, napi_value view, napi_value offset) {
  return static_cast<char*>(data_of(env, view)) + to_size(env, offset);
}

// Gives the whole pages of a range back to the system; the content of the range is undefined afterwards.
void discard(char* data, size_t bytes) {
  const uintptr_t page = page_bytes(), begin = reinterpret_cast<uintptr_t>(data);
  const uintptr_t first = (begin + page - 1) / page * page, last = (begin + bytes) / page * page;
  if (first < last) discard_pages(reinterpret_cast<void*>(first), last - first);
}

}  // namespace

napi_value adjust_external_memory(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  int64_t total;
  napi_adjust_external_memory(env, static_cast<int64_t>(to_double(env, arguments[0])), &total);
  return nullptr;
}

napi_value discard_pages(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  discard(range_begin(env, arguments[0], arguments[1]), to_size(env, arguments[2]));
  return nullptr;
}

napi_value poison(napi_env env, napi_callback_info info) {
  [[maybe_unused]] const Arguments<4> arguments(env, info);
#ifdef DRIVETRAIN_ASAN
  char* begin = range_begin(env, arguments[0], arguments[1]);
  const size_t bytes = to_size(env, arguments[2]);
  to_bool(env, arguments[3]) ? __asan_poison_memory_region(begin, bytes)
                             : __asan_unpoison_memory_region(begin, bytes);
#else
  (void)env;
#endif
  return nullptr;
}

napi_value address(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  return from_double(env, static_cast<double>(reinterpret_cast<uintptr_t>(data_of(env, arguments[0]))));
}

}  // namespace drivetrain
