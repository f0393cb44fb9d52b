// Snapshots for bug reports: the text that --snapshot writes and --path.snapshot reads.
#ifndef EXPORTER_SNAPSHOT_H_
#define EXPORTER_SNAPSHOT_H_

#include <chrono>
#include <string>

#include "dt/result.h"
#include "exporter/host_recorder.h"
#include "exporter/host_tree.h"
#include "exporter/inventory.h"

namespace exporter {

struct SnapshotOrigin {
  std::string program;  // "devicetree-exporter 0.1.0 (abc)"
  std::string kernel;   // its release; empty: not known
  std::chrono::system_clock::time_point read_at;
};

// The record as text: comments that say where it is from and what could not be read, then
// the tree in the format of host_tree.h.
std::string ToSnapshot(const HostRecord& record, const SnapshotOrigin& origin);

// What it holds: "48 devicetree nodes, 7 PCI functions, ...; 1 thing could not be read".
std::string ToSummary(const Inventory& inventory, const HostRecord& record);

// kIo: the file cannot be read; kMalformed: it is no snapshot. The message begins with the
// file's name.
dt::Result<HostTree> ReadSnapshot(const std::string& file);

}  // namespace exporter

#endif  // EXPORTER_SNAPSHOT_H_
