// Whatever a server writes into a watch's stream, line by line, or instead of it: an
// event that says that the Node has changed shows one that can be acted on, no other
// shows one, and what a refusal says is short.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "exporter/sinks/kubernetes/api_messages.h"
#include "tests/fuzz/properties.h"

namespace {

using exporter::WatchEvent;
using Json = nlohmann::json;

void RequireGood(const WatchEvent& event, const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  fuzz::Require(json.is_object() && json["type"].is_string(), "an event has a type", line);
  const bool changed = event.type == WatchEvent::Type::kChanged;
  fuzz::Require(changed == (json["type"] == "ADDED" || json["type"] == "MODIFIED"),
                "an event is of the type that it says", line);
  fuzz::Require(changed == event.node.has_value(), "a Node comes with a change alone", line);
  fuzz::Require(event.message.empty() || event.type == WatchEvent::Type::kError,
                "words come with an error alone", line);
  if (!event.node) return;
  const exporter::NodeMetadata& node = *event.node;
  fuzz::Require(!node.name.empty() && !node.uid.empty() && !node.resource_version.empty(),
                "a Node has name, uid and version", line);
  fuzz::Require(node == exporter::ParseNode(json["object"].dump()),
                "a Node is the same in an event and in an answer", line);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  while (!text.empty()) {
    const std::string line(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (const std::optional<WatchEvent> event = exporter::ParseWatchEvent(line)) {
      RequireGood(*event, line);
    }
    const exporter::ApiStatus status = exporter::ParseStatus(line);
    fuzz::Require(status.message.size() <= 300, "a refusal's words are short", line);
    for (const exporter::FieldConflict& conflict : status.conflicts) {
      fuzz::Require(!conflict.manager.empty(), "a manager has a name", line);
    }
  }
  return 0;
}
