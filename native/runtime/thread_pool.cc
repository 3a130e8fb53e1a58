#include "thread_pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif

#include "cpu.h"
#include "denormals.h"
#include "../kernels/parallel.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace drivetrain {
namespace {

constexpr int kMaxThreads = 256;

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Looks at `done` for about as long as it takes to wake a parked thread; true as soon as it holds. By the
// clock, since a pause takes from 10 to 140 cycles.
template <class Done>
bool spin_until(Done done) {
  using Clock = std::chrono::steady_clock;
  constexpr auto kPatience = std::chrono::microseconds(20);
  constexpr int kLooks = 16;
  const Clock::time_point deadline = Clock::now() + kPatience;
  do {
    for (int i = 0; i < kLooks; i++) {
      if (done()) return true;
      relax();
    }
  } while (Clock::now() < deadline);
  return done();
}

}  // namespace

// One parallel_for: lives on the stack of the thread that called it.
struct Job {
  ChunkFn fn;
  void* context;
  size_t chunks;
  int max_helpers;  // how many threads may enter besides the caller
  std::atomic<size_t> next{0};
  std::atomic<int> helpers{0};  // how many are inside; changed with the pool's mutex held
  Job* link = nullptr;
  std::condition_variable left{};

  void work() {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) fn(context, i);
  }
  bool open() const {
    return helpers.load(std::memory_order_relaxed) < max_helpers &&
           next.load(std::memory_order_relaxed) < chunks;
  }
};

class ThreadPool {
 public:
  ThreadPool() : threads_(clamp(usable_processors())) {}

  int threads() { return threads_.load(std::memory_order_relaxed); }

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

  void parallel_for(size_t chunks, ChunkFn fn, void* context) {
    const size_t others = static_cast<size_t>(threads() - 1);
    Job job{fn, context, chunks, static_cast<int>(others < chunks ? others : chunks - 1)};
    {
      std::unique_lock lock(mutex_);
      job.link = jobs_;
      jobs_ = &job;
      announce(lock, job.max_helpers);
    }
    job.work();
    const auto deserted = [&job] { return job.helpers.load(std::memory_order_acquire) == 0; };
    std::unique_lock lock(mutex_);
    Job** at = &jobs_;
    while (*at != &job) at = &(*at)->link;
    *at = job.link;
    if (deserted()) return;
    lock.unlock();
    spin_until(deserted);
    // With the mutex even where nobody is left: the last to leave still touches the job while it holds it.
    lock.lock();
    job.left.wait(lock, deserted);
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

  // Without exceptions std::thread ends the process where the system has no thread to give.
  bool start_thread(int index) {
#if defined(_WIN32)
    std::thread(&ThreadPool::run, this, index).detach();
    return true;
#else
    struct Start {
      ThreadPool* pool;
      int index;
    };
    auto* const start = new Start{this, index};
    const auto enter = [](void* opaque) -> void* {
      const Start start = *static_cast<Start*>(opaque);
      delete static_cast<Start*>(opaque);
      start.pool->run(start.index);
    };
    pthread_t thread;
    if (pthread_create(&thread, nullptr, enter, start) == 0) return pthread_detach(thread) == 0;
    delete start;
    return false;
#endif
  }

  // Tells of work for `helpers` threads and lets go of the mutex: spinning threads see it, others are woken.
  void announce(std::unique_lock<std::mutex>& lock, int helpers) {
    start_threads();
    work_signal_.fetch_add(1, std::memory_order_release);
    int wanted = helpers - spinning_;
    if (wanted > parked_) wanted = parked_;
    lock.unlock();
    for (; wanted > 0; wanted--) wake_.notify_one();
  }

  // With the mutex held, by a thread that leaves the search with work or for good: one spinning thread may
  // have been counted on for several pieces of work.
  void hand_on() {
    if (spinning_ == 0 && parked_ > 0 && (first_task_ || open_job())) wake_.notify_one();
  }

  Job* open_job() {
    Job* job = jobs_;
    while (job && !job->open()) job = job->link;
    return job;
  }

  Task* take_task() {
    Task* task = first_task_;
    if (task) {
      first_task_ = task->next_;
      if (!first_task_) last_task_ = nullptr;
    }
    return task;
  }

  // A thread's life, without an end. One beyond the current count waits apart, so that set_threads can shrink
  // the pool. It spins after it has helped in a job, since the program goes on with the next one; after a
  // task it parks at once, or it would hold the processor on which the system has just woken JavaScript for
  // the result.
  [[noreturn]] void run(int index) {
    const FlushDenormals flush;
    bool helped = false;
    std::unique_lock lock(mutex_);
    for (;;) {
      if (index >= threads()) {
        hand_on();
        allowed_.wait(lock, [&] { return index < threads(); });
      }
      if (Job* job = open_job()) {
        job->helpers.fetch_add(1, std::memory_order_relaxed);
        hand_on();
        lock.unlock();
        job->work();
        lock.lock();
        if (job->helpers.fetch_sub(1, std::memory_order_release) == 1) job->left.notify_one();
        helped = true;
      } else if (Task* task = take_task()) {
        hand_on();
        lock.unlock();
        task->execute();
        lock.lock();
        helped = false;
      } else if (!helped || !spin_for_work(lock)) {
        helped = false;
        parked_++;
        wake_.wait(lock);
        parked_--;
      }
    }
  }

  // Waits a little without the mutex; true where work was announced meanwhile.
  bool spin_for_work(std::unique_lock<std::mutex>& lock) {
    const unsigned seen = work_signal_.load(std::memory_order_relaxed);
    const auto announced = [&] { return work_signal_.load(std::memory_order_acquire) != seen; };
    spinning_++;
    lock.unlock();
    spin_until(announced);
    lock.lock();
    spinning_--;
    return announced();
  }

  std::mutex mutex_;
  std::condition_variable wake_;     // for parked threads
  std::condition_variable allowed_;  // for threads beyond the current count
  std::atomic<int> threads_;
  std::atomic<unsigned> work_signal_{0};
  int started_ = 0;
  int parked_ = 0;
  int spinning_ = 0;
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
  static constexpr int kSlots = 8;
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
  if (chunks <= 1 || pool().threads() == 1) {
    for (size_t i = 0; i < chunks; i++) fn(context, i);
    return;
  }
  pool().parallel_for(chunks, fn, context);
}

void* scratch(int slot, size_t bytes) {
  thread_local Scratch memory;
  return memory.get(slot, bytes);
}

}  // namespace drivetrain
