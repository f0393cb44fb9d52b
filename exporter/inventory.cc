#include "exporter/inventory.h"

namespace exporter {

bool HasDevicetree(const Inventory& inventory) {
  if (inventory.devicetree == nullptr) return false;
  const dt::Tree& tree = *inventory.devicetree;
  return tree.FindProperty(tree.root(), "compatible").has_value();
}

}  // namespace exporter
