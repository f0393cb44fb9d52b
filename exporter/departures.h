// Accelerators that were unplugged a short while ago: their labels stay until
// --labels.removal-delay has passed, so that a device that resets, or whose driver
// is loaded anew, moves no workload.
//
// A value with an explicit clock; no I/O. Not thread-safe.
#ifndef EXPORTER_DEPARTURES_H_
#define EXPORTER_DEPARTURES_H_

#include <chrono>
#include <optional>
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

}  // namespace exporter

#endif  // EXPORTER_DEPARTURES_H_
