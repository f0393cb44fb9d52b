#include "exporter/snapshot.h"

#include <array>
#include <ctime>

#include "exporter/printable.h"
#include "exporter/read_file.h"

namespace exporter {

std::string ToSnapshot(const HostRecord& record, const SnapshotOrigin& origin) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(origin.read_at);
  std::tm utc{};
  std::array<char, 32> date{};
  gmtime_r(&seconds, &utc);
  std::strftime(date.data(), date.size(), "%Y-%m-%d", &utc);
  std::string text = "# A machine's hardware";
  if (!origin.kernel.empty()) text += " under Linux " + origin.kernel;
  text += ", as " + origin.program + " read it on " + date.data();
  text +=
      ".\n"
      "# Left out: serial numbers, MAC addresses, UUIDs, boot arguments and what nobody read.\n"
      "# Read it with --path.snapshot, or as a board of tests/boards.\n";
  for (const std::string& what : record.unreadable) {
    text += "# Could not be read: " + Printable(what) + "\n";
  }
  return text + "\n" + ToText(record.tree);
}

std::string ToSummary(const Inventory& inventory, const HostRecord& record) {
  const auto count = [](std::size_t number, const std::string& what) {
    return std::to_string(number) + " " + what + (number == 1 ? "" : "s");
  };
  const std::size_t nodes = inventory.devicetree ? inventory.devicetree->nodes().size() : 0;
  const std::size_t unreadable = record.unreadable.size();
  return count(nodes, "devicetree node") + ", " + count(inventory.pci.size(), "PCI function") +
         ", " + count(inventory.usb.size(), "USB device") + ", " +
         count(inventory.class_devices.size(), "class device") +
         (unreadable == 0 ? "" : "; " + std::to_string(unreadable) + " could not be read");
}

dt::Result<HostTree> ReadSnapshot(const std::string& file) {
  std::string text;
  const std::string why = ReadFile(file, kMaxHostTextBytes, &text);
  if (!why.empty()) return dt::Error{dt::ErrorCode::kIo, file + ": " + why + "; expected a snapshot"};
  return ParseHostTree(text, file);
}

}  // namespace exporter
