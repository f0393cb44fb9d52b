#include "exporter/projections/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
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

TEST(RefreshMetrics, SayHowOftenTheHardwareIsReadWhereTheKernelTellsNothing) {
  EXPECT_EQ(ToRefreshMetrics(std::chrono::milliseconds(500)),
            "# HELP devicetree_refresh_interval_seconds How often the hardware is read, since the "
            "kernel's events cannot be had.\n"
            "# TYPE devicetree_refresh_interval_seconds gauge\n"
            "devicetree_refresh_interval_seconds 0.5\n");
  EXPECT_EQ(ToRefreshMetrics(std::nullopt), "");
}

TEST(LabelSinkMetrics, SayHowTheLabelsFareOnTheNode) {
  SinkReport report;
  report.applies = 7;
  report.failures[static_cast<std::size_t>(ApplyFailure::kForbidden)] = 2;
  report.failures[static_cast<std::size_t>(ApplyFailure::kTimeout)] = 3;
  report.conflicts = {{"kubectl-label", 4}, {"a\"\n", 1}};
  report.repairs = 5;
  report.last_success = 1.5;
  report.labels = {{"beta.devicetree.org/b", true}, {"beta.devicetree.org/a", false}};
  report.yielded = 1;
  EXPECT_EQ(
      ToLabelSinkMetrics(report),
      "# HELP devicetree_node_label_applied Whether the API server was last seen to hold the label "
      "with the wanted value.\n"
      "# TYPE devicetree_node_label_applied gauge\n"
      "devicetree_node_label_applied{key=\"beta.devicetree.org/b\"} 1\n"
      "devicetree_node_label_applied{key=\"beta.devicetree.org/a\"} 0\n"
      "# HELP devicetree_node_labels_yielded Number of labels that are left as others set them.\n"
      "# TYPE devicetree_node_labels_yielded gauge\n"
      "devicetree_node_labels_yielded 1\n"
      "# HELP devicetree_label_applies_total Total applies of the node labels that the API server "
      "took.\n"
      "# TYPE devicetree_label_applies_total counter\n"
      "devicetree_label_applies_total 7\n"
      "# HELP devicetree_label_apply_failures_total Total attempts to read or apply the node "
      "labels that failed, by reason.\n"
      "# TYPE devicetree_label_apply_failures_total counter\n"
      "devicetree_label_apply_failures_total{reason=\"conflict\"} 0\n"
      "devicetree_label_apply_failures_total{reason=\"credentials\"} 0\n"
      "devicetree_label_apply_failures_total{reason=\"dns\"} 0\n"
      "devicetree_label_apply_failures_total{reason=\"forbidden\"} 2\n"
      "devicetree_label_apply_failures_total{reason=\"invalid\"} 0\n"
      "devicetree_label_apply_failures_total{reason=\"network\"} 0\n"
      "devicetree_label_apply_failures_total{reason=\"not_found\"} 0\n"
      "devicetree_label_apply_failures_total{reason=\"server_error\"} 0\n"
      "devicetree_label_apply_failures_total{reason=\"throttled\"} 0\n"
      "devicetree_label_apply_failures_total{reason=\"timeout\"} 3\n"
      "devicetree_label_apply_failures_total{reason=\"tls\"} 0\n"
      "devicetree_label_apply_failures_total{reason=\"unauthorized\"} 0\n"
      "# HELP devicetree_label_conflicts_total Total node labels that another field manager held "
      "with another value, by manager.\n"
      "# TYPE devicetree_label_conflicts_total counter\n"
      "devicetree_label_conflicts_total{manager=\"a\\\"\\\\x0a\"} 1\n"
      "devicetree_label_conflicts_total{manager=\"kubectl-label\"} 4\n"
      "# HELP devicetree_label_drift_repairs_total Total node labels set right after others had "
      "changed them.\n"
      "# TYPE devicetree_label_drift_repairs_total counter\n"
      "devicetree_label_drift_repairs_total 5\n"
      "# HELP devicetree_label_last_success_timestamp_seconds When the API server was last seen to "
      "hold the node labels.\n"
      "# TYPE devicetree_label_last_success_timestamp_seconds gauge\n"
      "devicetree_label_last_success_timestamp_seconds 1.5\n");
}

TEST(LabelSinkMetrics, BeginWithAllCountersAtZeroAndNoSuccess) {
  const std::string text = ToLabelSinkMetrics({});
  EXPECT_THAT(text, HasSubstr("\ndevicetree_label_applies_total 0\n"));
  EXPECT_THAT(text, HasSubstr("\ndevicetree_label_drift_repairs_total 0\n"));
  EXPECT_THAT(text, HasSubstr("\ndevicetree_node_labels_yielded 0\n"));
  EXPECT_EQ(Count(text, "\ndevicetree_label_apply_failures_total{reason="), kApplyFailures.size());
  EXPECT_EQ(Count(text, "devicetree_node_label_applied{"), 0U);
  EXPECT_EQ(Count(text, "devicetree_label_last_success_timestamp_seconds "), 0U);
}

TEST(ProcessMetrics, LeaveOutWhatTheKernelDoesNotTell) {
  ProcessStats stats;
  stats.cpu_seconds = 0.25;
  EXPECT_EQ(ToProcessMetrics(stats),
            "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n"
            "# TYPE process_cpu_seconds_total counter\n"
            "process_cpu_seconds_total 0.25\n");
  stats = {};
  stats.open_fds = 7;
  EXPECT_EQ(ToProcessMetrics(stats),
            "# HELP process_open_fds Number of open file descriptors.\n"
            "# TYPE process_open_fds gauge\n"
            "process_open_fds 7\n");
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
