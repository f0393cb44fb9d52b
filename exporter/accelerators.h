// Which of a machine's devices are accelerators, and how far each is usable.
//
// Decided once, from what the collectors read and the catalogue; every output
// shows the same answer. Pure: no I/O.
#ifndef EXPORTER_ACCELERATORS_H_
#define EXPORTER_ACCELERATORS_H_

#include <string>
#include <vector>

#include "exporter/catalogue.h"
#include "exporter/inventory.h"

namespace exporter {

// A PCI function's compatible list, most specific first, as the PCI Bus Binding to
// IEEE 1275 (section 4.1.2.1) writes it: "pci10de,2330.10de.16c1.a1", ...,
// "pci10de,2330", "pciclass,030200", "pciclass,0302".
std::vector<std::string> PciCompatibles(const PciFunction& function);

// A USB device's, as the devicetree binding usb-device.yaml writes it: "usb1a6e,89a".
std::vector<std::string> UsbCompatibles(const UsbDevice& device);

// Sets inventory->accelerators and inventory->unrecognised from all else in it.
// `sysfs` is where sysfs is mounted, for the places that --explain names.
void FindAccelerators(const Catalogue& catalogue, const std::string& sysfs, Inventory* inventory);

}  // namespace exporter

#endif  // EXPORTER_ACCELERATORS_H_
