// What every collector is: a function that reads one part of the host.
#ifndef EXPORTER_COLLECTORS_COLLECTOR_H_
#define EXPORTER_COLLECTORS_COLLECTOR_H_

#include <optional>
#include <string>
#include <vector>

#include "dt/result.h"
#include "exporter/host_paths.h"
#include "exporter/host_recorder.h"
#include "exporter/host_tree.h"
#include "exporter/inventory.h"

namespace exporter {

struct CollectorInput {
  HostPaths paths;
  std::vector<std::string> interface_classes;  // the classes that device_nodes reads
  const HostTree* snapshot = nullptr;          // of --path.snapshot, instead of the host's files
  HostRecorder* recorder = nullptr;            // is told what is read; null: nobody is
};

// Sets its part of the Inventory, which still holds what was read last; or leaves
// it and returns the error. Absent hardware is no error. A single device that
// cannot be read keeps its last good facts, or is left out if it has none, and is
// named in report->problems and counted in report->skipped_devices.
using CollectFunction = std::optional<dt::Error> (*)(const CollectorInput& input,
                                                     Inventory* inventory, CollectorReport* report);

}  // namespace exporter

#endif  // EXPORTER_COLLECTORS_COLLECTOR_H_
