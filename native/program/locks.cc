#include "locks.h"

#include <cassert>
#include <list>
#include <map>
#include <mutex>

namespace drivetrain {

struct LockState {
  struct Waiting {
    LockWaiter* waiter;
    bool write;
  };
  int readers = 0;
  bool writer = false;
  int references = 0;  // storages and holders
  char* begin = nullptr;
  std::list<Waiting> queue;  // costs nothing while it is empty, as it nearly always is

  bool grants(bool write) const { return !writer && (!write || readers == 0); }
  // First come, first served: nobody passes those who wait.
  bool grants_newcomer(bool write) const { return queue.empty() && grants(write); }
  void take(bool write) {
    write ? void(writer = true) : void(readers++);
    references++;
  }
  void give(bool write) {
    assert(write ? writer : readers > 0);
    write ? void(writer = false) : void(readers--);
    references--;
  }
};

class LockTable {
 public:
  // Of a thousand tensors' locks, those that memory is asked for ahead of the one that is looked at.
  static constexpr size_t kAhead = 8;
  using Ready = std::vector<LockWaiter*>;

  static LockTable& instance() {
    static LockTable* const table = new LockTable;
    return *table;
  }

  Storage add(char* data, size_t bytes) {
    std::lock_guard guard(mutex_);
    char* const end = data + bytes;
    const auto next = ranges_.upper_bound(data);
    if (next != ranges_.begin()) {
      Range& range = std::prev(next)->second;
      if (data < range.end) return {data, bytes, range.share(end)};
    }
    if (next != ranges_.end() && next->first < end) {
      Range range = next->second;
      ranges_.erase(next);
      LockState* const shared = range.share(end);
      shared->begin = data;
      ranges_.insert_or_assign(data, range);
      return {data, bytes, shared};
    }
    auto* lock = new LockState;
    lock->references = 1;
    lock->begin = data;
    ranges_.insert_or_assign(data, Range{end, lock});
    return {data, bytes, lock};
  }

  void remove(const Storage& storage) {
    std::lock_guard guard(mutex_);
    storage.lock->references--;
    forget_unused(storage.lock);
  }

  bool try_lock(const LockRequest* requests, size_t count) {
    std::lock_guard guard(mutex_);
    for (size_t i = 0; i < count; i++) {
      if (i + kAhead < count) __builtin_prefetch(requests[i + kAhead].lock, 1);
      if (requests[i].lock->grants_newcomer(requests[i].write)) {
        requests[i].lock->take(requests[i].write);
        continue;
      }
      while (i-- > 0) requests[i].lock->give(requests[i].write);
      return false;
    }
    return true;
  }

  void unlock(const LockRequest* requests, size_t count) {
    Ready ready;
    {
      std::lock_guard guard(mutex_);
      for (size_t i = 0; i < count; i++) {
        if (i + kAhead < count) __builtin_prefetch(requests[i + kAhead].lock, 1);
        requests[i].lock->give(requests[i].write);
        serve(requests[i].lock, ready);
      }
    }
    announce(ready);
  }

  void acquire(LockWaiter* waiter) {
    {
      std::lock_guard guard(mutex_);
      waiter->missing_ = 0;
      for (const auto& [lock, write] : waiter->requests) {
        if (lock->grants_newcomer(write)) {
          lock->take(write);
        } else {
          lock->queue.push_back({waiter, write});
          waiter->missing_++;
        }
      }
      if (waiter->missing_ > 0) return;
    }
    waiter->ready();
  }

  bool withdraw(LockWaiter* waiter) {
    Ready ready;
    {
      std::lock_guard guard(mutex_);
      if (waiter->missing_ == 0) return false;
      for (const auto& [lock, write] : waiter->requests) {
        const size_t left =
            lock->queue.remove_if([waiter](const auto& waiting) { return waiting.waiter == waiter; });
        if (left == 0) lock->give(write);
        serve(lock, ready);
      }
      waiter->missing_ = 0;
    }
    announce(ready);
    return true;
  }

 private:
  struct Range {
    char* end;
    LockState* lock;

    LockState* share(char* new_end) {
      if (end < new_end) end = new_end;
      lock->references++;
      return lock;
    }
  };

  // Grants the head of the queue, and the readers behind it, as far as the lock allows. Nobody queues at a
  // lock that nobody holds, so the last to go takes it along.
  void serve(LockState* lock, Ready& ready) {
    while (!lock->queue.empty() && lock->grants(lock->queue.front().write)) {
      const auto [waiter, write] = lock->queue.front();
      lock->queue.pop_front();
      lock->take(write);
      if (--waiter->missing_ == 0) ready.push_back(waiter);
    }
    forget_unused(lock);
  }

  void forget_unused(LockState* lock) {
    if (lock->references > 0) return;
    const auto found = ranges_.find(lock->begin);
    if (found != ranges_.end() && found->second.lock == lock) ranges_.erase(found);
    delete lock;
  }

  static void announce(const Ready& ready) {
    for (LockWaiter* waiter : ready) waiter->ready();
  }

  std::mutex mutex_;
  std::map<char*, Range> ranges_;
};

Storage register_storage(char* data, size_t bytes) { return LockTable::instance().add(data, bytes); }
void unregister_storage(const Storage& storage) { LockTable::instance().remove(storage); }
bool try_lock(const LockRequest* requests, size_t count) {
  return LockTable::instance().try_lock(requests, count);
}
void unlock(const LockRequest* requests, size_t count) { LockTable::instance().unlock(requests, count); }
void acquire_all(LockWaiter* waiter) { LockTable::instance().acquire(waiter); }
void release_all(LockWaiter* waiter) { unlock(waiter->requests.data(), waiter->requests.size()); }
bool withdraw(LockWaiter* waiter) { return LockTable::instance().withdraw(waiter); }

}  // namespace drivetrain
