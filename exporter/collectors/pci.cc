#include "exporter/collectors/pci.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "exporter/collectors/sysfs.h"

namespace exporter {
namespace {

constexpr const char* kPciDevices = "bus/pci/devices";

// An attribute that older kernels, or other buses, do not have.
dt::Result<std::optional<std::uint32_t>> ReadOptional(const SysfsDirectory& directory,
                                                      const std::string& name, int digits) {
  const dt::Result<std::uint32_t> value = directory.ReadId(name, digits);
  if (value) return std::optional(*value);
  if (value.error().code == dt::ErrorCode::kNotFound) return std::optional<std::uint32_t>();
  return value.error();
}

dt::Result<PciFunction> ReadFunction(const SysfsDirectory& functions, const std::string& address) {
  const dt::Result<SysfsDirectory> directory = functions.OpenBelow(address);
  if (!directory) return directory.error();
  PciFunction function;
  function.address = address;
  const auto target = functions.LinkTarget(address);
  if (!target) return target.error();
  function.device = DeviceDirectory(*target, std::string(kPciDevices) + "/" + address);
  for (const auto& [name, digits, field] : {std::tuple{"class", 6, &function.class_code},
                                            {"vendor", 4, &function.vendor_id},
                                            {"device", 4, &function.device_id}}) {
    const dt::Result<std::uint32_t> value = directory->ReadId(name, digits);
    if (!value) return value.error();
    *field = *value;
  }
  for (const auto& [name, digits, field] :
       {std::tuple{"subsystem_vendor", 4, &function.subsystem_vendor_id},
        {"subsystem_device", 4, &function.subsystem_device_id},
        {"revision", 2, &function.revision}}) {
    const auto value = ReadOptional(*directory, name, digits);
    if (!value) return value.error();
    *field = *value;
  }
  const auto node = directory->ReadNumber("numa_node", 10);
  if (!node && node.error().code != dt::ErrorCode::kNotFound) return node.error();
  if (node && *node >= 0 && std::in_range<int>(*node)) {
    function.numa_node = static_cast<int>(*node);
  }
  const auto driver = directory->LinkName("driver");
  if (!driver) return driver.error();
  function.driver = *driver;
  const auto physical_function = directory->LinkTarget("physfn");
  if (!physical_function) return physical_function.error();
  function.is_virtual_function = physical_function->has_value();
  return function;
}

}  // namespace

std::optional<dt::Error> CollectPci(const CollectorInput& input, Inventory* inventory,
                                    CollectorReport* report) {
  const auto functions = SysfsDirectory::Open(input, kPciDevices);
  if (!functions && functions.error().code != dt::ErrorCode::kNotFound) return functions.error();
  std::vector<PciFunction> found;
  if (functions) {
    const auto addresses = functions->Names();
    if (!addresses) return addresses.error();
    for (const std::string& address : *addresses) {
      dt::Result<PciFunction> function = ReadFunction(*functions, address);
      if (function) {
        found.push_back(std::move(function).value());
        continue;
      }
      if (functions->IsGone(address)) continue;  // unplugged meanwhile
      ++report->skipped_devices;
      report->problems.push_back(function.error().message);
      const auto last = std::ranges::find(inventory->pci, address, &PciFunction::address);
      if (last != inventory->pci.end()) found.push_back(*last);
    }
  }
  inventory->pci = std::move(found);
  return std::nullopt;
}

}  // namespace exporter
