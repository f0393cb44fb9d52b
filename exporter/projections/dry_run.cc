#include "exporter/projections/dry_run.h"

namespace exporter {

std::string ToDryRun(const Inventory& inventory, const LabelSet& labels) {
  std::string text = HasDevicetree(inventory)
                         ? "Discovered the following devicetree properties:\n\n"
                         : "This machine has no devicetree.\n";
  for (const Label& label : labels) text += label.key + ": " + label.value + "\n";
  return text;
}

}  // namespace exporter
