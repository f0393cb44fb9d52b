#include "exporter/process_stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <ctime>
#include <string>

namespace exporter {
namespace {

// What a small file of /proc holds; empty if it cannot be read.
std::string ReadSmall(const char* path) {
  std::array<char, 1024> text{};
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  const ssize_t size = read(fd, text.data(), text.size());
  close(fd);
  return std::string(text.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
}

// Since the epoch, from field 22 of stat: clock ticks from boot, on the clock that
// counts suspended time too.
std::optional<double> ReadStartTime() {
  const std::string stat = ReadSmall("/proc/self/stat");
  // The name in field 2 may hold anything; the last ')' ends it.
  std::size_t at = stat.rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  timespec boot{};
  timespec now{};
  if (at == std::string::npos || clock_gettime(CLOCK_BOOTTIME, &boot) != 0 ||
      clock_gettime(CLOCK_REALTIME, &now) != 0) {
    return std::nullopt;
  }
  const auto seconds = [](const timespec& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
  };
  const auto ticks = static_cast<double>(std::strtoull(stat.c_str() + at, nullptr, 10));
  return seconds(now) - seconds(boot) + ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// statm: total and resident size in pages. The file stays open: each read shows what is now.
void ReadMemory(ProcessStats* stats) {
  static const int statm_file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  std::array<char, 128> statm{};
  if (pread(statm_file, statm.data(), statm.size() - 1, 0) <= 0) return;
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  char* end = nullptr;
  stats->virtual_memory_bytes = std::strtoull(statm.data(), &end, 10) * page;
  stats->resident_memory_bytes = std::strtoull(end, nullptr, 10) * page;
}

std::optional<double> CpuSeconds() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return std::nullopt;
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
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
  stats.cpu_seconds = CpuSeconds();
  ReadMemory(&stats);
  // Computed once: it would move with every step of the wall clock otherwise.
  static const std::optional<double> start_time = ReadStartTime();
  stats.start_time_seconds = start_time;
  stats.open_fds = CountOpenFiles();
  stats.max_fds = SoftLimit(RLIMIT_NOFILE);
  stats.virtual_memory_max_bytes = SoftLimit(RLIMIT_AS);
  return stats;
}

}  // namespace exporter
