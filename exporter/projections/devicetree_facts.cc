#include "exporter/projections/devicetree_facts.h"

#include <cstdio>
#include <ctime>

#include "dt/fingerprint.h"

namespace exporter {

std::optional<DevicetreeFacts> ToDevicetreeFacts(const Inventory& inventory) {
  if (!HasDevicetree(inventory)) return std::nullopt;
  const dt::Tree& tree = *inventory.devicetree;
  DevicetreeFacts facts;
  if (const auto model = tree.FindProperty(tree.root(), "model")) {
    if (const auto text = model->AsString()) facts.model = *text;
  }
  if (auto list = tree.Compatible(tree.root())) facts.compatible = *std::move(list);
  std::array<char, 17> fingerprint{};
  std::snprintf(fingerprint.data(), fingerprint.size(), "%016llx",
                static_cast<unsigned long long>(dt::Fingerprint(tree)));
  facts.fingerprint = fingerprint.data();
  for (const dt::Node& node : tree.nodes()) {
    ++facts.nodes[static_cast<std::size_t>(node.effective_status)];
  }
  return facts;
}

std::string ToRfc3339(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text.data();
}

}  // namespace exporter
