// The functions that the addon exports, by the file that implements them. lib/native/binding.ts documents
// each.
#pragma once
#include <node_api.h>

namespace drivetrain {

// device.cc
napi_value device_info(napi_env env, napi_callback_info info);
napi_value set_threads(napi_env env, napi_callback_info info);

// memory.cc
napi_value adjust_external_memory(napi_env env, napi_callback_info info);
napi_value discard_pages(napi_env env, napi_callback_info info);
napi_value poison(napi_env env, napi_callback_info info);
napi_value address(napi_env env, napi_callback_info info);

// storage.cc
napi_value create_storage(napi_env env, napi_callback_info info);
napi_value release_storage(napi_env env, napi_callback_info info);
napi_value lock_storage(napi_env env, napi_callback_info info);
napi_value unlock_storage(napi_env env, napi_callback_info info);

// program.cc
napi_value start(napi_env env, napi_callback_info info);
napi_value set_command_page(napi_env env, napi_callback_info info);
napi_value execute_instruction(napi_env env, napi_callback_info info);
napi_value create_program(napi_env env, napi_callback_info info);
napi_value release_program(napi_env env, napi_callback_info info);
napi_value keep_bindings(napi_env env, napi_callback_info info);
napi_value release_bindings(napi_env env, napi_callback_info info);
napi_value run_bound(napi_env env, napi_callback_info info);
napi_value run_program(napi_env env, napi_callback_info info);
napi_value run_program_sync(napi_env env, napi_callback_info info);
napi_value profile_program(napi_env env, napi_callback_info info);
napi_value watch_program(napi_env env, napi_callback_info info);
napi_value take_non_finite(napi_env env, napi_callback_info info);
napi_value cancel_run(napi_env env, napi_callback_info info);
napi_value packed_int8_bytes(napi_env env, napi_callback_info info);
napi_value packed_matmul_bytes(napi_env env, napi_callback_info info);

}  // namespace drivetrain
