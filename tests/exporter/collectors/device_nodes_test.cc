#include "exporter/collectors/device_nodes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/test_support/host_tree.h"
#include "tests/test_support/temporary_directory.h"
#include "tests/test_support/tree.h"

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A GPU on the platform bus, an FPGA on SPI, a UART on AMBA, and a device without a node.
constexpr const char* kDevices =
    "devices/platform/soc/1.gpu/\n"
    "  of_node -> ../../../../firmware/devicetree/base/soc/gpu@1\n"
    "  driver -> ../../../../bus/platform/drivers/panfrost\n"
    "devices/platform/soc/2.spi/spi_master/spi0/spi0.0/\n"
    "  of_node -> ../../../../../../../firmware/devicetree/base/soc/spi@2/fpga@0\n"
    "  driver -> ../../../../../../../bus/spi/drivers/ice40spi\n"
    "devices/platform/soc/3.uart/\n"
    "  of_node -> ../../../../firmware/devicetree/base/soc/uart@3\n"
    "devices/platform/rknn/uevent = MODALIAS=platform:rknn\n"
    "bus/platform/devices/1.gpu -> ../../../devices/platform/soc/1.gpu\n"
    "bus/platform/devices/rknn -> ../../../devices/platform/rknn\n"
    "bus/spi/devices/spi0.0 -> ../../../devices/platform/soc/2.spi/spi_master/spi0/spi0.0\n"
    "bus/amba/devices/3.uart -> ../../../devices/platform/soc/3.uart\n"
    "bus/odd/drivers/\n";

constexpr const char* kClasses =
    "devices/platform/soc/1.gpu/\n"
    "  drm/renderD128/uevent = MAJOR=226\\nMINOR=128\\nDEVNAME=dri/renderD128\\nDEVTYPE=drm_minor\n"
    "  drm/card0/uevent = MAJOR=226\\nMINOR=0\\nDEVNAME=dri/card0\n"
    "class/drm/renderD128 -> ../../devices/platform/soc/1.gpu/drm/renderD128\n"
    "class/drm/card0 -> ../../devices/platform/soc/1.gpu/drm/card0\n"
    "class/drm/version = drm 1.1.0 20060810\n"
    "devices/virtual/misc/fastrpc-cdsp/uevent = DEVNAME=fastrpc-cdsp\n"
    "class/misc/fastrpc-cdsp -> ../../devices/virtual/misc/fastrpc-cdsp\n";

class DeviceNodesTest : public testing::Test {
 protected:
  DeviceNodesTest() : inventory_(test_support::MakeInventory({.compatible = {"a,b"}})) {
    inventory_.devicetree_is_live = true;
  }

  void Host(const std::string& text) const {
    test_support::ExpandHostTreeText(text, directory_ / "sys");
  }
  void Collect(std::vector<std::string> classes = {}, const std::string& dev = "") {
    report_ = CollectorReport{};
    error_ = CollectDeviceNodes({.paths = {.sysfs = directory_ / "sys", .dev = dev},
                                 .interface_classes = std::move(classes)},
                                &inventory_, &report_);
  }
  const ClassDevice* Find(const std::string& name) const {
    for (const ClassDevice& device : inventory_.class_devices) {
      if (device.name == name) return &device;
    }
    return nullptr;
  }
  std::vector<std::string> Shown() const {
    std::vector<std::string> shown;
    for (const DevicetreeDevice& device : inventory_.devicetree_devices) {
      shown.push_back(device.path + " " + device.device + " " + device.driver.value_or("-"));
    }
    return shown;
  }

  test_support::TemporaryDirectory directory_;
  Inventory inventory_;
  CollectorReport report_;
  std::optional<dt::Error> error_;
};

TEST_F(DeviceNodesTest, AHostWithoutSysfsIsNoFailure) {
  Collect({"drm"});
  EXPECT_EQ(error_, std::nullopt);
  EXPECT_THAT(inventory_.devicetree_devices, IsEmpty());
  EXPECT_THAT(inventory_.class_devices, IsEmpty());
}

TEST_F(DeviceNodesTest, DevicesThatStandForANodeAreFoundOnEveryBus) {
  Host(kDevices);
  Collect();
  EXPECT_EQ(error_, std::nullopt);
  EXPECT_THAT(Shown(), ElementsAre("/soc/gpu@1 devices/platform/soc/1.gpu panfrost",
                                   "/soc/spi@2/fpga@0 "
                                   "devices/platform/soc/2.spi/spi_master/spi0/spi0.0 ice40spi",
                                   "/soc/uart@3 devices/platform/soc/3.uart -"));
}

TEST_F(DeviceNodesTest, ADeviceOfTheRootNodeIsAtSlash) {
  Host(
      "devices/platform/board/of_node -> ../../../firmware/devicetree/base\n"
      "bus/platform/devices/board -> ../../../devices/platform/board\n");
  Collect();
  EXPECT_THAT(Shown(), ElementsAre("/ devices/platform/board -"));
}

TEST_F(DeviceNodesTest, WithoutALiveDevicetreeNoDeviceStandsForANode) {
  Host(kDevices);
  inventory_.devicetree_is_live = false;
  Collect();
  EXPECT_THAT(inventory_.devicetree_devices, IsEmpty());
  inventory_.devicetree_is_live = true;
  inventory_.devicetree = nullptr;
  Collect();
  EXPECT_THAT(inventory_.devicetree_devices, IsEmpty());
}

TEST_F(DeviceNodesTest, ABusThatCannotBeReadIsAFailureAndKeepsWhatWasRead) {
  Host(kDevices);
  Host(kClasses);
  Collect({"drm"});
  Host("bus/usb/devices = a file\n");
  Collect({"drm"});
  ASSERT_NE(error_, std::nullopt);
  EXPECT_EQ(error_->code, dt::ErrorCode::kMalformed);
  EXPECT_THAT(inventory_.devicetree_devices, SizeIs(3));
  EXPECT_THAT(inventory_.class_devices, SizeIs(2));
}

TEST_F(DeviceNodesTest, DevicesThatAreGoneAreGone) {
  Host(kDevices);
  Collect();
  std::filesystem::remove(directory_ / "sys/bus/spi/devices/spi0.0");
  Collect();
  EXPECT_THAT(inventory_.devicetree_devices, SizeIs(2));
}

TEST_F(DeviceNodesTest, ClassDevicesHaveTheDirectoriesAboveThemWithTheirDrivers) {
  Host(kClasses);
  Host("devices/platform/soc/1.gpu/driver -> ../../../../bus/platform/drivers/panfrost\n");
  Collect({"drm"});
  EXPECT_EQ(error_, std::nullopt);
  const ClassDevice* render = Find("renderD128");
  ASSERT_NE(render, nullptr);
  EXPECT_EQ(render->class_name, "drm");
  EXPECT_EQ(render->device, "devices/platform/soc/1.gpu/drm/renderD128");
  std::vector<std::string> parents;
  for (const ClassDevice::Parent& parent : render->parents) {
    parents.push_back(parent.name + " " + parent.driver.value_or("-"));
  }
  EXPECT_THAT(parents, ElementsAre("drm -", "1.gpu panfrost", "soc -", "platform -"));
}

TEST_F(DeviceNodesTest, FilesOfAClassAreNoDevices) {
  Host(kClasses);
  Collect({"drm"});
  EXPECT_EQ(Find("version"), nullptr);
  EXPECT_EQ(report_.skipped_devices, 0U);
  EXPECT_THAT(report_.problems, IsEmpty());
}

TEST_F(DeviceNodesTest, OnlyTheClassesThatWereNamedAreRead) {
  Host(kClasses);
  Collect({"misc", "none"});
  ASSERT_THAT(inventory_.class_devices, SizeIs(1));
  EXPECT_EQ(inventory_.class_devices[0].name, "fastrpc-cdsp");
  EXPECT_EQ(inventory_.class_devices[0].device, "devices/virtual/misc/fastrpc-cdsp");
}

TEST_F(DeviceNodesTest, ClassDevicesComeByClassThenName) {
  Host(kClasses);
  Collect({"drm", "misc"});
  std::vector<std::string> names;
  for (const ClassDevice& device : inventory_.class_devices) names.push_back(device.name);
  EXPECT_THAT(names, ElementsAre("card0", "renderD128", "fastrpc-cdsp"));
}

TEST_F(DeviceNodesTest, ClassDevicesAreReadWithoutADevicetree) {
  Host(kClasses);
  inventory_ = Inventory{};
  Collect({"drm"});
  EXPECT_THAT(inventory_.class_devices, SizeIs(2));
}

TEST_F(DeviceNodesTest, WithoutPathDevNoDeviceNodeIsLookedFor) {
  Host(kClasses);
  Collect({"drm"});
  ASSERT_NE(Find("card0"), nullptr);
  EXPECT_EQ(Find("card0")->has_device_node, std::nullopt);
}

TEST_F(DeviceNodesTest, WithPathDevTheDeviceNodeOfDevnameMustBeThere) {
  Host(kClasses);
  directory_.Write("dev/dri/renderD128", "");
  Collect({"drm"}, directory_ / "dev");
  ASSERT_NE(Find("renderD128"), nullptr);
  EXPECT_EQ(Find("renderD128")->has_device_node, true);
  ASSERT_NE(Find("card0"), nullptr);
  EXPECT_EQ(Find("card0")->has_device_node, false);
}

TEST_F(DeviceNodesTest, AClassDeviceWithoutADevnameHasNoDeviceNodeToLookFor) {
  Host(
      "devices/platform/x/fpga_manager/fpga0/uevent = \\c\n"
      "devices/platform/x/fpga_manager/fpga1/uevent = XDEVNAME=a\\nOTHER=DEVNAME=b\n"
      "class/fpga_manager/fpga0 -> ../../devices/platform/x/fpga_manager/fpga0\n"
      "class/fpga_manager/fpga1 -> ../../devices/platform/x/fpga_manager/fpga1\n");
  Collect({"fpga_manager"}, directory_ / "dev");
  for (const char* name : {"fpga0", "fpga1"}) {
    ASSERT_NE(Find(name), nullptr);
    EXPECT_EQ(Find(name)->has_device_node, std::nullopt) << name;
  }
}

TEST_F(DeviceNodesTest, ANameWithASlashHasAnExclamationMarkInSysfs) {
  Host(
      "devices/x/tenstorrent/tenstorrent!0/uevent = DEVNAME=tenstorrent/0\n"
      "class/tenstorrent/tenstorrent!0 -> ../../devices/x/tenstorrent/tenstorrent!0\n");
  directory_.Write("dev/tenstorrent/0", "");
  Collect({"tenstorrent"}, directory_ / "dev");
  ASSERT_NE(Find("tenstorrent!0"), nullptr);
  EXPECT_EQ(Find("tenstorrent!0")->has_device_node, true);
}

TEST_F(DeviceNodesTest, AClassDeviceThatIsUnpluggedWhileItIsReadIsNoProblem) {
  Host(kClasses);
  std::filesystem::remove_all(directory_ / "sys/devices/platform/soc/1.gpu/drm/card0");
  Collect({"drm"});
  EXPECT_EQ(error_, std::nullopt);
  EXPECT_EQ(Find("card0"), nullptr);
  EXPECT_NE(Find("renderD128"), nullptr);
  EXPECT_EQ(report_.skipped_devices, 0U);
}

// collector.h: a device that cannot be read keeps its last good facts and is named.
TEST_F(DeviceNodesTest, AClassDeviceThatCannotBeReadAnyMoreKeepsItsLastGoodFacts) {
  Host(kClasses);
  Collect({"drm"});
  const auto link = directory_ / "sys/class/drm/renderD128";
  std::filesystem::remove(link);
  std::filesystem::create_symlink("renderD128", link);  // ELOOP: no word that it is gone
  Collect({"drm"});
  EXPECT_NE(Find("renderD128"), nullptr);
  EXPECT_EQ(report_.skipped_devices, 1U);
  EXPECT_THAT(report_.problems, ElementsAre((directory_ / "sys/class/drm/renderD128").string() +
                                            ": Too many levels of symbolic links"));
}

}  // namespace
}  // namespace exporter
