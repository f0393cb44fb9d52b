// The signals that end or reload the process.
#ifndef EXPORTER_SIGNALS_H_
#define EXPORTER_SIGNALS_H_

#include <thread>

namespace exporter {

// Blocks SIGHUP, SIGINT and SIGTERM in this thread and those that it starts, and gives a
// descriptor that reads them; SIGPIPE is ignored from now on. Throws std::system_error if there
// is no such descriptor to be had.
int BlockSignals();

// Lets them do what they do to any program.
void UnblockSignals();

// As long as it lives, SIGINT and SIGTERM end the process at once, with exit code 0, though
// its thread be in a read that the kernel keeps waiting. REQUIRES: they are blocked.
class EndsAtOnce {
 public:
  EndsAtOnce();
  EndsAtOnce(const EndsAtOnce&) = delete;
  EndsAtOnce& operator=(const EndsAtOnce&) = delete;
  ~EndsAtOnce();

 private:
  const int signals_;
  const int done_;
  std::thread watcher_;  // none where there is no memory or descriptor left for it
};

}  // namespace exporter

#endif  // EXPORTER_SIGNALS_H_
