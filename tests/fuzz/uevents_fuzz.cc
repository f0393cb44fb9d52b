// Any message, also one that is cut off, concerns hardware only if it says that a device of a
// subsystem that we watch came, went or changed its driver; and if it does, it does so with
// any other fields around it.
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "exporter/printable.h"
#include "exporter/uevents.h"
#include "tests/fuzz/properties.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string message(reinterpret_cast<const char*>(data), size);
  const std::set<std::string, std::less<>> subsystems = {"pci", "usb", "platform", "drm"};
  // With a NUL at either end each field stands between two.
  const std::string between = std::string(1, '\0') + message + '\0';
  const auto says = [&](std::string field) {
    return between.find(std::string(1, '\0') + field.append(1, '\0')) != std::string::npos;
  };
  bool action = false, subsystem = false;
  for (const char* word : {"add", "remove", "bind", "unbind"}) {
    action |= says(std::string("ACTION=") + word);
  }
  for (const std::string& word : subsystems) subsystem |= says("SUBSYSTEM=" + word);
  const bool concerns = exporter::ConcernsHardware(message, subsystems);
  fuzz::Require(!concerns || (action && subsystem), "it says so", exporter::Printable(message));
  fuzz::Require(exporter::ConcernsHardware("add@/devices/x" + between + "SEQNUM=1", subsystems) ==
                    concerns,
                "other fields change nothing", exporter::Printable(message));
  fuzz::Require(!exporter::ConcernsHardware(message, {}), "nothing is watched",
                exporter::Printable(message));
  return 0;
}
