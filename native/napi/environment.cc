#include "environment.h"

#include <cstring>

#include "run.h"
#include "values.h"

namespace drivetrain {
namespace {

struct Completion {
  double id;
  Status status;
  Refusal refusal;
};

}  // namespace

Environment::Environment(napi_env env) : env_(env) {}

Environment::~Environment() {
  for (const Held& held : held_) drivetrain::unlock(&held.request, 1);
  storages.for_each([](const Storage& storage) { unregister_storage(storage); });
}

Environment& Environment::of(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return *static_cast<Environment*>(data);
}

void Environment::start(napi_value on_complete) {
  const bool again = completions_ != nullptr;
  napi_create_threadsafe_function(env_, on_complete, nullptr, from_string(env_, "drivetrain run"), 0, 1,
                                  nullptr, nullptr, this, deliver, &completions_);
  napi_unref_threadsafe_function(env_, completions_);
  // Hooks run last first, so this one comes before the queue's own: nothing is queued once it has gone.
  if (again) napi_remove_env_cleanup_hook(env_, cleanup, this);
  napi_add_env_cleanup_hook(env_, cleanup, this);
}

bool Environment::lock(size_t handle, bool write) {
  const Storage* storage = storages.get(handle);
  if (storage == nullptr) return false;
  const LockRequest request{storage->lock, write};
  if (!try_lock(&request, 1)) return false;
  held_.push_back({handle, request});
  return true;
}

// The storage may have been released meanwhile, and its handle given out again: the latest one is meant.
void Environment::unlock(size_t handle, bool write) {
  for (size_t i = held_.size(); i-- > 0;) {
    if (held_[i].storage != handle || held_[i].request.write != write) continue;
    drivetrain::unlock(&held_[i].request, 1);
    held_.erase(held_.begin() + static_cast<ptrdiff_t>(i));
    return;
  }
}

void Environment::tell(Status status, const Refusal& refusal) {
  if (status != Status::kRefused) return;
  command_page[0] = static_cast<double>(refusal.instruction);
  command_page[1] = static_cast<double>(refusal.place);
  std::memcpy(command_page + 2, &refusal.index, sizeof(refusal.index));
}

void Environment::add_run(Run* run) {
  if (undelivered_++ == 0) napi_ref_threadsafe_function(env_, completions_);
  {
    std::lock_guard guard(mutex_);
    runs_.emplace(run->id, run);
  }
  run->submit();
}

// The mutex keeps the run alive meanwhile: a run that ends needs it to be forgotten.
void Environment::cancel_run(double id) {
  std::lock_guard guard(mutex_);
  const auto found = runs_.find(id);
  if (found != runs_.end() && found->second->cancel()) forget(found->second);
}

void Environment::finish_run(Run* run) {
  std::lock_guard guard(mutex_);
  forget(run);
}

void Environment::forget(Run* run) {
  runs_.erase(run->id);
  if (!closing_) {
    napi_call_threadsafe_function(completions_, new Completion{run->id, run->status, run->refusal},
                                  napi_tsfn_nonblocking);
  }
  delete run;
  run_finished_.notify_all();
}

void Environment::deliver(napi_env env, napi_value on_complete, void* self, void* data) {
  const std::unique_ptr<Completion> completion(static_cast<Completion*>(data));
  if (env == nullptr) return;
  Environment& environment = *static_cast<Environment*>(self);
  if (--environment.undelivered_ == 0) napi_unref_threadsafe_function(env, environment.completions_);
  environment.tell(completion->status, completion->refusal);
  napi_value undefined = nullptr;
  napi_get_undefined(env, &undefined);
  const napi_value arguments[] = {from_double(env, completion->id),
                                  from_double(env, static_cast<int>(completion->status))};
  napi_call_function(env, undefined, on_complete, 2, arguments, nullptr);
}

void Environment::cleanup(void* opaque) {
  auto* self = static_cast<Environment*>(opaque);
  std::unique_lock guard(self->mutex_);
  self->closing_ = true;
  std::vector<double> ids;
  for (const auto& [id, run] : self->runs_) ids.push_back(id);
  guard.unlock();
  for (const double id : ids) self->cancel_run(id);
  guard.lock();
  self->run_finished_.wait(guard, [self] { return self->runs_.empty(); });
}

}  // namespace drivetrain
