// Reading arguments and making values. TypeScript has checked types and ranges; here a wrong value reads as
// zero.
#pragma once
#include <node_api.h>

#include <cstddef>

namespace drivetrain {

template <size_t N>
struct Arguments {
  napi_value values[N] = {};

  Arguments(napi_env env, napi_callback_info info) {
    size_t count = N;
    napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  }
  napi_value operator[](size_t i) const { return values[i]; }
};

inline double to_double(napi_env env, napi_value value) {
  double result = 0;
  napi_get_value_double(env, value, &result);
  return result;
}

inline size_t to_size(napi_env env, napi_value value) { return static_cast<size_t>(to_double(env, value)); }

inline bool to_bool(napi_env env, napi_value value) {
  bool result = false;
  napi_get_value_bool(env, value, &result);
  return result;
}

// Where a typed array's first element is; works for views of SharedArrayBuffers too.
inline void* data_of(napi_env env, napi_value typed_array) {
  void* data = nullptr;
  napi_get_typedarray_info(env, typed_array, nullptr, nullptr, &data, nullptr, nullptr);
  return data;
}

inline size_t bytes_of_array(napi_env env, napi_value typed_array) {
  // By napi_typedarray_type.
  constexpr size_t kBytes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 2};
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  napi_get_typedarray_info(env, typed_array, &type, &length, nullptr, nullptr, nullptr);
  return length * kBytes[type];
}

inline napi_value from_double(napi_env env, double value) {
  napi_value result = nullptr;
  napi_create_double(env, value, &result);
  return result;
}

inline napi_value from_bool(napi_env env, bool value) {
  napi_value result = nullptr;
  napi_get_boolean(env, value, &result);
  return result;
}

inline napi_value from_string(napi_env env, const char* text) {
  napi_value result = nullptr;
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &result);
  return result;
}

}  // namespace drivetrain
