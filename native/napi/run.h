// An awaited run: waits for its locks without a thread, executes on the pool, reports to its environment.
#pragma once
#include <atomic>
#include <memory>

#include "../program/locks.h"
#include "../program/program.h"
#include "../runtime/thread_pool.h"
#include "environment.h"

namespace drivetrain {

// The outcomes that lib/native/binding.ts names.
enum class Status : int { kOk = 0, kBusy = 1, kCancelled = 2 };

// The memory behind the slots of a command page's binding section, and the locks that it needs. Layout, in
// doubles:
//   slots, then for each slot a storage handle (or -1 - i for the caller's i-th array), a byte offset into it
//   and whether it is written.
class Bindings {
 public:
  Bindings(napi_env env, Environment& environment, const double*& words, napi_value borrowed);

  const Slot* slots() const { return slots_.data(); }
  std::vector<LockRequest> take_requests() { return std::move(requests_); }
  // Takes all locks, or none. Never succeeds where the arrays could not be had: the environment is being
  // terminated.
  bool try_lock() const;
  void unlock() const;

 private:
  void add_slot(char* data, size_t bytes, size_t offset);

  std::vector<Slot> slots_;
  std::vector<LockRequest> requests_;
  bool complete_ = true;
};

class Run final : public Task, public LockWaiter {
 public:
  Run(Environment& environment, double id, std::shared_ptr<const Program> program, Bindings bindings);

  void submit() { acquire_all(this); }
  // Ends the run before its commit section if that has not begun. True where it was still waiting for locks
  // and will not execute at all.
  bool cancel();

  void ready() override { drivetrain::submit(this); }
  void execute() override;

  const double id;
  Status status = Status::kOk;

 private:
  Environment& environment_;
  std::shared_ptr<const Program> program_;
  Bindings bindings_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace drivetrain
