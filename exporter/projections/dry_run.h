// The labels as the predecessor k8s-dt-node-labeller printed them for `-d`.
#ifndef EXPORTER_PROJECTIONS_DRY_RUN_H_
#define EXPORTER_PROJECTIONS_DRY_RUN_H_

#include <string>

#include "exporter/inventory.h"
#include "exporter/label_set.h"

namespace exporter {

// A heading and an empty line, or one line that says that this machine has no
// devicetree; then "key: value" lines. Ends with a newline.
std::string ToDryRun(const Inventory& inventory, const LabelSet& labels);

}  // namespace exporter

#endif  // EXPORTER_PROJECTIONS_DRY_RUN_H_
