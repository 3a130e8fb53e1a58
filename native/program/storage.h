// Storages as native code knows them: ranges of shared memory with a lock each. Process-wide, so that two
// environments that see the same bytes share the lock.
#pragma once
#include <cstddef>
#include <cstdint>

namespace drivetrain {

// A place in the table of locks.
using LockId = uint32_t;

struct Storage {
  char* data;
  size_t bytes;
  LockId lock;
};

// A range that overlaps one that is registered already shares its lock (the first one's, where it overlaps
// several).
Storage register_storage(char* data, size_t bytes);
void unregister_storage(const Storage& storage);

struct LockRequest {
  LockId lock;
  bool write;
};

// Takes all the locks at once, for the calling thread, or none. A lock that is held outlives its storages.
// One may be asked for more than once to read; asked for to write as well, it is in the way of itself.
bool try_lock(const LockRequest* requests, size_t count);
void unlock(const LockRequest* requests, size_t count);

}  // namespace drivetrain
