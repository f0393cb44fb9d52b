#include "exporter/collectors/usb.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/test_support/host_tree.h"
#include "tests/test_support/temporary_directory.h"

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A root hub, a hub at its port 1, a Coral at port 2 of that, and a keyboard.
constexpr const char* kHost =
    "devices/pci0000:00/0000:00:14.0/usb1/\n"
    "  idVendor = 1d6b\n"
    "  idProduct = 0002\n"
    "  driver -> ../../../../bus/usb/drivers/usb\n"
    "  1-0:1.0/driver -> ../../../../../bus/usb/drivers/hub\n"
    "  1-1/idVendor = 05e3\n"
    "  1-1/idProduct = 0608\n"
    "  1-1/driver -> ../../../../../bus/usb/drivers/usb\n"
    "  1-1/1-1:1.0/driver -> ../../../../../../bus/usb/drivers/hub\n"
    "  1-1/1-1.2/idVendor = 1a6e\n"
    "  1-1/1-1.2/idProduct = 089a\n"
    "  1-1/1-1.2/driver -> ../../../../../../bus/usb/drivers/usb\n"
    "  1-1/1-1.2/1-1.2:1.0/bInterfaceClass = fe\n"
    "  1-10/idVendor = 0627\n"
    "  1-10/idProduct = 0001\n"
    "  1-10/driver -> ../../../../../bus/usb/drivers/usb\n"
    "  1-10/1-10:1.0/bInterfaceClass = 03\n"
    "  1-10/1-10:1.1/driver -> ../../../../../../bus/usb/drivers/usbhid\n"
    "bus/usb/devices/usb1 -> ../../../devices/pci0000:00/0000:00:14.0/usb1\n"
    "bus/usb/devices/1-0:1.0 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-0:1.0\n"
    "bus/usb/devices/1-1 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-1\n"
    "bus/usb/devices/1-1:1.0 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0\n"
    "bus/usb/devices/1-1.2 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2\n"
    "bus/usb/devices/1-1.2:1.0 -> "
    "../../../devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2/1-1.2:1.0\n"
    "bus/usb/devices/1-10 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-10\n"
    "bus/usb/devices/1-10:1.0 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-10/1-10:1.0\n"
    "bus/usb/devices/1-10:1.1 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-10/1-10:1.1\n";

constexpr const char* kCoral = "sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2/";

class UsbTest : public testing::Test {
 protected:
  void Host(const std::string& text) const {
    test_support::ExpandHostTreeText(text, directory_ / "sys");
  }
  void Collect() {
    report_ = CollectorReport{};
    error_ = CollectUsb({.paths = {.sysfs = directory_ / "sys"}}, &inventory_, &report_);
  }
  const UsbDevice* Find(const std::string& address) const {
    for (const UsbDevice& device : inventory_.usb) {
      if (device.address == address) return &device;
    }
    return nullptr;
  }

  test_support::TemporaryDirectory directory_;
  Inventory inventory_;
  CollectorReport report_;
  std::optional<dt::Error> error_;
};

TEST_F(UsbTest, AHostWithoutUsbIsNoFailure) {
  Collect();
  EXPECT_EQ(error_, std::nullopt);
  EXPECT_THAT(inventory_.usb, IsEmpty());
  EXPECT_THAT(report_.problems, IsEmpty());
}

TEST_F(UsbTest, ABusThatCannotBeReadIsAFailureAndKeepsWhatWasRead) {
  Host("bus/usb/devices = a file\n");
  inventory_.usb = {{.address = "1-1"}};
  Collect();
  ASSERT_NE(error_, std::nullopt);
  EXPECT_EQ(error_->code, dt::ErrorCode::kMalformed);
  EXPECT_THAT(inventory_.usb, SizeIs(1));
}

TEST_F(UsbTest, DevicesAndHubsAndRootHubsAreDevicesAndInterfacesAreNot) {
  Host(kHost);
  Collect();
  EXPECT_EQ(error_, std::nullopt);
  std::vector<std::string> addresses;
  for (const UsbDevice& device : inventory_.usb) addresses.push_back(device.address);
  EXPECT_THAT(addresses, ElementsAre("1-1", "1-1.2", "1-10", "usb1"));
  EXPECT_EQ(report_.skipped_devices, 0U);
  EXPECT_THAT(report_.problems, IsEmpty());
}

TEST_F(UsbTest, ADeviceHasWhatItsFilesSay) {
  Host(kHost);
  Collect();
  const UsbDevice* coral = Find("1-1.2");
  ASSERT_NE(coral, nullptr);
  EXPECT_EQ(coral->vendor_id, 0x1a6eU);
  EXPECT_EQ(coral->product_id, 0x089aU);
  EXPECT_EQ(coral->device, "devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2");
}

TEST_F(UsbTest, TheDriverIsOfTheFirstInterfaceThatHasOneElseOfTheDevice) {
  Host(kHost);
  Collect();
  ASSERT_NE(Find("1-1"), nullptr);
  EXPECT_EQ(Find("1-1")->driver, "hub");
  ASSERT_NE(Find("1-1.2"), nullptr);
  EXPECT_EQ(Find("1-1.2")->driver, "usb");  // no interface has one: user space may use it
  ASSERT_NE(Find("1-10"), nullptr);
  EXPECT_EQ(Find("1-10")->driver, "usbhid");
}

// It stands there while a program has the interface open: a Coral at work must not flap.
TEST_F(UsbTest, UsbfsIsNoDriver) {
  Host(kHost);
  Host(
      "devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2/1-1.2:1.0/driver -> "
      "../../../../../../../bus/usb/drivers/usbfs\n");
  Collect();
  ASSERT_NE(Find("1-1.2"), nullptr);
  EXPECT_EQ(Find("1-1.2")->driver, "usb");
}

TEST_F(UsbTest, ADeviceThatIsNotAuthorisedHasNoDriver) {
  Host(kHost);
  std::filesystem::remove(directory_ / (std::string(kCoral) + "driver"));
  Collect();
  ASSERT_NE(Find("1-1.2"), nullptr);
  EXPECT_EQ(Find("1-1.2")->driver, std::nullopt);
}

TEST_F(UsbTest, ADeviceWithoutAnIdIsSkippedCountedAndNamedAndOthersStay) {
  Host(kHost);
  std::filesystem::remove(directory_ / (std::string(kCoral) + "idProduct"));
  Collect();
  EXPECT_EQ(error_, std::nullopt);
  EXPECT_EQ(Find("1-1.2"), nullptr);
  EXPECT_THAT(inventory_.usb, SizeIs(3));
  EXPECT_EQ(report_.skipped_devices, 1U);
  EXPECT_THAT(report_.problems,
              ElementsAre((directory_ / "sys/bus/usb/devices/1-1.2/idProduct").string() +
                          ": No such file or directory"));
}

TEST_F(UsbTest, ADeviceThatCannotBeReadAnyMoreKeepsItsLastGoodFacts) {
  Host(kHost);
  Collect();
  const auto file = directory_ / (std::string(kCoral) + "idVendor");
  std::filesystem::remove(file);
  std::filesystem::create_directory(file);  // EISDIR
  Collect();
  ASSERT_NE(Find("1-1.2"), nullptr);
  EXPECT_EQ(Find("1-1.2")->vendor_id, 0x1a6eU);
  EXPECT_EQ(report_.skipped_devices, 1U);
  EXPECT_THAT(report_.problems,
              ElementsAre((directory_ / "sys/bus/usb/devices/1-1.2/idVendor").string() +
                          ": Is a directory"));
}

TEST_F(UsbTest, ADeviceThatIsUnpluggedIsGoneAndNoProblem) {
  Host(kHost);
  Collect();
  std::filesystem::remove_all(directory_ / kCoral);
  Collect();
  EXPECT_EQ(Find("1-1.2"), nullptr);
  EXPECT_THAT(inventory_.usb, SizeIs(3));
  EXPECT_EQ(report_.skipped_devices, 0U);
}

TEST_F(UsbTest, ADeviceWhoseDirectoryCannotBeOpenedKeepsItsLastGoodFacts) {
  Host(kHost);
  Collect();
  const auto link = directory_ / "sys/bus/usb/devices/1-1.2";
  std::filesystem::remove(link);
  std::filesystem::create_symlink("1-1.2", link);  // ELOOP: no word that it is gone
  Collect();
  EXPECT_NE(Find("1-1.2"), nullptr);
  EXPECT_EQ(report_.skipped_devices, 1U);
}

TEST_F(UsbTest, AnIdThatChangesIsTheNewOneAtTheSamePort) {
  Host(kHost);
  Collect();
  Host(
      "devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2/\n"
      "  idVendor = 18d1\n"
      "  idProduct = 9302\n");
  Collect();
  ASSERT_NE(Find("1-1.2"), nullptr);
  EXPECT_EQ(Find("1-1.2")->vendor_id, 0x18d1U);
  EXPECT_EQ(Find("1-1.2")->product_id, 0x9302U);
}

TEST_F(UsbTest, IdsThatAreNoneAreAProblem) {
  for (const char* text : {"", "g", "1a6e0", "-1"}) {
    Host(kHost);
    Host("devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.2/idVendor = " + std::string(text) + "\n");
    Collect();
    EXPECT_EQ(Find("1-1.2"), nullptr) << text;
    EXPECT_EQ(report_.skipped_devices, 1U) << text;
    std::filesystem::remove_all(directory_ / "sys");
    inventory_.usb.clear();
  }
}

}  // namespace
}  // namespace exporter
