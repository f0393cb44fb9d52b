#include "exporter/collectors/device_nodes.h"

#include <sys/stat.h>

#include <algorithm>
#include <string_view>
#include <tuple>
#include <utility>

#include "exporter/collectors/sysfs.h"

namespace exporter {
namespace {

// What the target of a link of_node has before the path of the node.
constexpr std::string_view kTreeRoot = "/firmware/devicetree/base";

// The devices on every bus that stand for a devicetree node.
dt::Result<std::vector<DevicetreeDevice>> ReadDevicetreeDevices(const std::string& sysfs) {
  std::vector<DevicetreeDevice> found;
  const auto buses = SysfsDirectory::Open(sysfs + "/bus");
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

// The device node that the class device's uevent names, if --path.dev is given.
std::optional<bool> HasDeviceNode(const SysfsDirectory& entry, const std::string& dev) {
  constexpr std::string_view kKey = "DEVNAME=";
  if (dev.empty()) return std::nullopt;
  const dt::Result<std::string> uevent = entry.ReadText("uevent");
  if (!uevent) return std::nullopt;
  const std::size_t at = ("\n" + *uevent).find("\n" + std::string(kKey));
  if (at == std::string::npos) return std::nullopt;
  const std::string name =
      uevent->substr(at + kKey.size(), uevent->find('\n', at) - at - kKey.size());
  struct stat info {};
  return stat((dev + "/" + name).c_str(), &info) == 0;
}

dt::Result<std::vector<ClassDevice>> ReadClass(const HostPaths& paths,
                                               const std::string& class_name) {
  std::vector<ClassDevice> found;
  const std::string place = "class/" + class_name;
  const auto entries = SysfsDirectory::Open(paths.sysfs + "/" + place);
  if (!entries && entries.error().code == dt::ErrorCode::kNotFound) return found;
  if (!entries) return entries.error();
  const auto names = entries->Names();
  if (!names) return names.error();
  for (const std::string& name : *names) {
    const auto entry = entries->OpenBelow(name);
    if (!entry) continue;  // no device (drm has a file version), or gone meanwhile
    ClassDevice device;
    device.class_name = class_name;
    device.name = name;
    device.device =
        DeviceDirectory(entries->LinkTarget(name), std::string(place).append("/").append(name));
    device.has_device_node = HasDeviceNode(*entry, paths.dev);
    for (std::string above = device.device; above.find('/') != std::string::npos;) {
      above.resize(above.rfind('/'));
      const std::size_t slash = above.rfind('/');
      if (slash == std::string::npos) break;  // "devices" itself
      const auto directory = SysfsDirectory::Open(paths.sysfs + "/" + above);
      device.parents.push_back(
          {above.substr(slash + 1), directory ? directory->LinkName("driver") : std::nullopt});
    }
    found.push_back(std::move(device));
  }
  return found;
}

}  // namespace

std::optional<dt::Error> CollectDeviceNodes(const CollectorInput& input, Inventory* inventory,
                                            CollectorReport*) {
  std::vector<DevicetreeDevice> devices;
  if (inventory->devicetree != nullptr && inventory->devicetree_is_live) {
    auto read = ReadDevicetreeDevices(input.paths.sysfs);
    if (!read) return read.error();
    devices = std::move(read).value();
  }
  std::vector<ClassDevice> class_devices;
  for (const std::string& name : input.interface_classes) {
    auto read = ReadClass(input.paths, name);
    if (!read) return read.error();
    std::ranges::move(std::move(read).value(), std::back_inserter(class_devices));
  }
  inventory->devicetree_devices = std::move(devices);
  inventory->class_devices = std::move(class_devices);
  return std::nullopt;
}

}  // namespace exporter
