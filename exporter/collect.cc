#include "exporter/collect.h"

#include <array>
#include <chrono>
#include <optional>

#include "exporter/collectors/devicetree.h"
#include "exporter/printable.h"

namespace exporter {
namespace {

struct Collector {
  std::string_view name;
  // Sets its part of the Inventory, or leaves it and says why.
  std::optional<dt::Error> (*collect)(const HostPaths&, Inventory*);
};

constexpr std::array kCollectors = {
    Collector{"devicetree", CollectDevicetree},
};

constexpr auto kNames = [] {
  std::array<std::string_view, kCollectors.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kCollectors[i].name;
  return names;
}();

}  // namespace

std::span<const std::string_view> CollectorNames() { return kNames; }

Inventory Collect(const HostPaths& paths, const std::set<std::string, std::less<>>& disabled,
                  const Inventory* previous) {
  Inventory inventory;
  if (previous != nullptr) inventory = *previous;
  inventory.collectors.clear();
  inventory.read_at = std::chrono::system_clock::now();
  for (const Collector& collector : kCollectors) {
    if (disabled.contains(collector.name)) continue;
    CollectorReport report;
    report.name = collector.name;
    const auto begin = std::chrono::steady_clock::now();
    const std::optional<dt::Error> error = collector.collect(paths, &inventory);
    report.duration = std::chrono::steady_clock::now() - begin;
    report.success = !error;
    if (error) report.problems.push_back(Printable(error->message));
    inventory.collectors.push_back(std::move(report));
  }
  return inventory;
}

}  // namespace exporter
