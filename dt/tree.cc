#include "dt/tree.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <utility>

namespace dt {
namespace {

Status ParseStatus(const Property& property) {
  const Result<std::string_view> word = property.AsString();
  if (!word) return Status::kOther;
  if (*word == "okay" || *word == "ok") return Status::kOkay;
  if (*word == "disabled") return Status::kDisabled;
  if (*word == "reserved") return Status::kReserved;
  if (*word == "fail" || word->starts_with("fail-")) return Status::kFail;
  return Status::kOther;
}

std::string Number(std::size_t value, const char* unit) {
  return std::to_string(value) + " " + unit;
}

}  // namespace

bool KeepsProperty(bool in_aliases, std::string_view property_name) {
  // Linux gives every node of its live tree a property called name, which no blob has.
  if (in_aliases) return property_name != "name";
  return property_name == "compatible" || property_name == "label" || property_name == "model" ||
         property_name == "status";
}

std::string_view ToString(Status status) {
  switch (status) {
    case Status::kOkay: return "okay";
    case Status::kDisabled: return "disabled";
    case Status::kReserved: return "reserved";
    case Status::kFail: return "fail";
    case Status::kOther: break;
  }
  return "other";
}

std::string Tree::Path(const Node& node) const {
  if (&node == &root()) return "/";
  std::string path = Path(nodes_[node.parent]);
  if (path.size() > 1) path += '/';
  return path.append(node.name);
}

const Node* Tree::Find(std::string_view path) const {
  if (path.empty() || path.front() != '/') return nullptr;
  std::size_t current = 0;
  for (std::string_view rest = path.substr(1); !rest.empty();) {
    const std::string_view name = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    std::size_t child = current + 1;
    while (child < nodes_[current].subtree_end && nodes_[child].name != name) {
      child = nodes_[child].subtree_end;
    }
    if (child >= nodes_[current].subtree_end) return nullptr;
    current = child;
  }
  return &nodes_[current];
}

std::span<const Property> Tree::Properties(const Node& node) const {
  return std::span(properties_)
      .subspan(node.first_property, node.property_end - node.first_property);
}

std::optional<Property> Tree::FindProperty(const Node& node, std::string_view name) const {
  for (const Property& property : Properties(node)) {
    if (property.name == name) return property;
  }
  return std::nullopt;
}

Result<std::vector<std::string_view>> Tree::Compatible(const Node& node) const {
  const std::optional<Property> property = FindProperty(node, "compatible");
  if (!property) return std::vector<std::string_view>{};
  Result<std::vector<std::string_view>> strings = property->AsStringList();
  if (strings) return strings;
  return Error{ErrorCode::kMalformed, Path(node) + ": " + strings.error().message};
}

bool operator==(const Tree& a, const Tree& b) {
  const auto same_properties = [&](const Node& x, const Node& y) {
    return std::ranges::equal(a.Properties(x), b.Properties(y),
                              [](const Property& p, const Property& q) {
                                return p.name == q.name && p.bytes == q.bytes;
                              });
  };
  return std::ranges::equal(a.nodes_, b.nodes_, [&](const Node& x, const Node& y) {
    return x.name == y.name && x.parent == y.parent && same_properties(x, y);
  });
}

TreeBuilder::TreeBuilder() {
  // Enough for all but the largest real boards, so that most trees never grow.
  bytes_.reserve(64 << 10);
  nodes_.reserve(1024);
  properties_.reserve(2048);
}

std::optional<Error> TreeBuilder::Charge(std::size_t bytes, std::size_t strings) {
  charged_bytes_ += bytes;
  charged_strings_ += strings;
  if (charged_bytes_ <= kMaxTreeBytes && charged_strings_ <= kMaxStrings) return std::nullopt;
  return Error{ErrorCode::kMalformed,
               CurrentPath() + ": the tree is larger than " + Number(kMaxTreeBytes, "bytes") +
                   " or " + Number(kMaxStrings, "strings in all")};
}

std::size_t TreeBuilder::Append(std::string_view bytes) {
  const std::size_t offset = bytes_.size();
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return offset;
}

std::optional<Error> TreeBuilder::BeginNode(std::string_view name) {
  const bool is_root = nodes_.empty();
  if (is_root) name = {};
  const auto refuse = [&](const std::string& why) {
    return Error{ErrorCode::kMalformed, CurrentPath() + ": a child node: " + why};
  };
  if (open_.size() >= kMaxDepth) {
    return refuse("deeper than " + Number(kMaxDepth, "levels"));
  }
  if (nodes_.size() >= kMaxNodes) return refuse("more than " + Number(kMaxNodes, "nodes"));
  if (!is_root) {
    if (name.empty()) return refuse("the name is empty");
    if (name.size() > kMaxNameBytes) {
      return refuse("the name has " + Number(name.size(), "bytes; at most ") +
                    std::to_string(kMaxNameBytes) + " expected");
    }
    if (name == "." || name == ".." || name.find('/') != std::string_view::npos) {
      return refuse("a name that is '.', '..' or holds '/'");
    }
  }
  RawNode node{};
  node.path_size = is_root ? 0 : nodes_[open_.back()].path_size + 1 + name.size();
  if (std::optional<Error> error = Charge(name.size() + node.path_size, 0)) return error;
  node.name = Append(name);
  node.name_size = name.size();
  node.parent = is_root ? 0 : open_.back();
  node.first_property = node.property_end = static_cast<std::uint32_t>(properties_.size());
  open_.push_back(static_cast<std::uint32_t>(nodes_.size()));
  nodes_.push_back(node);
  return std::nullopt;
}

std::optional<Error> TreeBuilder::AddProperty(std::string_view name, std::string_view bytes) {
  if (bytes.size() > kMaxPropertyBytes) {
    return Error{ErrorCode::kMalformed, CurrentPath() + ": a kept property has " +
                                            Number(bytes.size(), "bytes; at most ") +
                                            std::to_string(kMaxPropertyBytes) + " expected"};
  }
  const auto strings = static_cast<std::size_t>(std::ranges::count(bytes, '\0'));
  const std::size_t path_size = nodes_[open_.back()].path_size;
  if (std::optional<Error> error = Charge(name.size() + bytes.size() + strings * path_size, strings)) {
    return error;
  }
  RawProperty property{};
  property.name = Append(name);
  property.name_size = name.size();
  property.value = Append(bytes);
  property.value_size = bytes.size();
  properties_.push_back(property);
  nodes_[open_.back()].property_end = static_cast<std::uint32_t>(properties_.size());
  return std::nullopt;
}

void TreeBuilder::EndNode() { open_.pop_back(); }

void TreeBuilder::DropNode() {
  const std::uint32_t dropped = open_.back();
  open_.pop_back();
  properties_.resize(nodes_[dropped].first_property);
  bytes_.resize(nodes_[dropped].name);
  nodes_.resize(dropped);
}

std::string TreeBuilder::CurrentPath() const {
  std::string path;
  for (std::size_t i = 1; i < open_.size(); ++i) {
    path.append("/").append(Name(open_[i]));
  }
  return path.empty() ? "/" : path;
}

bool TreeBuilder::InAliases() const { return open_.size() == 2 && Name(open_.back()) == "aliases"; }

void TreeBuilder::RenameDuplicates(std::span<std::uint32_t> children) {
  const auto same = [&](std::uint32_t a, std::uint32_t b) { return Name(a) == Name(b); };
  if (std::ranges::adjacent_find(children, same) == children.end()) return;
  std::ranges::sort(children);  // as they were read: who came first keeps the name
  std::map<std::string, std::size_t, std::less<>> taken;  // by name: the last suffix tried
  for (const std::uint32_t child : children) {
    const auto [at, is_new] = taken.try_emplace(std::string(Name(child)), 0);
    if (is_new) continue;
    std::string name;
    do {
      name = at->first + "#" + std::to_string(++at->second);
    } while (!taken.try_emplace(name, 0).second);
    nodes_[child].name = bytes_.size();
    nodes_[child].name_size = name.size();
    bytes_.insert(bytes_.end(), name.begin(), name.end());
  }
  std::ranges::sort(children, {}, [&](std::uint32_t child) { return Name(child); });
}

Tree TreeBuilder::Build() && {
  // Children of each node as one array, siblings in bytewise order; equal names
  // stay in the order in which they were read, which decides who keeps it.
  const std::size_t count = nodes_.size();
  std::vector<std::uint32_t> first_child(count + 1, 0);
  for (std::size_t i = 1; i < count; ++i) ++first_child[nodes_[i].parent + 1];
  std::partial_sum(first_child.begin(), first_child.end(), first_child.begin());
  std::vector<std::uint32_t> children(count);
  std::vector<std::uint32_t> next(first_child.begin(), first_child.end() - 1);
  for (std::size_t i = 1; i < count; ++i) {
    children[next[nodes_[i].parent]++] = static_cast<std::uint32_t>(i);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::span siblings =
        std::span(children).subspan(first_child[i], first_child[i + 1] - first_child[i]);
    const auto by_name = [&](std::uint32_t a, std::uint32_t b) { return Name(a) < Name(b); };
    if (!std::ranges::is_sorted(siblings, by_name)) {
      std::ranges::stable_sort(siblings, by_name);
    }
    RenameDuplicates(siblings);
  }

  Tree tree;
  tree.nodes_.reserve(count);
  tree.properties_.reserve(properties_.size());
  tree.bytes_ = std::move(bytes_);
  const auto view = [&](std::size_t offset, std::size_t size) {
    return std::string_view(tree.bytes_.data() + offset, size);
  };
  struct Pending {
    std::uint32_t raw;
    std::uint32_t parent;
  };
  std::vector<Pending> pending{{0, 0}};
  while (!pending.empty()) {
    const Pending at = pending.back();
    pending.pop_back();
    const RawNode& raw = nodes_[at.raw];
    Node node{};
    node.name = view(raw.name, raw.name_size);
    node.parent = at.parent;
    node.first_property = static_cast<std::uint32_t>(tree.properties_.size());
    node.own_status = Status::kOkay;
    for (std::uint32_t p = raw.first_property; p < raw.property_end; ++p) {
      const RawProperty& property = properties_[p];
      tree.properties_.push_back(Property{view(property.name, property.name_size),
                                          view(property.value, property.value_size)});
    }
    const auto first = tree.properties_.begin() + node.first_property;
    const auto end = tree.properties_.end();
    const auto by_name = [](const Property& a, const Property& b) { return a.name < b.name; };
    const auto same_name = [](const Property& a, const Property& b) { return a.name == b.name; };
    if (!std::is_sorted(first, end, by_name)) std::stable_sort(first, end, by_name);
    tree.properties_.erase(std::unique(first, end, same_name), end);
    node.property_end = static_cast<std::uint32_t>(tree.properties_.size());
    for (const Property& property : tree.Properties(node)) {
      if (property.name == "status") node.own_status = ParseStatus(property);
    }
    const auto index = static_cast<std::uint32_t>(tree.nodes_.size());
    node.effective_status = node.own_status;
    if (index != 0 && node.own_status == Status::kOkay) {
      node.effective_status = tree.nodes_[at.parent].effective_status;
    }
    tree.nodes_.push_back(node);
    for (std::uint32_t c = first_child[at.raw + 1]; c > first_child[at.raw]; --c) {
      pending.push_back({children[c - 1], index});
    }
  }
  // Preorder: a node's subtree ends where its last descendant does.
  for (std::size_t i = count; i-- > 0;) {
    Node& node = tree.nodes_[i];
    node.subtree_end = std::max(node.subtree_end, static_cast<std::uint32_t>(i + 1));
    Node& parent = tree.nodes_[node.parent];
    parent.subtree_end = std::max(parent.subtree_end, node.subtree_end);
  }
  return tree;
}

}  // namespace dt
