// The one pool of threads of the process, shared by every Node worker. Threads start when first needed and
// park when idle; the pool is never destroyed, since its threads outlive the environments that used it.
#pragma once
#include <cstddef>

namespace drivetrain {

// A piece of work that runs once on some thread of the pool.
class Task {
 public:
  virtual ~Task() = default;
  virtual void execute() = 0;

 private:
  friend class ThreadPool;
  Task* next_ = nullptr;
};

// Starts the first thread, without which tasks would wait for ever; false where the system has none to give.
// Where it has fewer than wanted later on, work goes on with those there are.
bool start_pool();

// Queues the task, first in, first out. It may be deleted by its own execute().
void submit(Task* task);

// How many threads work at once; at least 1. Results never depend on it.
void set_threads(int threads);
int threads();

}  // namespace drivetrain
