#include "exporter/projections/explain.h"

#include <algorithm>
#include <set>

#include "exporter/printable.h"

namespace exporter {
namespace {

// A heading and its lines, or nothing if there are none.
std::string Section(const std::string& heading, const std::string& lines) {
  return lines.empty() ? "" : heading + "\n" + lines + "\n";
}

std::string Explain(const Accelerator& accelerator, const std::string& key) {
  const auto rung = [](const char* name, bool reached, const std::string& reason) {
    return std::string("    ") + (reached ? "[x] " : "[ ] ") + name + ": " + Printable(reason) +
           "\n";
  };
  std::string text = "  " + Printable(accelerator.address) + "  " + accelerator.kind;
  if (accelerator.vendor) text += " " + *accelerator.vendor;
  if (accelerator.model) text += " " + *accelerator.model;
  text += "\n    matched: " + Printable(accelerator.compatible) + " at " +
          Printable(accelerator.rule) + "\n    label: " + (key.empty() ? "none" : key) + "\n";
  text += rung("described", true, accelerator.source);
  text += rung("enabled", accelerator.enabled, accelerator.enabled_reason);
  text += rung("bound", accelerator.bound, accelerator.bound_reason);
  text += rung("ready", accelerator.ready, accelerator.ready_reason);
  return text;
}

}  // namespace

std::optional<std::string> ToExplanation(const Inventory& inventory, const LabelReport& labels,
                                         std::string_view topic) {
  const auto concerns = [&](std::string_view text) { return topic.empty() || text == topic; };

  std::string label_lines;
  for (std::size_t i = 0; i < labels.labels.size(); ++i) {
    const Label& label = labels.labels[i];
    if (!concerns(label.key) && !concerns(labels.origins[i].compatible)) continue;
    label_lines += "  " + label.key + ": " + label.value + "\n";
    for (const std::string& place : labels.origins[i].places) {
      label_lines += "    from " + Printable(place) + "\n";
    }
  }
  std::set<std::string_view> rejected_strings, disabled_paths;
  for (const RejectedLabel& rejected : labels.rejected) rejected_strings.insert(rejected.compatible);
  for (const DesignatedNode& node : labels.designated) {
    if (!node.enabled) disabled_paths.insert(node.path);
  }
  std::string no_label_lines;
  for (const NodeCompatible& entry : labels.compatibles) {
    if (!entry.label_key.empty() || !concerns(entry.compatible)) continue;
    if (rejected_strings.contains(entry.compatible)) continue;
    no_label_lines += "  " + Printable(entry.compatible) + " of " + Printable(entry.path) + ": " +
                      (disabled_paths.contains(entry.path) ? "the node is not enabled"
                                                           : "left out by include or exclude") +
                      "\n";
  }
  std::string accelerator_lines;
  for (std::size_t i = 0; i < inventory.accelerators.size(); ++i) {
    const Accelerator& accelerator = inventory.accelerators[i];
    const std::string& key = labels.accelerator_keys[i];
    if (concerns(accelerator.address) || concerns(key) ||
        std::ranges::any_of(accelerator.compatibles, concerns)) {
      accelerator_lines += Explain(accelerator, key);
    }
  }
  std::string rejected_lines;
  for (const RejectedLabel& rejected : labels.rejected) {
    if (!concerns(rejected.compatible) && !concerns(rejected.path)) continue;
    rejected_lines += "  " + Printable(rejected.compatible) + " of " + Printable(rejected.path) +
                      ": " + std::string(ToString(rejected.reason)) + ": " + rejected.detail + "\n";
  }
  std::string unrecognised_lines;
  for (const UnrecognisedNode& node : inventory.unrecognised) {
    if (!concerns(node.compatible) && !concerns(node.path)) continue;
    unrecognised_lines += "  " + Printable(node.path) + ": " + Printable(node.compatible) + "\n";
  }

  std::string text =
      Section("Labels:", label_lines) + Section("Compatibles without a label:", no_label_lines) +
      Section("Accelerators:", accelerator_lines) + Section("Rejected:", rejected_lines) +
      Section("Called like an accelerator, and in no list:", unrecognised_lines);
  if (text.empty() && !topic.empty()) return std::nullopt;
  if (text.empty()) return "Nothing found: no devicetree and no accelerator.\n";
  text.pop_back();  // the empty line after the last section
  return text;
}

}  // namespace exporter
