// The devicetree collector: this host's devicetree, live or as a blob.
#ifndef EXPORTER_COLLECTORS_DEVICETREE_H_
#define EXPORTER_COLLECTORS_DEVICETREE_H_

#include "exporter/collectors/collector.h"

namespace exporter {

// A CollectFunction. A host without a devicetree is no error, unless
// --path.devicetree names one.
std::optional<dt::Error> CollectDevicetree(const CollectorInput& input, Inventory* inventory,
                                           CollectorReport* report);

}  // namespace exporter

#endif  // EXPORTER_COLLECTORS_DEVICETREE_H_
