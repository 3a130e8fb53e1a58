#include "bindings.h"

#include <algorithm>
#include <cassert>

#include "environment.h"

namespace drivetrain {

void Bindings::read(Environment& environment, const double*& words) {
  const size_t count = static_cast<size_t>(*words++);
  slots_.clear();
  requests_.clear();
  slots_.reserve(count);
  requests_.reserve(count);
  for (size_t i = 0; i < count; i++) {
    const double handle = *words++;
    const size_t place = static_cast<size_t>(*words++);
    const bool write = *words++ != 0;
    if (handle < 0) {
      slots_.push_back({reinterpret_cast<char*>(place), static_cast<size_t>(-1 - handle)});
      continue;
    }
    const Storage* storage = environment.storages.get(static_cast<size_t>(handle));
    assert(storage && place <= storage->bytes);
    slots_.push_back({storage->data + place, storage->bytes - place});
    requests_.push_back({storage->lock, write});
  }
}

void Bindings::merge() {
  std::sort(requests_.begin(), requests_.end(),
            [](const LockRequest& a, const LockRequest& b) { return a.lock < b.lock; });
  size_t kept = 0;
  for (const LockRequest& request : requests_) {
    if (kept > 0 && requests_[kept - 1].lock == request.lock) {
      requests_[kept - 1].write |= request.write;
    } else {
      requests_[kept++] = request;
    }
  }
  requests_.resize(kept);
}

std::vector<LockRequest> Bindings::take_requests() {
  merge();
  return std::move(requests_);
}

bool Bindings::try_lock() {
  // Sorting some thousand requests takes longer than locking them, and hardly ever is one lock asked for
  // twice.
  if (drivetrain::try_lock(requests_.data(), requests_.size())) return true;
  merge();
  return drivetrain::try_lock(requests_.data(), requests_.size());
}

void Bindings::unlock() const { drivetrain::unlock(requests_.data(), requests_.size()); }

}  // namespace drivetrain
