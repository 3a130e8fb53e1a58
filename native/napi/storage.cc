#include "../program/storage.h"

#include "environment.h"
#include "exports.h"
#include "values.h"

namespace drivetrain {

napi_value create_storage(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  char* const begin = reinterpret_cast<char*>(static_cast<uintptr_t>(to_double(env, arguments[0])));
  const Storage storage = register_storage(begin, to_size(env, arguments[1]));
  return from_double(env, static_cast<double>(Environment::of(env).storages.add(storage)));
}

napi_value release_storage(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  auto& storages = Environment::of(env).storages;
  const size_t handle = to_size(env, arguments[0]);
  if (const Storage* storage = storages.get(handle)) {
    unregister_storage(*storage);
    storages.remove(handle);
  }
  return nullptr;
}

napi_value lock_storage(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  return from_bool(env, Environment::of(env).lock(to_size(env, arguments[0]), to_bool(env, arguments[1])));
}

napi_value unlock_storage(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  Environment::of(env).unlock(to_size(env, arguments[0]), to_bool(env, arguments[1]));
  return nullptr;
}

}  // namespace drivetrain
