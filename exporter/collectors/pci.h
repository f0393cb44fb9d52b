// The pci collector: the functions in <sysfs>/bus/pci/devices.
#ifndef EXPORTER_COLLECTORS_PCI_H_
#define EXPORTER_COLLECTORS_PCI_H_

#include "exporter/collectors/collector.h"

namespace exporter {

// A CollectFunction.
std::optional<dt::Error> CollectPci(const CollectorInput& input, Inventory* inventory,
                                    CollectorReport* report);

}  // namespace exporter

#endif  // EXPORTER_COLLECTORS_PCI_H_
