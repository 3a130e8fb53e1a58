// Arguments and values as the library's own addon reads and makes them, and the list of exports of a bench
// addon.
#pragma once
#include "../../native/napi/values.h"

namespace drivetrain::bench {

struct Export {
  const char* name;
  napi_callback function;
};

template <size_t N>
napi_value export_all(napi_env env, napi_value exports, const Export (&list)[N]) {
  for (const Export& item : list) {
    napi_value function = nullptr;
    napi_create_function(env, item.name, NAPI_AUTO_LENGTH, item.function, nullptr, &function);
    napi_set_named_property(env, exports, item.name, function);
  }
  return exports;
}

inline void set_string(napi_env env, napi_value exports, const char* name, const char* text) {
  napi_set_named_property(env, exports, name, from_string(env, text));
}

}  // namespace drivetrain::bench
