// What a call's slots are bound to.
#pragma once
#include <node_api.h>

#include <vector>

#include "../program/program.h"
#include "../program/storage.h"

namespace drivetrain {

class Environment;

// The memory behind the slots of a command page's binding section, and the locks that it needs. Layout, in
// doubles:
//   slots, then for each slot a storage handle, a byte offset into it and whether it is written. A caller's
//   array has no handle: -1 - its bytes stands there, and its address in the place of the offset. Whoever
//   wrote the page keeps the array alive until the call is over.
class Bindings {
 public:
  // Reads the section in the place of what was bound before, and moves past it.
  void read(Environment& environment, const double*& words);

  const Slot* slots() const { return slots_.data(); }
  // One request for each lock.
  std::vector<LockRequest> take_requests();
  // Takes all locks, or none.
  bool try_lock();
  void unlock() const;

 private:
  // Leaves one request for each lock: to write where any of them is.
  void merge();

  std::vector<Slot> slots_;
  std::vector<LockRequest> requests_;
};

}  // namespace drivetrain
