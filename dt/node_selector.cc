#include "dt/node_selector.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace dt {
namespace {

constexpr std::array<std::string_view, 6> kBookkeeping = {
    "__fixups__", "__local_fixups__", "__symbols__", "aliases", "chosen", "reserved-memory"};

bool IsGlob(std::string_view pattern) {
  return pattern.find_first_of("*?") != std::string_view::npos;
}

// As in a shell, but that only * and ? are special.
bool GlobMatches(std::string_view pattern, const std::string& text, int flags) {
  std::string escaped;
  for (const char c : pattern) {
    if (c == '[' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return fnmatch(escaped.c_str(), text.c_str(), flags) == 0;
}

bool NameMatches(std::string_view pattern, const Node& node) {
  const std::string_view name =
      pattern.find('@') == std::string_view::npos ? node.base_name() : node.name;
  if (IsGlob(pattern)) return GlobMatches(pattern, std::string(name), 0);
  if (!name.starts_with(pattern)) return false;
  const std::string_view rest = name.substr(pattern.size());
  return rest.empty() || (pattern.find('@') == std::string_view::npos &&
                          rest.find_first_not_of("0123456789") == std::string_view::npos);
}

bool PathMatches(std::string_view pattern, const std::string& path) {
  return IsGlob(pattern) ? GlobMatches(pattern, path, FNM_PATHNAME) : pattern == path;
}

}  // namespace

bool IsBelowBookkeeping(const Tree& tree, const Node& node) {
  const Node* at = &node;
  for (;;) {
    const Node& parent = tree.nodes()[at->parent];
    if (&parent == at) return false;
    if (&parent != &tree.root() && &tree.nodes()[parent.parent] == &tree.root() &&
        std::ranges::find(kBookkeeping, parent.name) != kBookkeeping.end()) {
      return true;
    }
    at = &parent;
  }
}

std::vector<const Node*> SelectNodes(const Tree& tree, std::string_view pattern) {
  std::vector<std::pair<std::string, const Node*>> selected;
  const auto select = [&](const Node& node) { selected.emplace_back(tree.Path(node), &node); };
  if (pattern.starts_with('/')) {
    for (const Node& node : tree.nodes()) {
      if (PathMatches(pattern, tree.Path(node))) select(node);
    }
  } else {
    for (const Node& node : tree.nodes()) {
      if (NameMatches(pattern, node) && tree.FindProperty(node, "compatible") &&
          &node != &tree.root() && !IsBelowBookkeeping(tree, node)) {
        select(node);
      }
    }
    if (const Node* aliases = tree.Find("/aliases")) {
      const std::optional<Property> alias = tree.FindProperty(*aliases, pattern);
      const Result<std::string_view> path =
          alias ? alias->AsString() : Error{ErrorCode::kNotFound, ""};
      if (const Node* node = path ? tree.Find(*path) : nullptr) select(*node);
    }
  }
  std::ranges::sort(selected);
  selected.erase(std::unique(selected.begin(), selected.end()), selected.end());
  std::vector<const Node*> nodes;
  nodes.reserve(selected.size());
  for (const auto& [path, node] : selected) nodes.push_back(node);
  return nodes;
}

}  // namespace dt
