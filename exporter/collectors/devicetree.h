// The devicetree collector: this host's devicetree, live or as a blob.
#ifndef EXPORTER_COLLECTORS_DEVICETREE_H_
#define EXPORTER_COLLECTORS_DEVICETREE_H_

#include <optional>

#include "dt/result.h"
#include "exporter/host_paths.h"
#include "exporter/inventory.h"

namespace exporter {

// Sets inventory->devicetree, or leaves it as it was and returns the error. A
// host without a devicetree is no error, unless --path.devicetree names one.
std::optional<dt::Error> CollectDevicetree(const HostPaths& paths, Inventory* inventory);

}  // namespace exporter

#endif  // EXPORTER_COLLECTORS_DEVICETREE_H_
