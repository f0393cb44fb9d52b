#include "exporter/collectors/device_nodes.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <string_view>
#include <tuple>
#include <utility>

#include "exporter/collectors/sysfs.h"

namespace exporter {
namespace {

// What the target of a link of_node has before the path of the node.
constexpr std::string_view kTreeRoot = "/firmware/devicetree/base";

// What devicetree node the device `name` of a bus stands for, if it does.
dt::Result<std::optional<DevicetreeDevice>> ReadDevicetreeDevice(const SysfsDirectory& devices,
                                                                 const std::string& bus,
                                                                 const std::string& name) {
  const auto node = devices.LinkTarget(name + "/of_node");
  if (!node) return node.error();
  const std::size_t root = *node ? (*node)->find(kTreeRoot) : std::string::npos;
  if (root == std::string::npos) return std::optional<DevicetreeDevice>();
  const std::string path = (*node)->substr(root + kTreeRoot.size());
  const auto target = devices.LinkTarget(name);
  if (!target) return target.error();
  const auto driver = devices.LinkName(name + "/driver");
  if (!driver) return driver.error();
  const std::string own_place = std::string("bus/").append(bus).append("/devices/").append(name);
  return std::optional(DevicetreeDevice{path.empty() ? "/" : path,
                                        DeviceDirectory(*target, own_place), *driver});
}

// The devices on every bus that stand for a devicetree node. One that cannot be read is
// as in `last`.
dt::Result<std::vector<DevicetreeDevice>> ReadDevicetreeDevices(
    const CollectorInput& input, const std::vector<DevicetreeDevice>& last,
    CollectorReport* report) {
  std::vector<DevicetreeDevice> found;
  const auto buses = SysfsDirectory::Open(input, "bus");
  if (!buses && buses.error().code == dt::ErrorCode::kNotFound) return found;
  if (!buses) return buses.error();
  const auto bus_names = buses->Names();
  if (!bus_names) return bus_names.error();
  for (const std::string& bus : *bus_names) {
    const auto devices = buses->OpenBelow(bus + "/devices");
    if (!devices && devices.error().code == dt::ErrorCode::kNotFound) continue;
    if (!devices) return devices.error();
    const auto names = devices->Names();
    if (!names) return names.error();
    for (const std::string& name : *names) {
      dt::Result<std::optional<DevicetreeDevice>> device =
          ReadDevicetreeDevice(*devices, bus, name);
      if (device) {
        if (*device) found.push_back(**device);
        continue;
      }
      ++report->skipped_devices;
      report->problems.push_back(device.error().message);
      std::ranges::copy_if(last, std::back_inserter(found), [&](const DevicetreeDevice& candidate) {
        return candidate.device.ends_with("/" + name);  // a device is called alike everywhere
      });
    }
  }
  const auto place = [](const DevicetreeDevice& d) { return std::tie(d.path, d.device); };
  std::ranges::sort(found, {}, place);
  const auto repeated = std::ranges::unique(found, {}, place);
  found.erase(repeated.begin(), repeated.end());
  return found;
}

bool LooksAtDev(const CollectorInput& input) {
  return input.snapshot != nullptr ? input.snapshot->Find(std::string(kHostDev)) != nullptr
                                   : !input.paths.dev.empty();
}

dt::Result<std::optional<bool>> FindInDev(const CollectorInput& input, const std::string& name) {
  if (input.snapshot != nullptr) {
    return std::optional(input.snapshot->Find(std::string(kHostDev) + "/" + name) != nullptr);
  }
  const std::string node = input.paths.dev + "/" + name;
  struct stat info {};
  if (stat(node.c_str(), &info) == 0) return std::optional(true);
  if (errno == ENOENT) return std::optional(false);
  dt::Error error{dt::ErrorCode::kIo, node + ": " + std::strerror(errno)};
  if (input.recorder != nullptr) input.recorder->Failed(error.message);
  return error;
}

// The device node that the class device's uevent names, if --path.dev is given.
dt::Result<std::optional<bool>> HasDeviceNode(const SysfsDirectory& entry,
                                              const CollectorInput& input) {
  constexpr std::string_view kKey = "DEVNAME=";
  if (!LooksAtDev(input)) return std::optional<bool>();
  if (input.recorder != nullptr) input.recorder->SawDev();
  const dt::Result<std::string> uevent = entry.ReadText("uevent");
  if (!uevent && uevent.error().code == dt::ErrorCode::kNotFound) return std::optional<bool>();
  if (!uevent) return uevent.error();
  const std::size_t at = ("\n" + *uevent).find("\n" + std::string(kKey));
  if (at == std::string::npos) return std::optional<bool>();
  const std::string name =
      uevent->substr(at + kKey.size(), uevent->find('\n', at) - at - kKey.size());
  auto is_there = FindInDev(input, name);
  if (is_there && *is_there == true && input.recorder != nullptr) {
    input.recorder->SawDeviceNode(name);
  }
  return is_there;
}

// The driver of the device whose directory is at `place`, if it has one.
dt::Result<std::optional<std::string>> ReadDriver(const CollectorInput& input,
                                                  const std::string& place) {
  const auto directory = SysfsDirectory::Open(input, place);
  if (directory) return directory->LinkName("driver");
  if (directory.error().code != dt::ErrorCode::kNotFound) return directory.error();
  return std::optional<std::string>();
}

// `entry` is the directory `name` of `entries`.
dt::Result<ClassDevice> ReadClassDevice(const CollectorInput& input, const SysfsDirectory& entries,
                                        const SysfsDirectory& entry, const std::string& class_name,
                                        const std::string& name) {
  const dt::Result<std::optional<bool>> has_device_node = HasDeviceNode(entry, input);
  if (!has_device_node) return has_device_node.error();
  const auto target = entries.LinkTarget(name);
  if (!target) return target.error();
  ClassDevice device;
  device.class_name = class_name;
  device.name = name;
  device.device = DeviceDirectory(
      *target, std::string("class/").append(class_name).append("/").append(name));
  device.has_device_node = *has_device_node;
  for (std::string above = device.device; above.find('/') != std::string::npos;) {
    above.resize(above.rfind('/'));
    const std::size_t slash = above.rfind('/');
    if (slash == std::string::npos) break;  // "devices" itself
    const auto driver = ReadDriver(input, above);
    if (!driver) return driver.error();
    device.parents.push_back({above.substr(slash + 1), *driver});
  }
  return device;
}

// The devices of one class. One that cannot be read is as in `last`.
dt::Result<std::vector<ClassDevice>> ReadClass(const CollectorInput& input,
                                               const std::string& class_name,
                                               const std::vector<ClassDevice>& last,
                                               CollectorReport* report) {
  std::vector<ClassDevice> found;
  const auto entries = SysfsDirectory::Open(input, "class/" + class_name);
  if (!entries && entries.error().code == dt::ErrorCode::kNotFound) return found;
  if (!entries) return entries.error();
  const auto names = entries->Names();
  if (!names) return names.error();
  for (const std::string& name : *names) {
    const auto entry = entries->OpenBelow(name);
    const auto code = entry ? std::nullopt : std::optional(entry.error().code);
    // Gone meanwhile, or no device: drm has a file called version.
    if (code == dt::ErrorCode::kNotFound || code == dt::ErrorCode::kMalformed) continue;
    dt::Result<ClassDevice> device =
        entry ? ReadClassDevice(input, *entries, *entry, class_name, name) : entry.error();
    if (device) {
      found.push_back(std::move(device).value());
      continue;
    }
    if (entries->IsGone(name)) continue;
    ++report->skipped_devices;
    report->problems.push_back(device.error().message);
    const auto same = std::ranges::find_if(last, [&](const ClassDevice& candidate) {
      return candidate.class_name == class_name && candidate.name == name;
    });
    if (same != last.end()) found.push_back(*same);
  }
  return found;
}

}  // namespace

std::optional<dt::Error> CollectDeviceNodes(const CollectorInput& input, Inventory* inventory,
                                            CollectorReport* report) {
  std::vector<DevicetreeDevice> devices;
  if (inventory->devicetree != nullptr && inventory->devicetree_is_live) {
    auto read = ReadDevicetreeDevices(input, inventory->devicetree_devices, report);
    if (!read) return read.error();
    devices = std::move(read).value();
  }
  std::vector<ClassDevice> class_devices;
  for (const std::string& name : input.interface_classes) {
    auto read = ReadClass(input, name, inventory->class_devices, report);
    if (!read) return read.error();
    std::ranges::move(std::move(read).value(), std::back_inserter(class_devices));
  }
  inventory->devicetree_devices = std::move(devices);
  inventory->class_devices = std::move(class_devices);
  return std::nullopt;
}

}  // namespace exporter
