#include "exports.h"
#include "values.h"
#include "../runtime/cpu.h"
#include "../runtime/system.h"
#include "../runtime/thread_pool.h"

namespace drivetrain {

napi_value device_info(napi_env env, napi_callback_info) {
  napi_value result = nullptr, isas = nullptr;
  napi_create_object(env, &result);
  const Kernels* tables[kMaxTables];
  const int count = available_kernels(tables);
  napi_create_array(env, &isas);
  for (int i = 0; i < count; i++)
    napi_set_element(env, isas, static_cast<uint32_t>(i), from_string(env, tables[i]->name));
  napi_set_named_property(env, result, "isa", from_string(env, selected_kernels()->name));
  napi_set_named_property(env, result, "isas", isas);
  napi_set_named_property(env, result, "threads", from_double(env, threads()));
  napi_set_named_property(env, result, "processors", from_double(env, usable_processors()));
#ifdef DRIVETRAIN_ASAN
  constexpr bool kSanitized = true;
#else
  constexpr bool kSanitized = false;
#endif
  napi_set_named_property(env, result, "sanitized", from_bool(env, kSanitized));
  return result;
}

napi_value set_threads(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  set_threads(static_cast<int>(to_double(env, arguments[0])));
  return nullptr;
}

}  // namespace drivetrain
