// Tells when the wall clock was set, or the machine has slept: what holds a date or an
// expiry is then made anew.
#ifndef EXPORTER_CLOCK_WATCH_H_
#define EXPORTER_CLOCK_WATCH_H_

namespace exporter {

// Belongs to one thread.
class ClockWatch {
 public:
  ClockWatch();
  ClockWatch(const ClockWatch&) = delete;
  ClockWatch& operator=(const ClockWatch&) = delete;
  ~ClockWatch();

  // Readable once the clock was set; -1 where the kernel gave none.
  int fd() const { return fd_; }

  // Whether it was set since the last call, or the start.
  bool WasSet();

 private:
  void Arm() const;

  const int fd_;
};

}  // namespace exporter

#endif  // EXPORTER_CLOCK_WATCH_H_
