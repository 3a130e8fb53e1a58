#include "thread_pool.h"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>

#include "cpu.h"
#include "denormals.h"
#include "../kernels/parallel.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace drivetrain {
namespace {

constexpr int kMaxThreads = 256;
// About 20 to 50 microseconds of looking for work before a thread parks: waking a parked one costs as much.
constexpr int kSpins = 1000;

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

// One parallel_for: lives on the stack of the thread that called it.
struct Job {
  ChunkFn fn;
  void* context;
  size_t chunks;
  std::atomic<size_t> next{0};
  int helpers = 0;      // threads inside the job besides the caller; guarded by the pool's mutex
  int max_helpers = 0;  // how many may enter
  Job* link = nullptr;
  std::condition_variable left;

  void work() {
    for (size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < chunks;) fn(context, i);
  }
  bool exhausted() const { return next.load(std::memory_order_relaxed) >= chunks; }
};

class ThreadPool {
 public:
  ThreadPool() : threads_(usable_processors()) {
    if (threads_ > kMaxThreads) threads_ = kMaxThreads;
  }

  int threads() { return threads_.load(std::memory_order_relaxed); }

  void set_threads(int threads) {
    std::lock_guard lock(mutex_);
    threads_ = threads < 1 ? 1 : threads > kMaxThreads ? kMaxThreads : threads;
    signal_all();
  }

  void submit(Task* task) {
    std::lock_guard lock(mutex_);
    if (last_task_) {
      last_task_->next_ = task;
    } else {
      first_task_ = task;
    }
    last_task_ = task;
    start_threads(threads());
    signal_one();
  }

  void parallel_for(size_t chunks, ChunkFn fn, void* context) {
    Job job;
    job.fn = fn;
    job.context = context;
    job.chunks = chunks;
    job.max_helpers = threads() - 1;
    if (static_cast<size_t>(job.max_helpers) >= chunks) job.max_helpers = static_cast<int>(chunks) - 1;
    {
      std::lock_guard lock(mutex_);
      job.link = jobs_;
      jobs_ = &job;
      start_threads(threads());
      for (int i = 0; i < job.max_helpers; i++) signal_one();
    }
    job.work();
    std::unique_lock lock(mutex_);
    Job** at = &jobs_;
    while (*at != &job) at = &(*at)->link;
    *at = job.link;
    for (int spins = 0; job.helpers > 0; spins++) {
      if (spins == kSpins) {
        job.left.wait(lock, [&] { return job.helpers == 0; });
        break;
      }
      lock.unlock();
      relax();
      lock.lock();
    }
  }

 private:
  // All with the mutex held.
  void start_threads(int count) {
    for (; started_ < count; started_++) std::thread(&ThreadPool::run, this, started_).detach();
  }

  void signal_one() {
    work_signal_.fetch_add(1, std::memory_order_release);
    if (parked_ > 0) wake_.notify_one();
  }

  void signal_all() {
    work_signal_.fetch_add(1, std::memory_order_release);
    wake_.notify_all();
  }

  Job* open_job() {
    for (Job* job = jobs_; job; job = job->link) {
      if (job->helpers < job->max_helpers && !job->exhausted()) return job;
    }
    return nullptr;
  }

  Task* take_task() {
    Task* task = first_task_;
    if (task) {
      first_task_ = task->next_;
      if (!first_task_) last_task_ = nullptr;
    }
    return task;
  }

  // A thread's life. One beyond the current count stays parked, so that set_threads can shrink the pool.
  void run(int index) {
    FlushDenormals flush;
    std::unique_lock lock(mutex_);
    for (;;) {
      if (index < threads()) {
        if (Job* job = open_job()) {
          job->helpers++;
          lock.unlock();
          job->work();
          lock.lock();
          if (--job->helpers == 0) job->left.notify_one();
          continue;
        }
        if (Task* task = take_task()) {
          lock.unlock();
          task->execute();
          lock.lock();
          continue;
        }
        if (spin_for_work(lock)) continue;
      }
      parked_++;
      wake_.wait(lock);
      parked_--;
      // A thread over the limit may have taken another's signal: hand it on.
      if (index >= threads() && (first_task_ || open_job())) wake_.notify_one();
    }
  }

  // Waits a little without the mutex; true where work was announced meanwhile.
  bool spin_for_work(std::unique_lock<std::mutex>& lock) {
    const unsigned seen = work_signal_.load(std::memory_order_acquire);
    lock.unlock();
    bool announced = false;
    for (int i = 0; i < kSpins && !announced; i++) {
      relax();
      announced = work_signal_.load(std::memory_order_acquire) != seen;
    }
    lock.lock();
    return announced || work_signal_.load(std::memory_order_relaxed) != seen;
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<int> threads_;
  std::atomic<unsigned> work_signal_{0};
  int started_ = 0;
  int parked_ = 0;
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
