#include "dt/fingerprint.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace dt {
namespace {

// Parameters: https://datatracker.ietf.org/doc/html/draft-eastlake-fnv, section 5.
constexpr std::uint64_t kOffsetBasis = 0xcbf29ce484222325;
constexpr std::uint64_t kPrime = 0x100000001b3;

constexpr std::array<std::string_view, 7> kFilledByFirmware = {
    "__fixups__", "__local_fixups__", "__symbols__",    "aliases",
    "chosen",     "memory",           "reserved-memory"};

std::string_view StatusWord(const Tree& tree, const Node& node) {
  if (node.own_status == Status::kOkay) return "okay";
  std::string_view bytes = tree.FindProperty(node, "status")->bytes;
  if (bytes.ends_with('\0')) bytes.remove_suffix(1);
  return bytes;
}

}  // namespace

std::uint64_t Fingerprint(const Tree& tree) {
  std::uint64_t hash = kOffsetBasis;
  const auto add = [&](std::string_view bytes) {
    for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * kPrime;
  };
  const std::span<const Node> nodes = tree.nodes();
  for (std::size_t i = 0; i < nodes.size();) {
    const Node& node = nodes[i];
    const bool at_top = i != 0 && node.parent == 0;
    if (at_top &&
        std::ranges::find(kFilledByFirmware, node.base_name()) != kFilledByFirmware.end()) {
      i = node.subtree_end;
      continue;
    }
    add(tree.Path(node));
    add(std::string_view("\0", 1));
    add(StatusWord(tree, node));
    add(std::string_view("\0", 1));
    if (const auto compatible = tree.FindProperty(node, "compatible")) add(compatible->bytes);
    add("\x01");
    ++i;
  }
  return hash;
}

}  // namespace dt
