// Reads the hardware: runs the enabled collectors, finds the accelerators in what
// they read, and builds one Inventory.
#ifndef EXPORTER_COLLECT_H_
#define EXPORTER_COLLECT_H_

#include <set>
#include <span>
#include <string>
#include <string_view>

#include "exporter/catalogue.h"
#include "exporter/host_paths.h"
#include "exporter/host_recorder.h"
#include "exporter/inventory.h"

namespace exporter {

// The names of all collectors, in the order in which they run.
std::span<const std::string_view> CollectorNames();

// Runs every collector that is not in `disabled`. One that fails leaves its part
// of the Inventory as it was in `previous` (which may be null), and says so in
// its report: a read error is not absence. What was read goes into `record` too,
// unless that is null.
Inventory Collect(const HostPaths& paths, const Catalogue& catalogue,
                  const std::set<std::string, std::less<>>& disabled, const Inventory* previous,
                  HostRecord* record = nullptr);

}  // namespace exporter

#endif  // EXPORTER_COLLECT_H_
