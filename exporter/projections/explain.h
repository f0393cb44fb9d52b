// Why this node has the labels and accelerators it has, for a person to read.
#ifndef EXPORTER_PROJECTIONS_EXPLAIN_H_
#define EXPORTER_PROJECTIONS_EXPLAIN_H_

#include <optional>
#include <string>
#include <string_view>

#include "exporter/inventory.h"
#include "exporter/projections/labels.h"

namespace exporter {

// Every label with the node or file it came from; every accelerator with the
// catalogue's line that matched and each rung of its ladder; every rejected string
// with its reason; what looks like an accelerator and is in no list. With `topic`,
// a label key or a compatible, what there is to say of that alone; nullopt if there
// is nothing. Printable; ends with a newline.
std::optional<std::string> ToExplanation(const Inventory& inventory, const LabelReport& labels,
                                         std::string_view topic);

}  // namespace exporter

#endif  // EXPORTER_PROJECTIONS_EXPLAIN_H_
