#include "exporter/projections/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "tests/test_support/tree.h"

namespace exporter {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Optional;

Accelerator Gpu() {
  Accelerator gpu;
  gpu.kind = "gpu";
  gpu.address = "/gpu@57000000";
  gpu.vendor = "nvidia";
  gpu.model = "gm20b";
  gpu.compatible = "nvidia,gm20b";
  gpu.compatibles = {"nvidia,gm20b"};
  gpu.driver = "nouveau";
  gpu.enabled = gpu.bound = true;
  gpu.rule = "accelerators.yaml:168";
  gpu.source = "devicetree /gpu@57000000";
  gpu.enabled_reason = "status okay of it and of every node above it";
  gpu.bound_reason = "driver nouveau";
  gpu.ready_reason = "no class device drm/renderD* that belongs to it";
  return gpu;
}

// A Jetson whose GPU is bound, with something of everything.
Inventory Board() {
  Inventory inventory = test_support::MakeInventory(
      {.compatible = {"nvidia,tegra210", ",,,"},
       .children = {{.name = "cpu@0", .compatible = {"arm,cortex-a57"}, .status = "disabled"}}});
  inventory.accelerators = {Gpu()};
  inventory.unrecognised = {{"/npu@1", "acme,npu"}};
  return inventory;
}

const LabelRules kRules{.prefix = "x", .nodes = {"cpu"}};

std::optional<std::string> Explained(const Inventory& inventory, std::string_view topic) {
  return ToExplanation(inventory, ToLabels(inventory, kRules), topic);
}

TEST(Explanation, SaysOfEverythingWhereItComesFrom) {
  EXPECT_THAT(Explained(Board(), ""), Optional(std::string(R"(Labels:
  x/nvidia-tegra210: 1
    from /
  x/nvidia-gm20b: 1
    from /gpu@57000000
  x/accelerator.gpu: 1
    from /gpu@57000000
  x/accelerator.gpu.count: 1
    from /gpu@57000000
  x/accelerator.gpu.driver.nouveau: 1
    from /gpu@57000000
  x/accelerator.gpu.vendor.nvidia: 1
    from /gpu@57000000

Compatibles without a label:
  arm,cortex-a57 of /cpu@0: the node is not enabled

Accelerators:
  /gpu@57000000  gpu nvidia gm20b
    matched: nvidia,gm20b at accelerators.yaml:168
    label: x/nvidia-gm20b
    [x] described: devicetree /gpu@57000000
    [x] enabled: status okay of it and of every node above it
    [x] bound: driver nouveau
    [ ] ready: no class device drm/renderD* that belongs to it

Rejected:
  ,,, of /: empty: no letter or digit; at least one expected

Called like an accelerator, and in no list:
  /npu@1: acme,npu
)")));
}

TEST(Explanation, OfAnEmptyMachineSaysSo) {
  EXPECT_THAT(Explained(Inventory{}, ""),
              Optional(std::string("Nothing found: no devicetree and no accelerator.\n")));
}

TEST(Explanation, OfACompatibleSaysWhatThereIsToSayOfItAlone) {
  EXPECT_THAT(Explained(Board(), "nvidia,gm20b"), Optional(std::string(R"(Labels:
  x/nvidia-gm20b: 1
    from /gpu@57000000

Accelerators:
  /gpu@57000000  gpu nvidia gm20b
    matched: nvidia,gm20b at accelerators.yaml:168
    label: x/nvidia-gm20b
    [x] described: devicetree /gpu@57000000
    [x] enabled: status okay of it and of every node above it
    [x] bound: driver nouveau
    [ ] ready: no class device drm/renderD* that belongs to it
)")));
}

TEST(Explanation, OfALabelKeySaysWhatThereIsToSayOfItAlone) {
  EXPECT_THAT(Explained(Board(), "x/accelerator.gpu.count"),
              Optional(std::string("Labels:\n"
                                   "  x/accelerator.gpu.count: 1\n"
                                   "    from /gpu@57000000\n")));
  EXPECT_THAT(Explained(Board(), "x/nvidia-tegra210"),
              Optional(std::string("Labels:\n"
                                   "  x/nvidia-tegra210: 1\n"
                                   "    from /\n")));
}

TEST(Explanation, OfALabelKeyAndOfItsCompatibleAreTheSame) {
  EXPECT_EQ(Explained(Board(), "x/nvidia-gm20b"), Explained(Board(), "nvidia,gm20b"));
  EXPECT_EQ(Explained(Board(), "x/nvidia-tegra210"), Explained(Board(), "nvidia,tegra210"));
}

TEST(Explanation, OfARejectedCompatibleSaysWhy) {
  EXPECT_THAT(Explained(Board(), ",,,"),
              Optional(std::string(
                  "Rejected:\n  ,,, of /: empty: no letter or digit; at least one expected\n")));
}

TEST(Explanation, OfACompatibleThatIsInNoListSaysSo) {
  EXPECT_THAT(
      Explained(Board(), "acme,npu"),
      Optional(std::string("Called like an accelerator, and in no list:\n  /npu@1: acme,npu\n")));
}

TEST(Explanation, OfACompatibleOfADisabledNodeSaysSo) {
  EXPECT_THAT(Explained(Board(), "arm,cortex-a57"),
              Optional(std::string("Compatibles without a label:\n"
                                   "  arm,cortex-a57 of /cpu@0: the node is not enabled\n")));
}

TEST(Explanation, OfWhatIsNotThereIsNone) {
  EXPECT_EQ(Explained(Board(), "acme,none"), std::nullopt);
  EXPECT_EQ(Explained(Board(), "nvidia"), std::nullopt);
  EXPECT_EQ(Explained(Inventory{}, "nvidia,gm20b"), std::nullopt);
}

TEST(Explanation, OfANodeThatIsNotRecognisedIsByItsCompatibleOrItsPath) {
  for (const char* topic : {"acme,npu", "/npu@1"}) {
    EXPECT_THAT(Explained(Board(), topic), Optional(HasSubstr("  /npu@1: acme,npu\n"))) << topic;
  }
}

TEST(Explanation, OfALabelThatIsLeftOutSaysSo) {
  const Inventory inventory = test_support::MakeInventory({.compatible = {"a,one", "a,two"}});
  const LabelReport labels = ToLabels(inventory, {.prefix = "x", .exclude = {"a-two"}});
  EXPECT_THAT(ToExplanation(inventory, labels, "a,two"),
              Optional(std::string("Compatibles without a label:\n"
                                   "  a,two of /: left out by include or exclude\n")));
}

TEST(Explanation, OfAnAcceleratorThatGivesNoLabelSaysNone) {
  Inventory inventory;
  Accelerator display = Gpu();
  display.kind = "display";
  display.vendor.reset();
  display.model.reset();
  inventory.accelerators = {display};
  EXPECT_THAT(Explained(inventory, ""), Optional(std::string(R"(Accelerators:
  /gpu@57000000  display
    matched: nvidia,gm20b at accelerators.yaml:168
    label: none
    [x] described: devicetree /gpu@57000000
    [x] enabled: status okay of it and of every node above it
    [x] bound: driver nouveau
    [ ] ready: no class device drm/renderD* that belongs to it
)")));
}

TEST(Explanation, ShowsControlCharactersAndBadUtf8AsHex) {
  Inventory inventory = test_support::MakeInventory(
      {.compatible = {"a,\x1b[2J", "\x1b\xff"},
       .children = {{.name = "cpu@\x1b", .compatible = {"b,\x1b"}, .status = "disabled"}}});
  Accelerator gpu = Gpu();
  gpu.address = "/gpu@\x1b";
  gpu.compatible = "a,\x1b";
  gpu.compatibles = {"a,\x1b"};
  gpu.driver = "d\x1b";
  gpu.source = gpu.enabled_reason = gpu.bound_reason = gpu.ready_reason = "s\x1b\n";
  inventory.accelerators = {gpu};
  inventory.unrecognised = {{"/npu@\x1b", "acme,\x1b"}};
  const std::optional<std::string> text = Explained(inventory, "");
  ASSERT_TRUE(text);
  for (const char c : *text) {
    EXPECT_TRUE(c == '\n' ||
                (static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) < 0x7f))
        << *text;
  }
  EXPECT_THAT(*text, HasSubstr("  /gpu@\\x1b  gpu nvidia gm20b\n"));
  EXPECT_THAT(*text, HasSubstr("  b,\\x1b of /cpu@\\x1b: the node is not enabled\n"));
  EXPECT_THAT(*text, HasSubstr("  /npu@\\x1b: acme,\\x1b\n"));
  EXPECT_THAT(*text, HasSubstr("[x] bound: s\\x1b\\x0a\n"));
  EXPECT_THAT(*text, HasSubstr("\\x1b\\xff of /: empty: "));
  EXPECT_THAT(*text, Not(HasSubstr("\x1b")));
}

TEST(Explanation, ShowsAControlCharacterInTheNameOfACatalogueFileAsHex) {
  Inventory inventory;
  inventory.accelerators = {Gpu()};
  inventory.accelerators[0].rule = "/etc/\x1b.yaml:1";
  EXPECT_THAT(Explained(inventory, ""), Optional(HasSubstr(" at /etc/\\x1b.yaml:1\n")));
}

}  // namespace
}  // namespace exporter
