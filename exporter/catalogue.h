// The accelerator catalogue: which ids are an accelerator, of what kind, and what
// its driver registers when it is ready. Plain values; the file format is
// described at the top of accelerators.yaml, which is compiled in.
#ifndef EXPORTER_CATALOGUE_H_
#define EXPORTER_CATALOGUE_H_

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dt/result.h"
#include "exporter/inventory.h"
#include "exporter/yaml_document.h"

namespace exporter {

// A class device that tells that an accelerator is ready: /sys/class/<class_name>/<name>.
struct Interface {
  enum class Below {
    kDevice,   // it hangs below the accelerator's own device
    kDrivers,  // it hangs below a device held by one of the drivers `parents`
    kDevices,  // it hangs below a device called as one of `parents`
    kAny,      // that it exists is enough
  };
  std::string class_name;  // "drm"
  std::string name;        // "renderD*"; * and ? are globs
  Below below = Below::kDevice;
  std::vector<std::string> parents;

  bool operator==(const Interface&) const = default;
};

struct CatalogueEntry {
  std::vector<std::string> compatibles;  // each is published as itself
  // Other ids of the same device, published as the first of `compatibles`.
  std::vector<std::string> same_device;
  // Ids of functions that an accelerator of this entry brings along: not counted
  // where it is on the same machine, and counted in a guest that has only them.
  std::vector<std::string> virtual_functions;
  Bus bus = Bus::kDevicetree;
  std::string kind;
  std::string vendor;
  std::optional<std::string> model;                // of every compatible without one in `models`
  std::map<std::string, std::string> models;       // by compatible
  std::vector<std::string> node_names;             // empty: any; base name without digits
  std::vector<std::string> pci_revisions;          // empty: any; "0a"
  std::vector<std::string> pci_subsystem_devices;  // empty: any; "004e"
  bool one_per_machine = false;    // unit: machine, all matches together are one device
  std::optional<Interface> ready;  // wins over the driver's
  std::string place;               // "accelerators.yaml:312"

  bool operator==(const CatalogueEntry&) const = default;
};

// What is taken for an accelerator by its PCI class alone.
struct ClassRule {
  std::string compatible;                // "pciclass,0302"
  std::string kind;                      // of functions whose vendor makes GPUs
  std::optional<std::string> otherwise;  // of the others; absent: `kind` for all
  std::string place;

  bool operator==(const ClassRule&) const = default;
};

struct PciVendor {
  std::string name;
  bool makes_gpus = false;

  bool operator==(const PciVendor&) const = default;
};

struct Catalogue {
  std::map<std::string, Interface> drivers;  // by name of the driver in sysfs
  std::vector<std::string> passthrough_drivers;
  std::vector<CatalogueEntry> entries;  // the first that matches wins
  std::vector<ClassRule> classes;
  std::map<std::string, PciVendor> pci_vendors;  // by id: "10de"
  std::vector<std::string> deny;                 // globs on a compatible
  // Base names without digits of devicetree nodes that look like an accelerator.
  std::vector<std::string> unrecognised_names;

  // Indices of the entries that have this compatible in any of their lists, in order.
  std::multimap<std::string, std::size_t, std::less<>> by_compatible;

  bool operator==(const Catalogue&) const = default;
};

// The accelerators.yaml that this program was built with.
Catalogue BuiltInCatalogue();

// Errors are kMalformed: "FILE:LINE:COLUMN: what stands there; what was expected".
dt::Result<Catalogue> ReadCatalogue(const YamlValue& document, const std::string& file);
dt::Result<Catalogue> ParseCatalogue(std::string_view text, const std::string& file);

// `base`, with everything that `extra` says before it or in its place.
Catalogue Extend(Catalogue base, Catalogue extra);

// The classes of all interfaces, each once: what the device_nodes collector reads.
std::vector<std::string> InterfaceClasses(const Catalogue& catalogue);

}  // namespace exporter

#endif  // EXPORTER_CATALOGUE_H_
