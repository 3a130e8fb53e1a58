// Work on several threads that begin at the same moment.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace drivetrain::bench {

// Calls work(0) to work(threads - 1), each on a thread of its own, the first on this one, once all are there.
// Returns the seconds from the common start to the end of the last.
template <class Work>
double seconds_together(int threads, Work work) {
  using Clock = std::chrono::steady_clock;
  std::atomic<int> waiting{threads};
  std::vector<Clock::time_point> starts(threads), ends(threads);
  auto one = [&](int index) {
    waiting.fetch_sub(1);
    while (waiting.load() > 0) std::this_thread::yield();
    starts[index] = Clock::now();
    work(index);
    ends[index] = Clock::now();
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(one, i);
  one(0);
  for (std::thread& other : others) other.join();
  const auto start = *std::min_element(starts.begin(), starts.end());
  return std::chrono::duration<double>(*std::max_element(ends.begin(), ends.end()) - start).count();
}

}  // namespace drivetrain::bench
