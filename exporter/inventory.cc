#include "exporter/inventory.h"

namespace exporter {

std::string_view ToString(Bus bus) {
  switch (bus) {
    case Bus::kDevicetree: return "devicetree";
    case Bus::kPci: return "pci";
    case Bus::kUsb: break;
  }
  return "usb";
}

bool HasDevicetree(const Inventory& inventory) {
  if (inventory.devicetree == nullptr) return false;
  const dt::Tree& tree = *inventory.devicetree;
  return tree.FindProperty(tree.root(), "compatible").has_value();
}

}  // namespace exporter
