#include "exporter/collect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/test_support/temporary_directory.h"

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CollectTest : public testing::Test {
 protected:
  // A host whose sysfs and procfs lie below directory_.
  HostPaths Host() const {
    return {.sysfs = directory_ / "sys", .procfs = directory_ / "proc", .devicetree = ""};
  }

  test_support::TemporaryDirectory directory_;
};

constexpr const char* kCompatible = "sys/firmware/devicetree/base/compatible";

TEST_F(CollectTest, AHostWithoutADevicetreeIsNoFailure) {
  const Inventory inventory = Collect(Host(), Catalogue{}, {}, nullptr);
  ASSERT_FALSE(inventory.collectors.empty());
  EXPECT_EQ(inventory.collectors[0].name, "devicetree");
  EXPECT_TRUE(inventory.collectors[0].success);
  EXPECT_TRUE(inventory.devicetree_known);
  EXPECT_EQ(inventory.devicetree, nullptr);
}

TEST_F(CollectTest, TheDevicetreeComesFromSysfs) {
  directory_.Write(kCompatible, std::string("a,b\0", 4));
  const Inventory inventory = Collect(Host(), Catalogue{}, {}, nullptr);
  ASSERT_NE(inventory.devicetree, nullptr);
  EXPECT_TRUE(HasDevicetree(inventory));
}

TEST_F(CollectTest, TheDevicetreeComesFromProcfsWhereSysfsHasNone) {
  directory_.Write("proc/device-tree/compatible", std::string("a,b\0", 4));
  EXPECT_TRUE(HasDevicetree(Collect(Host(), Catalogue{}, {}, nullptr)));
}

TEST_F(CollectTest, ADisabledCollectorDoesNotRun) {
  directory_.Write(kCompatible, std::string("a,b\0", 4));
  const Inventory inventory = Collect(Host(), Catalogue{}, {"devicetree"}, nullptr);
  EXPECT_FALSE(inventory.devicetree_known);
  for (const CollectorReport& report : inventory.collectors) EXPECT_NE(report.name, "devicetree");
}

TEST_F(CollectTest, AReadErrorKeepsTheLastGoodDevicetreeAndSaysSo) {
  directory_.Write(kCompatible, std::string("a,b\0", 4));
  const Inventory good = Collect(Host(), Catalogue{}, {}, nullptr);
  directory_.Write(kCompatible, std::string(dt::kMaxPropertyBytes + 1, 'x'));
  const Inventory bad = Collect(Host(), Catalogue{}, {}, &good);
  EXPECT_EQ(bad.devicetree, good.devicetree);
  EXPECT_FALSE(bad.collectors[0].success);
  EXPECT_THAT(bad.collectors[0].problems, ElementsAre(HasSubstr("at most 8192 expected")));
}

TEST_F(CollectTest, AfterAGoodReadTheDevicetreeMayBeGone) {
  directory_.Write(kCompatible, std::string("a,b\0", 4));
  const Inventory good = Collect(Host(), Catalogue{}, {}, nullptr);
  std::filesystem::remove_all(directory_ / "sys");
  const Inventory gone = Collect(Host(), Catalogue{}, {}, &good);
  EXPECT_TRUE(gone.collectors[0].success);
  EXPECT_EQ(gone.devicetree, nullptr);
}

TEST_F(CollectTest, ADevicetreeThatWasNamedMustBeThere) {
  HostPaths host = Host();
  host.devicetree = directory_ / "missing.dtb";
  const Inventory inventory = Collect(host, Catalogue{}, {}, nullptr);
  EXPECT_FALSE(inventory.collectors[0].success);
  EXPECT_THAT(inventory.collectors[0].problems, ElementsAre(HasSubstr("missing.dtb")));
}

}  // namespace
}  // namespace exporter
