// The Kubernetes node labels that an Inventory stands for.
//
// Pure: the same Inventory and rules give the same labels. Writing them (to the
// Kubernetes API, to an NFD feature file, to a terminal) is a sink's business.
#ifndef EXPORTER_PROJECTIONS_LABELS_H_
#define EXPORTER_PROJECTIONS_LABELS_H_

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "exporter/inventory.h"
#include "exporter/label_set.h"

namespace exporter {

// https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
inline constexpr std::size_t kMaxLabelNameBytes = 63;
inline constexpr std::size_t kMaxLabelPrefixBytes = 253;

// The rungs of the ladder that an accelerator climbs.
enum class AcceleratorState { kDescribed, kEnabled, kBound, kReady };
inline constexpr std::string_view kAcceleratorStates[] = {"described", "enabled", "bound",
                                                          "ready"};  // by AcceleratorState

// Functions of a display that is no accelerator have this kind, and give no labels.
inline constexpr std::string_view kDisplayKind = "display";

struct LabelRules {
  std::string prefix = "beta.devicetree.org";  // REQUIRES: IsLabelPrefix(prefix)
  std::vector<std::string> nodes;              // designated nodes; patterns of dt::SelectNodes
  std::vector<std::string> include;            // globs on the name; empty: all
  std::vector<std::string> exclude;            // globs on the name
  bool include_disabled = false;               // nodes that are not enabled give labels too
  bool count_values = false;                   // value: number of matching nodes, not "1"
  AcceleratorState accelerator_state = AcceleratorState::kEnabled;  // the least that gives labels
  std::map<std::string, std::string, std::less<>> vendor_renames = {{"xlnx", "xilinx"}};

  friend bool operator==(const LabelRules&, const LabelRules&) = default;
};

// Why a compatible got no label. Its word is the `reason` of
// devicetree_node_labels_rejected.
enum class Rejection {
  kCollision,  // another compatible has this name already
  kEmpty,      // no character is left that may stand in a name
  kMalformed,  // the compatible property is no list of strings
  kTooLong,    // more than kMaxLabelNameBytes
};
inline constexpr Rejection kRejections[] = {Rejection::kCollision, Rejection::kEmpty,
                                            Rejection::kMalformed, Rejection::kTooLong};
std::string_view ToString(Rejection reason);

// A compatible that got no label, and why: it is reported, never dropped in silence.
struct RejectedLabel {
  std::string path;        // of the first node, or address of the first accelerator, that has it
  std::string compatible;  // as it stands; empty if kMalformed
  Rejection reason;
  std::string detail;  // "71 characters; at most 63 expected"
};

// One compatible of the root or of a designated node.
struct NodeCompatible {
  std::string path;
  std::string compatible;
  std::size_t position;   // 0 is the most specific
  std::string label_key;  // empty if it gives no label
};

struct DesignatedNode {
  std::string path;
  bool enabled;  // effective: its own status and every ancestor's
};

// Where a label comes from, for --explain.
struct LabelOrigin {
  std::string compatible;           // empty for the labels accelerator.*
  std::vector<std::string> places;  // devicetree paths and accelerators' addresses
};

struct LabelReport {
  LabelSet labels;
  std::vector<LabelOrigin> origins;         // one for each label, in the same order
  std::vector<RejectedLabel> rejected;      // each compatible once
  std::vector<NodeCompatible> compatibles;  // root first, then by path
  std::vector<DesignatedNode> designated;   // by path, without the root
  // The key that each accelerator's `compatible` gives, in the order of the
  // Inventory; empty if it gives none.
  std::vector<std::string> accelerator_keys;
};

// Whether Kubernetes takes `prefix` before the slash of a label key: a DNS
// subdomain (RFC 1123) of at most kMaxLabelPrefixBytes, in lower case.
bool IsLabelPrefix(std::string_view prefix);

// The name part of a key, not cut: "acme,npu-2" becomes "acme-npu-2". It may be
// empty or too long, which is for the caller to reject.
std::string LabelName(const LabelRules& rules, std::string_view compatible);

// Whether the accelerator is far enough up the ladder to give labels.
bool GivesLabels(const Accelerator& accelerator, const LabelRules& rules);

// `departed` are accelerators that are gone from the Inventory, and whose labels
// stay for a while all the same.
LabelReport ToLabels(const Inventory& inventory, const LabelRules& rules,
                     const std::vector<Accelerator>& departed = {});

}  // namespace exporter

#endif  // EXPORTER_PROJECTIONS_LABELS_H_
