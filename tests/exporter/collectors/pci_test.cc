#include "exporter/collectors/pci.h"

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

class PciTest : public testing::Test {
 protected:
  void Host(const std::string& text) const {
    test_support::ExpandHostTreeText(text, directory_ / "sys");
  }

  // A function that has what every function has.
  void Function(const std::string& address, const std::string& more = "") const {
    Host("devices/pci0000:00/" + address +
         "/\n"
         "  class = 0x030200\n"
         "  vendor = 0x10de\n"
         "  device = 0x2330\n" +
         more + "bus/pci/devices/" + address + " -> ../../../devices/pci0000:00/" + address + "\n");
  }

  // Reads the host into inventory_ once more.
  void Collect() {
    report_ = CollectorReport{};
    error_ = CollectPci({.paths = {.sysfs = directory_ / "sys"}}, &inventory_, &report_);
  }

  std::vector<std::string> Addresses() const {
    std::vector<std::string> addresses;
    for (const PciFunction& function : inventory_.pci) addresses.push_back(function.address);
    return addresses;
  }

  // A file of a function.
  std::filesystem::path File(const std::string& address, const std::string& name) const {
    return directory_ / ("sys/devices/pci0000:00/" + address + "/" + name);
  }
  void MakeUnreadable(const std::string& address, const std::string& name) const {
    std::filesystem::remove(File(address, name));
    std::filesystem::create_directory(File(address, name));  // EISDIR
  }

  test_support::TemporaryDirectory directory_;
  Inventory inventory_;
  CollectorReport report_;
  std::optional<dt::Error> error_;
};

TEST_F(PciTest, AHostWithoutPciIsNoFailure) {
  Collect();
  EXPECT_EQ(error_, std::nullopt);
  EXPECT_THAT(inventory_.pci, IsEmpty());
  EXPECT_EQ(report_.skipped_devices, 0U);
  EXPECT_THAT(report_.problems, IsEmpty());
}

TEST_F(PciTest, ABusWithoutDevicesIsNoFailure) {
  Host("bus/pci/devices/\n");
  Collect();
  EXPECT_EQ(error_, std::nullopt);
  EXPECT_THAT(inventory_.pci, IsEmpty());
}

TEST_F(PciTest, ABusThatCannotBeReadIsAFailureAndKeepsWhatWasRead) {
  Host("bus/pci/devices = a file\n");
  inventory_.pci = {{.address = "0000:01:00.0"}};
  Collect();
  ASSERT_NE(error_, std::nullopt);
  EXPECT_EQ(error_->code, dt::ErrorCode::kMalformed);
  EXPECT_EQ(error_->message, (directory_ / "sys/bus/pci/devices").string() + ": Not a directory");
  EXPECT_THAT(Addresses(), ElementsAre("0000:01:00.0"));
}

TEST_F(PciTest, AFunctionHasWhatItsFilesSay) {
  Function("0000:01:00.0",
           "  subsystem_vendor = 0x10de\n"
           "  subsystem_device = 0x16c1\n"
           "  revision = 0xa1\n"
           "  numa_node = 1\n"
           "  driver -> ../../../bus/pci/drivers/nvidia\n");
  Collect();
  EXPECT_EQ(error_, std::nullopt);
  ASSERT_THAT(inventory_.pci, SizeIs(1));
  const PciFunction& function = inventory_.pci[0];
  EXPECT_EQ(function.address, "0000:01:00.0");
  EXPECT_EQ(function.device, "devices/pci0000:00/0000:01:00.0");
  EXPECT_EQ(function.class_code, 0x030200U);
  EXPECT_EQ(function.vendor_id, 0x10deU);
  EXPECT_EQ(function.device_id, 0x2330U);
  EXPECT_EQ(function.subsystem_vendor_id, 0x10deU);
  EXPECT_EQ(function.subsystem_device_id, 0x16c1U);
  EXPECT_EQ(function.revision, 0xa1U);
  EXPECT_EQ(function.numa_node, 1);
  EXPECT_EQ(function.driver, "nvidia");
  EXPECT_FALSE(function.is_virtual_function);
}

TEST_F(PciTest, WhatAFunctionDoesNotHaveIsAbsent) {
  Function("0000:01:00.0");
  Collect();
  ASSERT_THAT(inventory_.pci, SizeIs(1));
  EXPECT_EQ(inventory_.pci[0].subsystem_vendor_id, std::nullopt);
  EXPECT_EQ(inventory_.pci[0].subsystem_device_id, std::nullopt);
  EXPECT_EQ(inventory_.pci[0].revision, std::nullopt);
  EXPECT_EQ(inventory_.pci[0].numa_node, std::nullopt);
  EXPECT_EQ(inventory_.pci[0].driver, std::nullopt);
  EXPECT_THAT(report_.problems, IsEmpty());
}

TEST_F(PciTest, NumaNodeMinusOneIsAbsent) {
  Function("0000:01:00.0", "  numa_node = -1\n");
  Collect();
  ASSERT_THAT(inventory_.pci, SizeIs(1));
  EXPECT_EQ(inventory_.pci[0].numa_node, std::nullopt);
}

TEST_F(PciTest, ANumaNodeThatNoMachineHasIsNotKnown) {
  Function("0000:01:00.0", "  numa_node = 4294967297\n");
  Collect();
  ASSERT_THAT(inventory_.pci, SizeIs(1));
  EXPECT_EQ(inventory_.pci[0].numa_node, std::nullopt);
}

TEST_F(PciTest, NumaNodeZeroIsOne) {
  Function("0000:01:00.0", "  numa_node = 0\n");
  Collect();
  ASSERT_THAT(inventory_.pci, SizeIs(1));
  EXPECT_EQ(inventory_.pci[0].numa_node, 0);
}

TEST_F(PciTest, AFunctionWithPhysfnIsVirtual) {
  Function("0000:01:00.0");
  Function("0000:01:00.4", "  physfn -> ../0000:01:00.0\n");
  Collect();
  ASSERT_THAT(inventory_.pci, SizeIs(2));
  EXPECT_FALSE(inventory_.pci[0].is_virtual_function);
  EXPECT_TRUE(inventory_.pci[1].is_virtual_function);
}

TEST_F(PciTest, FunctionsComeByAddress) {
  for (const char* address : {"0001:00:00.0", "0000:02:00.0", "0000:01:00.1", "0000:01:00.0"}) {
    Function(address);
  }
  Collect();
  EXPECT_THAT(Addresses(),
              ElementsAre("0000:01:00.0", "0000:01:00.1", "0000:02:00.0", "0001:00:00.0"));
}

TEST_F(PciTest, AFunctionWithoutAVendorIsSkippedCountedAndNamedAndOthersStay) {
  Function("0000:01:00.0");
  Function("0000:02:00.0");
  std::filesystem::remove(File("0000:01:00.0", "vendor"));
  Collect();
  EXPECT_EQ(error_, std::nullopt);
  EXPECT_THAT(Addresses(), ElementsAre("0000:02:00.0"));
  EXPECT_EQ(report_.skipped_devices, 1U);
  EXPECT_THAT(report_.problems,
              ElementsAre((directory_ / "sys/bus/pci/devices/0000:01:00.0/vendor").string() +
                          ": No such file or directory"));
}

TEST_F(PciTest, AFunctionThatCannotBeReadAnyMoreKeepsItsLastGoodFacts) {
  Function("0000:01:00.0", "  driver -> ../../../bus/pci/drivers/nvidia\n");
  Function("0000:02:00.0");
  Collect();
  MakeUnreadable("0000:01:00.0", "vendor");
  Collect();
  EXPECT_EQ(error_, std::nullopt);
  EXPECT_THAT(Addresses(), ElementsAre("0000:01:00.0", "0000:02:00.0"));
  EXPECT_EQ(inventory_.pci[0].vendor_id, 0x10deU);
  EXPECT_EQ(inventory_.pci[0].driver, "nvidia");
  EXPECT_EQ(report_.skipped_devices, 1U);
  EXPECT_THAT(report_.problems,
              ElementsAre((directory_ / "sys/bus/pci/devices/0000:01:00.0/vendor").string() +
                          ": Is a directory"));
}

TEST_F(PciTest, AnOptionalFileThatCannotBeReadIsAProblemToo) {
  for (const char* name : {"subsystem_vendor", "subsystem_device", "revision"}) {
    Function("0000:01:00.0");
    std::filesystem::create_directory(File("0000:01:00.0", name));
    Collect();
    EXPECT_EQ(report_.skipped_devices, 1U) << name;
    std::filesystem::remove_all(directory_ / "sys");
  }
}

TEST_F(PciTest, AFunctionThatIsGoneIsGone) {
  Function("0000:01:00.0");
  Function("0000:02:00.0");
  Collect();
  std::filesystem::remove_all(directory_ / "sys/bus/pci/devices/0000:01:00.0");
  Collect();
  EXPECT_THAT(Addresses(), ElementsAre("0000:02:00.0"));
  EXPECT_EQ(report_.skipped_devices, 0U);
}

TEST_F(PciTest, AFunctionThatVanishesWhileItIsReadIsGoneAndNoProblem) {
  Function("0000:01:00.0");
  Collect();
  // The link is still there, what it leads to is not.
  std::filesystem::remove_all(directory_ / "sys/devices");
  Collect();
  EXPECT_EQ(error_, std::nullopt);
  EXPECT_THAT(Addresses(), IsEmpty());
  EXPECT_EQ(report_.skipped_devices, 0U);
}

TEST_F(PciTest, AFunctionWhoseDirectoryCannotBeOpenedKeepsItsLastGoodFacts) {
  Function("0000:01:00.0");
  Collect();
  const auto link = directory_ / "sys/bus/pci/devices/0000:01:00.0";
  std::filesystem::remove(link);
  std::filesystem::create_symlink("0000:01:00.0", link);  // ELOOP: no word that it is gone
  Collect();
  EXPECT_THAT(Addresses(), ElementsAre("0000:01:00.0"));
  EXPECT_EQ(report_.skipped_devices, 1U);
}

TEST_F(PciTest, NumbersThatAreNoneAreAProblem) {
  for (const char* text : {"", "nvidia", "0x", "0x10de0", "-1", "0x-1", "0x10de 0x10df"}) {
    Function("0000:01:00.0");
    test_support::ExpandHostTreeText(
        "devices/pci0000:00/0000:01:00.0/vendor = " + std::string(text) + "\n", directory_ / "sys");
    Collect();
    EXPECT_THAT(Addresses(), IsEmpty()) << text;
    EXPECT_EQ(report_.skipped_devices, 1U) << text;
    std::filesystem::remove_all(directory_ / "sys");
    inventory_.pci.clear();
  }
}

}  // namespace
}  // namespace exporter
