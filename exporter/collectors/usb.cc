#include "exporter/collectors/usb.h"

#include <algorithm>
#include <utility>

#include "exporter/collectors/sysfs.h"

namespace exporter {
namespace {

constexpr const char* kUsbDevices = "bus/usb/devices";
constexpr const char* kGenericDriver = "usb";
constexpr const char* kProgram = "usbfs";

// The driver of an interface; nullopt if it has none.
dt::Result<std::optional<std::string>> ReadDriver(const SysfsDirectory& devices,
                                                  const std::string& interface) {
  const auto directory = devices.OpenBelow(interface);
  if (directory) return directory->LinkName("driver");
  if (directory.error().code != dt::ErrorCode::kNotFound) return directory.error();
  return std::optional<std::string>();
}

// `names`: all devices and interfaces, in bytewise order.
dt::Result<UsbDevice> ReadDevice(const SysfsDirectory& devices, const std::string& address,
                                 const std::vector<std::string>& names) {
  const dt::Result<SysfsDirectory> directory = devices.OpenBelow(address);
  if (!directory) return directory.error();
  UsbDevice device;
  device.address = address;
  const auto target = devices.LinkTarget(address);
  if (!target) return target.error();
  device.device = DeviceDirectory(*target, std::string(kUsbDevices) + "/" + address);
  for (const auto& [name, field] :
       {std::pair{"idVendor", &device.vendor_id}, {"idProduct", &device.product_id}}) {
    const dt::Result<std::uint32_t> value = directory->ReadId(name, 4);
    if (!value) return value.error();
    *field = *value;
  }
  const auto driver = directory->LinkName("driver");
  if (!driver) return driver.error();
  device.driver = *driver;
  // "1-1.2:1.0" is an interface of "1-1.2". Every device is held by the driver usb; a
  // driver made for it holds an interface. usbfs is no driver: it stands there while a
  // program has the interface open.
  const std::string prefix = address + ":";
  for (auto name = std::ranges::lower_bound(names, prefix);
       name != names.end() && name->starts_with(prefix) && device.driver == kGenericDriver;
       ++name) {
    const auto its_driver = ReadDriver(devices, *name);
    if (!its_driver) return its_driver.error();
    if (*its_driver && *its_driver != kProgram) device.driver = *its_driver;
  }
  return device;
}

}  // namespace

std::optional<dt::Error> CollectUsb(const CollectorInput& input, Inventory* inventory,
                                    CollectorReport* report) {
  const auto devices = SysfsDirectory::Open(input, kUsbDevices);
  if (!devices && devices.error().code != dt::ErrorCode::kNotFound) return devices.error();
  std::vector<UsbDevice> found;
  if (devices) {
    const auto names = devices->Names();
    if (!names) return names.error();
    for (const std::string& name : *names) {
      if (name.find(':') != std::string::npos) continue;  // an interface
      dt::Result<UsbDevice> device = ReadDevice(*devices, name, *names);
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
