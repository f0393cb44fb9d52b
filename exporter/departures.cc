#include "exporter/departures.h"

#include <algorithm>

namespace exporter {
namespace {

bool SamePlace(const Accelerator& a, const Accelerator& b) {
  return a.bus == b.bus && a.address == b.address && a.compatible == b.compatible;
}

// Those of `from` that give labels, and do not in `other`.
std::vector<Accelerator> OnlyIn(const Inventory& from, const Inventory& other,
                                const LabelRules& rules) {
  std::vector<Accelerator> only;
  for (const Accelerator& accelerator : from.accelerators) {
    if (!accelerator.hot_pluggable() || !GivesLabels(accelerator, rules)) continue;
    const bool there = std::ranges::any_of(other.accelerators, [&](const Accelerator& candidate) {
      return SamePlace(candidate, accelerator) && GivesLabels(candidate, rules);
    });
    if (!there) only.push_back(accelerator);
  }
  return only;
}

}  // namespace

void Departures::Update(const Inventory& before, const Inventory& now, const LabelRules& rules,
                        Clock::time_point time, Clock::duration delay) {
  for (Accelerator& gone : OnlyIn(before, now, rules)) {
    departed_.push_back({std::move(gone), time + delay});
  }
  for (const Accelerator& come : OnlyIn(now, before, rules)) {
    const auto same = std::ranges::find_if(departed_, [&](const Departed& departed) {
      return departed.accelerator.bus == come.bus &&
             departed.accelerator.compatible == come.compatible;
    });
    if (same != departed_.end()) departed_.erase(same);
  }
  Expire(time);
}

void Departures::Expire(Clock::time_point time) {
  std::erase_if(departed_, [&](const Departed& departed) { return departed.expiry <= time; });
}

std::vector<Accelerator> Departures::accelerators() const {
  std::vector<Accelerator> all;
  all.reserve(departed_.size());
  for (const Departed& departed : departed_) all.push_back(departed.accelerator);
  return all;
}

std::optional<Departures::Clock::time_point> Departures::next_expiry() const {
  const auto first = std::ranges::min_element(departed_, {}, &Departed::expiry);
  if (first == departed_.end()) return std::nullopt;
  return first->expiry;
}

void RemovalHold::Saw(const Inventory& inventory) {
  for (const CollectorReport& report : inventory.collectors) {
    if (report.success && report.skipped_devices == 0) read_.insert(report.name);
  }
  all_read_ = std::ranges::all_of(inventory.collectors, [this](const CollectorReport& report) {
    return read_.contains(report.name);
  });
}

std::optional<RemovalHold::Clock::time_point> RemovalHold::next_change() const {
  if (expired_ || !all_read_) return std::nullopt;
  return end_;
}

}  // namespace exporter
