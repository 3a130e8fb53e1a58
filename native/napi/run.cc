#include "run.h"

namespace drivetrain {

Run::Run(Environment& environment, double run_id, std::shared_ptr<Program> program, Bindings bindings)
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
  status = program_->execute(bindings_.slots(), &cancelled_, refusal);
  release_all(this);
  environment_.finish_run(this);
}

}  // namespace drivetrain
