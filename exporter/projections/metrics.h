// The text exposition format (version 0.0.4) of what is known.
//
// Two parts, because they change at different times: the inventory's, made once
// per snapshot, and the process's own, made for each scrape. A scrape's body is
// one after the other. Families and labels: METRICS.md beside this folder.
#ifndef EXPORTER_PROJECTIONS_METRICS_H_
#define EXPORTER_PROJECTIONS_METRICS_H_

#include <chrono>
#include <optional>
#include <string>

#include "exporter/inventory.h"
#include "exporter/process_stats.h"
#include "exporter/projections/labels.h"
#include "exporter/sink_report.h"

namespace exporter {

struct BuildInfo {
  std::string version;   // "0.1.0"
  std::string revision;  // git commit, or "unknown"
  std::string compiler;  // "gcc 12.2.0"
};

// Every family has HELP and TYPE; no two series are equal, and every label value
// is printable UTF-8, whatever the hardware says (a repeated series or a stray
// byte would make Prometheus refuse the whole scrape).
std::string ToInventoryMetrics(const Inventory& inventory, const LabelReport& labels,
                               const BuildInfo& build);

// How the last reading of the configuration went.
struct ConfigReport {
  bool last_reload_successful;
  std::chrono::system_clock::time_point last_success;
};
std::string ToConfigMetrics(const ConfigReport& report);

// How often the hardware is read where the kernel's events cannot be had; empty where they can.
std::string ToRefreshMetrics(const std::optional<std::chrono::duration<double>>& interval);

// How the last write of each file went.
std::string ToFileMetrics(const FileReport& report);

// How the last reading of the web configuration went.
std::string ToWebConfigMetrics(bool last_reload_successful);

std::string ToProcessMetrics(const ProcessStats& stats);

// How the Kubernetes label sink fares.
std::string ToLabelSinkMetrics(const SinkReport& report);

}  // namespace exporter

#endif  // EXPORTER_PROJECTIONS_METRICS_H_
