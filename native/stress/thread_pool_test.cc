// Hammers parallel_for (plain, nested, from many threads and from tasks), submit and set_threads at once. A
// lost wake-up shows as a hang, a chunk done twice or never as a failed check, a race under ThreadSanitizer.
#include "../runtime/thread_pool.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "check.h"
#include "../kernels/parallel.h"

namespace drivetrain {
namespace {

template <class Body>
void each(size_t chunks, const Body& body) {
  parallel_for(
      chunks, [](void* context, size_t i) { (*static_cast<const Body*>(context))(i); },
      const_cast<Body*>(&body));
}

template <class Body>
void each_short(size_t chunks, const Body& body) {
  parallel_for_short(
      chunks, [](void* context, size_t i) { (*static_cast<const Body*>(context))(i); },
      const_cast<Body*>(&body));
}

void linger(int microseconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(microseconds);
  while (std::chrono::steady_clock::now() < end) {
  }
}

// Every chunk exactly once, and all writes visible to the caller without atomics.
void every_chunk_once(size_t chunks) {
  std::vector<int> done(chunks, 0);
  each(chunks, [&](size_t i) { done[i]++; });
  each_short(chunks, [&](size_t i) { done[i]++; });
  for (const int count : done) CHECK(count == 2);
}

// Chunks that are worth sharing: other threads come to help.
void long_chunks_are_shared() {
  set_threads(3);
  const std::thread::id caller = std::this_thread::get_id();
  for (int attempt = 0; attempt < 100; attempt++) {
    std::atomic<int> by_others{0};
    std::vector<int> done(64, 0);
    each_short(64, [&](size_t i) {
      linger(50);
      done[i]++;
      if (std::this_thread::get_id() != caller) by_others++;
    });
    for (const int count : done) CHECK(count == 1);
    if (by_others > 0) return;
  }
  CHECK(false);
}

// As many callers as the pool may use threads: helpers that were there go, and no more come. No chunk is done
// before all callers are in, so that they meet for all those of the first to leave.
void no_more_threads_than_allowed() {
  constexpr int kCallers = 3;
  set_threads(kCallers);
  std::atomic<int> arrivals{0}, callers_inside{kCallers}, inside{0}, most{0}, measured{0};
  const auto call = [&] {
    const std::thread::id caller = std::this_thread::get_id();
    bool arrived = false;
    each(2000, [&](size_t) {
      const bool arrives = std::this_thread::get_id() == caller && !arrived;
      if (arrives) arrived = true, arrivals++;
      while (arrivals < kCallers) std::this_thread::yield();
      if (arrives) linger(5000);  // until the helpers have looked up from their chunks
      const int now = ++inside;
      if (callers_inside == kCallers && ++measured > 1000) {
        for (int before = most; before < now && !most.compare_exchange_weak(before, now);) {
        }
      }
      linger(20);
      inside--;
    });
    callers_inside--;
  };
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; i++) callers.emplace_back(call);
  for (std::thread& caller : callers) caller.join();
  CHECK(most > 0);
  CHECK(most <= kCallers);
}

void nested(size_t outer, size_t inner) {
  std::vector<std::vector<int>> done(outer, std::vector<int>(inner, 0));
  each(outer, [&](size_t i) { each(inner, [&, i](size_t j) { done[i][j]++; }); });
  for (const auto& row : done) {
    for (const int count : row) CHECK(count == 1);
  }
}

class Work final : public Task {
 public:
  Work(std::atomic<int>& left, unsigned size) : left_(left), size_(size) {}
  void execute() override {
    if (size_ > 0) every_chunk_once(size_);
    left_.fetch_sub(1);
    delete this;
  }

 private:
  std::atomic<int>& left_;
  unsigned size_;
};

void submitted(Choices& choices, int tasks) {
  std::atomic<int> left{tasks};
  for (int i = 0; i < tasks; i++) submit(new Work(left, choices.below(4) ? 0 : choices.below(20)));
  while (left.load() > 0) std::this_thread::yield();
}

// One task at a time, with pauses in which threads park: each must wake one.
void one_by_one(int tasks) {
  for (int i = 0; i < tasks; i++) {
    std::atomic<int> left{1};
    submit(new Work(left, 0));
    while (left.load() > 0) std::this_thread::yield();
    if (i % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(i % 200));
  }
}

// Tasks come out in the order in which they went in.
void in_order() {
  struct Numbered final : Task {
    std::vector<int>* order;
    std::atomic<int>* left;
    int number;
    void execute() override {
      order->push_back(number);
      left->fetch_sub(1);
      delete this;
    }
  };
  set_threads(1);
  constexpr int kTasks = 1000;
  std::vector<int> order;
  std::atomic<int> left{kTasks};
  for (int i = 0; i < kTasks; i++) {
    auto* task = new Numbered;
    task->order = &order;
    task->left = &left;
    task->number = i;
    submit(task);
  }
  while (left.load() > 0) std::this_thread::yield();
  for (int i = 0; i < kTasks; i++) CHECK(order[static_cast<size_t>(i)] == i);
}

void everything_at_once(int rounds) {
  std::atomic<bool> over{false};
  std::thread resizer([&] {
    Choices choices(99);
    while (!over.load()) {
      set_threads(1 + static_cast<int>(choices.below(8)));
      std::this_thread::sleep_for(std::chrono::microseconds(choices.below(300)));
    }
  });
  std::vector<std::thread> callers;
  for (unsigned t = 0; t < 4; t++) {
    callers.emplace_back([t, rounds] {
      Choices choices(t);
      for (int i = 0; i < rounds; i++) {
        switch (choices.below(4)) {
          case 0:
            every_chunk_once(choices.below(50));
            break;
          case 1:
            nested(1 + choices.below(6), choices.below(10));
            break;
          case 2:
            submitted(choices, 1 + static_cast<int>(choices.below(10)));
            break;
          case 3:
            one_by_one(3);
            break;
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  over = true;
  resizer.join();
}

}  // namespace
}  // namespace drivetrain

int main() {
  using namespace drivetrain;
  set_threads(4);
  for (size_t chunks = 0; chunks < 64; chunks++) every_chunk_once(chunks);
  nested(16, 16);
  long_chunks_are_shared();
  for (int round = 0; round < 5; round++) no_more_threads_than_allowed();
  set_threads(4);
  one_by_one(400);
  everything_at_once(3000);
  in_order();
  std::puts("thread pool: all well");
}
