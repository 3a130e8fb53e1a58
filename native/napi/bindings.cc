#include "bindings.h"

#include <algorithm>
#include <cassert>
#include <functional>

#include "environment.h"
#include "values.h"

namespace drivetrain {
namespace {

// One request for each lock: to write where any of them is.
void merge(std::vector<LockRequest>& requests) {
  if (requests.size() < 2) return;
  std::sort(requests.begin(), requests.end(),
            [](const LockRequest& a, const LockRequest& b) { return std::less<>()(a.lock, b.lock); });
  size_t kept = 0;
  for (const LockRequest& request : requests) {
    if (kept > 0 && requests[kept - 1].lock == request.lock) {
      requests[kept - 1].write |= request.write;
    } else {
      requests[kept++] = request;
    }
  }
  requests.resize(kept);
}

}  // namespace

void Bindings::read(napi_env env, Environment& environment, const double*& words, napi_value borrowed) {
  const size_t count = static_cast<size_t>(*words++);
  slots_.clear();
  requests_.clear();
  complete_ = true;
  slots_.reserve(count);
  requests_.reserve(count);
  for (size_t i = 0; i < count; i++) {
    const double handle = *words++;
    const size_t offset = static_cast<size_t>(*words++);
    const bool write = *words++ != 0;
    if (handle < 0) {
      napi_value array = nullptr;
      const auto index = static_cast<uint32_t>(-1 - handle);
      if (napi_get_element(env, borrowed, index, &array) != napi_ok) complete_ = false;
      add_slot(static_cast<char*>(data_of(env, array)), bytes_of_array(env, array), offset);
    } else {
      const Storage* storage = environment.storages.get(static_cast<size_t>(handle));
      assert(storage);
      add_slot(storage->data, storage->bytes, offset);
      requests_.push_back({storage->lock, write});
    }
  }
  merge(requests_);
}

void Bindings::add_slot(char* data, size_t bytes, size_t offset) {
  assert(offset <= bytes || !complete_);
  slots_.push_back({data + offset, bytes - offset});
}

bool Bindings::try_lock() const {
  return complete_ && drivetrain::try_lock(requests_.data(), requests_.size());
}

void Bindings::unlock() const { drivetrain::unlock(requests_.data(), requests_.size()); }

}  // namespace drivetrain
