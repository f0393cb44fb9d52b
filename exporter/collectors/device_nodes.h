// The device_nodes collector: what the kernel made of the hardware. On every bus,
// the devices that stand for a devicetree node; in the classes that the catalogue
// names, the class devices that drivers have registered.
#ifndef EXPORTER_COLLECTORS_DEVICE_NODES_H_
#define EXPORTER_COLLECTORS_DEVICE_NODES_H_

#include "exporter/collectors/collector.h"

namespace exporter {

// A CollectFunction. Runs after the devicetree collector: without a live
// devicetree no device stands for a node.
std::optional<dt::Error> CollectDeviceNodes(const CollectorInput& input, Inventory* inventory,
                                            CollectorReport* report);

}  // namespace exporter

#endif  // EXPORTER_COLLECTORS_DEVICE_NODES_H_
