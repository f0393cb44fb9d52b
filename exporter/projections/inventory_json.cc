#include "exporter/projections/inventory_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "exporter/printable.h"
#include "exporter/projections/devicetree_facts.h"

namespace exporter {
namespace {

using Json = nlohmann::ordered_json;  // members in the order in which they are added

// An array of what `to_json` makes of each item.
template <typename Items, typename ToJson>
Json Array(const Items& items, ToJson to_json) {
  Json array = Json::array();
  for (const auto& item : items) array.push_back(to_json(item));
  return array;
}

template <typename Strings>
Json Texts(const Strings& strings) {
  return Array(strings, Printable);
}

// Adds a member, if there is something to say.
void AddText(const char* name, std::string_view text, Json* object) {
  if (!text.empty()) (*object)[name] = Printable(text);
}

Json Devicetree(const Inventory& inventory) {
  const std::optional<DevicetreeFacts> facts = ToDevicetreeFacts(inventory);
  Json json = {{"present", facts.has_value()}};
  if (!facts) return json;
  AddText("model", facts->model.value_or(""), &json);
  if (!facts->compatible.empty()) json["compatible"] = Texts(facts->compatible);
  json["fingerprint"] = facts->fingerprint;
  for (std::size_t i = 0; i < facts->nodes.size(); ++i) {
    json["nodes"][std::string(dt::ToString(static_cast<dt::Status>(i)))] = facts->nodes[i];
  }
  return json;
}

Json Labels(const LabelReport& report) {
  Json array = Json::array();
  for (std::size_t i = 0; i < report.labels.size(); ++i) {
    Json label = {{"key", report.labels[i].key}, {"value", report.labels[i].value}};
    AddText("compatible", report.origins[i].compatible, &label);
    label["from"] = Texts(report.origins[i].places);
    array.push_back(std::move(label));
  }
  return array;
}

Json Rejected(const RejectedLabel& rejected) {
  Json json = Json::object();
  AddText("compatible", rejected.compatible, &json);
  json["path"] = Printable(rejected.path);
  json["reason"] = ToString(rejected.reason);
  json["detail"] = Printable(rejected.detail);
  return json;
}

Json Designated(const LabelReport& report) {
  // Both lists are in the same order; the root comes first and is not designated.
  auto entry =
      std::ranges::find_if(report.compatibles, [](const auto& e) { return e.path != "/"; });
  return Array(report.designated, [&](const DesignatedNode& node) {
    Json json = {{"path", Printable(node.path)}, {"enabled", node.enabled}};
    for (; entry != report.compatibles.end() && entry->path == node.path; ++entry) {
      Json compatible = {{"compatible", Printable(entry->compatible)}};
      AddText("label_key", entry->label_key, &compatible);
      json["compatibles"].push_back(std::move(compatible));
    }
    return json;
  });
}

Json Accelerators(const Inventory& inventory, const LabelReport& report) {
  Json array = Json::array();
  for (std::size_t i = 0; i < inventory.accelerators.size(); ++i) {
    const Accelerator& accelerator = inventory.accelerators[i];
    Json json = {{"kind", Printable(accelerator.kind)}};
    AddText("vendor", accelerator.vendor.value_or(""), &json);
    AddText("model", accelerator.model.value_or(""), &json);
    json["bus"] = ToString(accelerator.bus);
    json["address"] = Printable(accelerator.address);
    json["compatible"] = Printable(accelerator.compatible);
    json["compatibles"] = Texts(accelerator.compatibles);
    AddText("driver", accelerator.driver.value_or(""), &json);
    if (accelerator.numa_node) json["numa_node"] = *accelerator.numa_node;
    json["described"] = true;
    json["enabled"] = accelerator.enabled;
    json["enabled_reason"] = Printable(accelerator.enabled_reason);
    json["bound"] = accelerator.bound;
    json["bound_reason"] = Printable(accelerator.bound_reason);
    json["ready"] = accelerator.ready;
    json["ready_reason"] = Printable(accelerator.ready_reason);
    AddText("label_key", report.accelerator_keys[i], &json);
    array.push_back(std::move(json));
  }
  return array;
}

Json Unrecognised(const UnrecognisedNode& node) {
  return {{"path", Printable(node.path)}, {"compatible", Printable(node.compatible)}};
}

Json Collector(const CollectorReport& report) {
  return {{"name", report.name},
          {"success", report.success},
          {"skipped_devices", report.skipped_devices},
          {"duration_seconds", report.duration.count()},
          {"problems", Texts(report.problems)}};
}

}  // namespace

std::string ToInventoryJson(const Inventory& inventory, const LabelReport& labels,
                            const BuildInfo& build) {
  Json json = {
      {"schema_version", kInventorySchemaVersion},
      {"build",
       {{"version", build.version}, {"revision", build.revision}, {"compiler", build.compiler}}},
      {"snapshot_time", ToRfc3339(inventory.read_at)}};
  if (inventory.devicetree_known) json["devicetree"] = Devicetree(inventory);
  json["labels"] = Labels(labels);
  json["rejected"] = Array(labels.rejected, Rejected);
  json["designated_nodes"] = Designated(labels);
  json["accelerators"] = Accelerators(inventory, labels);
  json["unrecognised_nodes"] = Array(inventory.unrecognised, Unrecognised);
  json["collectors"] = Array(inventory.collectors, Collector);
  return json.dump(2) + "\n";
}

}  // namespace exporter
