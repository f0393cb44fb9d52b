// What goes to and fro between the label sink and the Kubernetes API server, as
// values: a Node's metadata, patches of its labels, refusals, watch events.
//
// Pure. Whatever a server sends gives a value or nothing; nothing here throws.
// Shapes: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and
// k8s.io/apimachinery/pkg/apis/meta/v1/types.go.
#ifndef EXPORTER_SINKS_KUBERNETES_API_MESSAGES_H_
#define EXPORTER_SINKS_KUBERNETES_API_MESSAGES_H_

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace exporter {

inline constexpr const char* kFieldManager = "devicetree-exporter";

using LabelMap = std::map<std::string, std::string, std::less<>>;

// metadata of a Node, the parts that matter here.
struct NodeMetadata {
  std::string name;
  std::string uid;  // of this incarnation of the Node
  std::string resource_version;
  LabelMap labels;
  std::set<std::string, std::less<>> owned;   // keys that kFieldManager holds by apply
  std::set<std::string, std::less<>> shared;  // keys that others hold, alone or with us
  std::string managed_fields;                 // JSON: who holds what

  friend bool operator==(const NodeMetadata&, const NodeMetadata&) = default;
};

// A Node or PartialObjectMetadata; nullopt if `json` is none, or has no name, uid
// or resourceVersion.
std::optional<NodeMetadata> ParseNode(std::string_view json);

// A label that another field manager holds with another value.
struct FieldConflict {
  std::string key;
  std::string manager;  // "kubectl-label"; "unknown" if the server does not say

  friend bool operator==(const FieldConflict&, const FieldConflict&) = default;
};

// A `Status`: why the server refused.
struct ApiStatus {
  std::string message;                    // its own words; empty if it gave none
  std::vector<FieldConflict> conflicts;   // causes FieldManagerConflict that concern labels
  bool about_uid = false;                 // the Node is not the one that the request meant
  std::vector<std::string> label_causes;  // what is said of metadata.labels
};

// What `body` says. A body that is no Status (a proxy's page, plain text) is the
// message, cut at 300 bytes.
ApiStatus ParseStatus(std::string_view body);

// The body of a server-side apply of exactly these labels to that Node.
std::string ApplyBody(const std::string& node, const std::string& uid, const LabelMap& labels);

// The body of a merge patch that removes labels, whoever holds them.
std::string RemovalBody(const std::string& uid, const std::vector<std::string>& keys);

// The body of a merge patch that removes the labels `keys`, and leaves those under
// `prefix` to kFieldManager's apply alone, but for `yielded`: what others hold too would
// outlive our dropping it. nullopt if nothing is to be done. The server takes it only as
// long as the Node is as it was seen. As client-go's csaupgrade does it.
std::optional<std::string> AdoptionBody(const NodeMetadata& node, std::string_view prefix,
                                        const std::vector<std::string>& keys,
                                        const std::set<std::string, std::less<>>& yielded = {});

struct WatchEvent {
  enum class Type { kChanged, kBookmark, kDeleted, kError };
  Type type;
  std::optional<NodeMetadata> node;  // of kChanged
  std::string message;               // of kError: "too old resource version"
};

// One line of a watch's stream; nullopt if it is no event.
std::optional<WatchEvent> ParseWatchEvent(std::string_view line);

}  // namespace exporter

#endif  // EXPORTER_SINKS_KUBERNETES_API_MESSAGES_H_
