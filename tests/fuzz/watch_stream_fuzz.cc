// Whatever a server writes into a watch's stream: no crash, and an event that says that
// the Node has changed shows one that can be acted on.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "exporter/sinks/kubernetes/api_messages.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using exporter::WatchEvent;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::optional<WatchEvent> event = exporter::ParseWatchEvent(line);
    if (!event) continue;
    if ((event->type == WatchEvent::Type::kChanged) != event->node.has_value()) std::abort();
    if (!event->node) continue;
    const exporter::NodeMetadata& node = *event->node;
    if (node.name.empty() || node.uid.empty() || node.resource_version.empty()) std::abort();
    const auto body = exporter::AdoptionBody(node, "beta.devicetree.org", {});
    if (body && body->find("\"uid\":") == std::string::npos) std::abort();
  }
  return 0;
}
