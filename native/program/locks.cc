#include "locks.h"

#include <cassert>
#include <list>
#include <map>
#include <mutex>
#include <unordered_map>

namespace drivetrain {
namespace {

// A lock is one word of a table, for the sake of a step that takes those of thousands of tensors. Its lower
// bits count those who read.
constexpr uint32_t kWriter = 1u << 31;     // somebody writes
constexpr uint32_t kQueue = 1u << 30;      // somebody waits
constexpr uint32_t kForgotten = 1u << 29;  // no storage has it any more: it goes with the last that holds it
constexpr uint32_t kReaders = kForgotten - 1;

bool grants(uint32_t word, bool write) { return (word & (write ? kWriter | kReaders : kWriter)) == 0; }
// First come, first served: nobody passes those who wait.
bool grants_newcomer(uint32_t word, bool write) { return !(word & kQueue) && grants(word, write); }
void take(uint32_t& word, bool write) { word += write ? kWriter : 1; }
void give(uint32_t& word, bool write) {
  assert((word & (write ? kWriter : kReaders)) != 0);
  word -= write ? kWriter : 1;
}

}  // namespace

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
    auto at = ranges_.upper_bound(data);
    if (at != ranges_.begin() && std::prev(at)->second.end > data) --at;
    const bool overlaps = at != ranges_.end() && (at->first <= data || at->first < end);
    const LockId lock = overlaps ? share(at->second.lock) : make(data);
    char* from = data;
    for (; at != ranges_.end() && at->first < end; ++at) {
      if (from < at->first) cover(from, at->first, lock);
      if (from < at->second.end) from = at->second.end;
    }
    if (from < end) cover(from, end, lock);
    return {data, bytes, lock};
  }

  void remove(const Storage& storage) {
    std::lock_guard guard(mutex_);
    assert(owners_[storage.lock].storages > 0);
    if (--owners_[storage.lock].storages > 0) return;
    words_[storage.lock] |= kForgotten;
    forget_unused(storage.lock);
  }

  bool try_lock(const LockRequest* requests, size_t count) {
    std::lock_guard guard(mutex_);
    for (size_t i = 0; i < count; i++) {
      uint32_t& word = words_[requests[i].lock];
      if (grants_newcomer(word, requests[i].write)) {
        take(word, requests[i].write);
        continue;
      }
      while (i-- > 0) give(words_[requests[i].lock], requests[i].write);
      return false;
    }
    return true;
  }

  void unlock(const LockRequest* requests, size_t count) {
    Ready ready;
    {
      std::lock_guard guard(mutex_);
      for (size_t i = 0; i < count; i++) give_back(requests[i], ready);
    }
    announce(ready);
  }

  void acquire(LockWaiter* waiter) {
    {
      std::lock_guard guard(mutex_);
      waiter->missing_ = 0;
      for (const auto& [lock, write] : waiter->requests) {
        uint32_t& word = words_[lock];
        if (grants_newcomer(word, write)) {
          take(word, write);
        } else {
          word |= kQueue;
          queues_[lock].push_back({waiter, write});
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
      for (const LockRequest& request : waiter->requests) {
        if (leave_queue(waiter, request.lock))
          serve(request.lock, ready);
        else
          give_back(request, ready);
      }
      waiter->missing_ = 0;
    }
    announce(ready);
    return true;
  }

 private:
  struct Range {
    char* end;
    LockId lock;
  };
  // What has a lock: so many storages, and the range that begins there.
  struct Owner {
    char* begin;
    size_t storages;
  };
  struct Waiting {
    LockWaiter* waiter;
    bool write;
  };
  using Queue = std::list<Waiting>;

  LockId make(char* begin) {
    if (free_.empty()) {
      words_.push_back(0);
      owners_.push_back({begin, 1});
      return static_cast<LockId>(words_.size() - 1);
    }
    const LockId lock = free_.back();
    free_.pop_back();
    words_[lock] = 0;
    owners_[lock] = {begin, 1};
    return lock;
  }

  // One more storage.
  LockId share(LockId lock) {
    owners_[lock].storages++;
    words_[lock] &= ~kForgotten;
    return lock;
  }

  // The lock is that of a range where none is.
  void cover(char* begin, char* end, LockId lock) {
    ranges_.emplace(begin, Range{end, lock});
    if (owners_[lock].begin != begin) more_ranges_.emplace(lock, begin);
  }

  void give_back(const LockRequest& request, Ready& ready) {
    uint32_t& word = words_[request.lock];
    give(word, request.write);
    if (word & (kQueue | kForgotten)) serve(request.lock, ready);
  }

  // Grants the head of the queue, and the readers behind it, as far as the lock allows. Nobody queues at a
  // lock that nobody holds, so the last to go takes it along.
  void serve(LockId lock, Ready& ready) {
    uint32_t& word = words_[lock];
    if (word & kQueue) {
      Queue& queue = queues_[lock];
      while (!queue.empty() && grants(word, queue.front().write)) {
        const auto [waiter, write] = queue.front();
        queue.pop_front();
        take(word, write);
        if (--waiter->missing_ == 0) ready.push_back(waiter);
      }
      if (queue.empty()) drop_queue(lock);
    }
    forget_unused(lock);
  }

  // Whether it was in the queue.
  bool leave_queue(LockWaiter* waiter, LockId lock) {
    if (!(words_[lock] & kQueue)) return false;
    Queue& queue = queues_[lock];
    const bool left = queue.remove_if([waiter](const Waiting& waiting) { return waiting.waiter == waiter; });
    if (queue.empty()) drop_queue(lock);
    return left;
  }

  void drop_queue(LockId lock) {
    queues_.erase(lock);
    words_[lock] &= ~kQueue;
  }

  void forget_unused(LockId lock) {
    if (words_[lock] != kForgotten) return;
    forget_range(owners_[lock].begin, lock);
    const auto [first, last] = more_ranges_.equal_range(lock);
    for (auto at = first; at != last; ++at) forget_range(at->second, lock);
    more_ranges_.erase(first, last);
    words_[lock] = 0;
    free_.push_back(lock);
  }

  // An empty storage has none.
  void forget_range(char* begin, LockId lock) {
    const auto found = ranges_.find(begin);
    if (found != ranges_.end() && found->second.lock == lock) ranges_.erase(found);
  }

  static void announce(const Ready& ready) {
    for (LockWaiter* waiter : ready) waiter->ready();
  }

  std::mutex mutex_;
  std::map<char*, Range> ranges_;                       // by where they begin; no two overlap
  std::unordered_multimap<LockId, char*> more_ranges_;  // of locks that have more than one: where they begin
  // By LockId.
  std::vector<uint32_t> words_;
  std::vector<Owner> owners_;
  std::vector<LockId> free_;
  std::unordered_map<LockId, Queue> queues_;  // of locks that somebody waits for
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
