#include "exporter/projections/labels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/test_support/tree.h"

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using test_support::MakeInventory;
using test_support::NodeSpec;

std::vector<std::string> Keys(const LabelReport& report) {
  std::vector<std::string> keys;
  for (const Label& label : report.labels) keys.push_back(label.key);
  return keys;
}

TEST(LabelName, MapsWhatTheContractSays) {
  const std::pair<const char*, const char*> cases[] = {
      {"nvidia,tegra210", "nvidia-tegra210"},
      {"nvidia,p3737-0000+p3701-0000", "nvidia-p3737-0000_p3701-0000"},
      {"xlnx,zynqmp-zcu102", "xilinx-zynqmp-zcu102"},  // the renamed vendor
      {"xlnx", "xlnx"},                                // no comma, no vendor prefix
      {"xlnx2,a", "xlnx2-a"},
      {"simple-bus", "simple-bus"},
      {"hailo,integrated-nnc,hailo15l", "hailo-integrated-nnc-hailo15l"},
      {"amlogic, galcore", "amlogic-_galcore"},
      {" jedec,spi-nor", "jedec-spi-nor"},
      {"arm,vexpress/v2p", "arm-vexpress_v2p"},
      {"Acme,NPU.v1_a", "Acme-NPU.v1_a"},  // case is kept
      {"-.acme,x_-", "acme-x"},
      {"acme,\xc3\xa9z", "acme-__z"},  // each byte that is not allowed
      {",,,", ""},
      {"", ""},
  };
  for (const auto& [compatible, name] : cases) {
    EXPECT_EQ(LabelName(LabelRules{}, compatible), name) << compatible;
  }
}

TEST(LabelPrefix, IsADnsSubdomain) {
  for (const std::string& good : std::vector<std::string>{"beta.devicetree.org", "a", "0",
                                                          "a-b.c-d.e", std::string(253, 'a')}) {
    EXPECT_TRUE(IsLabelPrefix(good)) << good;
  }
  for (const std::string& bad : std::vector<std::string>{
           "", ".", "a.", ".a", "a..b", "-a", "a-", "a-.b", "a.-b", "Foo", "a_b", "a/b", "a b",
           std::string(254, 'a')}) {
    EXPECT_FALSE(IsLabelPrefix(bad)) << bad;
  }
}

TEST(Labels, OfTheRootOnlyUnlessNodesAreDesignated) {
  const Inventory inventory = MakeInventory({.compatible = {"acme,board", "acme,soc"},
                                             .children = {{.name = "gpu", .compatible = {"a,g"}}}});
  EXPECT_THAT(ToLabels(inventory, {}).labels,
              ElementsAre(Label{"beta.devicetree.org/acme-board", "1"},
                          Label{"beta.devicetree.org/acme-soc", "1"}));
}

TEST(Labels, ComeFromTheRootThenFromDesignatedNodesByPathBytewise) {
  const Inventory inventory = MakeInventory(
      {.compatible = {"z,root"},
       .children = {{.name = "b", .children = {{.name = "gpu@1", .compatible = {"a,second"}}}},
                    {.name = "b-a", .children = {{.name = "gpu", .compatible = {"a,first"}}}}}});
  // '-' sorts before '/'.
  EXPECT_THAT(Keys(ToLabels(inventory, {.prefix = "x", .nodes = {"gpu"}})),
              ElementsAre("x/z-root", "x/a-first", "x/a-second"));
}

TEST(Labels, OfOneNodeThatTwoPatternsSelectAreGivenOnce) {
  const Inventory inventory = MakeInventory(
      {.compatible = {"a,root"}, .children = {{.name = "gpu@1", .compatible = {"a,g"}}}});
  const LabelReport report = ToLabels(
      inventory, {.prefix = "x", .nodes = {"gpu", "/gpu@1", "/"}, .count_values = true});
  EXPECT_THAT(report.labels, ElementsAre(Label{"x/a-root", "1"}, Label{"x/a-g", "1"}));
  EXPECT_THAT(report.designated, testing::SizeIs(1));
}

TEST(Labels, CountNodesWhenAskedTo) {
  const Inventory inventory = MakeInventory({.compatible = {"a,root"},
                                             .children = {{.name = "cpu@0", .compatible = {"a,c"}},
                                                          {.name = "cpu@1", .compatible = {"a,c"}}}});
  LabelRules rules{.prefix = "x", .nodes = {"cpu"}};
  EXPECT_THAT(ToLabels(inventory, rules).labels,
              ElementsAre(Label{"x/a-root", "1"}, Label{"x/a-c", "1"}));
  rules.count_values = true;
  EXPECT_THAT(ToLabels(inventory, rules).labels,
              ElementsAre(Label{"x/a-root", "1"}, Label{"x/a-c", "2"}));
}

TEST(Labels, AreNotGivenByNodesThatAreNotEnabled) {
  const Inventory inventory =
      MakeInventory({.compatible = {"a,root"},
                     .children = {{.name = "gpu@1", .compatible = {"a,own"}, .status = "disabled"},
                                  {.name = "soc",
                                   .status = "fail",
                                   .children = {{.name = "gpu@2", .compatible = {"a,below"}}}}}});
  LabelRules rules{.prefix = "x", .nodes = {"gpu"}};
  const LabelReport report = ToLabels(inventory, rules);
  EXPECT_THAT(Keys(report), ElementsAre("x/a-root"));
  ASSERT_EQ(report.designated.size(), 2U);
  EXPECT_FALSE(report.designated[0].enabled);
  EXPECT_FALSE(report.designated[1].enabled);
  EXPECT_EQ(report.compatibles.back().label_key, "");
  rules.include_disabled = true;
  EXPECT_THAT(Keys(ToLabels(inventory, rules)), ElementsAre("x/a-root", "x/a-own", "x/a-below"));
}

TEST(Labels, AreChosenByIncludeAndExclude) {
  const Inventory inventory = MakeInventory({.compatible = {"a,one", "a,two", "b,one"}});
  EXPECT_THAT(Keys(ToLabels(inventory, {.prefix = "x", .include = {"a-*"}})),
              ElementsAre("x/a-one", "x/a-two"));
  EXPECT_THAT(Keys(ToLabels(inventory, {.prefix = "x", .exclude = {"*-one"}})),
              ElementsAre("x/a-two"));
  const LabelReport none = ToLabels(
      inventory, {.prefix = "x", .include = {"a-*", "b-*"}, .exclude = {"*"}});
  EXPECT_THAT(none.labels, IsEmpty());
  EXPECT_THAT(none.rejected, IsEmpty());
  EXPECT_EQ(none.compatibles.size(), 3U);
}

TEST(Labels, OfTwoCompatiblesThatCollideTheFirstKeepsTheName) {
  const Inventory inventory = MakeInventory({.compatible = {"a,b", "a-b", "a+b"}});
  const LabelReport report = ToLabels(inventory, {.prefix = "x"});
  EXPECT_THAT(Keys(report), ElementsAre("x/a-b", "x/a_b"));
  ASSERT_EQ(report.rejected.size(), 1U);
  EXPECT_EQ(report.rejected[0].compatible, "a-b");
  EXPECT_EQ(report.rejected[0].reason, Rejection::kCollision);
  EXPECT_EQ(report.rejected[0].detail, "x/a-b stands for a,b already");
  EXPECT_EQ(report.compatibles[1].label_key, "");
}

TEST(Labels, ThatAreEmptyOrTooLongAreRejectedAndHarmNoOther) {
  const std::string longest = "a," + std::string(61, 'b');
  const Inventory inventory = MakeInventory({.compatible = {longest + "b", ",,,", longest}});
  const LabelReport report = ToLabels(inventory, {.prefix = "x"});
  EXPECT_THAT(Keys(report), ElementsAre("x/a-" + std::string(61, 'b')));
  ASSERT_EQ(report.rejected.size(), 2U);
  EXPECT_EQ(report.rejected[0].reason, Rejection::kTooLong);
  EXPECT_EQ(report.rejected[0].detail, "64 characters; at most 63 expected");
  EXPECT_EQ(report.rejected[1].reason, Rejection::kEmpty);
}

TEST(Labels, OfANodeWhoseCompatibleIsMalformedAreRejected) {
  const Inventory inventory = MakeInventory(
      {.compatible = {"a,root"},
       .children = {{.name = "gpu", .raw_compatible = std::string("a,g")}}});  // no NUL
  const LabelReport report = ToLabels(inventory, {.prefix = "x", .nodes = {"gpu"}});
  EXPECT_THAT(Keys(report), ElementsAre("x/a-root"));
  ASSERT_EQ(report.rejected.size(), 1U);
  EXPECT_EQ(report.rejected[0].path, "/gpu");
  EXPECT_EQ(report.rejected[0].reason, Rejection::kMalformed);
  EXPECT_EQ(report.rejected[0].detail, "/gpu: compatible: no terminating NUL");
}

// It could give none in any case, as with its other compatibles.
TEST(Labels, AMalformedCompatibleOfADisabledNodeIsNotCounted) {
  const Inventory inventory = MakeInventory(
      {.compatible = {"a,root"},
       .children = {{.name = "gpu", .status = "disabled", .raw_compatible = "no end"}}});
  EXPECT_THAT(ToLabels(inventory, {.nodes = {"gpu"}}).rejected, IsEmpty());
  EXPECT_EQ(ToLabels(inventory, {.nodes = {"gpu"}, .include_disabled = true}).rejected.size(), 1U);
}

TEST(Labels, RejectedOnSeveralNodesAreCountedOnce) {
  const Inventory inventory = MakeInventory({.compatible = {"a,root"},
                                             .children = {{.name = "cpu@0", .compatible = {",,"}},
                                                          {.name = "cpu@1", .compatible = {",,"}}}});
  EXPECT_EQ(ToLabels(inventory, {.nodes = {"cpu"}}).rejected.size(), 1U);
}

TEST(Labels, ThereAreNoneWithoutADevicetree) {
  Inventory inventory;
  inventory.devicetree_known = true;
  EXPECT_THAT(ToLabels(inventory, {.nodes = {"gpu"}}).labels, IsEmpty());
}

}  // namespace
}  // namespace exporter
