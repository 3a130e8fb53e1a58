// What one Node environment (the main thread or a worker) has open in native code. Its end cancels and joins
// its runs before its memory goes away.
#pragma once
#include <node_api.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "../program/program.h"
#include "../program/storage.h"
#include "bindings.h"

namespace drivetrain {

class Run;

// Values by small integer handle; handles of removed values are given out again.
template <class T>
class HandleTable {
 public:
  size_t add(T value) {
    if (free_.empty()) {
      entries_.push_back({std::move(value), true});
      return entries_.size() - 1;
    }
    const size_t handle = free_.back();
    free_.pop_back();
    entries_[handle] = {std::move(value), true};
    return handle;
  }
  // Null where the handle is not in use.
  T* get(size_t handle) {
    return handle < entries_.size() && entries_[handle].used ? &entries_[handle].value : nullptr;
  }
  void remove(size_t handle) {
    entries_[handle] = {T{}, false};
    free_.push_back(handle);
  }
  template <class Body>
  void for_each(Body body) {
    for (Entry& entry : entries_) {
      if (entry.used) body(entry.value);
    }
  }

 private:
  struct Entry {
    T value;
    bool used;
  };
  std::vector<Entry> entries_;
  std::vector<size_t> free_;
};

class Environment {
 public:
  explicit Environment(napi_env env);
  ~Environment();

  static Environment& of(napi_env env);

  // The function that learns of each finished run. Its queue keeps the event loop alive while runs are under
  // way. Test runners that load JavaScript anew for each file, but addons once, call this again.
  void start(napi_value on_complete);

  void add_run(Run* run);
  void cancel_run(double id);
  // From any thread, as the last thing that touches the run.
  void finish_run(Run* run);

  // What JavaScript takes and gives back within one synchronous call. Its finally blocks do not run when a
  // worker is terminated: whatever it held then is given back when the environment ends.
  bool lock(size_t storage, bool write);
  void unlock(size_t storage, bool write);

  // Writes into the command page why a call was refused: the instruction, the place of an index and, as the
  // 64 bits of an integer, the index.
  void tell(Status status, const Refusal& refusal);

  HandleTable<Storage> storages;
  HandleTable<std::shared_ptr<Program>> programs;
  HandleTable<Bindings> kept;  // for calls that bind the same again
  double* command_page = nullptr;

  // Where synchronous calls decode the command page: kept, so that they allocate nothing.
  Bindings bindings;
  Instruction instruction;

 private:
  static void cleanup(void* self);
  static void deliver(napi_env env, napi_value on_complete, void* self, void* completion);

  // With the mutex held: reports the run's status and deletes it.
  void forget(Run* run);

  struct Held {
    size_t storage;
    LockRequest request;
  };

  napi_env env_;
  std::vector<Held> held_;
  napi_threadsafe_function completions_ = nullptr;
  size_t undelivered_ = 0;  // runs whose completion JavaScript has not seen; only touched on its thread

  std::mutex mutex_;
  std::condition_variable run_finished_;
  std::unordered_map<double, Run*> runs_;
  bool closing_ = false;
};

}  // namespace drivetrain
