#include "exporter/clock_watch.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <ctime>
#include <limits>

namespace exporter {

ClockWatch::ClockWatch() : fd_(timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK)) {
  Arm();
}

ClockWatch::~ClockWatch() {
  if (fd_ >= 0) close(fd_);
}

bool ClockWatch::WasSet() {
  std::uint64_t expirations = 0;
  const ssize_t size = read(fd_, &expirations, sizeof expirations);
  const bool was_set = size < 0 && errno == ECANCELED;
  if (size >= 0 || was_set) Arm();
  return was_set;
}

// A timer that never expires, and is cancelled when the clock it runs by is set.
void ClockWatch::Arm() const {
  itimerspec never{};
  never.it_value.tv_sec = std::numeric_limits<std::time_t>::max();
  timerfd_settime(fd_, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, nullptr);
}

}  // namespace exporter
