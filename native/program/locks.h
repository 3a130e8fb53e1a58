// Reader-writer locks that runs queue for. A run asks for all of its locks at once, under one mutex, and each
// lock serves its queue in order: no run can wait for one that waits for it, and no thread is held by
// waiting.
#pragma once
#include <vector>

#include "storage.h"

namespace drivetrain {

// Something that waits for locks: ready() is called once, without the mutex, when it holds all of them.
class LockWaiter {
 public:
  virtual ~LockWaiter() = default;
  virtual void ready() = 0;

  // Each lock at most once.
  std::vector<LockRequest> requests;

 private:
  friend void acquire_all(LockWaiter*);
  friend bool withdraw(LockWaiter*);
  friend class LockTable;
  size_t missing_ = 0;
};

// Queues for all requests; ready() follows, perhaps before this returns.
void acquire_all(LockWaiter* waiter);
// Gives back what ready() announced.
void release_all(LockWaiter* waiter);
// Leaves the queues if the waiter is not ready yet: true where it was still waiting, and ready() will not
// come.
bool withdraw(LockWaiter* waiter);

}  // namespace drivetrain
