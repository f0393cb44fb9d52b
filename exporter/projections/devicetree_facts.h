// What every page says of the devicetree and of the snapshot as a whole.
#ifndef EXPORTER_PROJECTIONS_DEVICETREE_FACTS_H_
#define EXPORTER_PROJECTIONS_DEVICETREE_FACTS_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dt/tree.h"
#include "exporter/inventory.h"

namespace exporter {

// The strings are as the hardware has them: show them through Printable.
struct DevicetreeFacts {
  std::optional<std::string_view> model;  // of the root
  std::vector<std::string_view> compatible;
  std::string fingerprint;                            // 16 hexadecimal digits
  std::array<std::size_t, dt::kStatusCount> nodes{};  // by effective status
};

// nullopt if the machine has no devicetree. REQUIRES: `inventory` outlives the result.
std::optional<DevicetreeFacts> ToDevicetreeFacts(const Inventory& inventory);

// RFC 3339, in UTC and whole seconds: "2026-01-31T09:30:00Z".
std::string ToRfc3339(std::chrono::system_clock::time_point time);

}  // namespace exporter

#endif  // EXPORTER_PROJECTIONS_DEVICETREE_FACTS_H_
