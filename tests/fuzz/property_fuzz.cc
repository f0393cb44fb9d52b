// Any bytes of a property are a string, a list of strings or neither, and never anything
// that does not stand there: strings and their NULs are the bytes again. A status enables a
// node only if it says so. A name is of a node or not, whatever is in it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "dt/node_selector.h"
#include "dt/property.h"
#include "dt/tree.h"
#include "exporter/printable.h"
#include "tests/fuzz/properties.h"

namespace {

dt::Tree TreeOf(std::string_view bytes, std::string_view name) {
  dt::TreeBuilder builder;
  const auto check = [](const std::optional<dt::Error>& error) {
    if (error) fuzz::RequireOneLine(exporter::Printable(error->message));
    return !error;
  };
  check(builder.BeginNode(""));
  if (check(builder.BeginNode("aliases"))) {
    check(builder.AddProperty("alias", bytes));
    builder.EndNode();
  }
  if (check(builder.BeginNode(name))) {
    for (const char* property : {"compatible", "status"}) check(builder.AddProperty(property, bytes));
    builder.EndNode();
  }
  builder.EndNode();
  return std::move(builder).Build();
}

void RequireReadings(std::string_view bytes) {
  const dt::Property property{"p", bytes};
  const auto string = property.AsString();
  const bool ends_with_its_nul = bytes.find('\0') + 1 == bytes.size() && !bytes.empty();
  fuzz::Require(string.has_value() == ends_with_its_nul, "a string ends with its only NUL", bytes);
  if (string) fuzz::Require(*string == bytes.substr(0, bytes.size() - 1), "it is the bytes", bytes);

  const auto list = property.AsStringList();
  const bool is_list = bytes.ends_with('\0') && !bytes.starts_with('\0') &&
                       bytes.find(std::string_view("\0\0", 2)) == bytes.npos;
  fuzz::Require(list.has_value() == is_list, "a list is of strings that are not empty", bytes);
  if (!list) return;
  std::string again;
  for (const std::string_view entry : *list) again.append(entry) += '\0';
  fuzz::Require(again == bytes, "a list is the bytes", bytes);
}

}  // namespace

// The input is a name and a pattern, each up to a NUL, and the property's bytes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto take = [&bytes] {
    const std::string_view word = bytes.substr(0, bytes.find('\0'));
    bytes.remove_prefix(std::min(bytes.size(), word.size() + 1));
    return word;
  };
  const std::string_view name = take();
  const std::string_view pattern = take();
  RequireReadings(bytes);
  const dt::Tree tree = TreeOf(bytes, name);
  if (tree.nodes().size() < 3) return 0;
  const dt::Node& node = tree.nodes()[tree.nodes()[1].name == "aliases" ? 2 : 1];
  const std::string_view okay("okay\0", 5), ok("ok\0", 3);
  const bool has_status = tree.FindProperty(node, "status").has_value();
  fuzz::Require(node.enabled() == (!has_status || bytes == okay || bytes == ok),
                "a node is enabled if its status says so", bytes);

  fuzz::Require(tree.Find(tree.Path(node)) == &node, "a path leads to its node", name);
  const auto selects = [&](std::string_view by) {
    const auto nodes = dt::SelectNodes(tree, by);
    return std::ranges::find(nodes, &node) != nodes.end();
  };
  fuzz::Require(selects(tree.Path(node)), "a node's path selects it", name);
  if (pattern.find_first_of("*?") != pattern.npos || pattern == "alias") return 0;
  const std::string_view called = pattern.starts_with('/') ? pattern.substr(1) : pattern;
  fuzz::Require(!selects(pattern) || node.name.starts_with(called),
                "a pattern without * or ? is what the name begins with", pattern);
  return 0;
}
