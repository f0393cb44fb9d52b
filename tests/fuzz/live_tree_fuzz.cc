// Any directory is a Tree or one error, and the same one that a blob of its content is:
// directories are nodes, files are properties, links are nothing. What comes of it is
// legal as in fdt_fuzz. The directory is written as exporter/host_tree.h has it.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dt/fdt_reader.h"
#include "dt/live_reader.h"
#include "exporter/accelerators.h"
#include "exporter/catalogue.h"
#include "exporter/printable.h"
#include "tests/fuzz/outputs.h"
#include "tests/test_support/fdt_builder.h"
#include "tests/test_support/host_tree.h"
#include "tests/test_support/temporary_directory.h"

namespace {

using exporter::HostTree;
using Kind = exporter::HostEntry::Kind;

void AddNode(const HostTree& tree, const std::string& folder, std::string_view name,
             test_support::FdtBuilder* builder) {
  builder->Begin(name);
  const std::vector<std::string> names = tree.Names(folder);
  const auto below = [&](const std::string& entry) {
    return folder.empty() ? entry : std::string(folder).append("/").append(entry);
  };
  for (const std::string& entry : names) {
    const exporter::HostEntry& found = *tree.Find(below(entry));
    if (found.kind == Kind::kFile) builder->Property(entry, found.content);
  }
  for (const std::string& entry : names) {
    if (tree.Find(below(entry))->kind == Kind::kFolder) AddNode(tree, below(entry), entry, builder);
  }
  builder->End();
}

dt::Result<dt::Tree> ReadAsBlob(const HostTree& tree) {
  test_support::FdtBuilder builder;
  AddNode(tree, "", "", &builder);
  return dt::ReadFdt(builder.Finish().Build());
}

dt::Result<dt::Tree> ReadAsDirectory(const HostTree& tree) {
  const test_support::TemporaryDirectory directory;
  test_support::ExpandHostTree(tree, directory.path());
  return dt::ReadLiveTree(directory.path().string());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const exporter::Catalogue catalogue = exporter::BuiltInCatalogue();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto directory = exporter::ParseHostTree(text, "f.tree");
  if (!directory) return 0;
  auto tree = ReadAsDirectory(*directory);
  const auto blob = ReadAsBlob(*directory);
  fuzz::Require(tree.has_value() == blob.has_value(), "directory and blob are both a tree, or none",
                text);
  if (!tree) {
    fuzz::RequireOneLine(exporter::Printable(tree.error().message));
    return 0;
  }
  fuzz::Require(*tree == *blob, "directory and blob are the same tree", text);
  exporter::Inventory inventory;
  inventory.devicetree = std::make_shared<const dt::Tree>(std::move(tree).value());
  inventory.devicetree_known = inventory.devicetree_is_live = true;
  exporter::FindAccelerators(catalogue, "/sys", &inventory);
  fuzz::RequireLegalOutputs(inventory, {.nodes = {"*"}});
  return 0;
}
