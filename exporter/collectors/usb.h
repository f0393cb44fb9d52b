// The usb collector: the devices in <sysfs>/bus/usb/devices.
#ifndef EXPORTER_COLLECTORS_USB_H_
#define EXPORTER_COLLECTORS_USB_H_

#include "exporter/collectors/collector.h"

namespace exporter {

// A CollectFunction.
std::optional<dt::Error> CollectUsb(const CollectorInput& input, Inventory* inventory,
                                    CollectorReport* report);

}  // namespace exporter

#endif  // EXPORTER_COLLECTORS_USB_H_
