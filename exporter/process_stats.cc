#include "exporter/process_stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <ctime>

namespace exporter {
namespace {

// Clock ticks from boot to the start of this process, on the clock that counts
// suspended time too, as field 22 of stat does.
std::optional<double> StartTime(unsigned long long start_ticks) {
  timespec boot{};
  timespec now{};
  if (clock_gettime(CLOCK_BOOTTIME, &boot) != 0 || clock_gettime(CLOCK_REALTIME, &now) != 0) {
    return std::nullopt;
  }
  const auto seconds = [](const timespec& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
  };
  return seconds(now) - seconds(boot) +
         static_cast<double>(start_ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

void ReadStat(ProcessStats* stats) {
  std::array<char, 1024> text{};
  const int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  const ssize_t size = read(fd, text.data(), text.size() - 1);
  close(fd);
  // The name in field 2 may hold anything; the last ')' ends it.
  const char* fields = size > 0 ? std::strrchr(text.data(), ')') : nullptr;
  if (fields == nullptr) return;
  unsigned long user = 0;
  unsigned long system = 0;
  unsigned long long start = 0;
  unsigned long virtual_bytes = 0;
  long resident_pages = 0;
  // Fields 3 to 24: state ... utime(14) stime(15) ... starttime(22) vsize(23) rss(24).
  const int count = std::sscanf(fields + 1,
                                " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d "
                                "%*d %*d %*d %llu %lu %ld",
                                &user, &system, &start, &virtual_bytes, &resident_pages);
  if (count != 5) return;
  stats->cpu_seconds =
      static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
  stats->virtual_memory_bytes = virtual_bytes;
  stats->resident_memory_bytes = static_cast<std::uint64_t>(resident_pages) *
                                 static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  // Computed once: it would move with every step of the wall clock otherwise.
  static const std::optional<double> start_time = StartTime(start);
  stats->start_time_seconds = start_time;
}

std::optional<std::uint64_t> CountOpenFiles() {
  // Linux 6.2 and later tell the number as the directory's size.
  struct stat info {};
  if (stat("/proc/self/fd", &info) == 0 && info.st_size > 0) {
    return static_cast<std::uint64_t>(info.st_size);
  }
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return std::nullopt;
  std::uint64_t count = 0;
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(directory);
  return count - 1;  // without the one that counts
}

std::optional<std::uint64_t> SoftLimit(__rlimit_resource resource) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return limit.rlim_cur;
}

}  // namespace

ProcessStats ReadProcessStats() {
  ProcessStats stats;
  ReadStat(&stats);
  stats.open_fds = CountOpenFiles();
  stats.max_fds = SoftLimit(RLIMIT_NOFILE);
  stats.virtual_memory_max_bytes = SoftLimit(RLIMIT_AS);
  return stats;
}

}  // namespace exporter
