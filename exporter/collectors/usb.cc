#include "exporter/collectors/usb.h"

#include <algorithm>
#include <utility>

#include "exporter/collectors/sysfs.h"

namespace exporter {
namespace {

constexpr const char* kPlace = "bus/usb/devices";
constexpr const char* kGenericDriver = "usb";
constexpr const char* kProgram = "usbfs";

dt::Result<UsbDevice> ReadDevice(const SysfsDirectory& devices, const std::string& address) {
  const dt::Result<SysfsDirectory> directory = devices.OpenBelow(address);
  if (!directory) return directory.error();
  UsbDevice device;
  device.address = address;
  device.device = DeviceDirectory(devices.LinkTarget(address), std::string(kPlace) + "/" + address);
  for (const auto& [name, field] :
       {std::pair{"idVendor", &device.vendor_id}, {"idProduct", &device.product_id}}) {
    const dt::Result<std::uint32_t> value = directory->ReadId(name, 4);
    if (!value) return value.error();
    *field = *value;
  }
  device.driver = directory->LinkName("driver");
  return device;
}

}  // namespace

std::optional<dt::Error> CollectUsb(const CollectorInput& input, Inventory* inventory,
                                    CollectorReport* report) {
  const auto devices = SysfsDirectory::Open(input, kPlace);
  if (!devices && devices.error().code != dt::ErrorCode::kNotFound) return devices.error();
  std::vector<UsbDevice> found;
  if (devices) {
    const auto names = devices->Names();
    if (!names) return names.error();
    for (const std::string& name : *names) {
      // "1-1.2:1.0" is an interface of "1-1.2", and comes after it. Every device is
      // held by the driver usb; a driver made for it holds an interface. usbfs is no
      // driver: it stands there while a program has the interface open.
      if (const std::size_t colon = name.find(':'); colon != std::string::npos) {
        const auto owner = std::ranges::find(found, name.substr(0, colon), &UsbDevice::address);
        if (owner == found.end() || owner->driver != kGenericDriver) continue;
        const auto interface = devices->OpenBelow(name);
        const auto driver = interface ? interface->LinkName("driver") : std::nullopt;
        if (driver && driver != kProgram) owner->driver = driver;
        continue;
      }
      dt::Result<UsbDevice> device = ReadDevice(*devices, name);
      if (device) {
        found.push_back(std::move(device).value());
        continue;
      }
      if (devices->IsGone(name)) continue;  // unplugged meanwhile
      ++report->skipped_devices;
      report->problems.push_back(device.error().message);
      const auto last = std::ranges::find(inventory->usb, name, &UsbDevice::address);
      if (last != inventory->usb.end()) found.push_back(*last);
    }
  }
  inventory->usb = std::move(found);
  return std::nullopt;
}

}  // namespace exporter
