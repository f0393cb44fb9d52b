// Accelerators that were unplugged a short while ago: their labels stay until
// --labels.removal-delay has passed, so that a device that resets, or whose driver
// is loaded anew, moves no workload.
//
// A value with an explicit clock; no I/O. Not thread-safe.
#ifndef EXPORTER_DEPARTURES_H_
#define EXPORTER_DEPARTURES_H_

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "exporter/inventory.h"
#include "exporter/projections/labels.h"

namespace exporter {

class Departures {
 public:
  using Clock = std::chrono::steady_clock;

  // Takes note of what gave labels in `before` and no longer does in `now`. Only
  // hot-pluggable buses: what a devicetree no longer says is gone at once. One that
  // comes back, at whatever port, is no longer departed.
  void Update(const Inventory& before, const Inventory& now, const LabelRules& rules,
              Clock::time_point time, Clock::duration delay);

  // Forgets those whose delay has passed.
  void Expire(Clock::time_point time);

  // Those whose labels stay.
  std::vector<Accelerator> accelerators() const;

  // When the next of them expires.
  std::optional<Clock::time_point> next_expiry() const;

 private:
  struct Departed {
    Accelerator accelerator;
    Clock::time_point expiry;
  };
  std::vector<Departed> departed_;
};

// Labels of an earlier run, which the Node carries still, stay until every collector
// has read well once, and the delay has passed since the start: before that it is
// not known which of them stand for hardware that is merely slow or unreadable.
class RemovalHold {
 public:
  using Clock = std::chrono::steady_clock;

  RemovalHold(Clock::time_point start, Clock::duration delay) : end_(start + delay) {}

  void Saw(const Inventory& inventory);

  bool MayRemove(Clock::time_point time) const { return all_read_ && time >= end_; }

  // When MayRemove() turns true without a further read; nothing once that was.
  std::optional<Clock::time_point> next_change() const;
  void Expire(Clock::time_point time) { expired_ = MayRemove(time); }

 private:
  const Clock::time_point end_;
  std::set<std::string> read_;  // collectors that have read all their devices
  bool all_read_ = false;
  bool expired_ = false;
};

}  // namespace exporter

#endif  // EXPORTER_DEPARTURES_H_
