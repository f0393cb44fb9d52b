// Keeps what the collectors read, for --snapshot: files, links and names of sysfs, the
// devicetree, and which device nodes there are. What identifies one machine is left out
// here, at the one door that all of it passes:
//
//   - files whose name is in the list kIdentifying of host_recorder.cc (serial numbers,
//     addresses, UUIDs, asset tags, secrets), and lines of a uevent with such a key;
//   - of the devicetree all that a dt::Tree does not keep (serial-number, bootargs, ...),
//     of /chosen all but its nodes, their compatible and status, of /aliases what is no path;
//   - in every path, target and content, what looks like a MAC address or a UUID: its
//     digits become x.
#ifndef EXPORTER_HOST_RECORDER_H_
#define EXPORTER_HOST_RECORDER_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dt/tree.h"
#include "exporter/host_paths.h"
#include "exporter/host_tree.h"

namespace exporter {

struct HostRecord {
  HostTree tree;
  std::vector<std::string> unreadable;  // one line each: where, why; not always printable
};

// Paths are below sysfs, "bus/pci/devices/0000:00:02.0/vendor"; there may be links on
// their way. What cannot be kept is noted in the record; nothing fails.
class HostRecorder {
 public:
  // Looks up links and folders in `paths.sysfs`, or in `snapshot` if there is one, which
  // stands for it. All of the arguments must live as long as this.
  HostRecorder(const HostPaths& paths, const HostTree* snapshot, HostRecord* record);

  // A link was read or a folder opened: keeps the links on the way, and what is at its
  // end: a folder, or a file whose content nobody asked for.
  void Saw(const std::string& path);
  void SawNames(const std::string& folder, const std::vector<std::string>& names);
  void SawFile(const std::string& path, std::string_view bytes);
  void SawDevicetree(const dt::Tree& tree);
  // Device nodes are looked for; `name`, "dri/renderD128", is one.
  void SawDev();
  void SawDeviceNode(const std::string& name);
  // Something is there and cannot be read; `message` may begin with its path.
  void Failed(const std::string& message);

 private:
  std::optional<std::string> Target(const std::string& place) const;
  // What stands at a place: a folder, a file, or nothing of both.
  std::optional<HostEntry::Kind> KindAt(const std::string& place) const;
  // Where `path` leads; keeps the links on the way.
  std::optional<std::string> Follow(const std::string& path);
  void Put(const std::string& place, HostEntry::Kind kind, std::string_view content = "");

  const HostPaths& paths_;
  const HostTree* snapshot_;
  HostRecord& record_;
};

}  // namespace exporter

#endif  // EXPORTER_HOST_RECORDER_H_
