#include "../program/program.h"

#include "environment.h"
#include "exports.h"
#include "run.h"
#include "values.h"
#include "../runtime/cpu.h"

namespace drivetrain {
namespace {

napi_value from_status(napi_env env, Status status) { return from_double(env, static_cast<int>(status)); }

// The status of body(slots, refusal), called with the bindings' locks held, or that one of them is busy.
template <class Body>
Status locked(Environment& environment, Bindings& bindings, Body body) {
  if (!bindings.try_lock()) return Status::kBusy;
  Refusal refusal;
  const Status status = body(bindings.slots(), refusal);
  bindings.unlock();
  environment.tell(status, refusal);
  return status;
}

}  // namespace

napi_value start(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  Environment::of(env).start(arguments[0]);
  return nullptr;
}

napi_value set_command_page(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  Environment::of(env).command_page = static_cast<double*>(data_of(env, arguments[0]));
  return nullptr;
}

napi_value execute_instruction(napi_env env, napi_callback_info) {
  Environment& environment = Environment::of(env);
  const double* words = environment.command_page;
  environment.bindings.read(environment, words);
  decode_instruction(words, environment.instruction);
  return from_status(env, locked(environment, environment.bindings, [&](const Slot* slots, Refusal& refusal) {
                       return execute(environment.instruction, slots, refusal);
                     }));
}

napi_value create_program(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  auto program = std::make_shared<Program>(static_cast<const double*>(data_of(env, arguments[0])));
  return from_double(env, static_cast<double>(Environment::of(env).programs.add(std::move(program))));
}

napi_value release_program(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  auto& programs = Environment::of(env).programs;
  const size_t handle = to_size(env, arguments[0]);
  if (programs.get(handle)) programs.remove(handle);
  return nullptr;
}

// Elements of operands up to which a run costs less than handing it to another thread and hearing of its end.
constexpr size_t kSmallRun = 16384;

napi_value run_program(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  Environment& environment = Environment::of(env);
  const auto& program = *environment.programs.get(to_size(env, arguments[0]));
  const double* words = environment.command_page;
  Bindings bindings;
  bindings.read(environment, words);
  if (program->elements() <= kSmallRun) {
    const Status status = locked(environment, bindings, [&](const Slot* slots, Refusal& refusal) {
      return program->execute(slots, nullptr, refusal);
    });
    if (status != Status::kBusy) return from_status(env, status);
  }
  environment.add_run(new Run(environment, to_double(env, arguments[1]), program, std::move(bindings)));
  return from_status(env, Status::kPending);
}

napi_value run_program_sync(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  Environment& environment = Environment::of(env);
  const auto* program = environment.programs.get(to_size(env, arguments[0]));
  const double* words = environment.command_page;
  environment.bindings.read(environment, words);
  return from_status(env, locked(environment, environment.bindings, [&](const Slot* slots, Refusal& refusal) {
                       return (*program)->execute(slots, nullptr, refusal);
                     }));
}

napi_value keep_bindings(napi_env env, napi_callback_info) {
  Environment& environment = Environment::of(env);
  return from_double(env, static_cast<double>(environment.kept.add(environment.bindings)));
}

napi_value release_bindings(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  Environment::of(env).kept.remove(to_size(env, arguments[0]));
  return nullptr;
}

napi_value run_bound(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  Environment& environment = Environment::of(env);
  const auto* program = environment.programs.get(to_size(env, arguments[0]));
  Bindings* const bindings = environment.kept.get(to_size(env, arguments[1]));
  return from_status(env, locked(environment, *bindings, [&](const Slot* slots, Refusal& refusal) {
                       return (*program)->execute(slots, nullptr, refusal);
                     }));
}

napi_value profile_program(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  Environment& environment = Environment::of(env);
  const auto* program = environment.programs.get(to_size(env, arguments[0]));
  const double* words = environment.command_page;
  environment.bindings.read(environment, words);
  auto* const times = static_cast<double*>(data_of(env, arguments[2]));
  return from_status(env, locked(environment, environment.bindings, [&](const Slot* slots, Refusal& refusal) {
                       return (*program)->execute(slots, nullptr, refusal, times);
                     }));
}

napi_value watch_program(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  const auto* const roles = static_cast<const uint8_t*>(data_of(env, arguments[1]));
  const size_t count = bytes_of_array(env, arguments[1]);
  (*Environment::of(env).programs.get(to_size(env, arguments[0])))->watch({roles, roles + count});
  return nullptr;
}

napi_value take_non_finite(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  NonFinite found{};
  if (!(*Environment::of(env).programs.get(to_size(env, arguments[0])))->take_non_finite(found)) {
    return from_bool(env, false);
  }
  auto* const out = static_cast<double*>(data_of(env, arguments[1]));
  out[0] = static_cast<double>(found.instruction);
  out[1] = found.operand;
  return from_bool(env, true);
}

napi_value cancel_run(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  Environment::of(env).cancel_run(to_double(env, arguments[0]));
  return nullptr;
}

napi_value packed_int8_bytes(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  const size_t bytes =
      selected_kernels()->packed_s8_bytes(to_size(env, arguments[0]), to_size(env, arguments[1]));
  return from_double(env, static_cast<double>(bytes));
}

napi_value packed_matmul_bytes(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  const size_t k = to_size(env, arguments[0]), n = to_size(env, arguments[1]);
  const size_t bytes = to_bool(env, arguments[2]) ? selected_kernels()->f64.packed_b_bytes(k, n)
                                                  : selected_kernels()->f32.packed_b_bytes(k, n);
  return from_double(env, static_cast<double>(bytes));
}

}  // namespace drivetrain
