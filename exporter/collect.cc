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

}  // namespace

std::span<const std::string_view> CollectorNames() { return kNames; }

Inventory Collect(const HostPaths& paths, const Catalogue& catalogue,
                  const std::set<std::string, std::less<>>& disabled, const Inventory* previous) {
  const CollectorInput input{paths, InterfaceClasses(catalogue)};
  Inventory inventory;
  if (previous != nullptr) inventory = *previous;
  inventory.collectors.clear();
  inventory.read_at = std::chrono::system_clock::now();
  for (const Collector& collector : kCollectors) {
    if (disabled.contains(collector.name)) continue;
    CollectorReport report;
    report.name = collector.name;
    const auto begin = std::chrono::steady_clock::now();
    const std::optional<dt::Error> error = collector.collect(input, &inventory, &report);
    report.duration = std::chrono::steady_clock::now() - begin;
    report.success = !error;
    if (error) report.problems.push_back(error->message);
    for (std::string& problem : report.problems) problem = Printable(problem);
    inventory.collectors.push_back(std::move(report));
  }
  FindAccelerators(catalogue, paths.sysfs, &inventory);
  return inventory;
}

}  // namespace exporter
