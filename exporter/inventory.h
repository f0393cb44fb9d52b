// The snapshot: what this machine's hardware says about itself, read once.
//
// Plain values. One Inventory is built by collect, never changed afterwards, and
// every output (metrics, labels, dry run) is a projection of it.
#ifndef EXPORTER_INVENTORY_H_
#define EXPORTER_INVENTORY_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "dt/tree.h"

namespace exporter {

// How one collector fared, in the terms of node_exporter's node_scrape_collector_*.
struct CollectorReport {
  std::string name;                        // "devicetree": flag, metric label and file name
  bool success = false;                    // false: its part of the Inventory is the last good one
  std::chrono::duration<double> duration;  // wall time
  std::vector<std::string> problems;       // one printable line each: where, what, what next
};

struct Inventory {
  // The devicetree; null if this machine has none, or if it could not be read yet.
  // From --path.devicetree, else <sysfs>/firmware/devicetree/base, else <procfs>/device-tree.
  std::shared_ptr<const dt::Tree> devicetree;
  // Whether a read has said what `devicetree` is: a read error is not absence.
  bool devicetree_known = false;

  std::vector<CollectorReport> collectors;  // in the order of the table in collect.cc
  std::chrono::system_clock::time_point read_at;
};

// Whether the machine has a devicetree: a root with a compatible. A kernel may
// show an empty root where there is none (Linux 6.10 and later on some PCs).
bool HasDevicetree(const Inventory& inventory);

}  // namespace exporter

#endif  // EXPORTER_INVENTORY_H_
