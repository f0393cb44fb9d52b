// Any directory can be a sysfs: all collectors read it, what comes of that is legal, and a
// second read with the first as the one before is the same. Read from the disk and from the
// text that stands for it, it is the same machine.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "exporter/catalogue.h"
#include "exporter/collect.h"
#include "tests/fuzz/outputs.h"
#include "tests/test_support/host_tree.h"
#include "tests/test_support/temporary_directory.h"

namespace {

using exporter::CollectorReport;
using exporter::Inventory;

// The metrics, but for times, with what went wrong: in these `root` is where it was read.
std::string Read(const exporter::HostPaths& paths, const Inventory* previous,
                 const std::string& root, Inventory* inventory) {
  static const exporter::Catalogue catalogue = exporter::BuiltInCatalogue();
  *inventory = exporter::Collect(paths, catalogue, {}, previous);
  std::string problems;
  for (CollectorReport& report : inventory->collectors) {
    report.duration = {};
    for (std::string problem : report.problems) {
      fuzz::RequireOneLine(problem);
      if (problem.starts_with(root)) problem.erase(0, root.size());
      problems += problem + "\n";
    }
  }
  inventory->read_at = {};
  return fuzz::RequireLegalOutputs(*inventory, {.nodes = {"*"}}) + problems;
}

void RequireSame(const std::string& a, const std::string& b, std::string_view rule) {
  const auto differ = std::ranges::mismatch(a, b);
  fuzz::Require(a == b, rule,
                std::string(differ.in1 - std::min<std::ptrdiff_t>(200, differ.in1 - a.begin()), a.end())
                        .substr(0, 400) +
                    "\n  and: " + std::string(differ.in2, b.end()).substr(0, 200));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  auto tree = exporter::ParseHostTree(text, "f.tree");
  if (!tree) return 0;
  const test_support::TemporaryDirectory directory;
  const std::string sysfs = directory / "sys";
  test_support::ExpandHostTree(*tree, sysfs);
  Inventory inventory;
  const bool has_dev = tree->Find(std::string(exporter::kHostDev)) != nullptr;
  const exporter::HostPaths on_disk{.sysfs = sysfs,
                                    .procfs = directory / "none",
                                    .dev = has_dev ? sysfs + "/path.dev" : ""};
  const std::string first = Read(on_disk, nullptr, sysfs, &inventory);
  Inventory again;
  RequireSame(first, Read(on_disk, &inventory, sysfs, &again), "a second read is the first");
  const std::string file = directory / "f.tree";
  test_support::WriteFile(file, text);
  RequireSame(first, Read({.snapshot = file}, nullptr, file, &again),
              "disk and text are the same machine");
  return 0;
}
