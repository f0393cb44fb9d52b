#include "exporter/projections/dry_run.h"

namespace exporter {

std::string ToDryRun(const Inventory& inventory, const LabelSet& labels) {
  if (!HasDevicetree(inventory)) return "This machine has no devicetree.\n";
  std::string text = "Discovered the following devicetree properties:\n\n";
  for (const Label& label : labels) text += label.key + ": " + label.value + "\n";
  return text;
}

}  // namespace exporter
