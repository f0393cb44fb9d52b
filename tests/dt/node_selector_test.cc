#include "dt/node_selector.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dt/fdt_reader.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/test_support/fdt_builder.h"

namespace dt {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class NodeSelectorTest : public ::testing::Test {
 protected:
  static Tree Read(const test_support::FdtBuilder& builder) {
    Result<Tree> tree = ReadFdt(builder.Build());
    EXPECT_TRUE(tree.has_value());
    return std::move(tree).value();
  }

  static test_support::FdtBuilder Board() {
    test_support::FdtBuilder board;
    const auto node = [&board](std::string_view name) {
      board.Begin(name).Strings("compatible", {"acme,device"}).End();
    };
    board.Begin("").Strings("compatible", {"acme,board"});
    board.Begin("aliases");
    board.Strings("serial0", {"/soc/serial@10"}).Strings("gpu", {"/soc/display@20"});
    board.Strings("bare", {"/soc/pins/gpu"}).Strings("dangling", {"/nowhere"});
    board.Strings("reserved", {"/reserved-memory/gpu@80000000"});
    board.Property("unterminated", "/soc/serial@10").Strings("relative", {"soc/serial@10"});
    node("gpu");
    board.End();
    for (const std::string_view bookkeeping : {"chosen", "reserved-memory", "__symbols__",
                                               "__fixups__", "__local_fixups__"}) {
      board.Begin(bookkeeping).Begin("deeper");
      node("gpu");
      board.End();
      node("gpu@80000000");
      board.End();
    }
    board.Begin("soc").Strings("compatible", {"simple-bus"});
    for (const std::string_view name :
         {"gpu", "gpu@0", "gpu@57000000", "gpu0", "gpu12@1", "GPU", "gpux", "egpu", "gpu-0",
          "gpu0x", "gpu_1", "serial@10", "display@20", "v3d@30"}) {
      node(name);
    }
    board.Begin("pins").Begin("gpu").End().End();  // a pin group: no compatible
    board.Begin("reserved-memory");
    node("gpu");
    board.End().End();
    board.Begin("soc-fixed");
    node("gpu");
    board.End().End().Finish();
    return board;
  }

  static std::vector<std::string> Select(const Tree& tree, std::string_view pattern) {
    std::vector<std::string> paths;
    for (const Node* node : SelectNodes(tree, pattern)) {
      paths.push_back(tree.Path(*node));
    }
    return paths;
  }
  std::vector<std::string> Select(std::string_view pattern) const {
    return Select(board_, pattern);
  }

  const Tree board_ = Read(Board());
};

TEST_F(NodeSelectorTest, ANameMatchesItselfPlusDigitsWithOrWithoutAUnitAddress) {
  EXPECT_THAT(Select("v3d"), ElementsAre("/soc/v3d@30"));
  // "gpu" is an alias on this board too: of display@20.
  EXPECT_THAT(Select("gpu"),
              ElementsAre("/soc-fixed/gpu", "/soc/display@20", "/soc/gpu", "/soc/gpu0",
                          "/soc/gpu12@1", "/soc/gpu@0", "/soc/gpu@57000000",
                          "/soc/reserved-memory/gpu"));
}

TEST_F(NodeSelectorTest, ANameMatchesNoLongerAndNoOtherWord) {
  EXPECT_THAT(Select("gp"), IsEmpty());
  EXPECT_THAT(Select("pu"), IsEmpty());
  EXPECT_THAT(Select("Gpu"), IsEmpty());
  EXPECT_THAT(Select("GPU"), ElementsAre("/soc/GPU"));
  EXPECT_THAT(Select("gpu-0"), ElementsAre("/soc/gpu-0"));
}

TEST_F(NodeSelectorTest, ANameThatEndsInDigitsNeedsThem) {
  EXPECT_THAT(Select("gpu0"), ElementsAre("/soc/gpu0"));
  EXPECT_THAT(Select("gpu1"), ElementsAre("/soc/gpu12@1"));
  EXPECT_THAT(Select("gpu2"), IsEmpty());
}

TEST_F(NodeSelectorTest, AUnitAddressMustBeExactlyThis) {
  EXPECT_THAT(Select("gpu@57000000"), ElementsAre("/soc/gpu@57000000"));
  EXPECT_THAT(Select("gpu@5700000"), IsEmpty());
  EXPECT_THAT(Select("gpu@057000000"), IsEmpty());
}

TEST_F(NodeSelectorTest, BookkeepingOfTheTopLevelIsNeverMeantByAName) {
  EXPECT_THAT(Select("gpu@80000000"), IsEmpty());
}

TEST_F(NodeSelectorTest, APathMatchesTheNodeThere) {
  EXPECT_THAT(Select("/soc/gpu@0"), ElementsAre("/soc/gpu@0"));
  EXPECT_THAT(Select("/soc"), ElementsAre("/soc"));
  EXPECT_THAT(Select("/gpu@0"), IsEmpty());
  EXPECT_THAT(Select("/soc/gpu1"), IsEmpty());
}

TEST_F(NodeSelectorTest, APathMayLeadToANodeThatANameMayNot) {
  EXPECT_THAT(Select("/reserved-memory/gpu@80000000"),
              ElementsAre("/reserved-memory/gpu@80000000"));
  EXPECT_THAT(Select("/soc/pins/gpu"), ElementsAre("/soc/pins/gpu"));
}

TEST_F(NodeSelectorTest, AnAliasMatchesItsNode) {
  EXPECT_THAT(Select("serial0"), ElementsAre("/soc/serial@10"));
  EXPECT_THAT(Select("bare"), ElementsAre("/soc/pins/gpu"));
  EXPECT_THAT(Select("reserved"), ElementsAre("/reserved-memory/gpu@80000000"));
}

TEST_F(NodeSelectorTest, AnAliasThatNamesNoNodeMatchesNothing) {
  EXPECT_THAT(Select("dangling"), IsEmpty());
  EXPECT_THAT(Select("relative"), IsEmpty());
  EXPECT_THAT(Select("unterminated"), IsEmpty());
}

TEST_F(NodeSelectorTest, GlobsInANameMatchNames) {
  EXPECT_THAT(Select("v?d"), ElementsAre("/soc/v3d@30"));
  EXPECT_THAT(Select("*gpu-?"), ElementsAre("/soc/gpu-0"));
  EXPECT_THAT(Select("e*"), ElementsAre("/soc/egpu"));
  EXPECT_THAT(Select("gpu@5*"), ElementsAre("/soc/gpu@57000000"));
  EXPECT_THAT(Select("[gG]pu"), IsEmpty());
}

TEST_F(NodeSelectorTest, AStarMatchesEveryNodeWithACompatibleThatIsNoBookkeeping) {
  const std::vector<std::string> paths = Select("*");
  EXPECT_THAT(paths, ::testing::Contains("/soc"));
  EXPECT_THAT(paths, ::testing::Contains("/soc/GPU"));
  for (const std::string& path : paths) {
    const Node& node = *board_.Find(path);
    EXPECT_FALSE(IsBelowBookkeeping(board_, node)) << path;
    EXPECT_TRUE(board_.FindProperty(node, "compatible").has_value()) << path;
  }
}

TEST_F(NodeSelectorTest, GlobsInAPathDoNotMatchASlash) {
  EXPECT_THAT(Select("/*/serial@10"), ElementsAre("/soc/serial@10"));
  EXPECT_THAT(Select("/soc/v*"), ElementsAre("/soc/v3d@30"));
  EXPECT_THAT(Select("/s*@10"), IsEmpty());
  EXPECT_THAT(Select("/soc?v3d@30"), IsEmpty());
  EXPECT_THAT(Select("/soc*"), ElementsAre("/soc", "/soc-fixed"));
}

TEST_F(NodeSelectorTest, ManyStarsDoNotTakeForever) {
  EXPECT_THAT(Select(std::string(200, '*') + "!"), IsEmpty());
  std::string pattern;
  for (int i = 0; i < 100; ++i) {
    pattern += "*a";
  }
  test_support::FdtBuilder board;
  board.Begin("").Begin(std::string(255, 'a')).Strings("compatible", {"x"}).End().End().Finish();
  EXPECT_THAT(Select(Read(board), pattern + "!"), IsEmpty());
}

TEST_F(NodeSelectorTest, NodesComeInBytewiseOrderOfPathAndNotOfTheTree) {
  // In the tree "soc" comes before "soc-fixed"; as bytes "/soc-" is less than "/soc/".
  const std::vector<std::string> paths = Select("gpu*");
  EXPECT_TRUE(std::is_sorted(paths.begin(), paths.end()));
  ASSERT_FALSE(paths.empty());
  EXPECT_EQ(paths.front(), "/soc-fixed/gpu");
}

TEST_F(NodeSelectorTest, AnEmptyCompatibleIsOneToo) {
  test_support::FdtBuilder board;
  board.Begin("").Begin("gpu").Property("compatible", "").End().End().Finish();
  EXPECT_THAT(Select(Read(board), "gpu"), ElementsAre("/gpu"));
}

TEST_F(NodeSelectorTest, TheBookkeepingNodesAreNotBelowThemselves) {
  for (const char* path : {"/", "/aliases", "/chosen", "/reserved-memory", "/soc",
                           "/soc/reserved-memory", "/soc/reserved-memory/gpu"}) {
    EXPECT_FALSE(IsBelowBookkeeping(board_, *board_.Find(path))) << path;
  }
}

TEST_F(NodeSelectorTest, AllBelowBookkeepingIsBookkeeping) {
  EXPECT_TRUE(IsBelowBookkeeping(board_, *board_.Find("/aliases/gpu")));
  for (const std::string top : {"/chosen", "/reserved-memory", "/__symbols__", "/__fixups__",
                                "/__local_fixups__"}) {
    EXPECT_TRUE(IsBelowBookkeeping(board_, *board_.Find(top + "/gpu@80000000"))) << top;
    EXPECT_TRUE(IsBelowBookkeeping(board_, *board_.Find(top + "/deeper/gpu"))) << top;
  }
}

}  // namespace
}  // namespace dt
