#include "exporter/projections/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "tests/test_support/tree.h"

namespace exporter {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using test_support::MakeInventory;

const BuildInfo kBuild{"1.2.3", "abc", "gcc 12"};

std::string Metrics(const Inventory& inventory, const LabelRules& rules = {}) {
  return ToInventoryMetrics(inventory, ToLabels(inventory, rules), kBuild);
}

std::size_t Count(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

TEST(Metrics, SayThatAMachineHasNoDevicetree) {
  Inventory inventory;
  inventory.devicetree_known = true;
  const std::string text = Metrics(inventory);
  EXPECT_THAT(text, HasSubstr("\ndevicetree_present 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("devicetree_info")));
  EXPECT_THAT(text, Not(HasSubstr("devicetree_nodes")));
}

TEST(Metrics, TakeARootWithoutCompatibleForNoDevicetree) {
  EXPECT_THAT(Metrics(MakeInventory({})), HasSubstr("\ndevicetree_present 0\n"));
}

TEST(Metrics, SayNothingOfADevicetreeThatCouldNotBeRead) {
  EXPECT_THAT(Metrics(Inventory{}), Not(HasSubstr("devicetree_present")));
}

TEST(Metrics, LeaveOutAModelThatIsNotKnown) {
  EXPECT_THAT(Metrics(MakeInventory({.compatible = {"a,b"}})),
              HasSubstr("\ndevicetree_info{compatible=\"a,b\"} 1\n"));
}

TEST(Metrics, EscapeWhatTheFormatReservesAndShowTheRestAsHex) {
  EXPECT_THAT(Metrics(MakeInventory({.compatible = {"a,b"}, .model = "q\" b\\ n\n \xff \u2028"})),
              HasSubstr("model=\"q\\\" b\\\\ n\\\\x0a \\\\xff \u2028\""));
}

TEST(Metrics, NeverRepeatASeries) {
  // A control character, and the four characters that it is shown as.
  const std::string text = Metrics(MakeInventory(
      {.compatible = {"a,b"},
       .children = {{.name = "gpu@\x01", .compatible = {"a,g"}},
                    {.name = "gpu@\\x01", .compatible = {"a,g"}}}}),
      {.nodes = {"gpu"}});
  EXPECT_EQ(Count(text, "\ndevicetree_node_enabled{path=\"/gpu@\\\\x01\"}"), 1U) << text;
}

TEST(Metrics, HaveHelpAndTypeOnceForEachFamily) {
  const std::string text = Metrics(MakeInventory({.compatible = {"a,b", "a,c"}}));
  EXPECT_EQ(Count(text, "# HELP "), Count(text, "# TYPE "));
  EXPECT_EQ(Count(text, "# TYPE devicetree_compatible_info gauge\n"), 1U);
}

TEST(Metrics, SayHowEachCollectorFared) {
  Inventory inventory;
  inventory.read_at = std::chrono::system_clock::time_point(std::chrono::milliseconds(1500));
  inventory.collectors = {{"devicetree", true, std::chrono::milliseconds(250), 0, {}},
                          {"pci", false, std::chrono::milliseconds(500), 3, {"broken"}}};
  const std::string text = Metrics(inventory);
  EXPECT_THAT(text, HasSubstr("devicetree_collector_success{collector=\"devicetree\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("devicetree_collector_success{collector=\"pci\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("devicetree_collector_duration_seconds{collector=\"pci\"} 0.5\n"));
  EXPECT_THAT(text, HasSubstr("devicetree_collector_skipped_devices{collector=\"pci\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("\ndevicetree_snapshot_timestamp_seconds 1.5\n"));
}

TEST(ProcessMetrics, LeaveOutWhatTheKernelDoesNotTell) {
  ProcessStats stats;
  stats.cpu_seconds = 0.25;
  EXPECT_EQ(ToProcessMetrics(stats),
            "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n"
            "# TYPE process_cpu_seconds_total counter\n"
            "process_cpu_seconds_total 0.25\n");
}

TEST(ProcessMetrics, TellOfThisProcess) {
  const ProcessStats stats = ReadProcessStats();
  ASSERT_TRUE(stats.resident_memory_bytes && stats.start_time_seconds && stats.open_fds);
  EXPECT_GT(*stats.resident_memory_bytes, 100'000U);
  EXPECT_LT(*stats.resident_memory_bytes, *stats.virtual_memory_bytes);
  EXPECT_GE(*stats.open_fds, 3U);
  const double now = std::chrono::duration<double>(
                         std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_LT(*stats.start_time_seconds, now + 1);
  EXPECT_GT(*stats.start_time_seconds, now - 3600);
}

}  // namespace
}  // namespace exporter
