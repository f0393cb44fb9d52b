// Any bytes give a HostTree, or one line that says where they are none. A HostTree can
// be a directory that no link leads out of, and its text gives it again. All collectors
// can read it, what comes of that is legal, and what they have read is a snapshot that
// gives the same again.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "exporter/accelerators.h"
#include "exporter/catalogue.h"
#include "exporter/collectors/device_nodes.h"
#include "exporter/collectors/devicetree.h"
#include "exporter/collectors/pci.h"
#include "exporter/collectors/usb.h"
#include "exporter/host_recorder.h"
#include "exporter/host_tree.h"
#include "exporter/snapshot.h"
#include "tests/fuzz/outputs.h"

namespace {

using exporter::HostTree;
using Kind = exporter::HostEntry::Kind;

// FILE:LINE: or, for what is too much in all, FILE:
void RequirePlace(std::string_view message) {
  fuzz::RequireOneLine(message);
  const std::size_t digits = message.find_first_not_of("0123456789", 7);
  fuzz::Require(message.starts_with("f.tree:") && digits > 7 && digits != message.npos &&
                    message.substr(digits, 2) == ": ",
                "an error begins with FILE:LINE", message);
}

// The names of a path; none may be one that leads elsewhere.
void RequireNames(std::string_view path) {
  while (!path.empty()) {
    const std::string_view name = path.substr(0, path.find('/'));
    fuzz::Require(!name.empty() && name != "." && name != ".." && name.size() <= 255 &&
                      name.find('\0') == name.npos,
                  "a name can be one on disk", path);
    path.remove_prefix(name.size());
    if (path.empty()) break;
    path.remove_prefix(1);
    fuzz::Require(!path.empty(), "a path ends with a name", path);
  }
}

void RequireDirectory(const HostTree& tree) {
  for (const auto& [place, entry] : tree.entries()) {
    RequireNames(place);
    const std::size_t slash = place.rfind('/');
    if (slash != place.npos) {
      const exporter::HostEntry* const above = tree.Find(place.substr(0, slash));
      fuzz::Require(above != nullptr && above->kind == Kind::kFolder, "entries are in folders",
                    place);
    }
    if (entry.kind != Kind::kLink) continue;
    // From the folder of the link up at most to the root, and then down.
    std::string folder = slash == place.npos ? "" : place.substr(0, slash);
    std::string_view target = entry.content;
    while (target.starts_with("../")) {
      fuzz::Require(!folder.empty(), "a link stays inside", place);
      folder.resize(folder.find('/') == folder.npos ? 0 : folder.rfind('/'));
      target.remove_prefix(3);
    }
    fuzz::Require(!target.empty(), "a link leads to a name", place);
    RequireNames(target);
  }
}

struct Reading {
  exporter::HostRecord record;
  std::string metrics;
};

Reading Read(const HostTree& tree, const exporter::Catalogue& catalogue) {
  Reading reading;
  exporter::CollectorInput input{.paths = {.dev = "", .devicetree = "", .snapshot = "f.tree"},
                                 .interface_classes = InterfaceClasses(catalogue),
                                 .snapshot = &tree};
  exporter::HostRecorder recorder(input.paths, &tree, &reading.record);
  input.recorder = &recorder;
  exporter::Inventory inventory;
  for (const auto collect : {exporter::CollectDevicetree, exporter::CollectPci,
                             exporter::CollectUsb, exporter::CollectDeviceNodes}) {
    exporter::CollectorReport report;
    report.name = "all";
    report.success = !collect(input, &inventory, &report);
    if (inventory.collectors.empty()) inventory.collectors.push_back(report);
  }
  exporter::FindAccelerators(catalogue, "f.tree", &inventory);
  reading.metrics = fuzz::RequireLegalOutputs(inventory, {.nodes = {"*"}});
  return reading;
}

bool HoldsMasked(std::string_view text) {
  return text.find("xx:") != text.npos || text.find("xx-") != text.npos;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const exporter::Catalogue catalogue = exporter::BuiltInCatalogue();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto tree = exporter::ParseHostTree(text, "f.tree");
  if (!tree) {
    RequirePlace(tree.error().message);
    return 0;
  }
  RequireDirectory(*tree);
  const auto again = exporter::ParseHostTree(exporter::ToText(*tree), "f.tree");
  fuzz::Require(again && *again == *tree, "a text gives its tree again", text);

  const Reading here = Read(*tree, catalogue);
  const std::string snapshot = exporter::ToSnapshot(here.record, {"a", "b", {}});
  fuzz::Require(fuzz::IsPrintableText(snapshot), "a snapshot is printable", snapshot);
  const auto replay = exporter::ParseHostTree(snapshot, "f.tree");
  fuzz::Require(replay && *replay == here.record.tree, "a snapshot can be read", snapshot);
  const Reading there = Read(*replay, catalogue);
  if (HoldsMasked(snapshot) || !here.record.unreadable.empty()) return 0;
  fuzz::Require(there.record.tree == here.record.tree, "a replay's snapshot is the snapshot",
                snapshot);
  fuzz::Require(there.metrics == here.metrics, "a replay gives the same metrics", snapshot);
  return 0;
}
