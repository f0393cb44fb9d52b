// How many times as long one piece of work takes as another.
#ifndef TESTS_BENCH_SIDE_BY_SIDE_H_
#define TESTS_BENCH_SIDE_BY_SIDE_H_

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <functional>
#include <vector>

namespace bench {

// Does the work once; false if that failed.
using Walk = std::function<bool()>;

inline double CpuSeconds(const Walk& walk) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  };
  const double begin = now();
  walk();
  return now() - begin;
}

// The median of CPU time over `pairs` (odd) pairs of runs side by side, so that a
// machine that is slow for a while is slow for both.
inline double Ratio(const Walk& ours, const Walk& bare, std::size_t pairs = 501) {
  std::vector<double> ratios(pairs);
  for (std::size_t i = 0; i < pairs; ++i) {
    if (i % 2 == 0) {
      const double first = CpuSeconds(ours);
      ratios[i] = first / CpuSeconds(bare);
    } else {
      const double first = CpuSeconds(bare);
      ratios[i] = CpuSeconds(ours) / first;
    }
  }
  const auto median = ratios.begin() + static_cast<std::ptrdiff_t>(pairs / 2);
  std::nth_element(ratios.begin(), median, ratios.end());
  return *median;
}

}  // namespace bench

#endif  // TESTS_BENCH_SIDE_BY_SIDE_H_
