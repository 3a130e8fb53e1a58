#include "run.h"

#include "values.h"

namespace drivetrain {

Bindings::Bindings(napi_env env, Environment& environment, const double*& words, napi_value borrowed) {
  const size_t count = static_cast<size_t>(*words++);
  slots_.reserve(count);
  for (size_t i = 0; i < count; i++) {
    const double handle = *words++;
    const size_t offset = static_cast<size_t>(*words++);
    const bool write = *words++ != 0;
    if (handle < 0) {
      napi_value array = nullptr;
      const auto index = static_cast<uint32_t>(-1 - handle);
      if (napi_get_element(env, borrowed, index, &array) != napi_ok) complete_ = false;
      slots_.push_back(static_cast<char*>(data_of(env, array)) + offset);
      continue;
    }
    const Storage* storage = environment.storages.get(static_cast<size_t>(handle));
    slots_.push_back(storage->data + offset);
    bool known = false;
    for (LockWaiter::Request& request : requests_) {
      if (request.lock != storage->lock) continue;
      request.write = request.write || write;
      known = true;
    }
    if (!known) requests_.push_back({storage->lock, write});
  }
}

bool Bindings::try_lock() const {
  if (!complete_) return false;
  for (size_t i = 0; i < requests_.size(); i++) {
    if (drivetrain::try_lock(requests_[i].lock, requests_[i].write)) continue;
    while (i-- > 0) drivetrain::unlock(requests_[i].lock, requests_[i].write);
    return false;
  }
  return true;
}

void Bindings::unlock() const {
  for (const auto& [lock, write] : requests_) drivetrain::unlock(lock, write);
}

Run::Run(Environment& environment, double run_id, std::shared_ptr<const Program> program, Bindings bindings)
    : id(run_id), environment_(environment), program_(std::move(program)), bindings_(std::move(bindings)) {
  requests = bindings_.take_requests();
}

bool Run::cancel() {
  cancelled_.store(true, std::memory_order_relaxed);
  if (!withdraw(this)) return false;
  status = Status::kCancelled;
  return true;
}

void Run::execute() {
  if (!drivetrain::execute(*program_, bindings_.slots(), &cancelled_)) status = Status::kCancelled;
  release_all(this);
  environment_.finish_run(this);
}

}  // namespace drivetrain
