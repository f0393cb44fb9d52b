#include "exporter/accelerators.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "dt/node_selector.h"

namespace exporter {
namespace {

std::string Hex(std::uint32_t value, int digits = 1) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%0*x", digits, value);
  return text.data();
}

bool Glob(const std::string& pattern, const std::string& text) {
  return fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
}

template <typename Range, typename Value>
bool Contains(const Range& range, const Value& value) {
  return std::ranges::find(range, value) != std::ranges::end(range);
}

// Whether an empty list of conditions, or one of them, holds.
bool Allows(const std::vector<std::string>& conditions, const std::optional<std::string>& value) {
  return conditions.empty() || (value && Contains(conditions, *value));
}

// "pci10de,2b00"
std::string PciId(const PciFunction& function) {
  return "pci" + Hex(function.vendor_id) + "," + Hex(function.device_id);
}

// "pciclass,0302"
std::string PciClass(const PciFunction& function) {
  return "pciclass," + Hex(function.class_code >> 8, 4);
}

// "npu0" is called npu.
std::string KindOfName(std::string_view base_name) {
  const std::size_t last = base_name.find_last_not_of("0123456789");
  return std::string(base_name.substr(0, last == std::string_view::npos ? 0 : last + 1));
}

// A device as the catalogue sees it.
struct Candidate {
  Bus bus;
  std::vector<std::string> compatibles;         // most specific first
  std::optional<std::string> node_name;         // devicetree: base name without digits
  std::optional<std::string> revision;          // PCI: "10"
  std::optional<std::string> subsystem_device;  // PCI: "004e"
};

struct Match {
  const CatalogueEntry* entry = nullptr;
  std::string compatible;
};

std::optional<Match> Find(const Catalogue& catalogue, const Candidate& candidate) {
  for (const std::string& compatible : candidate.compatibles) {
    const auto [begin, end] = catalogue.by_compatible.equal_range(compatible);
    for (auto at = begin; at != end; ++at) {
      const CatalogueEntry& entry = catalogue.entries[at->second];
      if (entry.bus == candidate.bus && Allows(entry.node_names, candidate.node_name) &&
          Allows(entry.pci_revisions, candidate.revision) &&
          Allows(entry.pci_subsystem_devices, candidate.subsystem_device)) {
        return Match{&entry, compatible};
      }
    }
  }
  return std::nullopt;
}

bool IsDenied(const Catalogue& catalogue, const std::vector<std::string>& compatibles) {
  return std::ranges::any_of(catalogue.deny, [&](const std::string& pattern) {
    return std::ranges::any_of(compatibles, [&](const std::string& c) { return Glob(pattern, c); });
  });
}

class Finder {
 public:
  Finder(const Catalogue& catalogue, const std::string& sysfs, const Inventory& inventory)
      : catalogue_(catalogue), sysfs_(sysfs), inventory_(inventory) {}

  void Run() {
    FindInDevicetree();
    FindOnPci();
    FindOnUsb();
    std::ranges::sort(accelerators, {},
                      [](const Accelerator& a) { return std::tie(a.bus, a.address); });
  }

  std::vector<Accelerator> accelerators;
  std::vector<UnrecognisedNode> unrecognised;

 private:
  Accelerator Begin(const Match& match, Bus bus, std::string address) const {
    const CatalogueEntry& entry = *match.entry;
    Accelerator accelerator;
    accelerator.kind = entry.kind;
    accelerator.bus = bus;
    accelerator.address = std::move(address);
    accelerator.vendor = entry.vendor;
    accelerator.rule = entry.place;
    // A device that changes its id while it works keeps one name.
    accelerator.compatible = Contains(entry.same_device, match.compatible)
                                 ? entry.compatibles.front()
                                 : match.compatible;
    const auto model = entry.models.find(accelerator.compatible);
    accelerator.model = model == entry.models.end() ? entry.model : std::optional(model->second);
    return accelerator;
  }

  // The step from enabled to bound.
  void Bind(const std::optional<std::string>& driver, const std::string& nobody,
            Accelerator* accelerator) const {
    accelerator->driver = driver;
    if (!driver) {
      accelerator->bound_reason = nobody;
    } else if (Contains(catalogue_.passthrough_drivers, *driver)) {
      accelerator->bound_reason = "driver " + *driver + " gives it away";
    } else {
      accelerator->bound = true;
      accelerator->bound_reason = "driver " + *driver;
    }
  }

  bool Serves(const ClassDevice& device, const Interface& interface,
              const std::string& directory) const {
    if (device.class_name != interface.class_name || !Glob(interface.name, device.name)) {
      return false;
    }
    switch (interface.below) {
      case Interface::Below::kDevice: return device.device.starts_with(directory + "/");
      case Interface::Below::kDrivers:
        return std::ranges::any_of(device.parents, [&](const ClassDevice::Parent& parent) {
          return parent.driver && Contains(interface.parents, *parent.driver);
        });
      case Interface::Below::kDevices:
        return std::ranges::any_of(device.parents, [&](const ClassDevice::Parent& parent) {
          return std::ranges::any_of(interface.parents, [&](const std::string& name) {
            // Platform devices are called "rknn" or "rknn.0.auto".
            return parent.name == name || parent.name.starts_with(name + ".");
          });
        });
      case Interface::Below::kAny: break;
    }
    return true;
  }

  // The step from bound to ready. `directory` is the device's, below sysfs.
  void MakeReady(const CatalogueEntry* entry, const std::string& directory,
                 Accelerator* accelerator) const {
    if (!accelerator->bound) {
      accelerator->ready_reason = "not bound";
      return;
    }
    const auto known = catalogue_.drivers.find(*accelerator->driver);
    const Interface* interface = known == catalogue_.drivers.end() ? nullptr : &known->second;
    if (entry != nullptr && entry->ready) interface = &*entry->ready;
    if (interface == nullptr) {
      accelerator->ready = true;
      accelerator->ready_reason =
          "no interface of driver " + *accelerator->driver + " is known: ready as it is bound";
      return;
    }
    const std::string wanted = interface->class_name + "/" + interface->name;
    accelerator->ready_reason = "no class device " + wanted + " that belongs to it";
    for (const ClassDevice& device : inventory_.class_devices) {
      if (!Serves(device, *interface, directory)) continue;
      const std::string name = device.class_name + "/" + device.name;
      if (device.has_device_node == false) {
        accelerator->ready_reason = "class device " + name + " has no device node";
        continue;
      }
      accelerator->ready = true;
      accelerator->ready_reason = "class device " + name;
      return;
    }
  }

  // The nearest node, from `node` up to the root, whose own status is not okay.
  static std::string StatusReason(const dt::Tree& tree, const dt::Node& node) {
    for (const dt::Node* at = &node;; at = &tree.nodes()[at->parent]) {
      if (at->own_status != dt::Status::kOkay) {
        return "status " + std::string(dt::ToString(at->own_status)) + " of " + tree.Path(*at);
      }
      if (at == &tree.root()) return "status okay of it and of every node above it";
    }
  }

  Accelerator DevicetreeAccelerator(const dt::Tree& tree, const dt::Node& node, const Match& match,
                                    std::vector<std::string> compatibles) const {
    Accelerator accelerator = Begin(match, Bus::kDevicetree, tree.Path(node));
    accelerator.source = "devicetree " + accelerator.address;
    accelerator.compatibles = std::move(compatibles);
    accelerator.enabled = node.enabled();
    accelerator.enabled_reason = StatusReason(tree, node);
    if (!accelerator.enabled) {
      accelerator.bound_reason = accelerator.ready_reason = "not enabled";
      return accelerator;
    }
    // Several devices may stand for one node; the one that a driver holds counts.
    const DevicetreeDevice* device = nullptr;
    for (const DevicetreeDevice& candidate : inventory_.devicetree_devices) {
      if (candidate.path != accelerator.address) continue;
      if (device == nullptr || (!device->driver && candidate.driver)) device = &candidate;
    }
    const std::string directory = device == nullptr ? "" : device->device;
    if (device != nullptr) {
      Bind(device->driver, "no driver holds " + sysfs_ + "/" + directory, &accelerator);
    } else {
      Bind(std::nullopt,
           inventory_.devicetree_is_live ? "the kernel has made no device of this node"
                                         : "a devicetree blob shows no drivers",
           &accelerator);
    }
    MakeReady(match.entry, directory, &accelerator);
    return accelerator;
  }

  void FindInDevicetree() {
    if (inventory_.devicetree == nullptr) return;
    const dt::Tree& tree = *inventory_.devicetree;
    // What counts once however many nodes describe it, by entry.
    std::map<const CatalogueEntry*, std::vector<Accelerator>> one_per_machine;
    for (const dt::Node& node : tree.nodes()) {
      const auto list = tree.Compatible(node);
      if (!list || list->empty() || dt::IsBelowBookkeeping(tree, node)) continue;
      if (&node == &tree.root()) continue;  // a board, no device of it
      std::vector<std::string> compatibles(list->begin(), list->end());
      const std::string name = KindOfName(node.base_name());
      const std::optional<Match> match =
          Find(catalogue_, {Bus::kDevicetree, compatibles, name, std::nullopt, std::nullopt});
      if (match) {
        Accelerator accelerator = DevicetreeAccelerator(tree, node, *match, std::move(compatibles));
        (match->entry->one_per_machine ? one_per_machine[match->entry] : accelerators)
            .push_back(std::move(accelerator));
      } else if (node.enabled() && Contains(catalogue_.unrecognised_names, name) &&
                 !IsDenied(catalogue_, compatibles)) {
        unrecognised.push_back({tree.Path(node), compatibles.front()});
      }
    }
    for (auto& [entry, nodes] : one_per_machine) accelerators.push_back(Merge(std::move(nodes)));
  }

  // One device of several nodes: called as the first that is enabled (else the
  // first), as usable as the best of them.
  static Accelerator Merge(std::vector<Accelerator> nodes) {
    const auto by_address = [](const Accelerator& a) -> const std::string& { return a.address; };
    std::ranges::sort(nodes, {}, by_address);
    const auto rungs = [](const Accelerator& a) { return std::tuple(a.enabled, a.bound, a.ready); };
    auto first = std::ranges::find_if(nodes, &Accelerator::enabled);
    if (first == nodes.end()) first = nodes.begin();
    const std::string address = first->address;
    const std::size_t count = nodes.size();
    Accelerator best = *std::ranges::max_element(nodes, {}, rungs);
    best.address = address;
    best.source = "devicetree " + address + ", the first " +
                  (best.enabled ? "that is enabled " : "") + "of " + std::to_string(count) +
                  " nodes of one device";
    return best;
  }

  void FindOnPci() {
    struct Found {
      const PciFunction* function;
      Match match;
    };
    std::vector<Found> found;
    std::set<std::string> brought_along;  // ids that a function on this machine accounts for
    for (const PciFunction& function : inventory_.pci) {
      Candidate candidate{Bus::kPci, PciCompatibles(function), std::nullopt, std::nullopt,
                          std::nullopt};
      if (function.revision) candidate.revision = Hex(*function.revision, 2);
      if (function.subsystem_device_id) {
        candidate.subsystem_device = Hex(*function.subsystem_device_id, 4);
      }
      const std::optional<Match> match = Find(catalogue_, candidate);
      if (match) {
        if (!Contains(match->entry->virtual_functions, match->compatible)) {
          const auto& ids = match->entry->virtual_functions;
          brought_along.insert(ids.begin(), ids.end());
        }
        found.push_back({&function, *match});
      } else if (!function.is_virtual_function && !IsDenied(catalogue_, candidate.compatibles)) {
        FindByClass(function, candidate.compatibles);
      }
    }
    for (const auto& [function, match] : found) {
      // A virtual function is not one more accelerator, where its physical one is seen.
      if (function->is_virtual_function || brought_along.contains(match.compatible)) continue;
      Accelerator accelerator = Begin(match, Bus::kPci, function->address);
      Finish(*function, match.entry, std::move(accelerator));
    }
  }

  void FindByClass(const PciFunction& function, const std::vector<std::string>& compatibles) {
    const auto rule = std::ranges::find_if(catalogue_.classes, [&](const ClassRule& candidate) {
      return Contains(compatibles, candidate.compatible);
    });
    if (rule == catalogue_.classes.end()) return;
    const auto vendor = catalogue_.pci_vendors.find(Hex(function.vendor_id, 4));
    const bool known = vendor != catalogue_.pci_vendors.end();
    Accelerator accelerator;
    accelerator.kind =
        rule->otherwise && !(known && vendor->second.makes_gpus) ? *rule->otherwise : rule->kind;
    accelerator.bus = Bus::kPci;
    accelerator.address = function.address;
    if (known) accelerator.vendor = vendor->second.name;
    accelerator.compatible = rule->compatible;
    accelerator.rule = rule->place;
    Finish(function, nullptr, std::move(accelerator));
  }

  // The labels and the ladder of a PCI function. `entry` is null if its class matched.
  void Finish(const PciFunction& function, const CatalogueEntry* entry, Accelerator accelerator) {
    accelerator.source = sysfs_ + "/bus/pci/devices/" + function.address;
    accelerator.numa_node = function.numa_node;
    for (const std::string& compatible :
         {accelerator.compatible, PciId(function), PciClass(function)}) {
      if (!Contains(accelerator.compatibles, compatible)) {
        accelerator.compatibles.push_back(compatible);
      }
    }
    accelerator.enabled = true;
    accelerator.enabled_reason = "it is on the bus";
    Bind(function.driver, "no driver holds it", &accelerator);
    MakeReady(entry, function.device, &accelerator);
    accelerators.push_back(std::move(accelerator));
  }

  void FindOnUsb() {
    for (const UsbDevice& device : inventory_.usb) {
      const std::optional<Match> match =
          Find(catalogue_,
               {Bus::kUsb, UsbCompatibles(device), std::nullopt, std::nullopt, std::nullopt});
      if (!match) continue;
      Accelerator accelerator = Begin(*match, Bus::kUsb, device.address);
      accelerator.source = sysfs_ + "/bus/usb/devices/" + device.address;
      accelerator.compatibles = {accelerator.compatible};
      accelerator.enabled = true;
      accelerator.enabled_reason = "it is on the bus";
      Bind(device.driver, "no driver holds an interface of it", &accelerator);
      MakeReady(match->entry, device.device, &accelerator);
      accelerators.push_back(std::move(accelerator));
    }
  }

  const Catalogue& catalogue_;
  const std::string& sysfs_;
  const Inventory& inventory_;
};

}  // namespace

std::vector<std::string> PciCompatibles(const PciFunction& function) {
  const std::string id = PciId(function);
  std::vector<std::string> compatibles;
  if (function.subsystem_vendor_id && function.subsystem_device_id) {
    const std::string subsystem =
        id + "." + Hex(*function.subsystem_vendor_id) + "." + Hex(*function.subsystem_device_id);
    if (function.revision) compatibles.push_back(subsystem + "." + Hex(*function.revision));
    compatibles.push_back(subsystem);
  }
  compatibles.push_back(id);
  compatibles.push_back("pciclass," + Hex(function.class_code, 6));
  compatibles.push_back(PciClass(function));
  return compatibles;
}

std::vector<std::string> UsbCompatibles(const UsbDevice& device) {
  return {"usb" + Hex(device.vendor_id) + "," + Hex(device.product_id)};
}

void FindAccelerators(const Catalogue& catalogue, const std::string& sysfs, Inventory* inventory) {
  Finder finder(catalogue, sysfs, *inventory);
  finder.Run();
  inventory->accelerators = std::move(finder.accelerators);
  inventory->unrecognised = std::move(finder.unrecognised);
}

}  // namespace exporter
