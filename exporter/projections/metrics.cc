#include "exporter/projections/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <initializer_list>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "dt/fingerprint.h"
#include "exporter/printable.h"

namespace exporter {
namespace {

using prometheus::MetricType;

// Families in the order in which they are begun, of which one at a time is held.
class Exposition {
 public:
  struct LabelPair {
    const char* name;
    std::optional<std::string_view> value;  // a label that is not known is left out
  };

  // The series added next belong to this family.
  void Begin(const char* name, const char* help, MetricType type = MetricType::Gauge) {
    Flush();
    family_[0].name = name;
    family_[0].help = help;
    family_[0].type = type;
  }

  void Add(std::initializer_list<LabelPair> labels, double value) {
    prometheus::ClientMetric metric;
    for (const LabelPair& label : labels) {
      if (label.value) metric.label.push_back({label.name, Printable(*label.value)});
    }
    // Two strings may look the same once they are printable.
    std::string identity;
    for (const auto& label : metric.label) identity += label.name + '\0' + label.value + '\0';
    if (!seen_.insert(std::move(identity)).second) return;
    if (family_[0].type == MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    family_[0].metric.push_back(std::move(metric));
  }

  // A family of one series without labels; nothing if the value is not known.
  template <typename Number>
  void AddSingle(const char* name, const char* help, const std::optional<Number>& value,
                 MetricType type = MetricType::Gauge) {
    if (!value) return;
    Begin(name, help, type);
    Add({}, static_cast<double>(*value));
  }

  std::string Text() && {
    Flush();
    return std::move(text_);
  }

 private:
  void Flush() {
    if (!family_[0].metric.empty()) text_ += prometheus::TextSerializer().Serialize(family_);
    family_[0].metric.clear();
    seen_.clear();
  }

  std::string text_;
  std::vector<prometheus::MetricFamily> family_ =
      std::vector<prometheus::MetricFamily>(1);  // the one begun last
  std::set<std::string> seen_;                   // its label sets
};

double ToNumber(bool value) { return value ? 1 : 0; }

void AddDevicetree(const Inventory& inventory, const LabelReport& labels, Exposition* out) {
  if (!inventory.devicetree_known) return;
  const bool present = HasDevicetree(inventory);
  out->Begin("devicetree_present", "Whether this machine has a devicetree with a root compatible.");
  out->Add({}, ToNumber(present));
  if (!present) return;

  const dt::Tree& tree = *inventory.devicetree;
  std::optional<std::string_view> model;
  if (const auto property = tree.FindProperty(tree.root(), "model")) {
    if (const auto text = property->AsString()) model = *text;
  }
  std::optional<std::string_view> compatible;
  if (const auto list = tree.Compatible(tree.root())) compatible = list->front();
  out->Begin("devicetree_info", "Model and most specific compatible of the root node.");
  out->Add({{"model", model}, {"compatible", compatible}}, 1);

  std::array<std::size_t, dt::kStatusCount> nodes{};
  for (const dt::Node& node : tree.nodes()) {
    ++nodes[static_cast<std::size_t>(node.effective_status)];
  }
  out->Begin("devicetree_nodes",
             "Number of nodes by effective status: a node's own, or that of the nearest ancestor "
             "that is not okay.");
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    out->Add({{"status", dt::ToString(static_cast<dt::Status>(i))}}, static_cast<double>(nodes[i]));
  }

  out->Begin("devicetree_compatible_info",
             "Compatibles of the root and of the designated nodes, with the node label that each "
             "gives.");
  for (const NodeCompatible& entry : labels.compatibles) {
    out->Add({{"path", entry.path},
              {"compatible", entry.compatible},
              {"position", std::to_string(entry.position)},
              {"label_key", entry.label_key}},
             1);
  }

  out->Begin("devicetree_node_enabled",
             "Whether a designated node and all its ancestors are enabled.");
  for (const DesignatedNode& node : labels.designated) {
    out->Add({{"path", node.path}}, ToNumber(node.enabled));
  }

  std::array<char, 17> fingerprint{};
  std::snprintf(fingerprint.data(), fingerprint.size(), "%016llx",
                static_cast<unsigned long long>(dt::Fingerprint(tree)));
  out->Begin("devicetree_fingerprint_info",
             "Hash over the nodes, compatibles and statuses: equal on equal boards.");
  out->Add({{"fingerprint", fingerprint.data()}}, 1);
}

void AddAccelerators(const Inventory& inventory, const LabelReport& labels, Exposition* out) {
  out->Begin("accelerator_info", "Accelerators that the hardware describes.");
  for (std::size_t i = 0; i < inventory.accelerators.size(); ++i) {
    const Accelerator& found = inventory.accelerators[i];
    std::optional<std::string> numa_node;
    if (found.numa_node) numa_node = std::to_string(*found.numa_node);
    out->Add({{"kind", found.kind},
              {"bus", ToString(found.bus)},
              {"address", found.address},
              {"vendor", found.vendor},
              {"model", found.model},
              {"compatible", found.compatible},
              {"driver", found.driver},
              {"numa_node", numa_node},
              {"label_key", labels.accelerator_keys[i]}},
             1);
  }
  struct Rung {
    const char* name;
    const char* help;
    bool Accelerator::*reached;
  };
  for (const Rung& rung :
       {Rung{"accelerator_enabled", "Whether the accelerator and all above it are enabled.",
             &Accelerator::enabled},
        Rung{"accelerator_bound", "Whether a driver holds the accelerator.", &Accelerator::bound},
        Rung{"accelerator_ready", "Whether the kernel has registered the accelerator's interface.",
             &Accelerator::ready}}) {
    out->Begin(rung.name, rung.help);
    for (const Accelerator& found : inventory.accelerators) {
      out->Add({{"kind", found.kind}, {"bus", ToString(found.bus)}, {"address", found.address}},
               ToNumber(found.*rung.reached));
    }
  }
  out->Begin("accelerator_unrecognised_info",
             "Enabled devicetree nodes called like an accelerator that no list knows.");
  for (const UnrecognisedNode& node : inventory.unrecognised) {
    out->Add({{"path", node.path}, {"compatible", node.compatible}}, 1);
  }
}

void AddLabels(const LabelReport& labels, Exposition* out) {
  out->Begin("devicetree_node_label_info", "Labels that this node should carry.");
  for (const Label& label : labels.labels) {
    out->Add({{"key", label.key}, {"value", label.value}}, 1);
  }
  out->Begin("devicetree_node_labels_rejected",
             "Number of compatibles that gave no node label, by reason.");
  for (const Rejection reason : kRejections) {
    const auto count = std::ranges::count(labels.rejected, reason, &RejectedLabel::reason);
    out->Add({{"reason", ToString(reason)}}, static_cast<double>(count));
  }
}

void AddCollectors(const Inventory& inventory, Exposition* out) {
  out->Begin("devicetree_collector_success", "Whether the collector's last read succeeded.");
  for (const CollectorReport& report : inventory.collectors) {
    out->Add({{"collector", report.name}}, ToNumber(report.success));
  }
  out->Begin("devicetree_collector_skipped_devices",
             "Number of devices that the collector's last read could not read.");
  for (const CollectorReport& report : inventory.collectors) {
    out->Add({{"collector", report.name}}, static_cast<double>(report.skipped_devices));
  }
  out->Begin("devicetree_collector_duration_seconds", "Duration of the collector's last read.");
  for (const CollectorReport& report : inventory.collectors) {
    out->Add({{"collector", report.name}}, report.duration.count());
  }
  out->Begin("devicetree_snapshot_timestamp_seconds", "When the hardware was last read.");
  out->Add({}, std::chrono::duration<double>(inventory.read_at.time_since_epoch()).count());
}

}  // namespace

std::string ToInventoryMetrics(const Inventory& inventory, const LabelReport& labels,
                               const BuildInfo& build) {
  Exposition out;
  AddDevicetree(inventory, labels, &out);
  AddAccelerators(inventory, labels, &out);
  AddLabels(labels, &out);
  AddCollectors(inventory, &out);
  out.Begin("devicetree_exporter_build_info", "Version this exporter was built from.");
  out.Add({{"version", build.version}, {"revision", build.revision}, {"compiler", build.compiler}},
          1);
  return std::move(out).Text();
}

std::string ToConfigMetrics(const ConfigReport& report) {
  Exposition out;
  out.Begin("devicetree_exporter_config_last_reload_successful",
            "Whether the last attempt to read the configuration succeeded.");
  out.Add({}, ToNumber(report.last_reload_successful));
  out.Begin("devicetree_exporter_config_last_reload_success_timestamp_seconds",
            "When the configuration was last read successfully.");
  out.Add({}, std::chrono::duration<double>(report.last_success.time_since_epoch()).count());
  return std::move(out).Text();
}

std::string ToRefreshMetrics(const std::optional<std::chrono::duration<double>>& interval) {
  if (!interval) return "";
  Exposition out;
  out.Begin("devicetree_refresh_interval_seconds",
            "How often the hardware is read, since the kernel's events cannot be had.");
  out.Add({}, interval->count());
  return std::move(out).Text();
}

// By hand: these are the lines that each scrape waits for, and prometheus-cpp's serializer takes
// longer for them than all the rest of a scrape.
std::string ToProcessMetrics(const ProcessStats& stats) {
  std::string out;
  const auto add = [&out](const char* name, const char* help, const auto& value,
                          const char* type = "gauge") {
    if (!value) return;
    std::array<char, 32> digits;
    const char* const end =
        std::to_chars(digits.begin(), digits.end(), static_cast<double>(*value)).ptr;
    out.append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ").append(name);
    out.append(" ").append(type).append("\n").append(name).append(" ");
    out.append(digits.data(), static_cast<std::size_t>(end - digits.data())).append("\n");
  };
  add("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.",
      stats.cpu_seconds, "counter");
  add("process_max_fds", "Maximum number of open file descriptors.", stats.max_fds);
  add("process_open_fds", "Number of open file descriptors.", stats.open_fds);
  add("process_resident_memory_bytes", "Resident memory size in bytes.",
      stats.resident_memory_bytes);
  add("process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
      stats.start_time_seconds);
  add("process_virtual_memory_bytes", "Virtual memory size in bytes.",
      stats.virtual_memory_bytes);
  add("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes.",
      stats.virtual_memory_max_bytes);
  return out;
}

std::string ToWebConfigMetrics(bool last_reload_successful) {
  Exposition out;
  out.AddSingle("devicetree_exporter_web_config_last_reload_successful",
                "Whether the web configuration and the certificates that it names were good when "
                "they were last read.",
                std::optional(ToNumber(last_reload_successful)));
  return std::move(out).Text();
}

std::string ToFileMetrics(const FileReport& report) {
  Exposition out;
  out.Begin("devicetree_exporter_file_last_write_successful",
            "Whether the file was written when that was last tried.");
  for (const auto& [file, successful] : report) {
    out.Add({{"file", file}}, ToNumber(successful));
  }
  return std::move(out).Text();
}

std::string ToLabelSinkMetrics(const SinkReport& report) {
  Exposition out;
  out.Begin("devicetree_node_label_applied",
            "Whether the API server was last seen to hold the label with the wanted value.");
  for (const SinkReport::AppliedLabel& label : report.labels) {
    out.Add({{"key", label.key}}, ToNumber(label.applied));
  }
  out.AddSingle("devicetree_node_labels_yielded",
                "Number of labels that are left as others set them.",
                std::optional(report.yielded));
  out.AddSingle("devicetree_label_applies_total",
                "Total applies of the node labels that the API server took.",
                std::optional(report.applies), MetricType::Counter);
  out.Begin("devicetree_label_apply_failures_total",
            "Total attempts to read or apply the node labels that failed, by reason.",
            MetricType::Counter);
  for (std::size_t i = 0; i < kApplyFailures.size(); ++i) {
    out.Add({{"reason", kApplyFailures[i]}}, static_cast<double>(report.failures[i]));
  }
  out.Begin("devicetree_label_conflicts_total",
            "Total node labels that another field manager held with another value, by manager.",
            MetricType::Counter);
  for (const auto& [manager, count] : report.conflicts) {
    out.Add({{"manager", manager}}, static_cast<double>(count));
  }
  out.AddSingle("devicetree_label_drift_repairs_total",
                "Total node labels set right after others had changed them.",
                std::optional(report.repairs), MetricType::Counter);
  out.AddSingle("devicetree_label_last_success_timestamp_seconds",
                "When the API server was last seen to hold the node labels.", report.last_success);
  return std::move(out).Text();
}

}  // namespace exporter
