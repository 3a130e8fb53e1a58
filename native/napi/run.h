// An awaited run: waits for its locks without a thread, executes on the pool, reports to its environment.
#pragma once
#include <atomic>
#include <memory>

#include "../program/locks.h"
#include "../program/program.h"
#include "../runtime/thread_pool.h"
#include "environment.h"

namespace drivetrain {

class Run final : public Task, public LockWaiter {
 public:
  Run(Environment& environment, double id, std::shared_ptr<Program> program, Bindings bindings);

  void submit() { acquire_all(this); }
  // Ends the run before its commit section if that has not begun. True where it was still waiting for locks
  // and will not execute at all.
  bool cancel();

  void ready() override { drivetrain::submit(this); }
  void execute() override;

  const double id;
  Status status = Status::kOk;
  Refusal refusal;

 private:
  Environment& environment_;
  std::shared_ptr<Program> program_;
  Bindings bindings_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace drivetrain
