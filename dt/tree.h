// A devicetree as it was read: immutable, self-contained, the same for the same
// board whether it came from a flattened blob or from a kernel's live tree.
//
// A Tree owns all bytes that its nodes and properties point into; moving it
// keeps them valid, destroying it ends them. Safe to read from many threads.
//
// Only the properties that this project uses are kept (KeepsProperty, below):
// a real board holds ten times as much, and some of it is secret (security-*)
// or names the very device (serial-number).
#ifndef DT_TREE_H_
#define DT_TREE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dt/property.h"
#include "dt/result.h"

namespace dt {

// Bounds. A tree beyond one is kMalformed, from both readers. The largest of 1,475 devicetrees
// of Linux 6.1: 12 levels, 997 nodes, names of 38 bytes, a property of 1,206 bytes, 1,147 strings,
// 162,171 bytes in all. They bound what outputs cost, which repeat a node's path for each of its
// strings: a hostile tree costs about ten times what the largest real one does.
inline constexpr std::size_t kMaxDepth = 64;  // the kernel's FDT_MAX_DEPTH
inline constexpr std::size_t kMaxNodes = 8'192;
inline constexpr std::size_t kMaxNameBytes = 255;  // what a directory can be called
inline constexpr std::size_t kMaxPropertyBytes = 8'192;
inline constexpr std::size_t kMaxStrings = 8'192;  // NULs in kept properties
// Names, kept properties, and each node's path, once for itself and once for each of its strings.
inline constexpr std::size_t kMaxTreeBytes = 2 << 20;

// The one list of what both readers keep: compatible, label, model and status of
// every node, and every alias, that is every property of /aliases but `name`.
bool KeepsProperty(bool in_aliases, std::string_view property_name);

// What a status property says; Devicetree Specification v0.4, section 2.3.4.
enum class Status {
  kOkay,      // absent, "okay", or "ok" as Linux also accepts
  kDisabled,  // "disabled"
  kReserved,  // "reserved"
  kFail,      // "fail" or "fail-..."
  kOther,     // anything else ("disable", "failed", unterminated): not enabled
};
inline constexpr std::size_t kStatusCount = 5;

// "okay", "disabled", "reserved", "fail", "other".
std::string_view ToString(Status status);

// One node. A plain value inside a Tree; indices count in Tree::nodes().
struct Node {
  std::string_view name;         // with unit address: "gpu@57000000"; "" for the root
  std::uint32_t parent;          // index of the parent; the root is its own parent
  std::uint32_t subtree_end;     // [own index, subtree_end) are this node and all below it
  std::uint32_t first_property;  // [first_property, property_end) in the Tree's properties
  std::uint32_t property_end;
  Status own_status;        // of this node's property alone
  Status effective_status;  // own, or that of the nearest ancestor that is not okay

  // A node is enabled only if it and all its ancestors are.
  bool enabled() const { return effective_status == Status::kOkay; }

  // The name without its unit address: "gpu".
  std::string_view base_name() const { return name.substr(0, name.find('@')); }
};

class Tree {
 public:
  Tree(Tree&&) = default;
  Tree& operator=(Tree&&) = default;
  Tree(const Tree&) = delete;  // a copy's views would point into the original
  Tree& operator=(const Tree&) = delete;

  // All nodes, parents before children, siblings in bytewise order of name.
  // nodes()[0] is the root. Never empty.
  std::span<const Node> nodes() const { return nodes_; }
  const Node& root() const { return nodes_.front(); }

  // "/" for the root, else "/soc/gpu@0". REQUIRES: node is of this tree.
  std::string Path(const Node& node) const;

  // The node at that absolute path, or nullptr.
  const Node* Find(std::string_view path) const;

  // What was kept of the node's properties, in bytewise order of name.
  std::span<const Property> Properties(const Node& node) const;
  std::optional<Property> FindProperty(const Node& node, std::string_view name) const;

  // The node's compatible list, most specific first; empty if it has none.
  // kMalformed with the node's path if the property is no string list.
  Result<std::vector<std::string_view>> Compatible(const Node& node) const;

  // The same nodes with the same kept properties.
  friend bool operator==(const Tree& a, const Tree& b);

 private:
  friend class TreeBuilder;
  Tree() = default;

  std::vector<char> bytes_;  // what every view below points into; never grows again
  std::vector<Node> nodes_;
  std::vector<Property> properties_;
};

// How a reader makes a Tree: begin a node, add its properties, begin and end its
// children, end it. Siblings may come in any order. Enforces the bounds above.
//
// Siblings of one name are told apart as Linux does it (drivers/of/kobj.c,
// safe_name): the first keeps its name, the next become "name#1", "name#2".
// Of properties of one name, the first counts, as in of_find_property.
class TreeBuilder {
 public:
  TreeBuilder();

  // The first BeginNode makes the root, whose name is ignored. kMalformed when a
  // bound is passed or the name is empty, ".", "..", or holds '/'.
  // REQUIRES: the root has not been ended.
  std::optional<Error> BeginNode(std::string_view name);
  // Adds a property to the node begun last. The caller asks KeepsProperty first.
  std::optional<Error> AddProperty(std::string_view name, std::string_view bytes);
  void EndNode();
  // Forgets the node begun last and all below it: it vanished while it was read.
  void DropNode();

  // The path of the node begun last, for messages.
  std::string CurrentPath() const;
  // Whether the node begun last is /aliases.
  bool InAliases() const;
  std::size_t depth() const { return open_.size(); }

  // REQUIRES: the root was begun and ended, once.
  Tree Build() &&;

 private:
  struct RawNode {
    std::size_t name, name_size;  // offset and size in bytes_
    std::size_t path_size;
    std::uint32_t parent;
    std::uint32_t first_property, property_end;  // in raw_properties_
  };
  struct RawProperty {
    std::size_t name, name_size;
    std::size_t value, value_size;
  };
  // Counts against kMaxTreeBytes and kMaxStrings.
  std::optional<Error> Charge(std::size_t bytes, std::size_t strings);
  std::size_t Append(std::string_view bytes);
  std::string_view Name(std::uint32_t node) const {
    return std::string_view(bytes_.data() + nodes_[node].name, nodes_[node].name_size);
  }

  // Gives each of the siblings `children` (sorted by name) a name of its own.
  void RenameDuplicates(std::span<std::uint32_t> children);

  std::vector<char> bytes_;
  std::vector<RawNode> nodes_;
  std::vector<RawProperty> properties_;
  std::vector<std::uint32_t> open_;  // indices of the nodes begun and not ended
  std::size_t charged_bytes_ = 0;    // also for what was dropped
  std::size_t charged_strings_ = 0;
};

}  // namespace dt

#endif  // DT_TREE_H_
