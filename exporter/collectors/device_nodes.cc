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

// The devices on every bus that stand for a devicetree node.
dt::Result<std::vector<DevicetreeDevice>> ReadDevicetreeDevices(const CollectorInput& input) {
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
      const std::optional<std::string> node = devices->LinkTarget(name + "/of_node");
      if (!node) continue;
      const std::size_t root = node->find(kTreeRoot);
      if (root == std::string::npos) continue;
      const std::string path = node->substr(root + kTreeRoot.size());
      const std::string own_place =
          std::string("bus/").append(bus).append("/devices/").append(name);
      found.push_back(DevicetreeDevice{path.empty() ? "/" : path,
                                       DeviceDirectory(devices->LinkTarget(name), own_place),
                                       devices->LinkName(name + "/driver")});
    }
  }
  std::ranges::sort(found, {},
                    [](const DevicetreeDevice& d) { return std::tie(d.path, d.device); });
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

dt::Result<ClassDevice> ReadClassDevice(const CollectorInput& input, const SysfsDirectory& entries,
                                        const std::string& class_name, const std::string& name) {
  const dt::Result<SysfsDirectory> entry = entries.OpenBelow(name);
  if (!entry) return entry.error();
  const dt::Result<std::optional<bool>> has_device_node = HasDeviceNode(*entry, input);
  if (!has_device_node) return has_device_node.error();
  ClassDevice device;
  device.class_name = class_name;
  device.name = name;
  device.device = DeviceDirectory(
      entries.LinkTarget(name), std::string("class/").append(class_name).append("/").append(name));
  device.has_device_node = *has_device_node;
  for (std::string above = device.device; above.find('/') != std::string::npos;) {
    above.resize(above.rfind('/'));
    const std::size_t slash = above.rfind('/');
    if (slash == std::string::npos) break;  // "devices" itself
    const auto directory = SysfsDirectory::Open(input, above);
    device.parents.push_back(
        {above.substr(slash + 1), directory ? directory->LinkName("driver") : std::nullopt});
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
    dt::Result<ClassDevice> device = ReadClassDevice(input, *entries, class_name, name);
    if (device) {
      found.push_back(std::move(device).value());
      continue;
    }
    const dt::ErrorCode code = device.error().code;
    // Gone meanwhile, or no device: drm has a file called version.
    if (code == dt::ErrorCode::kNotFound || code == dt::ErrorCode::kMalformed) continue;
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
    auto read = ReadDevicetreeDevices(input);
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
