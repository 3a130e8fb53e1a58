// Hammers the lock table from many threads: exclusion, first come first served, withdrawal, no lost wake-up.
#include "../program/locks.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "check.h"

namespace drivetrain {
namespace {

constexpr size_t kStorages = 5;
char memory[kStorages][64];

// What stands under each lock: plain integers, so that ThreadSanitizer sees every failure of exclusion.
struct Cell {
  std::atomic<int> readers{0};
  std::atomic<int> writers{0};
  int value = 0;
};
Cell cells[kStorages];
Storage storages[kStorages];

// A waiter that a thread can sleep on.
class Blocking final : public LockWaiter {
 public:
  void ready() override {
    std::lock_guard guard(mutex_);
    is_ready_ = true;
    changed_.notify_one();
  }
  void wait() {
    std::unique_lock guard(mutex_);
    changed_.wait(guard, [this] { return is_ready_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_ready_ = false;
};

size_t index_of(LockId lock) {
  for (size_t i = 0; i < kStorages; i++) {
    if (storages[i].lock == lock) return i;
  }
  std::abort();
}

void enter(const LockRequest& request) {
  Cell& cell = cells[index_of(request.lock)];
  if (request.write) {
    CHECK(cell.writers.fetch_add(1, std::memory_order_relaxed) == 0);
    CHECK(cell.readers.load(std::memory_order_relaxed) == 0);
    cell.value++;
  } else {
    cell.readers.fetch_add(1, std::memory_order_relaxed);
    CHECK(cell.writers.load(std::memory_order_relaxed) == 0);
    CHECK(cell.value >= 0);
  }
}

void leave(const LockRequest& request) {
  Cell& cell = cells[index_of(request.lock)];
  (request.write ? cell.writers : cell.readers).fetch_sub(1, std::memory_order_relaxed);
}

// Takes the lock and gives it back, if nobody is in the way.
bool free_for(LockId lock, bool write) {
  const LockRequest request{lock, write};
  if (!try_lock(&request, 1)) return false;
  unlock(&request, 1);
  return true;
}

void some_requests(Choices& choices, LockWaiter& waiter) {
  for (size_t i = 0; i < kStorages; i++) {
    if (choices.below(2)) waiter.requests.push_back({storages[i].lock, choices.below(3) == 0});
  }
}

void hammer(unsigned seed, int rounds) {
  Choices choices(seed);
  for (int i = 0; i < rounds; i++) {
    if (choices.below(4) == 0) {
      const LockRequest request{storages[choices.below(kStorages)].lock, choices.below(2) == 0};
      if (!try_lock(&request, 1)) continue;
      enter(request);
      leave(request);
      unlock(&request, 1);
      continue;
    }
    Blocking waiter;
    some_requests(choices, waiter);
    acquire_all(&waiter);
    if (choices.below(3) == 0 && withdraw(&waiter)) continue;
    waiter.wait();
    for (const auto& request : waiter.requests) enter(request);
    if (choices.below(8) == 0) std::this_thread::yield();
    for (const auto& request : waiter.requests) leave(request);
    release_all(&waiter);
  }
}

// Notes when it became ready.
class Noting final : public LockWaiter {
 public:
  Noting(std::deque<int>& order, int number, LockId lock, bool write) : order_(order), number_(number) {
    requests.push_back({lock, write});
  }
  void ready() override { order_.push_back(number_); }

 private:
  std::deque<int>& order_;
  int number_;
};

void first_come_first_served() {
  const LockId lock = storages[0].lock;
  std::deque<int> order;
  Noting r0(order, 0, lock, false), r1(order, 1, lock, false), w2(order, 2, lock, true),
      r3(order, 3, lock, false), w4(order, 4, lock, true), r5(order, 5, lock, false),
      r6(order, 6, lock, false);
  for (Noting* waiter : {&r0, &r1, &w2, &r3, &w4, &r5, &r6}) acquire_all(waiter);
  CHECK((order == std::deque<int>{0, 1}));
  CHECK(!free_for(lock, false));  // nobody passes the writer that waits
  CHECK(!withdraw(&r0));
  release_all(&r0);
  CHECK(order.size() == 2);
  release_all(&r1);
  CHECK(order.back() == 2 && order.size() == 3);
  CHECK(withdraw(&w4));
  release_all(&w2);
  CHECK((order == std::deque<int>{0, 1, 2, 3, 5, 6}));
  for (Noting* waiter : {&r3, &r5, &r6}) release_all(waiter);
  CHECK(free_for(lock, true));
}

// A waiter that holds one lock and waits for another gives the first one back when it withdraws.
void withdrawal_gives_back() {
  std::deque<int> order;
  Noting holder(order, 0, storages[1].lock, true), both(order, 1, storages[0].lock, true),
      behind(order, 2, storages[0].lock, false);
  both.requests.push_back({storages[1].lock, true});
  for (Noting* waiter : {&holder, &both, &behind}) acquire_all(waiter);
  CHECK((order == std::deque<int>{0}));
  CHECK(withdraw(&both));
  CHECK((order == std::deque<int>{0, 2}));
  release_all(&holder);
  release_all(&behind);
}

// Ranges that overlap share a lock; those that do not, do not.
void ranges() {
  char block[1024];
  const Storage whole = register_storage(block + 128, 256), part = register_storage(block + 192, 64),
                before = register_storage(block, 128), after = register_storage(block + 384, 64),
                across = register_storage(block + 320, 64 + 32), none = register_storage(block + 128, 0);
  CHECK(whole.lock == part.lock && whole.lock == across.lock && whole.lock == none.lock);
  CHECK(before.lock != whole.lock && after.lock != whole.lock && before.lock != after.lock);
  unregister_storage(whole);
  const Storage again = register_storage(block + 200, 8);
  CHECK(again.lock == part.lock);
  for (const Storage& storage : {part, before, after, across, none, again}) unregister_storage(storage);
  const Storage late = register_storage(block + 64, 64), early = register_storage(block, 128);
  CHECK(late.lock == early.lock);
  unregister_storage(late);
  const Storage front = register_storage(block, 8);
  CHECK(front.lock == early.lock);
  unregister_storage(front);
  unregister_storage(early);
  // One that covers several shares the first one's, and so does what lies between them. The others' memory
  // keeps their locks.
  const Storage first = register_storage(block + 64, 64), second = register_storage(block + 192, 64),
                third = register_storage(block + 448, 128), all = register_storage(block, 512),
                within = register_storage(block + 320, 64), inside = register_storage(block + 192, 8),
                beyond = register_storage(block + 520, 8);
  CHECK(all.lock == first.lock && within.lock == first.lock && inside.lock == second.lock);
  CHECK(second.lock != first.lock && third.lock != first.lock && beyond.lock == third.lock);
  for (const Storage& storage : {first, all, within, inside}) unregister_storage(storage);
  const Storage same = register_storage(block + 192, 64), between = register_storage(block + 320, 64);
  CHECK(same.lock == second.lock && between.lock != second.lock && between.lock != third.lock);
  for (const Storage& storage : {second, third, beyond, same, between}) unregister_storage(storage);
  const Storage fresh[] = {register_storage(block + 200, 8), register_storage(block + 450, 8)};
  CHECK(fresh[0].lock != fresh[1].lock);
  for (const Storage& storage : fresh) unregister_storage(storage);
}

// All of several locks, or none of them.
void all_or_none() {
  const LockRequest both[] = {{storages[0].lock, true}, {storages[1].lock, false}};
  const LockRequest reader{storages[1].lock, false}, writer{storages[1].lock, true};
  CHECK(try_lock(&writer, 1));
  CHECK(!try_lock(both, 2));
  CHECK(free_for(storages[0].lock, true));
  unlock(&writer, 1);
  CHECK(try_lock(&reader, 1) && try_lock(both, 2));
  CHECK(!free_for(storages[0].lock, false));
  unlock(both, 2);
  unlock(&reader, 1);
  // One lock twice: to read it may be, and otherwise it is in the way of itself.
  const LockRequest twice[] = {reader, reader}, mixed[] = {{storages[0].lock, true}, reader, writer};
  CHECK(try_lock(twice, 2));
  CHECK(!free_for(storages[1].lock, true));
  unlock(twice, 2);
  CHECK(!try_lock(mixed, 3));
  CHECK(free_for(storages[0].lock, true) && free_for(storages[1].lock, true));
}

// A lock whose storage goes while it is held stays until it is given back, for those who queue and for new
// storages.
void held_past_its_storage() {
  char block[64];
  const Storage storage = register_storage(block, sizeof block);
  const LockRequest held{storage.lock, true};
  std::deque<int> order;
  Noting behind(order, 0, storage.lock, true);
  CHECK(try_lock(&held, 1));
  acquire_all(&behind);
  unregister_storage(storage);
  const Storage again = register_storage(block, sizeof block);
  CHECK(again.lock == held.lock && !free_for(again.lock, false));
  unregister_storage(again);
  unlock(&held, 1);
  CHECK(order.size() == 1);
  release_all(&behind);
}

// Storages come and go, overlapping in all ways, while other threads lock theirs.
void churn(unsigned seed, int rounds) {
  static char area[4096];
  Choices choices(seed);
  std::deque<Storage> open;
  for (int i = 0; i < rounds; i++) {
    if (open.size() < 8) {
      open.push_back(register_storage(area + choices.below(2048), choices.below(2048)));
      free_for(open.back().lock, true);
    } else {
      unregister_storage(open.front());
      open.pop_front();
    }
  }
  for (const Storage& storage : open) unregister_storage(storage);
}

}  // namespace
}  // namespace drivetrain

int main() {
  using namespace drivetrain;
  for (size_t i = 0; i < kStorages; i++) storages[i] = register_storage(memory[i], sizeof memory[i]);
  first_come_first_served();
  withdrawal_gives_back();
  all_or_none();
  held_past_its_storage();
  ranges();
  constexpr int kRounds = 30000;
  std::deque<std::thread> threads;
  for (unsigned t = 0; t < 6; t++) threads.emplace_back(hammer, t, kRounds);
  for (unsigned t = 0; t < 2; t++) threads.emplace_back(churn, t, 2 * kRounds);
  for (std::thread& thread : threads) thread.join();
  for (const Storage& storage : storages) CHECK(free_for(storage.lock, true));
  std::puts("locks: all well");
}
