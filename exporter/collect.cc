#include "exporter/collect.h"

#include <array>
#include <chrono>
#include <optional>

#include "exporter/accelerators.h"
#include "exporter/collectors/device_nodes.h"
#include "exporter/collectors/devicetree.h"
#include "exporter/collectors/pci.h"
#include "exporter/collectors/usb.h"
#include "exporter/printable.h"
#include "exporter/snapshot.h"

namespace exporter {
namespace {

struct Collector {
  std::string_view name;
  CollectFunction collect;
};

constexpr std::array kCollectors = {
    Collector{"devicetree", CollectDevicetree},
    Collector{"pci", CollectPci},
    Collector{"usb", CollectUsb},
    Collector{"device_nodes", CollectDeviceNodes},
};

constexpr auto kNames = [] {
  std::array<std::string_view, kCollectors.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kCollectors[i].name;
  return names;
}();

CollectorReport Run(const Collector& collector, const CollectorInput& input,
                    const std::optional<dt::Error>& no_snapshot, Inventory* inventory) {
  CollectorReport report;
  report.name = collector.name;
  const auto begin = std::chrono::steady_clock::now();
  const std::optional<dt::Error> error =
      no_snapshot ? no_snapshot : collector.collect(input, inventory, &report);
  report.duration = std::chrono::steady_clock::now() - begin;
  report.success = !error;
  if (error) report.problems.push_back(error->message);
  for (std::string& problem : report.problems) problem = Printable(problem);
  return report;
}

}  // namespace

std::span<const std::string_view> CollectorNames() { return kNames; }

Inventory Collect(const HostPaths& paths, const Catalogue& catalogue,
                  const std::set<std::string, std::less<>>& disabled, const Inventory* previous,
                  HostRecord* record) {
  CollectorInput input{paths, InterfaceClasses(catalogue)};
  dt::Result<HostTree> snapshot = HostTree();
  if (!paths.snapshot.empty()) snapshot = ReadSnapshot(paths.snapshot);
  if (!paths.snapshot.empty() && snapshot) input.snapshot = &*snapshot;
  std::optional<HostRecorder> recorder;
  if (record != nullptr) input.recorder = &recorder.emplace(input.paths, input.snapshot, record);
  Inventory inventory;
  if (previous != nullptr) inventory = *previous;
  inventory.collectors.clear();
  inventory.read_at = std::chrono::system_clock::now();
  for (const Collector& collector : kCollectors) {
    if (disabled.contains(collector.name)) continue;
    inventory.collectors.push_back(Run(
        collector, input, snapshot ? std::nullopt : std::optional(snapshot.error()), &inventory));
  }
  FindAccelerators(catalogue, paths.snapshot.empty() ? paths.sysfs : paths.snapshot, &inventory);
  return inventory;
}

}  // namespace exporter
