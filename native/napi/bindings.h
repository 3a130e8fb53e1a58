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
//   slots, then for each slot a storage handle (or -1 - i for the caller's i-th array), a byte offset into it
//   and whether it is written.
class Bindings {
 public:
  // Reads the section in the place of what was bound before, and moves past it.
  void read(napi_env env, Environment& environment, const double*& words, napi_value borrowed);

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

}  // namespace drivetrain
