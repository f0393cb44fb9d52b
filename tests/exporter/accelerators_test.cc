#include "exporter/accelerators.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "exporter/projections/labels.h"
#include "tests/test_support/tree.h"

namespace exporter {
namespace {

using test_support::MakeInventory;
using test_support::NodeSpec;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const Catalogue& BuiltIn() {
  static const Catalogue catalogue = BuiltInCatalogue();
  return catalogue;
}

// `inventory`, with the accelerators that the built-in catalogue finds in it.
Inventory Found(Inventory inventory) {
  FindAccelerators(BuiltIn(), "/sys", &inventory);
  return inventory;
}

// The board with these nodes below its root.
Inventory Board(std::vector<NodeSpec> nodes) {
  Inventory inventory = MakeInventory({.compatible = {"acme,board"}, .children = std::move(nodes)});
  inventory.devicetree_is_live = true;
  return inventory;
}

// What the kernel has made of the node at `path`.
DevicetreeDevice Device(const std::string& path, std::optional<std::string> driver) {
  const std::string name = path.substr(path.rfind('/') + 1);
  return {path, "devices/platform/" + name, std::move(driver)};
}

PciFunction Pci(std::uint32_t vendor, std::uint32_t device, std::uint32_t class_code,
                const std::string& address = "0000:01:00.0") {
  return {.address = address,
          .device = "devices/pci0000:00/" + address,
          .class_code = class_code,
          .vendor_id = vendor,
          .device_id = device};
}

Inventory Pc(std::vector<PciFunction> functions) {
  Inventory inventory;
  inventory.devicetree_known = true;
  inventory.pci = std::move(functions);
  return inventory;
}

Inventory UsbHost(std::vector<UsbDevice> devices) {
  Inventory inventory;
  inventory.devicetree_known = true;
  inventory.usb = std::move(devices);
  return inventory;
}

// The only accelerator of the inventory.
Accelerator Only(const Inventory& inventory) {
  EXPECT_THAT(inventory.accelerators, SizeIs(1));
  return inventory.accelerators.empty() ? Accelerator{} : inventory.accelerators.front();
}

std::vector<std::string> Addresses(const Inventory& inventory) {
  std::vector<std::string> addresses;
  for (const Accelerator& a : inventory.accelerators) addresses.push_back(a.address);
  return addresses;
}

// "described", "enabled", "bound" or "ready".
std::string Rung(const Accelerator& accelerator) {
  EXPECT_LE(accelerator.ready, accelerator.bound);
  EXPECT_LE(accelerator.bound, accelerator.enabled);
  if (accelerator.ready) return "ready";
  if (accelerator.bound) return "bound";
  return accelerator.enabled ? "enabled" : "described";
}

// --- Compatibles of each bus

TEST(PciCompatibles, AreThoseOfThePciBindingMostSpecificFirst) {
  PciFunction function = Pci(0x10de, 0x2330, 0x030200);
  function.subsystem_vendor_id = 0x10de;
  function.subsystem_device_id = 0x16c1;
  function.revision = 0xa1;
  EXPECT_THAT(PciCompatibles(function),
              ElementsAre("pci10de,2330.10de.16c1.a1", "pci10de,2330.10de.16c1", "pci10de,2330",
                          "pciclass,030200", "pciclass,0302"));
}

TEST(PciCompatibles, SuppressLeadingZerosInIdsAndKeepThemInTheClass) {
  PciFunction function = Pci(0x0014, 0x0a15, 0x000100);
  function.subsystem_vendor_id = 0x001f;
  function.subsystem_device_id = 0x0004;
  function.revision = 0x01;
  EXPECT_THAT(PciCompatibles(function),
              ElementsAre("pci14,a15.1f.4.1", "pci14,a15.1f.4", "pci14,a15", "pciclass,000100",
                          "pciclass,0001"));
}

TEST(PciCompatibles, NameNoSubsystemWhereItIsNotKnown) {
  PciFunction function = Pci(0x10de, 0x2330, 0x030200);
  function.revision = 0xa1;
  EXPECT_THAT(PciCompatibles(function),
              ElementsAre("pci10de,2330", "pciclass,030200", "pciclass,0302"));
}

TEST(UsbCompatibles, AreThoseOfTheUsbBinding) {
  EXPECT_THAT(UsbCompatibles({.vendor_id = 0x1a6e, .product_id = 0x089a}),
              ElementsAre("usb1a6e,89a"));
  EXPECT_THAT(UsbCompatibles({.vendor_id = 0x03e7, .product_id = 0x2485}),
              ElementsAre("usb3e7,2485"));
  EXPECT_THAT(UsbCompatibles({.vendor_id = 0, .product_id = 0}), ElementsAre("usb0,0"));
}

// --- What the catalogue says of a match

TEST(Accelerators, HaveWhatTheirEntrySays) {
  const Accelerator gpu = Only(Found(
      Board({{.name = "gpu@57000000", .compatible = {"nvidia,tegra210-gm20b", "nvidia,gm20b"}}})));
  EXPECT_EQ(gpu.kind, "gpu");
  EXPECT_EQ(gpu.bus, Bus::kDevicetree);
  EXPECT_EQ(gpu.address, "/gpu@57000000");
  EXPECT_EQ(gpu.vendor, "nvidia");
  EXPECT_EQ(gpu.model, "gm20b");
  EXPECT_EQ(gpu.compatible, "nvidia,gm20b");
  EXPECT_THAT(gpu.compatibles, ElementsAre("nvidia,tegra210-gm20b", "nvidia,gm20b"));
  EXPECT_EQ(gpu.driver, std::nullopt);
  EXPECT_EQ(gpu.numa_node, std::nullopt);
  EXPECT_THAT(gpu.rule, testing::MatchesRegex("accelerators\\.yaml:[0-9]+"));
}

TEST(Accelerators, OfPciHaveTheirNumaNodeAndTheirIdAndClassAsCompatibles) {
  PciFunction function = Pci(0x10de, 0x2330, 0x030200);
  function.numa_node = 1;
  function.subsystem_vendor_id = 0x10de;
  function.subsystem_device_id = 0x16c1;
  function.revision = 0xa1;
  const Accelerator gpu = Only(Found(Pc({function})));
  EXPECT_EQ(gpu.bus, Bus::kPci);
  EXPECT_EQ(gpu.address, "0000:01:00.0");
  EXPECT_EQ(gpu.numa_node, 1);
  EXPECT_EQ(gpu.compatible, "pciclass,0302");
  EXPECT_THAT(gpu.compatibles, testing::UnorderedElementsAre("pci10de,2330", "pciclass,0302"));
}

TEST(Accelerators, OfADevicetreeMatchTheFirstOfTheirCompatiblesThatIsListed) {
  const Accelerator gpu = Only(Found(
      Board({{.name = "gpu@0", .compatible = {"rockchip,rk3588-mali", "arm,mali-valhall-csf"}}})));
  EXPECT_EQ(gpu.compatible, "arm,mali-valhall-csf");
}

TEST(Accelerators, MatchExactlyNeverByPart) {
  EXPECT_THAT(Found(Board({{.name = "a", .compatible = {"nvidia,gm20b2"}},
                           {.name = "b", .compatible = {"xnvidia,gm20b"}},
                           {.name = "c", .compatible = {"NVIDIA,GM20B"}},
                           {.name = "d", .compatible = {"qcom,adreno-618.0"}}}))
                  .accelerators,
              IsEmpty());
}

TEST(Accelerators, ComeByBusThenAddressBytewise) {
  Inventory inventory = Board({{.name = "npu@2", .compatible = {"arm,ethos-u65"}},
                               {.name = "gpu@10", .compatible = {"nvidia,gm20b"}},
                               {.name = "gpu@1", .compatible = {"nvidia,gm20b"}}});
  inventory.usb = {{.address = "1-1", .vendor_id = 0x1a6e, .product_id = 0x89a}};
  inventory.pci = {Pci(0x1ac1, 0x89a, 0x0, "0000:02:00.0"),
                   Pci(0x1ac1, 0x89a, 0x0, "0001:01:00.0")};
  EXPECT_THAT(Addresses(Found(inventory)),
              ElementsAre("/gpu@1", "/gpu@10", "/npu@2", "0000:02:00.0", "0001:01:00.0", "1-1"));
}

TEST(Accelerators, AreNoneOnAnEmptyMachine) {
  const Inventory inventory = Found(Inventory{});
  EXPECT_THAT(inventory.accelerators, IsEmpty());
  EXPECT_THAT(inventory.unrecognised, IsEmpty());
}

// --- Discriminators

TEST(Discriminators, OnlyTheNodeNameTellsWhatAVivanteCoreIs) {
  const std::pair<const char*, const char*> cases[] = {{"gpu", "gpu"},
                                                       {"gpu@38000000", "gpu"},
                                                       {"gpu0@1", "gpu"},
                                                       {"npu", "npu"},
                                                       {"npu@38500000", "npu"},
                                                       {"npu0", "npu"},
                                                       {"gpu3d@1", "gpu"},
                                                       {"gpu2d", "gpu"},
                                                       {"core@1", "accelerator"},
                                                       {"npu-core", "accelerator"},
                                                       {"mynpu", "accelerator"}};
  for (const auto& [name, kind] : cases) {
    const Accelerator found = Only(Found(Board({{.name = name, .compatible = {"vivante,gc"}}})));
    EXPECT_EQ(found.kind, kind) << name;
    EXPECT_EQ(found.vendor, "vivante") << name;
    EXPECT_EQ(found.compatible, "vivante,gc") << name;
  }
}

TEST(Discriminators, ThePciRevisionTellsTheGenerationOfAnAmdNpu) {
  const std::pair<std::optional<std::uint32_t>, const char*> cases[] = {
      {0x00, "xdna-npu2"}, {0x10, "xdna-npu4"}, {0x11, "xdna-npu5"},
      {0x20, "xdna-npu6"}, {0x30, "xdna"},      {std::nullopt, "xdna"}};
  for (const auto& [revision, model] : cases) {
    PciFunction function = Pci(0x1022, 0x17f0, 0x118000);
    function.revision = revision;
    const Accelerator npu = Only(Found(Pc({function})));
    EXPECT_EQ(npu.kind, "npu");
    EXPECT_EQ(npu.vendor, "amd");
    EXPECT_EQ(npu.model, model);
    EXPECT_EQ(npu.compatible, "pci1022,17f0");
  }
}

TEST(Discriminators, AmdsFirstNpuHasAnIdOfItsOwn) {
  EXPECT_EQ(Only(Found(Pc({Pci(0x1022, 0x1502, 0x118000)}))).model, "xdna-npu1");
}

TEST(Discriminators, TheSubsystemTellsTheGenerationOfAGoogleTpu) {
  const std::pair<std::optional<std::uint32_t>, const char*> cases[] = {
      {0x004e, "tpu-v2"},
      {0x004f, "tpu-v3"},
      {0x0050, "tpu-v2-or-v3"},
      {std::nullopt, "tpu-v2-or-v3"}};
  for (const auto& [subsystem, model] : cases) {
    PciFunction function = Pci(0x1ae0, 0x0027, 0x088000);
    function.subsystem_vendor_id = 0x1ae0;
    function.subsystem_device_id = subsystem;
    const Accelerator tpu = Only(Found(Pc({function})));
    EXPECT_EQ(tpu.kind, "tpu");
    EXPECT_EQ(tpu.model, model);
  }
}

TEST(Discriminators, WhatAnIdDoesNotTellIsNotGuessed) {
  EXPECT_EQ(Only(Found(Pc({Pci(0x1e60, 0x2864, 0x120000)}))).model, "hailo-8-or-8l");
}

TEST(Discriminators, AnEntryOfTheUsersFileWins) {
  const auto own = ParseCatalogue(
      "version: 1\naccelerators:\n"
      "  - {compatibles: [\"vivante,gc\"], node-names: [core], kind: dsp, vendor: acme}\n",
      "own.yaml");
  ASSERT_TRUE(own) << own.error().message;
  Inventory inventory = Board({{.name = "core", .compatible = {"vivante,gc"}},
                               {.name = "gpu", .compatible = {"vivante,gc"}}});
  FindAccelerators(Extend(BuiltIn(), *own), "/sys", &inventory);
  ASSERT_THAT(inventory.accelerators, SizeIs(2));
  EXPECT_EQ(inventory.accelerators[0].kind, "dsp");
  EXPECT_EQ(inventory.accelerators[0].rule, "own.yaml:3");
  EXPECT_EQ(inventory.accelerators[1].kind, "gpu");
}

// The contract: the longer forms are for the catalogue's rules.
TEST(Discriminators, ARuleMayNameAPciIdWithItsSubsystem) {
  const auto own = ParseCatalogue(
      "version: 1\naccelerators:\n"
      "  - {compatibles: [\"pci1234,5678.1234.1\"], kind: npu, vendor: acme}\n",
      "own.yaml");
  ASSERT_TRUE(own) << own.error().message;
  PciFunction function = Pci(0x1234, 0x5678, 0x118000);
  function.subsystem_vendor_id = 0x1234;
  function.subsystem_device_id = 0x1;
  Inventory inventory = Pc({function});
  FindAccelerators(Extend(BuiltIn(), *own), "/sys", &inventory);
  EXPECT_EQ(Only(inventory).kind, "npu");
}

// --- PCI classes

TEST(PciClasses, DecideWhatNoEntryNames) {
  struct Case {
    const char* what;
    std::uint32_t vendor;
    std::uint32_t class_code;
    const char* kind;
    std::optional<std::string> vendor_name;
  };
  const Case cases[] = {
      {"3D controller of nobody known", 0xfff0, 0x030200, "gpu", std::nullopt},
      {"3D controller of NVIDIA", 0x10de, 0x030200, "gpu", "nvidia"},
      {"processing accelerator", 0xfff0, 0x120000, "accelerator", std::nullopt},
      {"processing accelerator of AMD", 0x1002, 0x120000, "accelerator", "amd"},
      {"co-processor", 0xfff0, 0x0b4000, "coprocessor", std::nullopt},
      {"VGA of NVIDIA", 0x10de, 0x030000, "gpu", "nvidia"},
      {"VGA of AMD", 0x1002, 0x030000, "gpu", "amd"},
      {"VGA of Intel", 0x8086, 0x030000, "gpu", "intel"},
      {"VGA of Moore Threads", 0x1ed5, 0x030000, "gpu", "moore-threads"},
      {"VGA of a BMC by ASPEED", 0x1a03, 0x030000, "display", "aspeed"},
      {"VGA of a BMC by Matrox", 0x102b, 0x030000, "display", "matrox"},
      {"VGA of nobody known", 0xfff0, 0x030000, "display", std::nullopt},
      {"display controller of AMD", 0x1002, 0x038000, "gpu", "amd"},
      {"display controller of ASPEED", 0x1a03, 0x038000, "display", "aspeed"},
      {"display controller of nobody known", 0xfff0, 0x038000, "display", std::nullopt},
  };
  for (const Case& c : cases) {
    const Accelerator found = Only(Found(Pc({Pci(c.vendor, 0x7777, c.class_code)})));
    EXPECT_EQ(found.kind, c.kind) << c.what;
    EXPECT_EQ(found.vendor, c.vendor_name) << c.what;
    EXPECT_EQ(found.model, std::nullopt) << c.what;
    EXPECT_TRUE(found.enabled) << c.what;
  }
}

TEST(PciClasses, OthersAreNoAccelerators) {
  // SDXI, XGA, network, bridge, signal processing, multimedia video, no class.
  for (const std::uint32_t class_code :
       {0x120100U, 0x030100U, 0x020000U, 0x060400U, 0x118000U, 0x040000U, 0x000000U}) {
    EXPECT_THAT(Found(Pc({Pci(0x10de, 0x7777, class_code)})).accelerators, IsEmpty())
        << std::hex << class_code;
  }
}

TEST(PciClasses, GiveWayToAnEntry) {
  // Gaudi 2 is of class 1200.
  const Accelerator npu = Only(Found(Pc({Pci(0x1da3, 0x1020, 0x120000)})));
  EXPECT_EQ(npu.kind, "npu");
  EXPECT_EQ(npu.compatible, "pci1da3,1020");
  EXPECT_THAT(npu.compatibles, ElementsAre("pci1da3,1020", "pciclass,1200"));
}

TEST(PciClasses, ADisplayThatIsNoGpuGivesNoLabel) {
  const Inventory inventory = Found(Pc({Pci(0x1a03, 0x2000, 0x030000)}));
  EXPECT_THAT(inventory.accelerators, SizeIs(1));
  const LabelReport report =
      ToLabels(inventory, {.accelerator_state = AcceleratorState::kDescribed});
  EXPECT_THAT(report.labels, IsEmpty());
  EXPECT_THAT(report.accelerator_keys, ElementsAre(""));
}

// --- The ladder

TEST(Ladder, ANodeThatIsDisabledIsDescribedOnly) {
  Inventory inventory =
      Board({{.name = "gpu@1", .compatible = {"nvidia,gm20b"}, .status = "disabled"}});
  const Accelerator gpu = Only(Found(inventory));
  EXPECT_EQ(Rung(gpu), "described");
  EXPECT_EQ(gpu.source, "devicetree /gpu@1");
  EXPECT_EQ(gpu.enabled_reason, "status disabled of /gpu@1");
  EXPECT_EQ(gpu.bound_reason, "not enabled");
  EXPECT_EQ(gpu.ready_reason, "not enabled");
}

TEST(Ladder, ANodeBelowOneThatIsDisabledIsDescribedOnly) {
  const Accelerator gpu = Only(Found(Board(
      {{.name = "bus@1",
        .status = "disabled",
        .children = {{.name = "gpu@1", .compatible = {"nvidia,gm20b"}, .status = "okay"}}}})));
  EXPECT_EQ(Rung(gpu), "described");
  EXPECT_EQ(gpu.enabled_reason, "status disabled of /bus@1");
}

TEST(Ladder, AnyStatusButOkayIsNotEnabled) {
  for (const char* status : {"disabled", "reserved", "fail", "fail-sss", "disable", ""}) {
    EXPECT_EQ(Rung(Only(Found(
                  Board({{.name = "gpu", .compatible = {"nvidia,gm20b"}, .status = status}})))),
              "described")
        << status;
  }
  for (const char* status : {"okay", "ok"}) {
    EXPECT_EQ(Rung(Only(Found(
                  Board({{.name = "gpu", .compatible = {"nvidia,gm20b"}, .status = status}})))),
              "enabled")
        << status;
  }
}

TEST(Ladder, AnEnabledNodeWithoutADeviceIsNotBound) {
  const Accelerator gpu = Only(Found(Board({{.name = "gpu@1", .compatible = {"nvidia,gm20b"}}})));
  EXPECT_EQ(Rung(gpu), "enabled");
  EXPECT_EQ(gpu.enabled_reason, "status okay of it and of every node above it");
  EXPECT_EQ(gpu.bound_reason, "the kernel has made no device of this node");
  EXPECT_EQ(gpu.ready_reason, "not bound");
}

TEST(Ladder, ADeviceWithoutADriverIsNotBound) {
  Inventory inventory = Board({{.name = "gpu@1", .compatible = {"nvidia,gm20b"}}});
  inventory.devicetree_devices = {Device("/gpu@1", std::nullopt)};
  const Accelerator gpu = Only(Found(inventory));
  EXPECT_EQ(Rung(gpu), "enabled");
  EXPECT_EQ(gpu.driver, std::nullopt);
  EXPECT_EQ(gpu.bound_reason, "no driver holds /sys/devices/platform/gpu@1");
}

TEST(Ladder, ABlobShowsNoDrivers) {
  Inventory inventory = Board({{.name = "gpu@1", .compatible = {"nvidia,gm20b"}}});
  inventory.devicetree_is_live = false;
  EXPECT_EQ(Only(Found(inventory)).bound_reason, "a devicetree blob shows no drivers");
}

TEST(Ladder, ADriverThatHasNotYetRegisteredItsInterfaceIsBound) {
  Inventory inventory = Board({{.name = "gpu@1", .compatible = {"arm,mali-bifrost"}}});
  inventory.devicetree_devices = {Device("/gpu@1", "panfrost")};
  const Accelerator gpu = Only(Found(inventory));
  EXPECT_EQ(Rung(gpu), "bound");
  EXPECT_EQ(gpu.driver, "panfrost");
  EXPECT_EQ(gpu.bound_reason, "driver panfrost");
  EXPECT_EQ(gpu.ready_reason, "no class device drm/renderD* that belongs to it");
}

TEST(Ladder, TheClassDeviceBelowItsDeviceMakesItReady) {
  Inventory inventory = Board({{.name = "gpu@1", .compatible = {"arm,mali-bifrost"}}});
  inventory.devicetree_devices = {Device("/gpu@1", "panfrost")};
  inventory.class_devices = {{.class_name = "drm",
                              .name = "renderD128",
                              .device = "devices/platform/gpu@1/drm/renderD128"}};
  const Accelerator gpu = Only(Found(inventory));
  EXPECT_EQ(Rung(gpu), "ready");
  EXPECT_EQ(gpu.ready_reason, "class device drm/renderD128");
}

TEST(Ladder, ClassDevicesOfOthersMakeItNotReady) {
  Inventory inventory = Board({{.name = "gpu@1", .compatible = {"arm,mali-bifrost"}}});
  inventory.devicetree_devices = {Device("/gpu@1", "panfrost")};
  inventory.class_devices = {
      // Another device, one whose name begins alike, another name, another class.
      {.class_name = "drm", .name = "renderD128", .device = "devices/platform/x/drm/renderD128"},
      {.class_name = "drm",
       .name = "renderD129",
       .device = "devices/platform/gpu@12/drm/renderD129"},
      {.class_name = "drm", .name = "card0", .device = "devices/platform/gpu@1/drm/card0"},
      {.class_name = "misc", .name = "renderD1", .device = "devices/platform/gpu@1/misc/renderD1"}};
  EXPECT_EQ(Rung(Only(Found(inventory))), "bound");
}

// drivers/gpu/drm/etnaviv: one DRM device, on a platform device of its own, for all cores.
TEST(Ladder, TheClassDeviceMayHangBelowAnotherDriver) {
  Inventory inventory = Board({{.name = "gpu@1", .compatible = {"vivante,gc"}},
                               {.name = "npu@2", .compatible = {"vivante,gc"}}});
  inventory.devicetree_devices = {Device("/gpu@1", "etnaviv-gpu"), Device("/npu@2", "etnaviv-gpu")};
  inventory.class_devices = {{.class_name = "drm",
                              .name = "renderD128",
                              .device = "devices/platform/etnaviv/drm/renderD128",
                              .parents = {{"drm", {}}, {"etnaviv", "etnaviv"}, {"platform", {}}}}};
  const Inventory ready = Found(inventory);
  ASSERT_THAT(ready.accelerators, SizeIs(2));
  EXPECT_EQ(Rung(ready.accelerators[0]), "ready");
  EXPECT_EQ(Rung(ready.accelerators[1]), "ready");
  inventory.class_devices[0].parents[1].driver = "imx-drm";
  EXPECT_EQ(Rung(Found(inventory).accelerators[0]), "bound");
}

// drivers/gpu/drm/vc4, msm and tegra, of which the contract says the same.
TEST(Ladder, TheClassDeviceMayHangBelowTheDisplaysDriver) {
  struct Case {
    const char* compatible;
    const char* driver;
    const char* holder;
  };
  const Case cases[] = {{"brcm,bcm2835-v3d", "vc4_v3d", "vc4-drm"},
                        {"qcom,adreno", "adreno", "msm_dpu"},
                        {"qcom,adreno", "adreno", "msm_mdp"},
                        {"nvidia,tegra210-vic", "tegra-vic", "drm"}};
  for (const Case& c : cases) {
    Inventory inventory = Board({{.name = "core@1", .compatible = {c.compatible}}});
    inventory.devicetree_devices = {Device("/core@1", c.driver)};
    inventory.class_devices = {{.class_name = "drm",
                                .name = "renderD128",
                                .device = "devices/platform/display/drm/renderD128",
                                .parents = {{"drm", {}}, {"display", c.holder}}}};
    EXPECT_EQ(Rung(Only(Found(inventory))), "ready") << c.driver << " below " << c.holder;
    inventory.class_devices[0].parents[1].driver = "other";
    EXPECT_EQ(Rung(Only(Found(inventory))), "bound") << c.driver;
  }
}

// drivers/accel/rocket: a platform device called rknn, which no driver holds.
TEST(Ladder, TheClassDeviceMayHangBelowADeviceOfAGivenName) {
  for (const auto& [name, rung] : std::map<std::string, std::string>{
           {"rknn", "ready"}, {"rknn.0.auto", "ready"}, {"rknn2", "bound"}, {"npu", "bound"}}) {
    Inventory inventory = Board({{.name = "npu@1", .compatible = {"rockchip,rk3588-rknn-core"}}});
    inventory.devicetree_devices = {Device("/npu@1", "rocket")};
    inventory.class_devices = {{.class_name = "accel",
                                .name = "accel0",
                                .device = "devices/platform/" + name + "/accel/accel0",
                                .parents = {{"accel", {}}, {name, {}}, {"platform", {}}}}};
    EXPECT_EQ(Rung(Only(Found(inventory))), rung) << name;
  }
}

// drivers/misc/fastrpc.c: a misc device without a parent.
TEST(Ladder, TheClassDeviceMayHangAnywhere) {
  Inventory inventory = Board({{.name = "remoteproc@1", .compatible = {"qcom,sm8550-cdsp-pas"}}});
  inventory.devicetree_devices = {Device("/remoteproc@1", "qcom_q6v5_pas")};
  inventory.class_devices = {{.class_name = "remoteproc",
                              .name = "remoteproc0",
                              .device = "devices/platform/remoteproc@1/remoteproc/remoteproc0"}};
  const Accelerator booting = Only(Found(inventory));
  EXPECT_EQ(Rung(booting), "bound");
  EXPECT_EQ(booting.ready_reason, "no class device misc/fastrpc-cdsp that belongs to it");
  inventory.class_devices.push_back({.class_name = "misc",
                                     .name = "fastrpc-cdsp",
                                     .device = "devices/virtual/misc/fastrpc-cdsp"});
  const Accelerator dsp = Only(Found(inventory));
  EXPECT_EQ(Rung(dsp), "ready");
  EXPECT_EQ(dsp.ready_reason, "class device misc/fastrpc-cdsp");
}

TEST(Ladder, ADspOfAnotherDomainDoesNotMakeItReady) {
  Inventory inventory = Board({{.name = "remoteproc@1", .compatible = {"qcom,sm8550-cdsp-pas"}}});
  inventory.devicetree_devices = {Device("/remoteproc@1", "qcom_q6v5_pas")};
  inventory.class_devices = {{.class_name = "misc", .name = "fastrpc-adsp", .device = "d"},
                             {.class_name = "misc", .name = "fastrpc-cdsp1", .device = "d"}};
  EXPECT_EQ(Rung(Only(Found(inventory))), "bound");
}

TEST(Ladder, ADriverOfWhichNoInterfaceIsKnownIsReadyAsItIsBound) {
  PciFunction function = Pci(0x10de, 0x2330, 0x030200);
  function.driver = "nvidia";
  const Accelerator gpu = Only(Found(Pc({function})));
  EXPECT_EQ(Rung(gpu), "ready");
  EXPECT_EQ(gpu.ready_reason, "no interface of driver nvidia is known: ready as it is bound");
}

TEST(Ladder, AClassDeviceWithoutItsDeviceNodeIsNotReady) {
  PciFunction function = Pci(0x1ac1, 0x089a, 0x0880ff);
  function.driver = "apex";
  Inventory inventory = Pc({function});
  inventory.class_devices = {{.class_name = "apex",
                              .name = "apex_0",
                              .device = "devices/pci0000:00/0000:01:00.0/apex/apex_0",
                              .has_device_node = false}};
  const Accelerator without = Only(Found(inventory));
  EXPECT_EQ(Rung(without), "bound");
  EXPECT_EQ(without.ready_reason, "class device apex/apex_0 has no device node");
  inventory.class_devices[0].has_device_node = true;
  EXPECT_EQ(Rung(Only(Found(inventory))), "ready");
  inventory.class_devices[0].has_device_node = std::nullopt;  // --path.dev is not given
  EXPECT_EQ(Rung(Only(Found(inventory))), "ready");
}

TEST(Ladder, OneOfTwoClassDevicesWithADeviceNodeIsEnough) {
  PciFunction function = Pci(0x1ac1, 0x089a, 0x0880ff);
  function.driver = "apex";
  Inventory inventory = Pc({function});
  for (const bool has_node : {false, true}) {
    const std::string name = has_node ? "apex_1" : "apex_0";
    inventory.class_devices.push_back({.class_name = "apex",
                                       .name = name,
                                       .device = "devices/pci0000:00/0000:01:00.0/apex/" + name,
                                       .has_device_node = has_node});
  }
  const Accelerator tpu = Only(Found(inventory));
  EXPECT_EQ(Rung(tpu), "ready");
  EXPECT_EQ(tpu.ready_reason, "class device apex/apex_1");
}

TEST(Ladder, ADeviceThatIsGivenAwayIsNotBound) {
  for (const std::string driver : {"vfio-pci", "pci-stub"}) {
    PciFunction function = Pci(0x10de, 0x2330, 0x030200);
    function.driver = driver;
    const Accelerator gpu = Only(Found(Pc({function})));
    EXPECT_EQ(Rung(gpu), "enabled");
    EXPECT_EQ(gpu.driver, driver);  // it is shown all the same
    EXPECT_EQ(gpu.bound_reason, "driver " + driver + " gives it away");
    EXPECT_EQ(gpu.ready_reason, "not bound");
  }
}

TEST(Ladder, APciFunctionOrUsbDeviceIsEnabledAsItIsThere) {
  const Accelerator pci = Only(Found(Pc({Pci(0x10de, 0x2330, 0x030200)})));
  EXPECT_EQ(Rung(pci), "enabled");
  EXPECT_EQ(pci.source, "/sys/bus/pci/devices/0000:01:00.0");
  EXPECT_EQ(pci.enabled_reason, "it is on the bus");
  EXPECT_EQ(pci.bound_reason, "no driver holds it");
  const Accelerator usb =
      Only(Found(UsbHost({{.address = "1-1.2", .vendor_id = 0x1a6e, .product_id = 0x89a}})));
  EXPECT_EQ(Rung(usb), "enabled");
  EXPECT_EQ(usb.source, "/sys/bus/usb/devices/1-1.2");
  EXPECT_EQ(usb.bound_reason, "no driver holds an interface of it");
}

TEST(Ladder, OfSeveralDevicesOfOneNodeTheOneWithADriverCounts) {
  Inventory inventory = Board({{.name = "gpu@1", .compatible = {"arm,mali-bifrost"}}});
  inventory.devicetree_devices = {{"/gpu@1", "devices/a", std::nullopt},
                                  {"/gpu@1", "devices/b", "panfrost"}};
  EXPECT_EQ(Only(Found(inventory)).driver, "panfrost");
}

TEST(Ladder, OfSeveralDevicesWithoutADriverTheFirstCounts) {
  Inventory inventory = Board({{.name = "gpu@1", .compatible = {"arm,mali-bifrost"}}});
  inventory.devicetree_devices = {{"/gpu@1", "devices/a", std::nullopt},
                                  {"/gpu@1", "devices/b", std::nullopt}};
  EXPECT_EQ(Only(Found(inventory)).bound_reason, "no driver holds /sys/devices/a");
}

TEST(Ladder, TheDeviceMayBeOnAnyBus) {
  Inventory inventory =
      Board({{.name = "spi",
              .children = {{.name = "fpga@0", .compatible = {"lattice,ice40-fpga-mgr"}}}}});
  inventory.devicetree_devices = {{"/spi/fpga@0", "devices/spi0/spi0.0", "ice40spi"}};
  inventory.class_devices = {{.class_name = "fpga_manager",
                              .name = "fpga0",
                              .device = "devices/spi0/spi0.0/fpga_manager/fpga0"}};
  const Accelerator fpga = Only(Found(inventory));
  EXPECT_EQ(fpga.kind, "fpga");
  EXPECT_EQ(Rung(fpga), "ready");
}

// --- One device counts once

// The RK3588's NPU is three nodes and one device.
std::vector<NodeSpec> Rk3588Cores(std::vector<const char*> statuses) {
  std::vector<NodeSpec> cores;
  for (std::size_t i = 0; i < statuses.size(); ++i) {
    cores.push_back({.name = "npu@fda" + std::string(1, "bcd"[i]) + "0000",
                     .compatible = {"rockchip,rk3588-rknn-core"},
                     .status = statuses[i]});
  }
  return cores;
}

TEST(Units, ThreeNodesOfOneNpuAreOneAccelerator) {
  const Accelerator npu = Only(Found(Board(Rk3588Cores({"okay", "okay", "okay"}))));
  EXPECT_EQ(npu.kind, "npu");
  EXPECT_EQ(npu.address, "/npu@fdab0000");
  EXPECT_EQ(npu.source,
            "devicetree /npu@fdab0000, the first that is enabled of 3 nodes of one device");
  EXPECT_EQ(Rung(npu), "enabled");
}

TEST(Units, ADeviceOfSeveralNodesIsCalledAsTheFirstThatIsEnabled) {
  const Accelerator npu = Only(Found(Board(Rk3588Cores({"disabled", "okay", "okay"}))));
  EXPECT_EQ(npu.address, "/npu@fdac0000");
  EXPECT_EQ(Rung(npu), "enabled");
}

TEST(Units, ADeviceOfSeveralNodesThatAreAllDisabledIsDescribedOnly) {
  const Accelerator npu = Only(Found(Board(Rk3588Cores({"disabled", "disabled", "disabled"}))));
  EXPECT_EQ(npu.address, "/npu@fdab0000");
  EXPECT_EQ(Rung(npu), "described");
  // None is enabled: the source must not say that one is.
  EXPECT_THAT(npu.source, testing::Not(testing::HasSubstr("that is enabled")));
}

TEST(Units, ADeviceOfSeveralNodesIsAsUsableAsTheBestOfThem) {
  Inventory inventory = Board(Rk3588Cores({"okay", "okay", "disabled"}));
  inventory.devicetree_devices = {Device("/npu@fdab0000", std::nullopt),
                                  Device("/npu@fdac0000", "rocket")};
  const Accelerator npu = Only(Found(inventory));
  EXPECT_EQ(npu.address, "/npu@fdab0000");
  EXPECT_EQ(npu.driver, "rocket");
  EXPECT_EQ(Rung(npu), "bound");
}

TEST(Units, OtherEntriesCountEachNode) {
  EXPECT_THAT(Addresses(Found(Board({{.name = "gpu@1", .compatible = {"vivante,gc"}},
                                     {.name = "gpu@2", .compatible = {"vivante,gc"}}}))),
              ElementsAre("/gpu@1", "/gpu@2"));
}

TEST(Units, CoralIsOneDeviceBeforeAndAfterItsFirstUse) {
  const Accelerator before =
      Only(Found(UsbHost({{.address = "2-1", .vendor_id = 0x1a6e, .product_id = 0x089a}})));
  const Accelerator after =
      Only(Found(UsbHost({{.address = "2-1", .vendor_id = 0x18d1, .product_id = 0x9302}})));
  for (const Accelerator& coral : {before, after}) {
    EXPECT_EQ(coral.kind, "tpu");
    EXPECT_EQ(coral.vendor, "google");
    EXPECT_EQ(coral.compatible, "usb1a6e,89a");
    EXPECT_THAT(coral.compatibles, ElementsAre("usb1a6e,89a"));
    EXPECT_EQ(coral.model, before.model);
  }
}

TEST(Units, VirtualFunctionsOfAPhysicalOneAreNotCounted) {
  PciFunction physical = Pci(0x10de, 0x2330, 0x030200, "0000:01:00.0");
  PciFunction virtual_function = Pci(0x10de, 0x2330, 0x030200, "0000:01:00.4");
  virtual_function.is_virtual_function = true;
  PciFunction listed = Pci(0x8086, 0x7d1d, 0x120000, "0000:02:00.1");
  listed.is_virtual_function = true;
  EXPECT_THAT(Addresses(Found(Pc({physical, virtual_function, listed}))),
              ElementsAre("0000:01:00.0"));
}

// Pairs of ids that pci.ids lists: physical and virtual function.
TEST(Units, PairsOfPhysicalAndVirtualIdsCountOnceWithoutALinkToo) {
  const std::tuple<std::uint32_t, std::uint32_t, std::uint32_t> pairs[] = {
      {0x1eff, 0x1020, 0x1021},  // Rebellions
      {0x1eff, 0x2230, 0x2231},
      {0x8086, 0x4940, 0x4941},  // QAT
      {0x8086, 0x37c8, 0x37c9},
      {0x1ff4, 0x0102, 0x2001}};  // DEEPX V-NPU
  for (const auto& [vendor, physical, other] : pairs) {
    EXPECT_THAT(Addresses(Found(Pc({Pci(vendor, physical, 0x120000, "0000:01:00.0"),
                                    Pci(vendor, other, 0x120000, "0000:01:00.1"),
                                    Pci(vendor, other, 0x120000, "0000:01:00.2")}))),
                ElementsAre("0000:01:00.0"))
        << std::hex << vendor << "," << physical;
  }
}

TEST(Units, AVirtualFunctionAloneIsWhatAGuestHas) {
  const Accelerator npu = Only(Found(Pc({Pci(0x1eff, 0x1021, 0x120000)})));
  EXPECT_EQ(npu.kind, "npu");
  EXPECT_EQ(npu.vendor, "rebellions");
  EXPECT_EQ(npu.compatible, "pci1eff,1021");
}

TEST(Units, TwoCardsAreTwoAccelerators) {
  EXPECT_THAT(Addresses(Found(Pc({Pci(0x1eff, 0x1020, 0x120000, "0000:01:00.0"),
                                  Pci(0x1eff, 0x1020, 0x120000, "0000:02:00.0")}))),
              ElementsAre("0000:01:00.0", "0000:02:00.0"));
}

TEST(Units, ANodeThatDescribesAPciFunctionIsNotOneMore) {
  const Inventory inventory = Found(Board(
      {{.name = "gpu@6,0",
        .compatible = {"pci0014,7a15.0", "pci0014,7a15", "pciclass,030200", "pciclass,0302"}},
       {.name = "pci1ac1,89a@7,0", .compatible = {"pci1ac1,89a"}}}));  // the catalogue's form
  EXPECT_THAT(inventory.accelerators, IsEmpty());
  EXPECT_THAT(inventory.unrecognised, IsEmpty());
}

// --- Traps: facts/accelerators.md, section 8

TEST(Traps, AreNoAcceleratorsAndAreNotReported) {
  const char* const traps[] = {"renesas,tpu",
                               "renesas,tpu-r8a7790",
                               "renesas,tpu-r8a7795",
                               "rockchip,rk3288-vpu",
                               "rockchip,rk3399-vpu",
                               "rockchip,rk3588-vpu121",
                               "nxp,imx8mq-vpu",
                               "nxp,imx8qm-vpu",
                               "nxp,imx8mm-vpu-g1",
                               "amlogic,meson-gx-vpu",
                               "amlogic,meson-g12a-vpu",
                               "mediatek,mt8173-vpu",
                               "cnm,coda960",
                               "mediatek,mt8365-apu",
                               "rockchip,rk3576-npu-grf",
                               "fsl,imx8mp-vpu-blk-ctrl",
                               "qcom,sm8150-npu-noc",
                               "arm,mali-d71",
                               "arm,mali-d32",
                               "arm,mali-dp500",
                               "arm,mali-dp550",
                               "arm,mali-dp650",
                               "fsl,fpga-qixis",
                               "arm,vexpress-muxfpga",
                               "arm,versatile-fpga-irq",
                               "img,pistachio-clk",
                               "img,spfi",
                               "img,pdc-wdt",
                               "img,scb-i2c",
                               "fsl,imx6q-ipu"};
  for (const char* trap : traps) {
    for (const char* name : {"gpu@1", "npu@1", "tpu@1", "vpu@1", "apu@1", "other@1"}) {
      const Inventory inventory = Found(Board({{.name = name, .compatible = {trap}}}));
      EXPECT_THAT(inventory.accelerators, IsEmpty()) << trap << " at " << name;
      EXPECT_THAT(inventory.unrecognised, IsEmpty()) << trap << " at " << name;
    }
  }
}

TEST(Traps, OfPciAndUsbAreNoAccelerators) {
  EXPECT_THAT(Found(Pc({Pci(0x8086, 0x7e4c, 0x048000),  // GNA
                        Pci(0x8086, 0x7e4c, 0x120000, "0000:00:08.0"),
                        Pci(0x1f82, 0x00f1, 0x020000, "0000:02:00.0")}))  // a network card
                  .accelerators,
              IsEmpty());
  EXPECT_THAT(Found(UsbHost({{.address = "1-1", .vendor_id = 0x0955, .product_id = 0x7020},
                             {.address = "1-2", .vendor_id = 0x0955, .product_id = 0x7c18},
                             {.address = "1-3", .vendor_id = 0x0955, .product_id = 0x7323},
                             {.address = "1-4", .vendor_id = 0x0627, .product_id = 0x0001}}))
                  .accelerators,
              IsEmpty());
}

TEST(Traps, AMaliDisplayIsNoGpuAndAMaliGpuIs) {
  const Inventory inventory = Found(Board({{.name = "display@1", .compatible = {"arm,mali-d71"}},
                                           {.name = "gpu@2", .compatible = {"arm,mali-t860"}}}));
  EXPECT_THAT(Addresses(inventory), ElementsAre("/gpu@2"));
}

// --- What looks like an accelerator and is in no list

std::vector<std::string> Unrecognised(std::vector<NodeSpec> nodes) {
  const Inventory inventory = Found(Board(std::move(nodes)));
  EXPECT_THAT(inventory.accelerators, IsEmpty());
  std::vector<std::string> shown;
  for (const UnrecognisedNode& node : inventory.unrecognised) {
    shown.push_back(node.path + " " + node.compatible);
  }
  return shown;
}

TEST(Unrecognised, IsAnEnabledNodeCalledLikeAnAcceleratorWithItsMostSpecificCompatible) {
  EXPECT_THAT(Unrecognised({{.name = "npu@1", .compatible = {"acme,npu-2", "acme,npu"}}}),
              ElementsAre("/npu@1 acme,npu-2"));
  for (const char* name : {"gpu", "npu", "tpu", "vpu", "npu0", "gpu1@2"}) {
    EXPECT_THAT(Unrecognised({{.name = name, .compatible = {"acme,x"}}}),
                ElementsAre("/" + std::string(name) + " acme,x"));
  }
}

TEST(Unrecognised, IsNoNodeThatIsDisabled) {
  EXPECT_THAT(Unrecognised({{.name = "npu", .compatible = {"acme,npu"}, .status = "disabled"}}),
              IsEmpty());
  EXPECT_THAT(Unrecognised({{.name = "soc",
                             .status = "disabled",
                             .children = {{.name = "npu", .compatible = {"acme,npu"}}}}}),
              IsEmpty());
}

TEST(Unrecognised, IsNoNodeWithoutACompatible) {
  EXPECT_THAT(Unrecognised({{.name = "npu"}}), IsEmpty());
  EXPECT_THAT(Unrecognised({{.name = "npu", .raw_compatible = "unterminated"}}), IsEmpty());
}

TEST(Unrecognised, IsNoNodeOfAnotherName) {
  EXPECT_THAT(Unrecognised({{.name = "npu-core", .compatible = {"acme,npu"}},
                            {.name = "gpu-opp-table", .compatible = {"operating-points-v2"}},
                            {.name = "GPU", .compatible = {"acme,gpu"}}}),
              IsEmpty());
}

TEST(Unrecognised, IsNoNodeThatAnyOfItsCompatiblesDenies) {
  EXPECT_THAT(Unrecognised({{.name = "tpu", .compatible = {"acme,timer", "renesas,tpu"}}}),
              IsEmpty());
}

TEST(Bookkeeping, NodesAreNeitherAcceleratorsNorUnrecognised) {
  for (const char* parent :
       {"reserved-memory", "aliases", "chosen", "__symbols__", "__fixups__", "__local_fixups__"}) {
    EXPECT_THAT(Unrecognised({{.name = parent,
                               .children = {{.name = "gpu@1", .compatible = {"nvidia,gm20b"}},
                                            {.name = "npu@2", .compatible = {"acme,npu"}}}}}),
                IsEmpty())
        << parent;
  }
}

}  // namespace
}  // namespace exporter
