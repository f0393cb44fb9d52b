// The labels that accelerators give. Those of nodes: labels_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>
#include <vector>

#include "exporter/projections/labels.h"
#include "tests/test_support/tree.h"

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// The rungs that are reached, one after the other.
enum Rung { kDescribed, kEnabled, kBound, kReady };

Accelerator Npu(const std::string& address, const std::string& compatible, Rung rung = kEnabled,
                const std::string& driver = "rocket") {
  Accelerator accelerator;
  accelerator.kind = "npu";
  accelerator.address = address;
  accelerator.vendor = "rockchip";
  accelerator.compatible = compatible;
  accelerator.compatibles = {compatible};
  accelerator.enabled = rung >= kEnabled;
  accelerator.bound = rung >= kBound;
  accelerator.ready = rung >= kReady;
  if (accelerator.bound) accelerator.driver = driver;
  return accelerator;
}

Inventory With(std::vector<Accelerator> accelerators) {
  Inventory inventory;
  inventory.accelerators = std::move(accelerators);
  return inventory;
}

// "key: value" of each label; the prefix is x.
std::vector<std::string> Shown(const LabelReport& report) {
  std::vector<std::string> shown;
  for (const Label& label : report.labels) shown.push_back(label.key + ": " + label.value);
  return shown;
}

LabelRules Rules(AcceleratorState state = AcceleratorState::kEnabled) {
  return {.prefix = "x", .accelerator_state = state};
}

TEST(AcceleratorLabels, AreCompatiblesThenKindCountDriverAndVendor) {
  Accelerator npu = Npu("/npu@1", "rockchip,rk3588-rknn-core", kReady);
  npu.compatibles = {"acme,first", "rockchip,rk3588-rknn-core"};
  EXPECT_THAT(
      Shown(ToLabels(With({npu}), Rules())),
      ElementsAre("x/acme-first: 1", "x/rockchip-rk3588-rknn-core: 1", "x/accelerator.npu: 1",
                  "x/accelerator.npu.count: 1", "x/accelerator.npu.driver.rocket: 1",
                  "x/accelerator.npu.vendor.rockchip: 1"));
}

TEST(AcceleratorLabels, ComeAfterTheRootAndDesignatedNodes) {
  Inventory inventory = test_support::MakeInventory(
      {.compatible = {"z,board"}, .children = {{.name = "cpu@0", .compatible = {"z,cpu"}}}});
  Accelerator npu = Npu("/npu@1", "a,npu");
  npu.vendor.reset();
  inventory.accelerators = {npu};
  LabelRules rules = Rules();
  rules.nodes = {"cpu"};
  EXPECT_THAT(Shown(ToLabels(inventory, rules)),
              ElementsAre("x/z-board: 1", "x/z-cpu: 1", "x/a-npu: 1", "x/accelerator.npu: 1",
                          "x/accelerator.npu.count: 1"));
}

TEST(AcceleratorLabels, AreGivenAtOrAboveTheConfiguredState) {
  const Inventory inventory =
      With({Npu("/npu@1", "a,described", kDescribed), Npu("/npu@2", "a,enabled", kEnabled),
            Npu("/npu@3", "a,bound", kBound), Npu("/npu@4", "a,ready", kReady)});
  const std::pair<AcceleratorState, std::vector<std::string>> cases[] = {
      {AcceleratorState::kDescribed, {"x/a-described", "x/a-enabled", "x/a-bound", "x/a-ready"}},
      {AcceleratorState::kEnabled, {"", "x/a-enabled", "x/a-bound", "x/a-ready"}},
      {AcceleratorState::kBound, {"", "", "x/a-bound", "x/a-ready"}},
      {AcceleratorState::kReady, {"", "", "", "x/a-ready"}}};
  for (const auto& [state, keys] : cases) {
    EXPECT_EQ(ToLabels(inventory, Rules(state)).accelerator_keys, keys);
  }
}

TEST(AcceleratorLabels, AreForTheEnabledUnlessConfiguredOtherwise) {
  EXPECT_EQ(LabelRules{}.accelerator_state, AcceleratorState::kEnabled);
}

TEST(AcceleratorLabels, CountThoseThatAreFarEnoughUp) {
  const Inventory inventory = With({Npu("/npu@1", "a,n", kDescribed),
                                    Npu("/npu@2", "a,n", kEnabled), Npu("/npu@3", "a,n", kReady)});
  const auto count = [&](AcceleratorState state) {
    for (const Label& label : ToLabels(inventory, Rules(state)).labels) {
      if (label.key == "x/accelerator.npu.count") return label.value;
    }
    return std::string("none");
  };
  EXPECT_EQ(count(AcceleratorState::kDescribed), "3");
  EXPECT_EQ(count(AcceleratorState::kEnabled), "2");
  EXPECT_EQ(count(AcceleratorState::kReady), "1");
}

TEST(AcceleratorLabels, OfAKindAreNoneWithoutOneThatIsFarEnoughUp) {
  EXPECT_THAT(ToLabels(With({Npu("/npu@1", "a,n", kDescribed)}), Rules()).labels, IsEmpty());
}

TEST(AcceleratorLabels, OfSeveralKindsComeByNameOfTheKind) {
  Accelerator gpu = Npu("/gpu@1", "a,g");
  gpu.kind = "gpu";
  gpu.vendor.reset();
  Accelerator npu = Npu("/a@1", "a,n");
  npu.vendor.reset();
  EXPECT_THAT(
      Shown(ToLabels(With({npu, gpu}), Rules())),
      ElementsAre("x/a-n: 1", "x/a-g: 1", "x/accelerator.gpu: 1", "x/accelerator.gpu.count: 1",
                  "x/accelerator.npu: 1", "x/accelerator.npu.count: 1"));
}

TEST(AcceleratorLabels, SayEachVendorAndEachDriverOnce) {
  Accelerator other = Npu("/npu@3", "a,n", kBound, "galcore");
  other.vendor = "vivante";
  EXPECT_THAT(
      Shown(ToLabels(With({Npu("/npu@1", "a,n", kBound), Npu("/npu@2", "a,n", kBound), other}),
                     Rules())),
      UnorderedElementsAre(
          "x/a-n: 1", "x/accelerator.npu: 1", "x/accelerator.npu.count: 3",
          "x/accelerator.npu.vendor.rockchip: 1", "x/accelerator.npu.vendor.vivante: 1",
          "x/accelerator.npu.driver.rocket: 1", "x/accelerator.npu.driver.galcore: 1"));
}

TEST(AcceleratorLabels, SayNoVendorThatIsNotKnown) {
  Accelerator npu = Npu("/npu@1", "a,n");
  npu.vendor.reset();
  EXPECT_THAT(Shown(ToLabels(With({npu}), Rules())),
              ElementsAre("x/a-n: 1", "x/accelerator.npu: 1", "x/accelerator.npu.count: 1"));
}

TEST(AcceleratorLabels, SayNoDriverThatGivesTheDeviceAway) {
  Accelerator passed_through = Npu("0000:01:00.0", "pci10de,2330", kEnabled);
  passed_through.driver = "vfio-pci";
  passed_through.bus = Bus::kPci;
  EXPECT_THAT(Shown(ToLabels(With({passed_through}), Rules())),
              ElementsAre("x/pci10de-2330: 1", "x/accelerator.npu: 1", "x/accelerator.npu.count: 1",
                          "x/accelerator.npu.vendor.rockchip: 1"));
}

TEST(AcceleratorLabels, OfADriverWithSpacesHaveUnderscores) {
  const Accelerator fpga = Npu("/fpga", "a,f", kBound, "Stratix10 SoC FPGA manager");
  EXPECT_THAT(Shown(ToLabels(With({fpga}), Rules())),
              testing::Contains("x/accelerator.npu.driver.Stratix10_SoC_FPGA_manager: 1"));
}

TEST(AcceleratorLabels, OfADriverWhoseNameIsTooLongAreRejectedAndHarmNoOther) {
  const std::string driver(63, 'd');
  const LabelReport report = ToLabels(With({Npu("/npu@1", "a,n", kBound, driver)}), Rules());
  EXPECT_THAT(Shown(report),
              ElementsAre("x/a-n: 1", "x/accelerator.npu: 1", "x/accelerator.npu.count: 1",
                          "x/accelerator.npu.vendor.rockchip: 1"));
  ASSERT_THAT(report.rejected, SizeIs(1));
  EXPECT_EQ(report.rejected[0].path, "/npu@1");
  EXPECT_EQ(report.rejected[0].reason, Rejection::kTooLong);
  EXPECT_EQ(report.rejected[0].detail, "86 characters; at most 63 expected");
}

TEST(AcceleratorLabels, OfTwoDriversThatComeToOneNameAreGivenOnce) {
  EXPECT_THAT(
      Shown(
          ToLabels(With({Npu("/npu@1", "a,n", kBound, "a b"), Npu("/npu@2", "a,n", kBound, "a_b")}),
                   Rules())),
      ElementsAre("x/a-n: 1", "x/accelerator.npu: 1", "x/accelerator.npu.count: 2",
                  "x/accelerator.npu.driver.a_b: 1", "x/accelerator.npu.vendor.rockchip: 1"));
}

TEST(AcceleratorLabels, OfADisplayAreNone) {
  Accelerator display = Npu("0000:01:00.0", "pciclass,0300", kReady);
  display.kind = "display";
  const LabelReport report = ToLabels(With({display}), Rules(AcceleratorState::kDescribed));
  EXPECT_THAT(report.labels, IsEmpty());
  EXPECT_THAT(report.accelerator_keys, ElementsAre(""));
}

TEST(AcceleratorLabels, OfOneThatHasDepartedStay) {
  Accelerator coral = Npu("1-1", "usb1a6e,89a", kBound, "usbhid");
  coral.bus = Bus::kUsb;
  coral.kind = "tpu";
  const LabelReport report = ToLabels(With({}), Rules(), {coral});
  EXPECT_THAT(
      Shown(report),
      ElementsAre("x/usb1a6e-89a: 1", "x/accelerator.tpu: 1", "x/accelerator.tpu.count: 1",
                  "x/accelerator.tpu.driver.usbhid: 1", "x/accelerator.tpu.vendor.rockchip: 1"));
  EXPECT_THAT(report.accelerator_keys, IsEmpty());  // it is none of the Inventory's
}

TEST(AcceleratorLabels, CountOneThatHasDepartedWithThoseThatAreThere) {
  EXPECT_THAT(
      Shown(ToLabels(With({Npu("1-2", "usb1a6e,89a")}), Rules(), {Npu("1-1", "usb1a6e,89a")})),
      testing::Contains("x/accelerator.npu.count: 2"));
}

TEST(AcceleratorLabels, ACompatibleThatLooksLikeOneIsRejected) {
  Inventory inventory = test_support::MakeInventory(
      {.compatible = {"accelerator.gpu", "accelerator.npu.count", "accelerator"}});
  inventory.accelerators = {Npu("/npu@1", "a,n")};
  const LabelReport report = ToLabels(inventory, Rules());
  EXPECT_THAT(Shown(report),
              ElementsAre("x/accelerator: 1", "x/a-n: 1", "x/accelerator.npu: 1",
                          "x/accelerator.npu.count: 1", "x/accelerator.npu.vendor.rockchip: 1"));
  ASSERT_THAT(report.rejected, SizeIs(2));
  EXPECT_EQ(report.rejected[0].compatible, "accelerator.gpu");
  EXPECT_EQ(report.rejected[0].reason, Rejection::kCollision);
  EXPECT_EQ(report.rejected[0].detail, "names that begin with accelerator. say what was found");
}

TEST(AcceleratorLabels, AreChosenByIncludeAndExclude) {
  LabelRules rules = Rules();
  rules.include = {"accelerator.*"};
  rules.exclude = {"*.count"};
  const LabelReport report = ToLabels(With({Npu("/npu@1", "a,n", kBound)}), rules);
  EXPECT_THAT(Shown(report),
              ElementsAre("x/accelerator.npu: 1", "x/accelerator.npu.driver.rocket: 1",
                          "x/accelerator.npu.vendor.rockchip: 1"));
  EXPECT_THAT(report.accelerator_keys, ElementsAre(""));
}

TEST(AcceleratorLabels, OfANodeThatIsDesignatedTooAreGivenOnce) {
  Inventory inventory = test_support::MakeInventory(
      {.compatible = {"a,board"}, .children = {{.name = "npu@1", .compatible = {"a,n"}}}});
  inventory.accelerators = {Npu("/npu@1", "a,n")};
  LabelRules rules = Rules();
  rules.nodes = {"npu"};
  rules.count_values = true;  // the number of matching nodes: one
  const LabelReport report = ToLabels(inventory, rules);
  EXPECT_THAT(Shown(report), testing::Contains("x/a-n: 1"));
  EXPECT_THAT(report.accelerator_keys, ElementsAre("x/a-n"));
}

TEST(AcceleratorLabels, SayWhichAcceleratorsTheyComeFrom) {
  const LabelReport report =
      ToLabels(With({Npu("/npu@1", "a,n", kBound), Npu("/npu@2", "a,n")}), Rules());
  ASSERT_EQ(report.origins.size(), report.labels.size());
  for (std::size_t i = 0; i < report.labels.size(); ++i) {
    EXPECT_EQ(report.origins[i].compatible, report.labels[i].key == "x/a-n" ? "a,n" : "");
    if (report.labels[i].key == "x/accelerator.npu.driver.rocket") {
      EXPECT_THAT(report.origins[i].places, ElementsAre("/npu@1"));
    } else {
      EXPECT_THAT(report.origins[i].places, ElementsAre("/npu@1", "/npu@2"));
    }
  }
}

TEST(AcceleratorLabels, ARejectedCompatibleHarmsNoOther) {
  Accelerator npu = Npu("/npu@1", "a,n");
  npu.compatibles = {std::string(64, 'a'), ",,", "a,n"};
  const LabelReport report = ToLabels(With({npu}), Rules());
  EXPECT_THAT(Shown(report),
              ElementsAre("x/a-n: 1", "x/accelerator.npu: 1", "x/accelerator.npu.count: 1",
                          "x/accelerator.npu.vendor.rockchip: 1"));
  EXPECT_THAT(report.rejected, SizeIs(2));
}

// Kinds and vendors come from a file that users may extend.
TEST(AcceleratorLabels, OfAKindWhoseNameKubernetesRefusesAreRejectedAndHarmNoOther) {
  for (const std::string& kind : {std::string("gpu."), std::string("-"), std::string(60, 'k')}) {
    Accelerator odd = Npu("/a@1", "a,n");
    odd.kind = kind;
    odd.vendor.reset();
    const LabelReport report = ToLabels(With({odd}), Rules());
    EXPECT_THAT(Shown(report), testing::Contains("x/a-n: 1")) << kind;
    for (const Label& label : report.labels) {
      const std::string name = label.key.substr(2);
      EXPECT_LE(name.size(), 63U) << name;
      EXPECT_TRUE(std::isalnum(static_cast<unsigned char>(name.back()))) << name;
    }
  }
}

TEST(AcceleratorLabels, HaveKeysThatAreUniqueWhateverTheKindsAreCalled) {
  Accelerator gpu = Npu("/a@1", "a,n");
  gpu.kind = "gpu";
  Accelerator odd = Npu("/b@1", "a,m");
  odd.kind = "gpu.count";
  std::vector<std::string> keys;
  for (const Label& label : ToLabels(With({gpu, odd}), Rules()).labels) keys.push_back(label.key);
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(std::adjacent_find(keys.begin(), keys.end()), keys.end());
}

}  // namespace
}  // namespace exporter
