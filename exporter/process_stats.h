// What the kernel says about this very process: the standard process_* metrics.
//
// Facts: proc(5), /proc/[pid]/stat, statm and fd; getrusage(2), getrlimit(2).
#ifndef EXPORTER_PROCESS_STATS_H_
#define EXPORTER_PROCESS_STATS_H_

#include <cstdint>
#include <optional>

namespace exporter {

// A value that the kernel does not tell is left out.
struct ProcessStats {
  std::optional<double> cpu_seconds;  // user and system
  std::optional<std::uint64_t> open_fds;
  std::optional<std::uint64_t> max_fds;  // soft limit; absent if unlimited
  std::optional<std::uint64_t> virtual_memory_bytes;
  std::optional<std::uint64_t> virtual_memory_max_bytes;  // soft limit; absent if unlimited
  std::optional<std::uint64_t> resident_memory_bytes;
  std::optional<double> start_time_seconds;  // since the epoch
};

// Reads this process's own /proc/self, whatever --path.procfs says of the host's.
ProcessStats ReadProcessStats();

}  // namespace exporter

#endif  // EXPORTER_PROCESS_STATS_H_
