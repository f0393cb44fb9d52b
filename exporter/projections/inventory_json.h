// The snapshot as JSON, for programs: /inventory.json. Its fields are a contract:
// exporter/inventory.schema.json, explained in INVENTORY.md beside this folder.
#ifndef EXPORTER_PROJECTIONS_INVENTORY_JSON_H_
#define EXPORTER_PROJECTIONS_INVENTORY_JSON_H_

#include <string>

#include "exporter/inventory.h"
#include "exporter/projections/labels.h"
#include "exporter/projections/metrics.h"

namespace exporter {

// Raised when a field is removed or changes its meaning; new fields do not raise it.
inline constexpr int kInventorySchemaVersion = 1;

// The same Inventory gives the same bytes, which end with a newline. What is not
// known is left out, and every string is printable UTF-8, whatever the hardware says.
std::string ToInventoryJson(const Inventory& inventory, const LabelReport& labels,
                            const BuildInfo& build);

}  // namespace exporter

#endif  // EXPORTER_PROJECTIONS_INVENTORY_JSON_H_
