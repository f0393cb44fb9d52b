// The snapshot: what this machine's hardware says about itself, read once.
//
// Plain values. One Inventory is built by collect, never changed afterwards, and
// every output (metrics, labels, dry run) is a projection of it.
#ifndef EXPORTER_INVENTORY_H_
#define EXPORTER_INVENTORY_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dt/tree.h"

namespace exporter {

enum class Bus { kDevicetree, kPci, kUsb };

// "devicetree", "pci", "usb".
std::string_view ToString(Bus bus);

// A PCI function. From the files of its directory in <sysfs>/bus/pci/devices;
// Documentation/ABI/testing/sysfs-bus-pci.
struct PciFunction {
  std::string address;           // its name: "0000:01:00.0"
  std::string device;            // its directory: "devices/pci0000:00/0000:01:00.0"
  std::uint32_t class_code = 0;  // class: base class, subclass, interface: 0x030200
  std::uint32_t vendor_id = 0;   // vendor
  std::uint32_t device_id = 0;   // device
  std::optional<std::uint32_t> subsystem_vendor_id;  // subsystem_vendor
  std::optional<std::uint32_t> subsystem_device_id;  // subsystem_device
  std::optional<std::uint32_t> revision;             // revision
  std::optional<std::string> driver;                 // the link driver
  std::optional<int> numa_node;                      // numa_node, where it is not -1
  bool is_virtual_function = false;                  // it has a link physfn (SR-IOV)
};

// A USB device. From <sysfs>/bus/usb/devices; Documentation/ABI/stable/sysfs-bus-usb.
struct UsbDevice {
  std::string address;           // its port path, which is its name: "1-1.2"
  std::string device;            // its directory
  std::uint32_t vendor_id = 0;   // idVendor
  std::uint32_t product_id = 0;  // idProduct
  // Of the first of its interfaces that a driver holds, else its own, which is
  // "usb": it can then be used from user space (libusb).
  std::optional<std::string> driver;
};

// What the kernel made of a devicetree node: a device on any bus whose link
// of_node leads to it.
struct DevicetreeDevice {
  std::string path;                   // of the node: "/soc/gpu@0"
  std::string device;                 // its directory
  std::optional<std::string> driver;  // the link driver
};

// An entry of <sysfs>/class/<class_name>.
struct ClassDevice {
  struct Parent {
    std::string name;                   // "etnaviv"
    std::optional<std::string> driver;  // the link driver
  };
  std::string class_name;       // "drm"
  std::string name;             // "renderD128"
  std::string device;           // its directory
  std::vector<Parent> parents;  // the directories above it, nearest first
  // Whether its device node exists below --path.dev; absent if that is not given,
  // or if it has no device node.
  std::optional<bool> has_device_node;
};

// How far an accelerator is usable, and why not further (for --explain).
struct Accelerator {
  std::string kind;  // "gpu"
  Bus bus = Bus::kDevicetree;
  std::string address;                // devicetree path, PCI address or USB port path
  std::optional<std::string> vendor;  // "nvidia"
  std::optional<std::string> model;
  std::string compatible;                // the one that the catalogue matched
  std::vector<std::string> compatibles;  // those that give labels, most specific first
  std::optional<std::string> driver;     // what holds it, also if that gives it away
  std::optional<int> numa_node;
  bool enabled = false;
  bool bound = false;
  bool ready = false;

  std::string rule;            // what matched: "accelerators.yaml:312"
  std::string source;          // where it was read: "/sys/bus/pci/devices/0000:01:00.0"
  std::string enabled_reason;  // one line each
  std::string bound_reason;
  std::string ready_reason;

  bool hot_pluggable() const { return bus != Bus::kDevicetree; }
};

// An enabled devicetree node that is called like an accelerator and is in no list.
struct UnrecognisedNode {
  std::string path;
  std::string compatible;  // its most specific one
};

// How one collector fared, in the terms of node_exporter's node_scrape_collector_*.
struct CollectorReport {
  std::string name;      // "devicetree": flag, metric label and file name
  bool success = false;  // false: its part of the Inventory is the last good one
  std::chrono::duration<double> duration{};  // wall time
  std::size_t skipped_devices = 0;           // could not be read; their last good facts stay
  std::vector<std::string> problems;         // one printable line each: where, what
};

struct Inventory {
  // The devicetree; null if this machine has none, or if it could not be read yet.
  // From --path.devicetree, else <sysfs>/firmware/devicetree/base, else <procfs>/device-tree.
  std::shared_ptr<const dt::Tree> devicetree;
  // Whether a read has said what `devicetree` is: a read error is not absence.
  bool devicetree_known = false;
  // Whether it is this host's own, so that sysfs shows its devices.
  bool devicetree_is_live = false;

  std::vector<PciFunction> pci;                      // by address
  std::vector<UsbDevice> usb;                        // by address
  std::vector<DevicetreeDevice> devicetree_devices;  // by path, then directory
  std::vector<ClassDevice> class_devices;            // by class, then name

  // Decided from all of the above and the catalogue, by accelerators.
  std::vector<Accelerator> accelerators;  // by bus, then address
  std::vector<UnrecognisedNode> unrecognised;

  std::vector<CollectorReport> collectors;  // in the order of the table in collect.cc
  std::chrono::system_clock::time_point read_at;
};

// Whether the machine has a devicetree: a root with a compatible. A kernel may
// show an empty root where there is none.
bool HasDevicetree(const Inventory& inventory);

}  // namespace exporter

#endif  // EXPORTER_INVENTORY_H_
