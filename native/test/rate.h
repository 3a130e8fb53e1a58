// Timing for benchmarks: the best of several runs.
#pragma once
#include <chrono>

namespace drivetrain::test {

// Work per second, in units of 1e9, of the fastest of the runs that fit into `budget` seconds.
template <class F>
double rate(double work, F run, double budget = 0.15) {
  using Clock = std::chrono::steady_clock;
  run();
  double best = 1e30, total = 0;
  for (int repeat = 1; total < budget;) {
    const auto start = Clock::now();
    for (int i = 0; i < repeat; ++i) run();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    total += seconds;
    best = seconds / repeat < best ? seconds / repeat : best;
    if (seconds < 2e-4) repeat *= 2;
  }
  return work / best * 1e-9;
}

}  // namespace drivetrain::test
