#include "dt/tree.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace dt {
namespace {

using namespace std::string_view_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A TreeBuilder whose calls must succeed, to write a tree as one expression.
class Builder {
 public:
  Builder() { Begin(""); }
  Builder& Begin(std::string_view name) {
    EXPECT_FALSE(builder_.BeginNode(name).has_value()) << name;
    return *this;
  }
  Builder& Property(std::string_view name, std::string_view bytes) {
    EXPECT_FALSE(builder_.AddProperty(name, bytes).has_value()) << name;
    return *this;
  }
  Builder& Status(std::string_view word) {
    return Property("status", std::string(word) + '\0');
  }
  Builder& End() {
    builder_.EndNode();
    return *this;
  }
  Tree Build() {
    End();
    return std::move(builder_).Build();
  }

 private:
  TreeBuilder builder_;
};

std::vector<std::string> Paths(const Tree& tree) {
  std::vector<std::string> paths;
  for (const Node& node : tree.nodes()) {
    paths.push_back(tree.Path(node));
  }
  return paths;
}

// --- what is kept

TEST(KeepsPropertyTest, FourPropertiesOfEveryNodeAreKept) {
  for (const std::string_view name : {"compatible"sv, "label"sv, "model"sv, "status"sv}) {
    EXPECT_TRUE(KeepsProperty(false, name)) << name;
  }
}

TEST(KeepsPropertyTest, NothingElseIsKept) {
  for (const std::string_view name :
       {"serial-number"sv, "security-password"sv, "name"sv, "reg"sv, "phandle"sv, "bootargs"sv,
        "local-mac-address"sv, "kaslr-seed"sv, ""sv, "Compatible"sv, "compatible "sv, "stat"sv,
        "status-gpios"sv}) {
    EXPECT_FALSE(KeepsProperty(false, name)) << name;
  }
}

TEST(KeepsPropertyTest, EveryAliasIsKept) {
  EXPECT_TRUE(KeepsProperty(true, "serial0"));
  EXPECT_TRUE(KeepsProperty(true, "gpu"));
}

// --- structure

TEST(TreeTest, ABareRootIsATree) {
  const Tree tree = Builder().Build();
  ASSERT_EQ(tree.nodes().size(), 1U);
  EXPECT_EQ(tree.root().name, "");
  EXPECT_EQ(tree.root().parent, 0U);
  EXPECT_EQ(tree.root().subtree_end, 1U);
  EXPECT_EQ(tree.Path(tree.root()), "/");
  EXPECT_TRUE(tree.root().enabled());
  EXPECT_THAT(tree.Properties(tree.root()), IsEmpty());
}

TEST(TreeTest, ParentsComeBeforeChildrenAndSiblingsInBytewiseOrder) {
  // '-' < '/' < '0' < '@' < 'A' < '_' < 'a': names are compared, not paths.
  const Tree tree = Builder()
                        .Begin("soc").Begin("x").End().End()
                        .Begin("soc-b").End()
                        .Begin("soc0").End()
                        .Begin("Soc").End()
                        .Begin("soc@1").End()
                        .Begin("__symbols__").End()
                        .Build();
  EXPECT_THAT(Paths(tree), ElementsAre("/", "/Soc", "/__symbols__", "/soc", "/soc/x", "/soc-b",
                                       "/soc0", "/soc@1"));
}

TEST(TreeTest, NamesAreComparedAsUnsignedBytes) {
  const Tree tree = Builder().Begin("\xff").End().Begin("a").End().Build();
  EXPECT_THAT(Paths(tree), ElementsAre("/", "/a", "/\xff"));
}

TEST(TreeTest, ANodeKnowsItsParentAndTheEndOfItsSubtree) {
  const Tree tree = Builder().Begin("b").Begin("c").End().End().Begin("a").End().Build();
  ASSERT_THAT(Paths(tree), ElementsAre("/", "/a", "/b", "/b/c"));
  const auto nodes = tree.nodes();
  EXPECT_EQ(nodes[0].subtree_end, 4U);
  EXPECT_EQ(nodes[1].parent, 0U);
  EXPECT_EQ(nodes[1].subtree_end, 2U);
  EXPECT_EQ(nodes[2].parent, 0U);
  EXPECT_EQ(nodes[2].subtree_end, 4U);
  EXPECT_EQ(nodes[3].parent, 2U);
  EXPECT_EQ(nodes[3].subtree_end, 4U);
}

TEST(TreeTest, TheBaseNameIsWithoutTheUnitAddress) {
  const Tree tree = Builder().Begin("gpu@57000000").End().Begin("gpu0").End().Build();
  EXPECT_EQ(tree.Find("/gpu@57000000")->base_name(), "gpu");
  EXPECT_EQ(tree.Find("/gpu0")->base_name(), "gpu0");
  EXPECT_EQ(tree.root().base_name(), "");
}

TEST(TreeTest, FindsEachNodeByItsPathAndNothingElse) {
  const Tree tree = Builder().Begin("soc").Begin("gpu@0").End().End().Build();
  for (const Node& node : tree.nodes()) {
    EXPECT_EQ(tree.Find(tree.Path(node)), &node);
  }
  for (const std::string_view path :
       {""sv, "soc"sv, "/so"sv, "/socs"sv, "/gpu@0"sv, "/soc/gpu"sv, "/soc/gpu@00"sv,
        "/soc/gpu@0/x"sv, "//soc"sv, "/soc//gpu@0"sv, "/./soc"sv, "/soc/../soc"sv}) {
    EXPECT_EQ(tree.Find(path), nullptr) << path;
  }
}

TEST(TreeTest, PropertiesAreInBytewiseOrderOfName) {
  const Tree tree = Builder()
                        .Property("status", "okay\0"sv)
                        .Property("compatible", "a\0"sv)
                        .Property("model", "m\0"sv)
                        .Build();
  std::vector<std::string_view> names;
  for (const Property& property : tree.Properties(tree.root())) {
    names.push_back(property.name);
  }
  EXPECT_THAT(names, ElementsAre("compatible", "model", "status"));
}

TEST(TreeTest, FindsAPropertyOfTheNodeItself) {
  const Tree tree =
      Builder().Property("model", "m\0"sv).Begin("a").Property("label", "\1\0\2"sv).End().Build();
  const Node& a = *tree.Find("/a");
  EXPECT_EQ(tree.FindProperty(a, "label")->bytes, "\1\0\2"sv);
  EXPECT_FALSE(tree.FindProperty(a, "model").has_value());
  EXPECT_FALSE(tree.FindProperty(a, "labe").has_value());
  EXPECT_EQ(tree.FindProperty(tree.root(), "model")->bytes, "m\0"sv);
}

TEST(TreeTest, AnEmptyPropertyIsThere) {
  const Tree tree = Builder().Property("compatible", "").Build();
  ASSERT_TRUE(tree.FindProperty(tree.root(), "compatible").has_value());
  EXPECT_EQ(tree.FindProperty(tree.root(), "compatible")->bytes, "");
}

TEST(TreeTest, AMovedTreeKeepsItsViews) {
  Tree first = Builder().Begin("a").Property("compatible", "x\0"sv).End().Build();
  const Node* node = first.Find("/a");
  const std::string_view name = node->name;
  const auto second = std::make_unique<Tree>(std::move(first));
  EXPECT_EQ(second->Find("/a"), node);
  EXPECT_EQ(name, "a");
  EXPECT_THAT(second->Compatible(*node).value(), ElementsAre("x"));
}

// --- compatible

TEST(TreeTest, ANodeWithoutACompatibleHasAnEmptyList) {
  const Tree tree = Builder().Build();
  EXPECT_THAT(tree.Compatible(tree.root()).value(), IsEmpty());
}

TEST(TreeTest, AMalformedCompatibleIsAnErrorThatNamesTheNode) {
  const Tree tree = Builder()
                        .Begin("soc").Begin("gpu@0").Property("compatible", "a\0\0b\0"sv).End().End()
                        .Build();
  const auto compatible = tree.Compatible(*tree.Find("/soc/gpu@0"));
  ASSERT_FALSE(compatible.has_value());
  EXPECT_EQ(compatible.error().code, ErrorCode::kMalformed);
  EXPECT_THAT(compatible.error().message, HasSubstr("/soc/gpu@0"));
}

// --- status

struct StatusCase {
  std::string_view bytes;
  Status status;
};

TEST(StatusTest, IsReadFromThePropertysWholeValue) {
  for (const auto& [bytes, status] : {
           StatusCase{"okay\0"sv, Status::kOkay},
           StatusCase{"ok\0"sv, Status::kOkay},
           StatusCase{"disabled\0"sv, Status::kDisabled},
           StatusCase{"reserved\0"sv, Status::kReserved},
           StatusCase{"fail\0"sv, Status::kFail},
           StatusCase{"fail-\0"sv, Status::kFail},
           StatusCase{"fail-sss\0"sv, Status::kFail},
           StatusCase{"failed\0"sv, Status::kOther},
           StatusCase{"disable\0"sv, Status::kOther},
           StatusCase{"disabled-\0"sv, Status::kOther},
           StatusCase{"Okay\0"sv, Status::kOther},
           StatusCase{"okay \0"sv, Status::kOther},
           StatusCase{"okay\n"sv, Status::kOther},
           StatusCase{"okay"sv, Status::kOther},
           StatusCase{"okay\0okay\0"sv, Status::kOther},
           StatusCase{"okay\0\0"sv, Status::kOther},
           StatusCase{"\0"sv, Status::kOther},
           StatusCase{""sv, Status::kOther},
       }) {
    const Tree tree = Builder().Begin("a").Property("status", bytes).End().Build();
    EXPECT_EQ(tree.Find("/a")->own_status, status) << ::testing::PrintToString(bytes);
    EXPECT_EQ(tree.Find("/a")->enabled(), status == Status::kOkay);
  }
}

TEST(StatusTest, IsOkayWhereThereIsNone) {
  const Tree tree = Builder().Begin("a").End().Build();
  EXPECT_EQ(tree.Find("/a")->own_status, Status::kOkay);
  EXPECT_EQ(tree.Find("/a")->effective_status, Status::kOkay);
}

TEST(StatusTest, OfAnAncestorHoldsBelowIt) {
  const Tree tree = Builder()
                        .Begin("bus").Status("disabled")
                        .Begin("a").Status("okay").Begin("b").End().End()
                        .End()
                        .Begin("free").End()
                        .Build();
  EXPECT_EQ(tree.Find("/bus/a")->own_status, Status::kOkay);
  EXPECT_EQ(tree.Find("/bus/a")->effective_status, Status::kDisabled);
  EXPECT_EQ(tree.Find("/bus/a/b")->effective_status, Status::kDisabled);
  EXPECT_TRUE(tree.Find("/free")->enabled());
  EXPECT_TRUE(tree.root().enabled());
}

TEST(StatusTest, TheNodesOwnComesBeforeAnAncestorsAndANearAncestorsBeforeAFarOnes) {
  const Tree tree = Builder()
                        .Begin("bus").Status("disabled")
                        .Begin("a").Status("reserved")
                        .Begin("b").Status("fail-x").End()
                        .Begin("c").Status("ok").End()
                        .End().End()
                        .Build();
  EXPECT_EQ(tree.Find("/bus/a")->effective_status, Status::kReserved);
  EXPECT_EQ(tree.Find("/bus/a/b")->effective_status, Status::kFail);
  EXPECT_EQ(tree.Find("/bus/a/c")->effective_status, Status::kReserved);
}

TEST(StatusTest, OfTheRootHoldsForAll) {
  const Tree tree = Builder().Status("disabled").Begin("a").End().Build();
  EXPECT_FALSE(tree.root().enabled());
  EXPECT_FALSE(tree.Find("/a")->enabled());
}

TEST(StatusTest, HasTheWordsOfTheSpecification) {
  EXPECT_EQ(ToString(Status::kOkay), "okay");
  EXPECT_EQ(ToString(Status::kDisabled), "disabled");
  EXPECT_EQ(ToString(Status::kReserved), "reserved");
  EXPECT_EQ(ToString(Status::kFail), "fail");
  EXPECT_EQ(ToString(Status::kOther), "other");
}

// --- equality

TEST(TreeEqualityTest, TheOrderOfReadingDoesNotCount) {
  const Tree a = Builder().Begin("x").End().Begin("y").End().Build();
  const Tree b = Builder().Begin("y").End().Begin("x").End().Build();
  EXPECT_TRUE(a == b);
}

TEST(TreeEqualityTest, EachDifferenceCounts) {
  const auto tree = [] { return Builder().Begin("x").Property("label", "1"sv).End().Build(); };
  EXPECT_TRUE(tree() == tree());
  EXPECT_FALSE(tree() == Builder().Build());
  EXPECT_FALSE(tree() == Builder().Begin("x").End().Build());
  EXPECT_FALSE(tree() == Builder().Begin("z").Property("label", "1"sv).End().Build());
  EXPECT_FALSE(tree() == Builder().Begin("x").Property("label", "2"sv).End().Build());
  EXPECT_FALSE(tree() == Builder().Begin("x").Property("model", "1"sv).End().Build());
  EXPECT_FALSE(tree() == Builder().Property("label", "1"sv).Begin("x").End().Build());
  EXPECT_FALSE(tree() ==
               Builder().Begin("x").Property("label", "1"sv).Begin("y").End().End().Build());
  EXPECT_FALSE(Builder().Begin("x").End().Begin("y").End().Build() ==
               Builder().Begin("x").Begin("y").End().End().Build());
}

// --- the builder

TEST(TreeBuilderTest, RefusesNamesThatAreNone) {
  for (const std::string_view name : {""sv, "."sv, ".."sv, "a/b"sv, "/"sv, "../etc"sv}) {
    TreeBuilder builder;
    ASSERT_FALSE(builder.BeginNode("").has_value());
    const std::optional<Error> error = builder.BeginNode(name);
    ASSERT_TRUE(error.has_value()) << name;
    EXPECT_EQ(error->code, ErrorCode::kMalformed);
  }
}

TEST(TreeBuilderTest, AcceptsAllOtherNames) {
  const Tree tree =
      Builder().Begin("...").End().Begin("@").End().Begin(" \n\x7f\xff").End().Build();
  EXPECT_EQ(tree.nodes().size(), 4U);
}

TEST(TreeBuilderTest, TheNameOfTheRootIsIgnored) {
  TreeBuilder builder;
  ASSERT_FALSE(builder.BeginNode("a/b").has_value());
  builder.EndNode();
  EXPECT_EQ(std::move(builder).Build().root().name, "");
}

TEST(TreeBuilderTest, KnowsWhereItIs) {
  TreeBuilder builder;
  ASSERT_FALSE(builder.BeginNode("").has_value());
  EXPECT_EQ(builder.CurrentPath(), "/");
  EXPECT_EQ(builder.depth(), 1U);
  ASSERT_FALSE(builder.BeginNode("soc").has_value());
  ASSERT_FALSE(builder.BeginNode("gpu@0").has_value());
  EXPECT_EQ(builder.CurrentPath(), "/soc/gpu@0");
  EXPECT_EQ(builder.depth(), 3U);
  builder.EndNode();
  EXPECT_EQ(builder.CurrentPath(), "/soc");
}

TEST(TreeBuilderTest, KnowsTheAliasesOfTheRootAlone) {
  TreeBuilder builder;
  ASSERT_FALSE(builder.BeginNode("").has_value());
  EXPECT_FALSE(builder.InAliases());
  ASSERT_FALSE(builder.BeginNode("aliases").has_value());
  EXPECT_TRUE(builder.InAliases());
  ASSERT_FALSE(builder.BeginNode("below").has_value());
  EXPECT_FALSE(builder.InAliases());
  builder.EndNode();
  builder.EndNode();
  ASSERT_FALSE(builder.BeginNode("soc").has_value());
  ASSERT_FALSE(builder.BeginNode("aliases").has_value());
  EXPECT_FALSE(builder.InAliases());
}

TEST(TreeBuilderTest, ADroppedNodeLeavesNoTrace) {
  TreeBuilder builder;
  ASSERT_FALSE(builder.BeginNode("").has_value());
  ASSERT_FALSE(builder.BeginNode("a").has_value());
  builder.EndNode();
  ASSERT_FALSE(builder.BeginNode("gone").has_value());
  ASSERT_FALSE(builder.AddProperty("label", "x").has_value());
  ASSERT_FALSE(builder.BeginNode("below").has_value());
  ASSERT_FALSE(builder.AddProperty("label", "y").has_value());
  builder.EndNode();
  builder.DropNode();
  ASSERT_FALSE(builder.BeginNode("b").has_value());
  ASSERT_FALSE(builder.AddProperty("label", "z").has_value());
  builder.EndNode();
  builder.EndNode();
  const Tree tree = std::move(builder).Build();
  EXPECT_THAT(Paths(tree), ElementsAre("/", "/a", "/b"));
  EXPECT_THAT(tree.Properties(*tree.Find("/a")), IsEmpty());
  EXPECT_EQ(tree.FindProperty(*tree.Find("/b"), "label")->bytes, "z");
}

TEST(TreeBuilderTest, TheSizeOfAllPathsIsBounded) {
  const std::string longest(kMaxNameBytes, 'n');
  TreeBuilder builder;
  ASSERT_FALSE(builder.BeginNode("").has_value());
  std::optional<Error> error;
  for (std::size_t node = 1; node < kMaxNodes && !error; ++node) {
    error = builder.BeginNode(longest);
    builder.EndNode();
  }
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code, ErrorCode::kMalformed);
}

TEST(TreeBuilderTest, ANameThatATwinWasGivenIsGivenToNoOther) {
  const Tree tree = Builder().Begin("a").End().Begin("a#1").End().Begin("a").End().Build();
  EXPECT_THAT(Paths(tree), ElementsAre("/", "/a", "/a#1", "/a#2"));
}

TEST(TreeBuilderTest, SiblingsOfOneNameAreToldApart) {
  const Tree tree = Builder()
                        .Begin("a").End().Begin("a").End().Begin("a").End()
                        .Begin("b").Begin("a").End().End()
                        .Build();
  EXPECT_THAT(Paths(tree), ElementsAre("/", "/a", "/a#1", "/a#2", "/b", "/b/a"));
}

}  // namespace
}  // namespace dt
