// What --snapshot writes: that a machine can be had again from it, and that it does not
// say which machine it was.

#include "exporter/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <regex>
#include <string>
#include <vector>

#include "exporter/accelerators.h"
#include "exporter/catalogue.h"
#include "exporter/collect.h"
#include "exporter/collectors/sysfs.h"
#include "exporter/projections/explain.h"
#include "exporter/projections/labels.h"
#include "exporter/projections/metrics.h"
#include "tests/test_support/boards.h"
#include "tests/test_support/fdt_builder.h"
#include "tests/test_support/host_tree.h"
#include "tests/test_support/temporary_directory.h"
#include "tests/test_support/tree.h"

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

const SnapshotOrigin kOrigin{"devicetree-exporter 1.2.3", "6.1.0-13-arm64", {}};

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  EXPECT_TRUE(stream) << path;
  return {std::istreambuf_iterator<char>(stream), {}};
}

class SnapshotTest : public testing::Test {
 protected:
  // The text of a snapshot of that host.
  std::string Snapshot(const HostPaths& paths) {
    record_ = {};
    inventory_ = Collect(paths, catalogue_, {}, nullptr, &record_);
    return ToSnapshot(record_, kOrigin);
  }
  HostPaths Host(const std::string& tree) {
    test_support::ExpandHostTreeText(tree, directory_ / "sys");
    return {
        .sysfs = directory_ / "sys", .procfs = directory_ / "proc", .dev = "", .devicetree = ""};
  }
  HostPaths Replay(const std::string& snapshot) {
    directory_.Write("a.snapshot", snapshot);
    return {.dev = "", .devicetree = "", .snapshot = directory_ / "a.snapshot"};
  }
  // What the snapshot of a host is without the comments in front.
  std::string Entries(const HostPaths& paths) {
    const std::string text = Snapshot(paths);
    return text.substr(text.find("\n\n") + 2);
  }

  // All of the metrics but what differs from one reading to the next.
  static std::string Metrics(const Inventory& inventory) {
    const LabelReport labels = ToLabels(inventory, {.nodes = {"cpu", "gpu", "npu"}});
    return std::regex_replace(
        ToInventoryMetrics(inventory, labels, {}),
        std::regex("(devicetree_collector_duration|devicetree_snapshot_timestamp)_seconds.*"), "");
  }
  // All of it, with SYS for the place where the hardware was read.
  std::string Explanation(const Inventory& inventory, const std::string& place) const {
    const std::string all = ToExplanation(inventory, ToLabels(inventory, {}), "").value();
    return std::regex_replace(all, std::regex((directory_ / place).string()), "SYS");
  }

  const Catalogue catalogue_ = BuiltInCatalogue();
  test_support::TemporaryDirectory directory_;
  HostRecord record_;
  Inventory inventory_;
};

// A machine can be had again.

struct Board {
  std::string name;
  bool with_dev;
};
// Without it GoogleTest prints bytes, also those between the members.
void PrintTo(const Board& board, std::ostream* out) {
  *out << board.name << (board.with_dev ? " with /dev" : "");
}

class SnapshotOfBoard : public SnapshotTest, public testing::WithParamInterface<Board> {
 protected:
  // The board as Linux shows it, with every device node if they are looked at.
  HostPaths Board() {
    const auto folder = std::filesystem::path(SOURCE_DIR) / "tests/boards" / GetParam().name;
    HostPaths paths =
        Host(std::filesystem::exists(folder / "host.tree") ? ReadFile(folder / "host.tree") : "");
    std::string devicetree = GetParam().name;
    if (std::filesystem::exists(folder / "devicetree")) {
      devicetree = ReadFile(folder / "devicetree");
      devicetree.erase(devicetree.find_last_not_of('\n') + 1);
    }
    if (std::filesystem::exists(std::filesystem::path(BOARDS_DIR) / (devicetree + ".dtb"))) {
      test_support::Unpack(test_support::ReadBoard(devicetree),
                           directory_ / "sys/firmware/devicetree/base");
    }
    if (!GetParam().with_dev) return paths;
    for (const char* name : {"dri/renderD128", "accel/accel0", "apex_0"}) {
      directory_.Write(std::string("dev/") + name, "");
    }
    paths.dev = directory_ / "dev";
    return paths;
  }
};

TEST_P(SnapshotOfBoard, GivesTheSameLabelsAndMetrics) {
  const std::string text = Snapshot(Board());
  const Inventory here = inventory_;
  const Inventory there = Collect(Replay(text), catalogue_, {}, nullptr);
  EXPECT_EQ(Metrics(there), Metrics(here));
  EXPECT_EQ(Explanation(there, "a.snapshot"), Explanation(here, "sys"));
}

TEST_P(SnapshotOfBoard, GivesItselfAgain) {
  const std::string entries = Entries(Board());
  EXPECT_EQ(Entries(Replay(entries)), entries);
}

TEST_P(SnapshotOfBoard, GivesTheSameOnDisk) {
  const std::string entries = Entries(Board());
  const std::string metrics = Metrics(inventory_);
  const auto disk = directory_ / "disk";
  test_support::ExpandHostTreeText(entries, disk);
  const bool has_dev = std::filesystem::exists(disk / kHostDev);
  const HostPaths paths{.sysfs = disk,
                        .procfs = directory_ / "proc",
                        .dev = has_dev ? (disk / kHostDev).string() : "",
                        .devicetree = ""};
  EXPECT_EQ(Entries(paths), entries);
  EXPECT_EQ(Metrics(inventory_), metrics);
}

TEST_P(SnapshotOfBoard, HasNoLinkThatLeadsNowhere) {
  const dt::Result<HostTree> tree = ParseHostTree(Snapshot(Board()), "a");
  ASSERT_TRUE(tree);
  for (const auto& [place, entry] : tree->entries()) {
    if (entry.kind != HostEntry::Kind::kLink) continue;
    EXPECT_NE(tree->Find(tree->Resolve(place).value_or("none")), nullptr) << place;
  }
}

std::vector<Board> Boards() {
  std::vector<Board> boards;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(SOURCE_DIR) / "tests/boards")) {
    if (!entry.is_directory()) continue;
    boards.push_back({entry.path().filename(), false});
    const bool has_sysfs = std::filesystem::exists(entry.path() / "host.tree");
    if (has_sysfs) boards.push_back({entry.path().filename(), true});
  }
  return boards;
}

INSTANTIATE_TEST_SUITE_P(, SnapshotOfBoard, testing::ValuesIn(Boards()), [](const auto& param) {
  std::string name = param.param.name + (param.param.with_dev ? "_dev" : "");
  std::ranges::replace(name, '-', '_');
  return name;
});

TEST_F(SnapshotTest, OfABlobIsADirectoryOfTheSameTree) {
  HostPaths paths = Host("");
  paths.devicetree = std::string(BOARDS_DIR) + "/hostile.dtb";
  const std::string entries = Entries(paths);
  const std::string metrics = Metrics(inventory_);
  EXPECT_EQ(Entries(Replay(entries)), entries);
  EXPECT_EQ(Metrics(inventory_), metrics);
}

TEST_F(SnapshotTest, ANodeThatIsCalledAsAPropertyBesideItHasTheNameThatLinuxGivesIt) {
  HostRecord record;
  const HostPaths paths = Host("");
  HostRecorder(paths, nullptr, &record)
      .SawDevicetree(test_support::MakeTree(
          {.compatible = {"a,b"},
           .children = {{.name = "leds",
                         .status = "okay",
                         .children = {{.name = "status", .children = {{.name = "deeper"}}},
                                      {.name = "model"}}}}}));
  EXPECT_THAT(record.unreadable, IsEmpty());
  EXPECT_EQ(ToText(record.tree),
            "firmware/devicetree/base/\n"
            "  compatible = a,b\\0\\c\n"
            "firmware/devicetree/base/leds/\n"
            "  status = okay\\0\\c\n"
            "firmware/devicetree/base/leds/model/\n"
            "firmware/devicetree/base/leds/status#1/deeper/\n");
}

TEST_F(SnapshotTest, OfAMachineWithoutHardwareIsEmpty) { EXPECT_EQ(Entries(Host("")), ""); }

TEST_F(SnapshotTest, OfAnEmptyDevicetreeIsNoneOfAnAbsentOne) {
  EXPECT_EQ(Entries(Host("firmware/devicetree/base/\n")), "firmware/devicetree/base/\n");
}

TEST_F(SnapshotTest, ADisabledCollectorAddsNothing) {
  HostRecord record;
  Collect(Host("devices/a/vendor = 0x1\nbus/pci/devices/0 -> ../../../devices/a\n"), catalogue_,
          {"pci"}, nullptr, &record);
  EXPECT_EQ(ToText(record.tree), "");
}

// What is in it.

constexpr const char* kHost =
    "devices/pci0000:00/0000:00:02.0/\n"
    "  class = 0x030000\n"
    "  vendor = 0x8086\n"
    "  device = 0x56c0\n"
    "  config = not read\n"
    "  driver -> ../../../bus/pci/drivers/i915\n"
    "  drm/renderD128/uevent = MAJOR=226\\nDEVNAME=dri/renderD128\n"
    "bus/pci/drivers/i915/new_id = not read\n"
    "bus/pci/devices/0000:00:02.0 -> ../../../devices/pci0000:00/0000:00:02.0\n"
    "class/drm/renderD128 -> ../../devices/pci0000:00/0000:00:02.0/drm/renderD128\n"
    "class/drm/version = drm 1.1.0\n"
    "class/net/eth0/address = not read\n";

TEST_F(SnapshotTest, HoldsWhatWasReadAndNoMore) {
  EXPECT_EQ(
      Snapshot(Host(kHost)),
      "# A machine's hardware under Linux 6.1.0-13-arm64, as devicetree-exporter 1.2.3 read it "
      "on 1970-01-01.\n"
      "# Left out: serial numbers, MAC addresses, UUIDs, boot arguments and what nobody read.\n"
      "# Read it with --path.snapshot, or as a board of tests/boards.\n"
      "\n"
      "bus/pci/devices/\n"
      "  0000:00:02.0 -> ../../../devices/pci0000:00/0000:00:02.0\n"
      "bus/pci/drivers/i915/\n"
      "class/drm/\n"
      "  renderD128 -> ../../devices/pci0000:00/0000:00:02.0/drm/renderD128\n"
      "  version = \\c\n"
      "devices/pci0000:00/0000:00:02.0/\n"
      "  class = 0x030000\n"
      "  device = 0x56c0\n"
      "  driver -> ../../../bus/pci/drivers/i915\n"
      "  vendor = 0x8086\n"
      "devices/pci0000:00/0000:00:02.0/drm/renderD128/\n");
}

TEST_F(SnapshotTest, HoldsTheDeviceNodesThatWereLookedFor) {
  HostPaths paths = Host(kHost);
  paths.dev = directory_ / "dev";
  EXPECT_THAT(Entries(paths), HasSubstr("\npath.dev/\n"));
  directory_.Write("dev/dri/renderD128", "");
  directory_.Write("dev/dri/card0", "");
  EXPECT_THAT(Entries(paths), HasSubstr("\npath.dev/dri/\n  renderD128 = \\c\n"));
  EXPECT_THAT(Entries(paths), Not(HasSubstr("card0")));
}

TEST_F(SnapshotTest, SaysWhatCouldNotBeRead) {
  const HostPaths paths = Host(
      "bus/pci/devices/0/vendor/\n"
      "bus/pci/devices/0/class = 0x030000\n"
      "bus/usb/devices -> devices\n"
      "class/drm/card0/\n"
      "firmware/devicetree/base/model = " +
      std::string(dt::kMaxPropertyBytes, 'x') + "\n");  // and the newline
  const std::string text = Snapshot(paths);
  EXPECT_THAT(record_.unreadable,
              ElementsAre("firmware/devicetree/base: /: a kept property has 8193 bytes; at most "
                          "8192 expected",
                          "bus/pci/devices/0/vendor: Is a directory",
                          "bus/usb/devices: Too many levels of symbolic links"));
  EXPECT_THAT(text, HasSubstr("\n# Could not be read: bus/pci/devices/0/vendor: Is a directory\n"));
  EXPECT_EQ(ToSummary(inventory_, record_),
            "0 devicetree nodes, 0 PCI functions, 0 USB devices, 1 class device; 3 could not be "
            "read");
}

TEST_F(SnapshotTest, OfAReplayDoesNotNameTheKernel) {
  EXPECT_THAT(ToSnapshot({}, {"devicetree-exporter 1.2.3", "", {}}),
              StartsWith("# A machine's hardware, as devicetree-exporter 1.2.3 read it on "));
}

TEST_F(SnapshotTest, WhatDoesNotFitIsLeftOutAndNamed) {
  const HostPaths paths = Host("");
  HostRecorder recorder(paths, nullptr, &record_);
  for (int i = 0; i < 200; ++i) {
    recorder.SawFile("devices/" + std::to_string(i), std::string(65'536, 'x'));
  }
  EXPECT_THAT(record_.unreadable,
              ElementsAre("more than 100000 entries, or 8388608 bytes of paths and contents; "
                          "expected less"));
}

// Which machine it was is not in it.

// A collector that reads all there is: each file, each link, each folder.
void ReadAll(const CollectorInput& input, const std::string& place) {
  const auto folder = SysfsDirectory::Open(input, place);
  if (!folder) return;
  const auto names = folder->Names();
  for (const std::string& name : *names) {
    const auto target = folder->LinkTarget(name);
    const auto text = folder->ReadText(name);
    const auto number = folder->ReadNumber(name, 10);
    if (!*target && !text) ReadAll(input, place.empty() ? name : place + "/" + name);
  }
}

constexpr const char* kMac = "52:54:00:ab:cd:ef";
constexpr const char* kGuid = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:fe";
constexpr const char* kUuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
constexpr const char* kSerial = "SN0123456789";

// No part of the above may be in `text`, in any case.
void ExpectAnonymous(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* secret : {"52:54", "52-54", ":ab:cd", "00:11:22", "dd:ee", "6ba7b810",
                             "00c04fd430c8", "sn0123456789", "hunter2"}) {
    EXPECT_THAT(text, Not(HasSubstr(secret)));
  }
}

TEST_F(SnapshotTest, FilesThatIdentifyAMachineAreLeftOutWhoeverReadsThem) {
  std::string host = "devices/a/vendor = 0x8086\n";
  for (const char* name : {"serial",
                           "serial_number",
                           "product_serial",
                           "board_serial",
                           "chassis_serial",
                           "Serial#",
                           "address",
                           "addr_assign",
                           "permaddr",
                           "local-mac-address",
                           "mac-address",
                           "mac_address",
                           "local-bd-address",
                           "product_uuid",
                           "uuid",
                           "sys_image_guid",
                           "node_guid",
                           "unique_id",
                           "uniq",
                           "wwid",
                           "wwn",
                           "eui",
                           "cid",
                           "vpd",
                           "vpd_pg80",
                           "chassis_asset_tag",
                           "boot_id",
                           "machine-id",
                           "machine_id",
                           "phys_switch_id",
                           "hostname",
                           "host-name",
                           "bootargs",
                           "kaslr-seed",
                           "rng-seed",
                           "security-state",
                           "secret",
                           "password",
                           "token",
                           "key_data"}) {
    host += std::string("devices/a/") + name + " = " + kSerial + " hunter2\n";
  }
  const HostPaths paths = Host(host);
  HostRecorder recorder(paths, nullptr, &record_);
  CollectorInput input{.paths = paths, .recorder = &recorder};
  ReadAll(input, "");
  EXPECT_EQ(ToText(record_.tree), "devices/a/\n  vendor = 0x8086\n");
}

TEST_F(SnapshotTest, LinesOfAUeventThatIdentifyAMachineAreLeftOut) {
  const HostPaths paths =
      Host(std::string("devices/a/uevent = DRIVER=x\\nHID_UNIQ=") + kSerial +
           "\\nPOWER_SUPPLY_SERIAL_NUMBER=" + kSerial + "\\nHID_PHYS=" + kMac +
           "\\nNVME_TRADDR=" + kSerial + "\\nDEVNAME=hidraw0\\nMODALIAS=hid:b0003\n");
  HostRecorder recorder(paths, nullptr, &record_);
  CollectorInput input{.paths = paths, .recorder = &recorder};
  ReadAll(input, "");
  EXPECT_EQ(ToText(record_.tree),
            "devices/a/\n  uevent = DRIVER=x\\nHID_PHYS=xx:xx:xx:xx:xx:xx\\nDEVNAME=hidraw0\\n"
            "MODALIAS=hid:b0003\n");
}

TEST_F(SnapshotTest, AddressesAndUuidsAreMaskedInPathsTargetsAndContents) {
  std::string host = "bus/pci/drivers/a/\n";
  for (const char* secret : {kMac, kGuid, kUuid, "52-54-00-AB-CD-EF", "(52:54:00:ab:cd:ef)"}) {
    const std::string device = std::string("devices/") + secret;
    host += device + "/vendor = <" + secret + "," + secret + ">\n" +  //
            device + "/driver -> ../../bus/pci/drivers/a\n" +         //
            "bus/pci/devices/" + secret + " -> ../../../" + device + "\n";
  }
  const HostPaths paths = Host(host);
  HostRecorder recorder(paths, nullptr, &record_);
  CollectorInput input{.paths = paths, .recorder = &recorder};
  ReadAll(input, "");
  ExpectAnonymous(ToSnapshot(record_, kOrigin));
  const std::string mac = "xx:xx:xx:xx:xx:xx";
  EXPECT_EQ(record_.tree.Target("bus/pci/devices/" + mac), "../../../devices/" + mac);
  EXPECT_EQ(record_.tree.Find("devices/" + mac + "/vendor")->content,
            "<" + mac + "," + mac + ">\n");
}

TEST_F(SnapshotTest, WhatOnlyLooksLikeAnAddressStays) {
  const std::string contents[] = {"0000:01:00.0",
                                  "10000:e0:00.0",
                                  "pci:v00008086d000056C0sv00008086sd00004905bc03sc80i00",
                                  "12:34:56:78:9a",
                                  "12:34:56:78:9a:b",
                                  "12:34:56:78:9a:bcd",
                                  "123:34:56:78:9a:bc",
                                  "6ba7b810-9dad-11d1-80b4-00c04fd430c",
                                  "6ba7b810-9dad-11d1-80b4-00c04fd430c81",
                                  "16ba7b810-9dad-11d1-80b4-00c04fd430c8",
                                  "6ba7b810-9dad-11d1-80b4"};
  const HostPaths paths = Host("");
  HostRecorder recorder(paths, nullptr, &record_);
  for (const std::string& content : contents) {
    recorder.SawFile("a", content);
    EXPECT_EQ(record_.tree.Find("a")->content, content);
  }
}

TEST_F(SnapshotTest, ErrorsAreMaskedToo) {
  const HostPaths paths = Host("");
  HostRecorder(paths, nullptr, &record_).Failed(paths.sysfs + "/class/net/" + kMac + ": EIO");
  EXPECT_THAT(record_.unreadable, ElementsAre("class/net/xx:xx:xx:xx:xx:xx: EIO"));
}

TEST_F(SnapshotTest, OfTheDevicetreeIdentifiesNoMachine) {
  const std::string secrets =
      std::string("serial-number = ") + kSerial + "\\0\\c\n  local-mac-address = RT\\0\\c\n" +
      "  bootargs = root=UUID=" + kUuid + " hunter2\\0\\c\n  rng-seed = hunter2\n";
  const std::string base = "firmware/devicetree/base";
  const std::string text = Snapshot(Host(
      base + "/\n  compatible = acme,board\\0\\c\n  model = Acme (" + kMac + ")\\0\\c\n  " +
      secrets + base +
      "/chosen/\n  compatible = acme,chosen\\0\\c\n  label = hunter2\\0\\c\n  model = " + kSerial +
      "\\0\\c\n  " + secrets + base +
      "/chosen/framebuffer@1/\n  status = disabled\\0\\c\n  label = hunter2\\0\\c\n  " + secrets +
      base + "/aliases/\n  serial0 = /soc/serial@1\\0\\c\n  ethernet0 = /soc/" + kMac +
      "\\0\\c\n  " + secrets + base + "/soc/serial@1/\n  compatible = ns16550a\\0\\c\n  " +
      secrets));
  ExpectAnonymous(text);
  EXPECT_EQ(text.substr(text.find("\n\n") + 2),
            "firmware/devicetree/base/\n"
            "  compatible = acme,board\\0\\c\n"
            "  model = Acme (xx:xx:xx:xx:xx:xx)\\0\\c\n"
            "firmware/devicetree/base/aliases/\n"
            "  ethernet0 = /soc/xx:xx:xx:xx:xx:xx\\0\\c\n"
            "  serial0 = /soc/serial@1\\0\\c\n"
            "firmware/devicetree/base/chosen/\n"
            "  compatible = acme,chosen\\0\\c\n"
            "firmware/devicetree/base/chosen/framebuffer@1/\n"
            "  status = disabled\\0\\c\n"
            "firmware/devicetree/base/soc/serial@1/\n"
            "  compatible = ns16550a\\0\\c\n");
}

// All of the above at once, in every place of every board that can be read.
TEST_P(SnapshotOfBoard, IdentifiesNoMachineWhateverIsPlantedInIt) {
  const HostPaths paths = Board();
  std::vector<std::filesystem::path> folders = {directory_ / "sys"};
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_ / "sys")) {
    if (entry.is_directory() && !entry.is_symlink()) folders.push_back(entry.path());
  }
  for (const std::filesystem::path& folder : folders) {
    for (const char* name : {"serial", "serial-number", "local-mac-address", "address"}) {
      std::ofstream(folder / name) << kSerial << " " << kMac << "\n";
    }
    if (folder.string().find("/firmware") != std::string::npos) continue;
    std::ofstream(folder / "uevent", std::ios::app) << "HID_UNIQ=" << kSerial << "\n";
    std::ofstream(folder / "odd") << kMac << " " << kUuid << "\n";
    std::filesystem::create_directory(folder / kUuid);
    std::filesystem::create_symlink(kUuid, folder / kMac);
  }
  ExpectAnonymous(Snapshot(paths));
  HostRecorder recorder(paths, nullptr, &record_);
  CollectorInput input{.paths = paths, .recorder = &recorder};
  ReadAll(input, "bus");
  ReadAll(input, "class");
  ReadAll(input, "devices");
  const std::string text = ToSnapshot(record_, kOrigin);
  ExpectAnonymous(text);
  EXPECT_TRUE(ParseHostTree(text, "a"));
}

// Reading it.

TEST_F(SnapshotTest, AFileThatCannotBeReadIsAnError) {
  ASSERT_EQ(mkfifo((directory_ / "pipe").c_str(), 0600), 0);
  for (const auto& [name, why] : {std::pair{"none", "No such file or directory"},
                                  {".", "Is a directory"},
                                  {"pipe", "a pipe"}}) {
    const std::string file = directory_ / name;
    const dt::Result<HostTree> tree = ReadSnapshot(file);
    ASSERT_FALSE(tree);
    EXPECT_EQ(tree.error().code, dt::ErrorCode::kIo);
    EXPECT_EQ(tree.error().message, file + ": " + why + "; expected a snapshot");
  }
}

TEST_F(SnapshotTest, AFileThatIsNoneIsAnErrorWithItsLine) {
  const std::string file = Replay("a/\n../b = c\n").snapshot;
  EXPECT_EQ(ReadSnapshot(file).error().message,
            file +
                ":2: \"../b\": a path with the name \"..\"; expected one that leads down from "
                "the root of the snapshot");
}

TEST_F(SnapshotTest, WhoseDevicetreeIsNoneIsOfAMachineWithoutOne) {
  const Inventory inventory =
      Collect(Replay("firmware/devicetree/base = a file\n"), catalogue_, {}, nullptr);
  EXPECT_TRUE(inventory.devicetree_known);
  EXPECT_EQ(inventory.devicetree, nullptr);
}

TEST_F(SnapshotTest, WhoseDevicetreeIsTooLargeIsAnErrorOfThatCollectorAlone) {
  std::string deep = "firmware/devicetree/base";
  for (std::size_t i = 0; i <= dt::kMaxDepth; ++i) deep += "/n";
  for (const std::string& tree :
       {deep + "/\n",
        "firmware/devicetree/base/n/compatible = " + std::string(dt::kMaxPropertyBytes + 1, 'c') +
            "\n"}) {
    const Inventory inventory = Collect(Replay(tree), catalogue_, {}, nullptr);
    EXPECT_FALSE(inventory.devicetree_known);
    for (const CollectorReport& report : inventory.collectors) {
      EXPECT_EQ(report.success, report.name != "devicetree") << report.name;
    }
  }
}

TEST_F(SnapshotTest, LeavesOutAnAliasThatNoFileCanBeCalledAs) {
  test_support::FdtBuilder builder;
  builder.Begin("").Begin("aliases").Strings("gpu", {"/gpu@0"}).Strings("a/b", {"/gpu@0"}).End();
  const test_support::Blob blob = builder.End().Finish().Build();
  directory_.Write("a.dtb", {reinterpret_cast<const char*>(blob.data()), blob.size()});
  HostPaths paths = Host("");
  paths.devicetree = directory_ / "a.dtb";
  EXPECT_THAT(Entries(paths), HasSubstr("gpu = /gpu@0"));
  EXPECT_THAT(Entries(paths), Not(HasSubstr("a/b")));
}

TEST_F(SnapshotTest, WithoutEndIsNotReadToItsEnd) {
  EXPECT_EQ(ReadSnapshot("/dev/zero").error().message,
            "/dev/zero: more than 41943040 bytes; expected a snapshot");
}

TEST_F(SnapshotTest, ThatCannotBeReadAnyMoreKeepsTheLastGoodHardware) {
  const HostPaths replay = Replay(Snapshot(Host(kHost)));
  const Inventory good = Collect(replay, catalogue_, {}, nullptr);
  directory_.Write("a.snapshot", "nonsense\n");
  const Inventory bad = Collect(replay, catalogue_, {}, &good);
  ASSERT_EQ(bad.collectors.size(), good.collectors.size());
  for (const CollectorReport& report : bad.collectors) {
    EXPECT_FALSE(report.success);
    EXPECT_THAT(report.problems,
                ElementsAre(replay.snapshot + ":1: \"nonsense\"; expected PATH/, PATH = CONTENT or "
                                              "PATH -> TARGET"));
  }
  EXPECT_EQ(bad.pci.size(), 1U);
  EXPECT_EQ(bad.accelerators.size(), good.accelerators.size());
}

TEST_F(SnapshotTest, TheHostsOwnHardwareIsNotLookedAt) {
  HostPaths paths = Host(kHost);
  directory_.Write("proc/device-tree/compatible", std::string("a,b\0", 4));
  directory_.Write("dev/dri/renderD128", "");
  paths.dev = directory_ / "dev";
  paths.snapshot = Replay("# an empty machine\n").snapshot;
  EXPECT_EQ(Entries(paths), "");
  EXPECT_EQ(inventory_.devicetree, nullptr);
  EXPECT_TRUE(inventory_.devicetree_known);
}

}  // namespace
}  // namespace exporter
