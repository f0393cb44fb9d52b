// A host's files as a value, and the text that stands for it: what --snapshot writes,
// --path.snapshot reads, and tests/boards/*/host.tree are.
//
// One entry a line; the folders above it come with it:
//
//   # a comment
//   bus/usb/devices/                    a folder
//   class/drm/version = drm 1.1.0       a file with that text and a newline
//   devices/x/name = gpu\0\c            escapes \0 \n \\ \xNN; \c at the end: no newline
//   bus/pci/devices/a -> ../../x        a symlink
//   devices/pci0000:00/0000:00:02.0/
//     vendor = 0x8086                   indented: inside the last folder that is not indented
//
// A path has no spaces; it and a target take the escapes too, but \0. The root is a
// sysfs, with the devicetree at firmware/devicetree/base; the device nodes that
// --path.dev had are empty files in path.dev.
//
// Such a text comes from strangers. A tree holds only what can exist as a directory, and
// none of its links leads out of it: they are relative, their ".." stand in front, and
// none of them goes above the root.
#ifndef EXPORTER_HOST_TREE_H_
#define EXPORTER_HOST_TREE_H_

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dt/result.h"

namespace exporter {

// Bounds. A server with 100 PCI functions takes 1,000 entries, a large devicetree 6,000
// and 400 kB; the longest real path has 300 bytes.
inline constexpr std::size_t kMaxHostEntries = 100'000;
inline constexpr std::size_t kMaxHostTreeBytes = 8 << 20;                // paths and contents
inline constexpr std::size_t kMaxHostTextBytes = 5 * kMaxHostTreeBytes;  // all of it escaped fits
inline constexpr std::size_t kMaxHostPathBytes = 2048;
inline constexpr std::size_t kMaxHostPathDepth = 72;
inline constexpr std::size_t kMaxHostNameBytes = 255;

inline constexpr std::string_view kHostDevicetree = "firmware/devicetree/base";
inline constexpr std::string_view kHostDev = "path.dev";

struct HostEntry {
  enum class Kind { kFolder, kFile, kLink };
  Kind kind = Kind::kFolder;
  std::string content;  // a file's bytes, a link's target

  friend bool operator==(const HostEntry&, const HostEntry&) = default;
};

// Where `path` leads if links are followed as the kernel does it. `target` gives what the
// link at a place points to, nullopt if none is there. nullopt if that leads out of the
// tree, or through more links than any real path.
std::optional<std::string> FollowLinks(
    std::string path,
    const std::function<std::optional<std::string>(const std::string& place)>& target);

// Paths are relative, "bus/pci/devices"; a place is a path without links on its way, ""
// is the root.
class HostTree {
 public:
  // Adds an entry and the folders above it. A file or a link takes the place of one of
  // its kind. If the tree cannot hold it, it stays as it was: then one line that says
  // what is wrong and what was expected, not always printable.
  std::optional<std::string> Put(const std::string& place, HostEntry entry);

  // The entries but for the root, by place.
  const std::map<std::string, HostEntry>& entries() const { return entries_; }
  // Null if nothing stands there.
  const HostEntry* Find(const std::string& place) const;
  // The names in a folder, in bytewise order.
  std::vector<std::string> Names(const std::string& folder) const;

  // Where `path` leads with all links followed; nullopt if they lead in a circle.
  std::optional<std::string> Resolve(const std::string& path) const;
  // What the link at `path` points to, with links before it followed; nullopt if none is there.
  std::optional<std::string> Target(const std::string& path) const;

  friend bool operator==(const HostTree& a, const HostTree& b) { return a.entries_ == b.entries_; }

 private:
  std::map<std::string, HostEntry> entries_;
  std::size_t bytes_ = 0;
};

// In ASCII that can be printed. ParseHostTree gives the same tree again.
std::string ToText(const HostTree& tree);

// Errors are kMalformed: "FILE:LINE: what stands there; what was expected", printable.
dt::Result<HostTree> ParseHostTree(std::string_view text, const std::string& file);

}  // namespace exporter

#endif  // EXPORTER_HOST_TREE_H_
