// Small devicetrees for tests, written where they are used.
#ifndef TESTS_TEST_SUPPORT_TREE_H_
#define TESTS_TEST_SUPPORT_TREE_H_

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "dt/tree.h"
#include "exporter/inventory.h"

namespace test_support {

struct NodeSpec {
  std::string name = {};
  std::vector<std::string> compatible = {};
  std::optional<std::string> status = {};
  std::optional<std::string> model = {};
  std::optional<std::string> raw_compatible = {};  // bytes, instead of `compatible`
  std::vector<std::pair<std::string, std::string>> properties = {};  // others: name and bytes
  std::vector<NodeSpec> children = {};
};

inline void AddNode(const NodeSpec& spec, dt::TreeBuilder* builder) {
  const auto check = [](const std::optional<dt::Error>& error) {
    if (error) throw std::invalid_argument(error->message);
  };
  check(builder->BeginNode(spec.name));
  std::string compatible;
  for (const std::string& entry : spec.compatible) compatible += entry + '\0';
  if (spec.raw_compatible) compatible = *spec.raw_compatible;
  if (!compatible.empty()) check(builder->AddProperty("compatible", compatible));
  if (spec.status) check(builder->AddProperty("status", *spec.status + '\0'));
  if (spec.model) check(builder->AddProperty("model", *spec.model + '\0'));
  for (const auto& [name, bytes] : spec.properties) check(builder->AddProperty(name, bytes));
  for (const NodeSpec& child : spec.children) AddNode(child, builder);
  builder->EndNode();
}

inline dt::Tree MakeTree(const NodeSpec& root) {
  dt::TreeBuilder builder;
  AddNode(root, &builder);
  return std::move(builder).Build();
}

inline exporter::Inventory MakeInventory(const NodeSpec& root) {
  exporter::Inventory inventory;
  inventory.devicetree = std::make_shared<const dt::Tree>(MakeTree(root));
  inventory.devicetree_known = true;
  return inventory;
}

}  // namespace test_support

#endif  // TESTS_TEST_SUPPORT_TREE_H_
