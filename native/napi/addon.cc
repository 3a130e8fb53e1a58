// Set-up of the addon in one environment: a flat list of exports. Raw Node-API throughout: no C++ exception
// and no property access of a wrapper can meet a worker's termination half-way.
#include "environment.h"
#include "exports.h"
#include "values.h"
#include "../ops/table.h"
#include "../runtime/cpu.h"
#include "../runtime/system.h"
#include "../runtime/thread_pool.h"

namespace drivetrain {
namespace {

struct Export {
  const char* name;
  napi_callback callback;
};

constexpr Export kExports[] = {
    {"deviceInfo", device_info},
    {"setThreads", set_threads},
    {"adjustExternalMemory", adjust_external_memory},
    {"discardPages", discard_pages},
    {"poison", poison},
    {"address", address},
    {"createStorage", create_storage},
    {"releaseStorage", release_storage},
    {"lock", lock_storage},
    {"unlock", unlock_storage},
    {"start", start},
    {"setCommandPage", set_command_page},
    {"execute", execute_instruction},
    {"createProgram", create_program},
    {"releaseProgram", release_program},
    {"run", run_program},
    {"runSync", run_program_sync},
    {"keepBindings", keep_bindings},
    {"releaseBindings", release_bindings},
    {"runBound", run_bound},
    {"profile", profile_program},
    {"watch", watch_program},
    {"takeNonFinite", take_non_finite},
    {"cancel", cancel_run},
    {"packedInt8Bytes", packed_int8_bytes},
    {"packedMatmulBytes", packed_matmul_bytes},
};

napi_value init(napi_env env, napi_value exports) {
  if (selected_kernels() == nullptr) {
    napi_throw_error(
        env, "DT_UNSUPPORTED_ISA",
        "DRIVETRAIN_ISA names an instruction set that this processor or this build does not "
        "have; unset it, or use scalar, avx2, avx2-vnni, avx512, avx512-vnni, avx512-amx (x64), neon or "
        "neon-dot (arm64).");
    return nullptr;
  }
  if (!start_pool()) {
    napi_throw_error(
        env, "DT_ADDON_LOAD",
        "The system refused to start a thread; raise its limit of processes and threads (ulimit -u, or the "
        "pids limit of the container).");
    return nullptr;
  }
  stay_loaded();
  napi_set_instance_data(
      env, new Environment(env), [](napi_env, void* data, void*) { delete static_cast<Environment*>(data); },
      nullptr);
  for (const auto& [name, callback] : kExports) {
    napi_value function = nullptr;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
    napi_set_named_property(env, exports, name, function);
  }
  napi_set_named_property(env, exports, "opcodeHash", from_string(env, DRIVETRAIN_OPCODE_HASH));
  return exports;
}

}  // namespace
}  // namespace drivetrain

NAPI_MODULE_INIT() { return drivetrain::init(env, exports); }
