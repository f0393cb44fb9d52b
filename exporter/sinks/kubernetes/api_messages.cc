#include "exporter/sinks/kubernetes/api_messages.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace exporter {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxMessageBytes = 300;
constexpr int kMaxDepth = 64;
constexpr int kMaxValues = 100'000;
constexpr std::string_view kLabelField = ".metadata.labels.";

// The value at a path of member names; null if any of them is not there.
const Json& At(const Json& json, std::initializer_list<const char*> path) {
  static const Json kNull;
  const Json* at = &json;
  for (const char* name : path) {
    if (!at->is_object()) return kNull;
    const auto found = at->find(name);
    if (found == at->end()) return kNull;
    at = &*found;
  }
  return *at;
}

std::string Text(const Json& json, std::initializer_list<const char*> path) {
  const Json& value = At(json, path);
  return value.is_string() ? value.get<std::string>() : std::string();
}

// The members of an object; none of anything else.
const Json::object_t& Members(const Json& json) {
  static const Json::object_t kNone;
  const auto* members = json.get_ptr<const Json::object_t*>();
  return members == nullptr ? kNone : *members;
}

// Discarded if it is no JSON, too deep or too much: a value takes many times its bytes.
Json Parse(std::string_view text) {
  int values = 0;
  bool bounded = true;
  const auto keep = [&](int depth, Json::parse_event_t, const Json&) {
    bounded = bounded && depth <= kMaxDepth && ++values <= kMaxValues;
    return bounded;
  };
  Json json = Json::parse(text.begin(), text.end(), keep, /*allow_exceptions=*/false);
  return bounded ? json : Json();
}

// In plain ASCII, whatever stands in it.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
}

bool IsOurApply(const Json& entry) {
  return Text(entry, {"manager"}) == kFieldManager && Text(entry, {"operation"}) == "Apply" &&
         Text(entry, {"subresource"}).empty();
}

std::optional<NodeMetadata> ToNode(const Json& json) {
  const Json& metadata = At(json, {"metadata"});
  NodeMetadata node;
  node.name = Text(metadata, {"name"});
  node.uid = Text(metadata, {"uid"});
  node.resource_version = Text(metadata, {"resourceVersion"});
  if (node.name.empty() || node.uid.empty() || node.resource_version.empty()) return std::nullopt;
  for (const auto& [key, value] : Members(At(metadata, {"labels"}))) {
    if (value.is_string()) node.labels[key] = value.get<std::string>();
  }
  const Json& managed_fields = At(metadata, {"managedFields"});
  node.managed_fields = Dump(managed_fields);
  for (const Json& entry : managed_fields) {
    auto& keys = IsOurApply(entry) ? node.owned : node.shared;
    for (const auto& [field, unused] : Members(At(entry, {"fieldsV1", "f:metadata", "f:labels"}))) {
      if (field.starts_with("f:")) keys.insert(field.substr(2));
    }
  }
  return node;
}

// `conflict with "kubectl-label" using v1`
std::string ManagerIn(const std::string& message) {
  const std::size_t begin = message.find('"');
  const std::size_t end = begin == std::string::npos ? begin : message.find('"', begin + 1);
  return end == std::string::npos ? "unknown" : message.substr(begin + 1, end - begin - 1);
}

Json Metadata(const std::string& uid) { return {{"metadata", {{"uid", uid}}}}; }

// Takes the labels under `prefix` from a managedFields entry. False if it had none.
bool TakeLabels(std::string_view prefix, const std::set<std::string, std::less<>>& yielded,
                Json* entry) {
  const Json& before = At(*entry, {"fieldsV1", "f:metadata", "f:labels"});
  Json labels = Json::object();
  for (const auto& [field, value] : Members(before)) {
    const bool ours = field.starts_with("f:" + std::string(prefix) + "/");
    if (!ours || yielded.contains(field.substr(2))) labels[field] = value;
  }
  if (labels.size() == Members(before).size()) return false;
  Json& metadata = (*entry)["fieldsV1"]["f:metadata"];
  const bool none = labels.empty() || (labels.size() == 1 && labels.contains("."));
  if (none) metadata.erase("f:labels");
  if (!none) metadata["f:labels"] = std::move(labels);
  if (metadata.empty()) (*entry)["fieldsV1"].erase("f:metadata");
  return true;
}

}  // namespace

std::optional<NodeMetadata> ParseNode(std::string_view json) { return ToNode(Parse(json)); }

ApiStatus ParseStatus(std::string_view body) {
  const Json json = Parse(body);
  ApiStatus status;
  status.message = Text(json, {"message"});
  if (status.message.empty()) status.message = body;
  if (status.message.size() > kMaxMessageBytes) status.message.resize(kMaxMessageBytes);
  for (const Json& cause : At(json, {"details", "causes"})) {
    const std::string field = Text(cause, {"field"});
    const std::string message = Text(cause, {"message"});
    if (field == "metadata.uid") status.about_uid = true;
    if (field == "metadata.labels") status.label_causes.push_back(message);
    if (Text(cause, {"reason"}) == "FieldManagerConflict" && field.starts_with(kLabelField)) {
      status.conflicts.push_back({field.substr(kLabelField.size()), ManagerIn(message)});
    }
  }
  // An apply's uid that is not the Node's is a plain Conflict without causes.
  if (Text(json, {"reason"}) == "Conflict" && At(json, {"details", "causes"}).empty()) {
    status.about_uid = true;
  }
  return status;
}

std::string ApplyBody(const std::string& node, const std::string& uid, const LabelMap& labels) {
  Json body = Metadata(uid);
  body["apiVersion"] = "v1";
  body["kind"] = "Node";
  body["metadata"]["name"] = node;
  body["metadata"]["labels"] = labels;
  return Dump(body);
}

std::string RemovalBody(const std::string& uid, const std::vector<std::string>& keys) {
  Json body = Metadata(uid);
  for (const std::string& key : keys) body["metadata"]["labels"][key] = nullptr;
  return Dump(body);
}

std::optional<std::string> AdoptionBody(const NodeMetadata& node, std::string_view prefix,
                                        const std::vector<std::string>& keys,
                                        const std::set<std::string, std::less<>>& yielded) {
  bool taken = false;
  Json managed_fields = Json::array();
  for (Json entry : Parse(node.managed_fields)) {
    if (!IsOurApply(entry)) taken |= TakeLabels(prefix, yielded, &entry);
    if (!At(entry, {"fieldsV1"}).empty()) managed_fields.push_back(std::move(entry));
  }
  if (!taken && keys.empty()) return std::nullopt;
  Json body = Metadata(node.uid);
  body["metadata"]["resourceVersion"] = node.resource_version;
  body["metadata"]["managedFields"] = std::move(managed_fields);
  for (const std::string& key : keys) body["metadata"]["labels"][key] = nullptr;
  return Dump(body);
}

std::optional<WatchEvent> ParseWatchEvent(std::string_view line) {
  const Json json = Parse(line);
  const std::string type = Text(json, {"type"});
  const Json& object = At(json, {"object"});
  if (type == "ADDED" || type == "MODIFIED") {
    std::optional<NodeMetadata> node = ToNode(object);
    if (!node) return std::nullopt;
    return WatchEvent{WatchEvent::Type::kChanged, std::move(node), ""};
  }
  if (type == "DELETED") return WatchEvent{WatchEvent::Type::kDeleted, std::nullopt, ""};
  if (type == "BOOKMARK") return WatchEvent{WatchEvent::Type::kBookmark, std::nullopt, ""};
  if (type == "ERROR") {
    return WatchEvent{WatchEvent::Type::kError, std::nullopt, Text(object, {"message"})};
  }
  return std::nullopt;
}

}  // namespace exporter
