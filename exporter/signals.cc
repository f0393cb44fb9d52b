#include "exporter/signals.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <exception>
#include <initializer_list>
#include <system_error>

namespace exporter {
namespace {

sigset_t SetOf(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  return set;
}

const sigset_t kAll = SetOf({SIGHUP, SIGINT, SIGTERM});
const sigset_t kEnding = SetOf({SIGINT, SIGTERM});

}  // namespace

int BlockSignals() {
  pthread_sigmask(SIG_BLOCK, &kAll, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  const int signals = signalfd(-1, &kAll, SFD_CLOEXEC);
  if (signals < 0) throw std::system_error(errno, std::generic_category(), "signalfd");
  return signals;
}

void UnblockSignals() { pthread_sigmask(SIG_UNBLOCK, &kAll, nullptr); }

// Not a handler: a thread that waits for a file system may get nothing but SIGKILL, which
// the end of the process is to it.
EndsAtOnce::EndsAtOnce()
    : signals_(signalfd(-1, &kEnding, SFD_CLOEXEC)), done_(eventfd(0, EFD_CLOEXEC)) {
  if (signals_ < 0 || done_ < 0) return;
  try {
    watcher_ = std::thread([this] {
      std::array<pollfd, 2> waited = {pollfd{signals_, POLLIN, 0}, pollfd{done_, POLLIN, 0}};
      while (poll(waited.data(), waited.size(), -1) < 0) {
      }
      if (waited[0].revents != 0) _exit(0);
    });
  } catch (const std::exception&) {
    // The signal is then taken after the read.
  }
}

EndsAtOnce::~EndsAtOnce() {
  if (watcher_.joinable()) {
    eventfd_write(done_, 1);
    watcher_.join();
  }
  for (const int fd : {signals_, done_}) {
    if (fd >= 0) close(fd);
  }
}

}  // namespace exporter
