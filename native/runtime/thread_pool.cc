#include "thread_pool.h"

#include <atomic>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <new>

#include "denormals.h"
#include "system.h"
#include "../kernels/parallel.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace drivetrain {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxThreads = 256;

// Work of one thread that another one's help shortens. Waking it takes some ten microseconds, and some forty
// pass until it runs; data in another core's cache takes longer to read than most ops take to compute.
constexpr auto kWorthWaking = std::chrono::microseconds(70);
// The same where the other one is looking for work.
constexpr auto kWorthSharing = std::chrono::microseconds(20);

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// About as long as it takes to wake a parked thread.
constexpr auto kPatience = std::chrono::microseconds(50);

// Looks at `done` until it holds, or until the deadline. By the clock, since a pause takes from 10 to 140
// cycles.
template <class Done>
void spin_until(Clock::time_point deadline, Done done) {
  constexpr int kLooks = 16;
  do {
    for (int i = 0; i < kLooks; i++) {
      if (done()) return;
      relax();
    }
  } while (Clock::now() < deadline);
}

}  // namespace

// One parallel_for: lives on the stack of the thread that called it. The caller takes chunks from the front,
// helpers take them from the back: in programs that go over the same data again, most of it stays in the
// caches where it is.
struct Job {
  ChunkFn fn;
  void* context;
  size_t first, end;  // chunks
  int max_helpers;    // how many threads may enter besides the caller
  // How many chunks were claimed from the front, in the lower half, and from the back, in the upper one; what
  // is claimed when there are none left counts too.
  std::atomic<uint64_t> claimed{0};
  std::atomic<int> helpers{0};  // how many are inside; changed with the pool's mutex held
  Job* link = nullptr;
  std::condition_variable left{};

  static constexpr uint64_t kFromFront = 1, kFromBack = uint64_t{1} << 32;

  // A chunk that nobody else has; false where none is left.
  bool claim(uint64_t side, size_t& chunk) {
    const uint64_t before = claimed.fetch_add(side, std::memory_order_relaxed);
    const size_t front = before % kFromBack, back = before / kFromBack;
    if (front + back >= end - first) return false;
    chunk = side == kFromFront ? first + front : end - 1 - back;
    return true;
  }
  bool open() const {
    const uint64_t now = claimed.load(std::memory_order_relaxed);
    return helpers.load(std::memory_order_relaxed) < max_helpers &&
           now % kFromBack + now / kFromBack < end - first;
  }
};

class ThreadPool {
 public:
  ThreadPool() : threads_(clamp(usable_processors())) {}

  int threads() { return threads_.load(std::memory_order_relaxed); }
  // How many threads look for work.
  int spinning() const { return spinning_.load(std::memory_order_relaxed); }

  bool start() {
    std::lock_guard lock(mutex_);
    if (started_ == 0 && start_thread(0)) started_ = 1;
    return started_ > 0;
  }

  void set_threads(int threads) {
    std::lock_guard lock(mutex_);
    threads_ = clamp(threads);
    if (started_ > 0) start_threads();
    allowed_.notify_all();
  }

  void submit(Task* task) {
    std::unique_lock lock(mutex_);
    if (last_task_) {
      last_task_->next_ = task;
    } else {
      first_task_ = task;
    }
    last_task_ = task;
    announce(lock, 1);
  }

  // Of the chunks from `first` on, of which there are two at least, with at most so many other threads.
  void parallel_for(size_t first, size_t chunks, ChunkFn fn, void* context, int most) {
    assert(chunks < Job::kFromBack);
    const size_t others = static_cast<size_t>(most), spare = chunks - first - 1;
    Job job{fn, context, first, chunks, static_cast<int>(others < spare ? others : spare)};
    const bool outermost = !counted;
    {
      std::unique_lock lock(mutex_);
      if (outermost) enter();
      job.link = jobs_;
      jobs_ = &job;
      const int free = threads() - active();
      announce(lock, job.max_helpers < free ? job.max_helpers : free);
    }
    for (size_t chunk; job.claim(Job::kFromFront, chunk);) fn(context, chunk);
    const auto deserted = [&job] { return job.helpers.load(std::memory_order_acquire) == 0; };
    std::unique_lock lock(mutex_);
    Job** at = &jobs_;
    while (*at != &job) at = &(*at)->link;
    *at = job.link;
    if (!deserted()) {
      lock.unlock();
      spin_until(Clock::now() + kPatience, deserted);
      // With the mutex even where nobody is left: the last to leave still touches the job while it holds it.
      lock.lock();
      job.left.wait(lock, deserted);
    }
    if (outermost) leave();
  }

 private:
  static int clamp(int threads) { return threads < 1 ? 1 : threads > kMaxThreads ? kMaxThreads : threads; }

  // With the mutex held.
  void start_threads() {
    while (started_ < threads()) {
      if (start_thread(started_)) {
        started_++;
      } else {
        threads_ = clamp(started_);
        return;
      }
    }
  }

  bool start_thread(int index) {
    struct Start {
      ThreadPool* pool;
      int index;
    };
    auto* const start = new Start{this, index};
    const auto enter = [](void* opaque) {
      const Start start = *static_cast<Start*>(opaque);
      delete static_cast<Start*>(opaque);
      start.pool->run(start.index);
    };
    if (drivetrain::start_thread(enter, start)) return true;
    delete start;
    return false;
  }

  int active() const { return active_.load(std::memory_order_relaxed); }

  // With the mutex held, by a thread that begins to work, and that ends.
  void enter() {
    active_.fetch_add(1, std::memory_order_relaxed);
    counted = true;
  }
  void leave() {
    active_.fetch_sub(1, std::memory_order_relaxed);
    counted = false;
    hand_on();
  }

  // Tells of work for `helpers` threads and lets go of the mutex: spinning threads see it, others are woken.
  void announce(std::unique_lock<std::mutex>& lock, int helpers) {
    start_threads();
    if (helpers > 0) work_signal_.fetch_add(1, std::memory_order_release);
    int wanted = helpers - spinning();
    if (wanted > parked_) wanted = parked_;
    lock.unlock();
    for (; wanted > 0; wanted--) wake_.notify_one();
  }

  // With the mutex held, by a thread that ends its work, or that leaves the search with work or for good: one
  // spinning thread may have been counted on for several pieces of work, or none where too many worked.
  void hand_on() {
    if (!first_task_ && !open_job()) return;
    if (spinning() > 0) {
      work_signal_.fetch_add(1, std::memory_order_release);
    } else if (parked_ > 0) {
      wake_.notify_one();
    }
  }

  // A job for one more thread, if it would not be one too many.
  Job* open_job() {
    if (active() >= threads()) return nullptr;
    Job* job = jobs_;
    while (job && !job->open()) job = job->link;
    return job;
  }

  // Whether there is a processor to spin on, beside those who work and the one that will come with more.
  bool may_spin() const { return spinning() + (active() > 0 ? active() : 1) < threads_; }

  Task* take_task() {
    Task* task = first_task_;
    if (task) {
      first_task_ = task->next_;
      if (!first_task_) last_task_ = nullptr;
    }
    return task;
  }

  // A thread's life, without an end. One beyond the current count waits apart, so that set_threads can shrink
  // the pool. It spins after it has helped in a job, since the program goes on with the next one: also past
  // those that are over before it has seen them, for else it parks and the next one wakes another thread.
  // After a task it parks at once, or it would hold the processor on which the system has just woken
  // JavaScript for the result.
  [[noreturn]] void run(int index) {
    const FlushDenormals flush;
    Clock::time_point patience{};
    std::unique_lock lock(mutex_);
    for (;;) {
      if (index >= threads()) {
        hand_on();
        allowed_.wait(lock, [&] { return index < threads(); });
      }
      if (Job* job = open_job()) {
        job->helpers.fetch_add(1, std::memory_order_relaxed);
        enter();
        hand_on();
        lock.unlock();
        help(*job);
        lock.lock();
        leave();
        if (job->helpers.fetch_sub(1, std::memory_order_release) == 1) job->left.notify_one();
        patience = Clock::now() + kPatience;
      } else if (Task* task = take_task()) {
        enter();
        hand_on();
        lock.unlock();
        task->execute();
        lock.lock();
        leave();
        patience = {};
      } else if (may_spin() && Clock::now() < patience) {
        spin_for_work(lock, patience);
      } else {
        parked_++;
        wake_.wait(lock);
        parked_--;
      }
    }
  }

  // Works on the job until nothing is left of it, or until other threads of JavaScript have come to work,
  // whose processor this one would take.
  void help(Job& job) {
    size_t chunk;
    while (active() <= threads() && job.claim(Job::kFromBack, chunk)) job.fn(job.context, chunk);
  }

  // Waits a little without the mutex.
  void spin_for_work(std::unique_lock<std::mutex>& lock, Clock::time_point deadline) {
    const unsigned seen = work_signal_.load(std::memory_order_relaxed);
    spinning_.fetch_add(1, std::memory_order_relaxed);
    lock.unlock();
    spin_until(deadline, [&] { return work_signal_.load(std::memory_order_acquire) != seen; });
    lock.lock();
    spinning_.fetch_sub(1, std::memory_order_relaxed);
  }

  std::mutex mutex_;
  std::condition_variable wake_;     // for parked threads
  std::condition_variable allowed_;  // for threads beyond the current count
  std::atomic<int> threads_;
  std::atomic<unsigned> work_signal_{0};
  std::atomic<int> active_{0};  // threads that work: the pool's, and those that called parallel_for
  inline static thread_local bool counted = false;  // among the active ones
  int started_ = 0;
  int parked_ = 0;
  std::atomic<int> spinning_{0};  // changed with the mutex held
  Job* jobs_ = nullptr;
  Task* first_task_ = nullptr;
  Task* last_task_ = nullptr;
};

namespace {

ThreadPool& pool() {
  static ThreadPool* const instance = new ThreadPool;
  return *instance;
}

struct Scratch {
  static constexpr int kSlots = 9;  // of kernels, of ops, and one of programs
  static constexpr std::align_val_t kAlignment{64};
  void* blocks[kSlots] = {};
  size_t sizes[kSlots] = {};

  ~Scratch() {
    for (void* block : blocks) ::operator delete(block, kAlignment);
  }

  void* get(int slot, size_t bytes) {
    if (sizes[slot] < bytes) {
      ::operator delete(blocks[slot], kAlignment);
      blocks[slot] = ::operator new(bytes, kAlignment);
      sizes[slot] = bytes;
    }
    return blocks[slot];
  }
};

}  // namespace

bool start_pool() { return pool().start(); }
void submit(Task* task) { pool().submit(task); }
void set_threads(int threads) { pool().set_threads(threads); }
int threads() { return pool().threads(); }

void parallel_for(size_t chunks, ChunkFn fn, void* context) {
  const int others = pool().threads() - 1;
  if (chunks > 1 && others > 0) return pool().parallel_for(0, chunks, fn, context, others);
  for (size_t i = 0; i < chunks; i++) fn(context, i);
}

void parallel_for_short(size_t chunks, ChunkFn fn, void* context) {
  size_t done = 0;
  if (chunks > 2 && pool().threads() > 1) {
    const Clock::time_point start = Clock::now();
    fn(context, done++);
    const size_t left = chunks - done;
    const auto work = (Clock::now() - start) * left;
    const int helpers = work > kWorthWaking    ? pool().threads() - 1
                        : work > kWorthSharing ? pool().spinning()
                                               : 0;
    if (helpers > 0) return pool().parallel_for(done, chunks, fn, context, helpers);
  }
  for (; done < chunks; done++) fn(context, done);
}

void* scratch(int slot, size_t bytes) {
  thread_local Scratch memory;
  return memory.get(slot, bytes);
}

}  // namespace drivetrain
