#include "locks.h"

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
  int references = 0;
  char* begin = nullptr;
  std::list<Waiting> queue;  // costs nothing while it is empty, as it nearly always is

  bool grants(bool write) const { return !writer && (!write || readers == 0); }
  // First come, first served: nobody passes those who wait.
  bool grants_newcomer(bool write) const { return queue.empty() && grants(write); }
  void take(bool write) { write ? void(writer = true) : void(readers++); }
  void give(bool write) { write ? void(writer = false) : void(readers--); }
};

class LockTable {
 public:
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
    LockState* lock = storage.lock;
    if (--lock->references > 0) return;
    const auto found = ranges_.find(lock->begin);
    if (found != ranges_.end() && found->second.lock == lock) ranges_.erase(found);
    delete lock;
  }

  bool try_lock(LockState* lock, bool write) {
    std::lock_guard guard(mutex_);
    if (!lock->grants_newcomer(write)) return false;
    lock->take(write);
    return true;
  }

  void unlock(LockState* lock, bool write) {
    Ready ready;
    {
      std::lock_guard guard(mutex_);
      give(lock, write, ready);
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

  void release(LockWaiter* waiter) {
    Ready ready;
    {
      std::lock_guard guard(mutex_);
      for (const auto& [lock, write] : waiter->requests) give(lock, write, ready);
    }
    announce(ready);
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

  void give(LockState* lock, bool write, Ready& ready) {
    lock->give(write);
    serve(lock, ready);
  }

  // Grants the head of the queue, and the readers behind it, as far as the lock allows.
  void serve(LockState* lock, Ready& ready) {
    while (!lock->queue.empty() && lock->grants(lock->queue.front().write)) {
      const auto [waiter, write] = lock->queue.front();
      lock->queue.pop_front();
      lock->take(write);
      if (--waiter->missing_ == 0) ready.push_back(waiter);
    }
  }

  static void announce(const Ready& ready) {
    for (LockWaiter* waiter : ready) waiter->ready();
  }

  std::mutex mutex_;
  std::map<char*, Range> ranges_;
};

Storage register_storage(char* data, size_t bytes) { return LockTable::instance().add(data, bytes); }
void unregister_storage(const Storage& storage) { LockTable::instance().remove(storage); }
bool try_lock(LockState* lock, bool write) { return LockTable::instance().try_lock(lock, write); }
void unlock(LockState* lock, bool write) { LockTable::instance().unlock(lock, write); }
void acquire_all(LockWaiter* waiter) { LockTable::instance().acquire(waiter); }
void release_all(LockWaiter* waiter) { LockTable::instance().release(waiter); }
bool withdraw(LockWaiter* waiter) { return LockTable::instance().withdraw(waiter); }

}  // namespace drivetrain
