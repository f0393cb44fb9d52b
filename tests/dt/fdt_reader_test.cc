#include "dt/fdt_reader.h"

#include <cctype>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/test_support/boards.h"
#include "tests/test_support/fdt_builder.h"

namespace dt {
namespace {

using test_support::Blob;
using test_support::FdtBuilder;
using test_support::FdtHeader;
using test_support::GetBigEndian;
using test_support::PutBigEndian;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

FdtBuilder SmallBoard() {
  FdtBuilder builder;
  builder.Begin("")
      .Strings("model", {"Acme Board"})
      .Strings("compatible", {"acme,board", "acme,soc"})
      .Begin("soc")
      .Begin("gpu@0")
      .Strings("compatible", {"acme,gpu"})
      .End()
      .End()
      .End()
      .Finish();
  return builder;
}

// One node, whose structure block `write` continues.
Blob Root(const std::function<void(FdtBuilder*)>& write) {
  FdtBuilder builder;
  builder.Begin("");
  write(&builder);
  builder.End().Finish();
  return builder.Build();
}

Blob WithField(Blob blob, std::size_t field, std::uint32_t value) {
  PutBigEndian(&blob, field, value);
  return blob;
}

std::vector<std::string> Names(const Tree& tree) {
  std::vector<std::string> names;
  for (const Node& node : tree.nodes()) {
    names.emplace_back(node.name);
  }
  return names;
}

// kMalformed, with one printable line that has a number in it: the byte offset.
void ExpectMalformed(const Blob& blob) {
  const Result<Tree> tree = ReadFdt(blob);
  ASSERT_FALSE(tree.has_value());
  EXPECT_EQ(tree.error().code, ErrorCode::kMalformed);
  const std::string& message = tree.error().message;
  bool has_digit = false;
  for (const char c : message) {
    has_digit |= std::isdigit(static_cast<unsigned char>(c)) != 0;
    EXPECT_TRUE(std::isprint(static_cast<unsigned char>(c)) != 0) << message;
  }
  EXPECT_TRUE(has_digit) << message;
}

TEST(FdtReaderTest, ReadsNodesAndTheirKeptProperties) {
  const Result<Tree> tree = ReadFdt(SmallBoard().Build());
  ASSERT_TRUE(tree.has_value()) << tree.error().message;
  EXPECT_THAT(Names(*tree), ElementsAre("", "soc", "gpu@0"));
  EXPECT_EQ(tree->FindProperty(tree->root(), "model")->AsString().value(), "Acme Board");
  EXPECT_THAT(tree->Compatible(tree->root()).value(), ElementsAre("acme,board", "acme,soc"));
  EXPECT_THAT(tree->Compatible(*tree->Find("/soc/gpu@0")).value(), ElementsAre("acme,gpu"));
}

TEST(FdtReaderTest, TheTreeOutlivesTheBlob) {
  auto blob = std::make_unique<Blob>(SmallBoard().Build());
  const Result<Tree> tree = ReadFdt(*blob);
  std::fill(blob->begin(), blob->end(), std::byte{0xff});
  blob.reset();
  ASSERT_TRUE(tree.has_value());
  EXPECT_EQ(tree->Path(tree->nodes()[2]), "/soc/gpu@0");
}

TEST(FdtReaderTest, NodesAreSortedWhateverTheirOrderInTheBlob) {
  const Blob blob = Root([](FdtBuilder* root) {
    root->Begin("b").End().Begin("a@2").Begin("z").End().Begin("y").End().End().Begin("a@10").End();
  });
  EXPECT_THAT(Names(ReadFdt(blob).value()), ElementsAre("", "a@10", "a@2", "y", "z", "b"));
}

TEST(FdtReaderTest, NopsAreSkippedEverywhere) {
  FdtBuilder builder;
  builder.Nop().Begin("").Nop().Strings("model", {"x"}).Nop();
  builder.Begin("a").Nop().End().Nop().End().Nop().Finish();
  EXPECT_THAT(Names(ReadFdt(builder.Build()).value()), ElementsAre("", "a"));
}

TEST(FdtReaderTest, TheNameOfTheRootIsIgnored) {
  FdtBuilder builder;
  builder.Begin("anything").End().Finish();
  EXPECT_THAT(Names(ReadFdt(builder.Build()).value()), ElementsAre(""));
}

TEST(FdtReaderTest, BytesBehindTheTotalSizeAreIgnored) {
  Blob blob = SmallBoard().Build();
  blob.resize(blob.size() + 4096, std::byte{0xff});
  EXPECT_TRUE(ReadFdt(blob).has_value());
}

TEST(FdtReaderTest, ABlobMayLieAtAnyAddress) {
  const Blob blob = SmallBoard().Build();
  const Tree expected = ReadFdt(blob).value();
  for (std::size_t shift = 0; shift < 8; ++shift) {
    std::vector<std::byte> buffer(shift);
    buffer.insert(buffer.end(), blob.begin(), blob.end());
    const Result<Tree> tree = ReadFdt(std::span(buffer).subspan(shift));
    ASSERT_TRUE(tree.has_value()) << "shifted by " << shift;
    EXPECT_TRUE(*tree == expected) << "shifted by " << shift;
  }
}

TEST(FdtReaderTest, SiblingsOfOneNameAreToldApartAsLinuxDoes) {
  const Blob blob = Root([](FdtBuilder* root) {
    root->Begin("gpu").Strings("model", {"first"}).End();
    root->Begin("gpu").Strings("model", {"second"}).End();
    root->Begin("gpu").Strings("model", {"third"}).End();
  });
  const Tree tree = ReadFdt(blob).value();
  EXPECT_THAT(Names(tree), ElementsAre("", "gpu", "gpu#1", "gpu#2"));
  const auto model = [&tree](const char* path) {
    return tree.FindProperty(*tree.Find(path), "model")->AsString().value();
  };
  EXPECT_EQ(model("/gpu"), "first");
  EXPECT_EQ(model("/gpu#1"), "second");
  EXPECT_EQ(model("/gpu#2"), "third");
}

TEST(FdtReaderTest, ANameThatIsTakenByADuplicateIsToldApartToo) {
  const Blob blob = Root([](FdtBuilder* root) {
    root->Begin("gpu").End().Begin("gpu").End().Begin("gpu#1").End();
  });
  EXPECT_THAT(Names(ReadFdt(blob).value()), ElementsAre("", "gpu", "gpu#1", "gpu#1#1"));
}

TEST(FdtReaderTest, ThousandsOfSiblingsOfOneNameEnd) {
  const Blob blob = Root([](FdtBuilder* root) {
    for (std::size_t i = 1; i < kMaxNodes; ++i) {
      root->Begin("x").End();
    }
  });
  EXPECT_EQ(ReadFdt(blob).value().nodes().size(), kMaxNodes);
}

// --- versions

TEST(FdtReaderTest, Version16HasNoSizeOfTheStructureBlock) {
  Blob blob = WithField(SmallBoard().Build(), FdtHeader::kVersion, 16);
  PutBigEndian(&blob, FdtHeader::kStructSize, 0xffffffff);  // not a field in version 16
  EXPECT_TRUE(ReadFdt(blob).has_value());
}

TEST(FdtReaderTest, LaterVersionsAreReadIfTheySayThatTheyAreCompatible) {
  for (const std::uint32_t version : {18U, 99U, 0xffffffffU}) {
    for (const std::uint32_t compatible : {2U, 16U, 17U}) {
      Blob blob = WithField(SmallBoard().Build(), FdtHeader::kVersion, version);
      PutBigEndian(&blob, FdtHeader::kLastCompatibleVersion, compatible);
      EXPECT_TRUE(ReadFdt(blob).has_value()) << version << ", compatible to " << compatible;
    }
  }
}

TEST(FdtReaderTest, Version17MayBeCompatibleDownToAnything) {
  for (const std::uint32_t compatible : {1U, 2U, 16U, 17U}) {
    EXPECT_TRUE(ReadFdt(WithField(SmallBoard().Build(), FdtHeader::kLastCompatibleVersion,
                                  compatible))
                    .has_value())
        << compatible;
  }
}

TEST(FdtReaderTest, VersionsBefore16AreRefused) {
  for (const std::uint32_t version : {0U, 1U, 2U, 3U, 15U}) {
    SCOPED_TRACE(version);
    Blob blob = WithField(SmallBoard().Build(), FdtHeader::kVersion, version);
    PutBigEndian(&blob, FdtHeader::kLastCompatibleVersion, 1);
    ExpectMalformed(blob);
  }
}

TEST(FdtReaderTest, AVersionThatIsNotCompatibleDownTo17IsRefused) {
  for (const std::uint32_t compatible : {18U, 0xffffffffU}) {
    SCOPED_TRACE(compatible);
    Blob blob = WithField(SmallBoard().Build(), FdtHeader::kVersion, compatible);
    PutBigEndian(&blob, FdtHeader::kLastCompatibleVersion, compatible);
    ExpectMalformed(blob);
  }
}

// --- the header

TEST(FdtReaderTest, AnotherMagicIsRefused) {
  for (const std::uint32_t magic : {0U, 0xedfe0dd0U, 0xd00dfeecU, 0x7f454c46U}) {
    SCOPED_TRACE(magic);
    ExpectMalformed(WithField(SmallBoard().Build(), FdtHeader::kMagic, magic));
  }
}

TEST(FdtReaderTest, FewerBytesThanAHeaderAreRefused) {
  const Blob blob = SmallBoard().Build();
  for (std::size_t size = 0; size < FdtHeader::kSize; ++size) {
    SCOPED_TRACE(size);
    ExpectMalformed(Blob(blob.begin(), blob.begin() + static_cast<std::ptrdiff_t>(size)));
  }
}

TEST(FdtReaderTest, MoreBytesThanTheBoundAreRefused) {
  Blob blob = SmallBoard().Build();
  blob.resize(kMaxFdtBytes + 1);
  PutBigEndian(&blob, FdtHeader::kTotalSize, static_cast<std::uint32_t>(blob.size()));
  ExpectMalformed(blob);
}

TEST(FdtReaderTest, ATotalSizeBeyondTheBytesIsRefused) {
  const Blob blob = SmallBoard().Build();
  const auto one_more = static_cast<std::uint32_t>(blob.size() + 1);
  for (const std::uint32_t size : {one_more, 0x7fffffffU, 0xffffffffU}) {
    SCOPED_TRACE(size);
    ExpectMalformed(WithField(blob, FdtHeader::kTotalSize, size));
  }
}

TEST(FdtReaderTest, ATotalSizeSmallerThanTheHeaderIsRefused) {
  for (const std::uint32_t size : {0U, 1U, 39U}) {
    SCOPED_TRACE(size);
    ExpectMalformed(WithField(SmallBoard().Build(), FdtHeader::kTotalSize, size));
  }
}

TEST(FdtReaderTest, BlocksOutOfBoundsAreRefused) {
  const Blob blob = SmallBoard().Build();
  const auto total = static_cast<std::uint32_t>(blob.size());
  for (const std::size_t field : {FdtHeader::kStructOffset, FdtHeader::kStringsOffset,
                                  FdtHeader::kStructSize, FdtHeader::kStringsSize}) {
    for (const std::uint32_t value : {total + 1, total + 4, 0x7ffffffcU, 0x80000000U, 0xfffffffcU,
                                      0xffffffffU}) {
      SCOPED_TRACE("field " + std::to_string(field) + " = " + std::to_string(value));
      ExpectMalformed(WithField(blob, field, value));
    }
  }
}

TEST(FdtReaderTest, AnOffsetAndASizeThatOverflowTogetherAreRefused) {
  Blob blob = SmallBoard().Build();
  const std::uint32_t offset = GetBigEndian(blob, FdtHeader::kStructOffset);
  PutBigEndian(&blob, FdtHeader::kStructSize, 0U - offset);  // the sum is 2^32
  ExpectMalformed(blob);
}

TEST(FdtReaderTest, AStructureBlockThatIsNotAlignedIsRefused) {
  const Blob blob = SmallBoard().Build();
  for (const std::uint32_t shift : {1U, 2U, 3U}) {
    SCOPED_TRACE(shift);
    ExpectMalformed(WithField(blob, FdtHeader::kStructOffset,
                              GetBigEndian(blob, FdtHeader::kStructOffset) + shift));
  }
}

// --- the structure block

TEST(FdtReaderTest, ABlobWithoutARootIsRefused) {
  ExpectMalformed(FdtBuilder().Finish().Build());
}

TEST(FdtReaderTest, ABlobWithTwoRootsIsRefused) {
  ExpectMalformed(FdtBuilder().Begin("").End().Begin("").End().Finish().Build());
}

TEST(FdtReaderTest, APropertyOutsideANodeIsRefused) {
  ExpectMalformed(FdtBuilder().Strings("model", {"x"}).Begin("").End().Finish().Build());
  ExpectMalformed(FdtBuilder().Begin("").End().Strings("model", {"x"}).Finish().Build());
}

TEST(FdtReaderTest, MoreEndsThanBeginningsAreRefused) {
  ExpectMalformed(FdtBuilder().End().Finish().Build());
  ExpectMalformed(FdtBuilder().Begin("").End().End().Finish().Build());
}

TEST(FdtReaderTest, AnEndOfTheBlockInsideANodeIsRefused) {
  ExpectMalformed(FdtBuilder().Begin("").Finish().Build());
  ExpectMalformed(FdtBuilder().Begin("").Begin("a").End().Finish().Build());
}

TEST(FdtReaderTest, ABlockWithoutAnEndIsRefused) {
  ExpectMalformed(FdtBuilder().Build());
  ExpectMalformed(FdtBuilder().Begin("").Build());
  ExpectMalformed(FdtBuilder().Begin("").End().Build());
}

TEST(FdtReaderTest, AnUnknownTokenIsRefused) {
  for (const std::uint32_t token : {0U, 5U, 8U, 10U, 0x01000000U, 0xffffffffU}) {
    SCOPED_TRACE(token);
    ExpectMalformed(Root([token](FdtBuilder* root) { root->Token(token); }));
  }
}

TEST(FdtReaderTest, ANodeNameWithoutAnEndIsRefused) {
  FdtBuilder builder;
  builder.Begin("").Token(test_support::kFdtBeginNode).Unpadded("gpu@");
  ExpectMalformed(builder.Build());
}

TEST(FdtReaderTest, NodeNamesThatAreNoNamesAreRefused) {
  using namespace std::string_literals;
  for (const std::string& name : {""s, "."s, ".."s, "a/b"s, "/"s, "../../etc"s, "a\n/\x1b\xff"s}) {
    SCOPED_TRACE(name);
    ExpectMalformed(Root([&name](FdtBuilder* root) { root->Begin(name).End(); }));
  }
}

TEST(FdtReaderTest, ANodeNameMayBeAsLongAsADirectoryName) {
  const std::string longest(kMaxNameBytes, 'a');
  EXPECT_TRUE(
      ReadFdt(Root([&](FdtBuilder* root) { root->Begin(longest).End(); })).has_value());
  ExpectMalformed(Root([&](FdtBuilder* root) { root->Begin(longest + 'a').End(); }));
}

TEST(FdtReaderTest, APropertyAfterASubnodeIsRefused) {
  ExpectMalformed(
      Root([](FdtBuilder* root) { root->Begin("a").End().Strings("model", {"late"}); }));
}

TEST(FdtReaderTest, APropertyLengthBeyondTheBlockIsRefused) {
  for (const std::uint32_t length : {100U, 0x7fffffffU, 0x80000000U, 0xfffffff8U, 0xfffffffcU,
                                     0xffffffffU}) {
    SCOPED_TRACE(length);
    ExpectMalformed(Root([length](FdtBuilder* root) {
      root->PropertyHeader(length, root->NameOffset("compatible")).Padded("x");
    }));
    // The same for a property of which only the length matters.
    ExpectMalformed(Root([length](FdtBuilder* root) {
      root->PropertyHeader(length, root->NameOffset("reg")).Padded("x");
    }));
  }
}

TEST(FdtReaderTest, APropertyNameOutsideTheStringsBlockIsRefused) {
  for (const std::uint32_t beyond : {0U, 1U, 0x7fffffffU, 0xfffffff0U}) {
    SCOPED_TRACE(beyond);
    ExpectMalformed(Root([beyond](FdtBuilder* root) {
      root->Strings("model", {"x"});
      root->PropertyHeader(0, root->strings_size() + beyond);
    }));
  }
}

TEST(FdtReaderTest, APropertyNameWithoutAnEndIsRefused) {
  ExpectMalformed(Root([](FdtBuilder* root) { root->Strings("model", {"x"}).CutLastNameShort(); }));
}

TEST(FdtReaderTest, APropertyNameMayShareTheTailOfAnother) {
  const Blob blob = Root([](FdtBuilder* root) {
    const std::uint32_t offset = root->NameOffset("vendor,compatible");
    root->PropertyHeader(5, offset + 7).Padded(std::string_view("acme\0", 5));
  });
  const Tree tree = ReadFdt(blob).value();
  EXPECT_THAT(tree.Compatible(tree.root()).value(), ElementsAre("acme"));
}

// --- bounds

FdtBuilder Levels(std::size_t count) {
  FdtBuilder builder;
  for (std::size_t i = 0; i < count; ++i) {
    builder.Begin(i == 0 ? "" : "n");
  }
  for (std::size_t i = 0; i < count; ++i) {
    builder.End();
  }
  builder.Finish();
  return builder;
}

TEST(FdtReaderTest, DepthIsBounded) {
  EXPECT_TRUE(ReadFdt(Levels(kMaxDepth).Build()).has_value());
  ExpectMalformed(Levels(kMaxDepth + 1).Build());
}

TEST(FdtReaderTest, AbsurdDepthIsRefusedAndNotWalked) { ExpectMalformed(Levels(200'000).Build()); }

TEST(FdtReaderTest, TheNumberOfNodesIsBounded) {
  const auto siblings = [](std::size_t count) {
    return Root([count](FdtBuilder* root) {
      for (std::size_t i = 0; i < count; ++i) {
        root->Begin("n" + std::to_string(i)).End();
      }
    });
  };
  EXPECT_EQ(ReadFdt(siblings(kMaxNodes - 1)).value().nodes().size(), kMaxNodes);
  ExpectMalformed(siblings(kMaxNodes));
  ExpectMalformed(siblings(100'000));
}

TEST(FdtReaderTest, TheSizeOfAKeptPropertyIsBounded) {
  const auto compatible = [](std::size_t size) {
    return Root([size](FdtBuilder* root) {
      root->Property("compatible", std::string(size - 1, 'a') + '\0');
    });
  };
  EXPECT_TRUE(ReadFdt(compatible(kMaxPropertyBytes)).has_value());
  ExpectMalformed(compatible(kMaxPropertyBytes + 1));
  ExpectMalformed(compatible(1 << 20));
}

TEST(FdtReaderTest, APropertyThatIsNotKeptMayHaveAnySize) {
  const Blob blob =
      Root([](FdtBuilder* root) { root->Property("firmware-blob", std::string(1 << 20, 'a')); });
  const Tree tree = ReadFdt(blob).value();
  EXPECT_THAT(tree.Properties(tree.root()), IsEmpty());
}

TEST(FdtReaderTest, TheSizeOfAllThatIsKeptIsBounded) {
  const Blob blob = Root([](FdtBuilder* root) {
    for (std::size_t i = 0; i < kMaxTreeBytes / kMaxPropertyBytes + 1; ++i) {
      root->Begin("n" + std::to_string(i))
          .Property("compatible", std::string(kMaxPropertyBytes - 1, 'a') + '\0')
          .End();
    }
  });
  ASSERT_LE(blob.size(), kMaxFdtBytes);
  ExpectMalformed(blob);
}

TEST(FdtReaderTest, TheNumberOfStringsIsBounded) {
  const auto strings = [](std::size_t count) {
    return Root([count](FdtBuilder* root) {
      for (std::size_t left = count; left > 0;) {
        const std::size_t some = std::min<std::size_t>(left, kMaxPropertyBytes / 2);
        std::string list;
        for (std::size_t i = 0; i < some; ++i) list.append("a", 2);
        root->Begin("n" + std::to_string(left)).Property("compatible", list).End();
        left -= some;
      }
    });
  };
  EXPECT_TRUE(ReadFdt(strings(kMaxStrings - 10)).has_value());
  ExpectMalformed(strings(kMaxStrings + 1));
}

// Outputs show it with each of them.
TEST(FdtReaderTest, APathCountsForEachStringOfItsNode) {
  const auto list_below_long_names = [](std::size_t names) {
    return Root([names](FdtBuilder* root) {
      for (std::size_t i = 0; i < names; ++i) root->Begin(std::string(kMaxNameBytes, 'n'));
      std::string list;
      for (std::size_t i = 0; i < 1000; ++i) list.append("a", 2);
      root->Property("compatible", list);
      for (std::size_t i = 0; i < names; ++i) root->End();
    });
  };
  const std::size_t names = kMaxTreeBytes / 1000 / (kMaxNameBytes + 1);
  EXPECT_TRUE(ReadFdt(list_below_long_names(names - 1)).has_value());
  ExpectMalformed(list_below_long_names(names + 1));
}

// --- the boards

class FdtReaderBoardTest : public ::testing::TestWithParam<std::string> {};

// Reads exactly these bytes, in memory of exactly that size, so that a sanitizer
// sees a read past their end. A tree or an error; never anything else.
void ReadExactly(const Blob& blob, std::size_t size) {
  const auto exact = std::make_unique<std::byte[]>(size);
  std::memcpy(exact.get(), blob.data(), size);
  const Result<Tree> tree = ReadFdt(std::span<const std::byte>(exact.get(), size));
  if (!tree.has_value()) {
    EXPECT_EQ(tree.error().code, ErrorCode::kMalformed);
    EXPECT_THAT(tree.error().message, Not(IsEmpty()));
  }
}

TEST_P(FdtReaderBoardTest, IsRead) {
  const Result<Tree> tree = ReadFdt(test_support::ReadBoard(GetParam()));
  ASSERT_TRUE(tree.has_value()) << tree.error().message;
  EXPECT_THAT(tree->Compatible(tree->root()).value(), Not(IsEmpty()));
}

TEST_P(FdtReaderBoardTest, EveryTruncationIsRefused) {
  const Blob blob = test_support::ReadBoard(GetParam());
  ASSERT_EQ(GetBigEndian(blob, FdtHeader::kTotalSize), blob.size());
  for (std::size_t size = 0; size < blob.size(); ++size) {
    EXPECT_FALSE(ReadFdt(std::span(blob).first(size)).has_value()) << size;
    ReadExactly(blob, size);
  }
}

TEST_P(FdtReaderBoardTest, EveryTruncationThatDeclaresItselfIsATreeOrAnError) {
  Blob blob = test_support::ReadBoard(GetParam());
  PutBigEndian(&blob, FdtHeader::kVersion, 16);  // has no size of the structure block to check
  for (std::size_t size = FdtHeader::kSize; size < blob.size(); ++size) {
    PutBigEndian(&blob, FdtHeader::kTotalSize, static_cast<std::uint32_t>(size));
    // Shrinks the strings block with the blob, so that the walk is reached.
    const std::uint32_t strings = GetBigEndian(blob, FdtHeader::kStringsOffset);
    PutBigEndian(&blob, FdtHeader::kStringsSize,
                 size > strings ? static_cast<std::uint32_t>(size) - strings : 0);
    ReadExactly(blob, size);
  }
}

TEST_P(FdtReaderBoardTest, EveryTruncationOfTheStructureBlockIsRefused) {
  Blob blob = test_support::ReadBoard(GetParam());
  const std::uint32_t whole = GetBigEndian(blob, FdtHeader::kStructSize);
  for (std::uint32_t size = 0; size < whole; ++size) {
    PutBigEndian(&blob, FdtHeader::kStructSize, size);
    EXPECT_FALSE(ReadFdt(blob).has_value()) << size;
  }
}

TEST_P(FdtReaderBoardTest, EveryTruncationOfTheStringsBlockIsRefused) {
  Blob blob = test_support::ReadBoard(GetParam());
  const std::uint32_t whole = GetBigEndian(blob, FdtHeader::kStringsSize);
  for (std::uint32_t size = 0; size < whole; ++size) {
    PutBigEndian(&blob, FdtHeader::kStringsSize, size);
    EXPECT_FALSE(ReadFdt(blob).has_value()) << size;
  }
}

TEST_P(FdtReaderBoardTest, EveryWordReplacedIsATreeOrAnError) {
  Blob blob = test_support::ReadBoard(GetParam());
  for (std::size_t offset = 0; offset + 4 <= blob.size(); offset += 4) {
    const std::uint32_t before = GetBigEndian(blob, offset);
    for (const std::uint32_t word : {0U, 1U, 2U, 3U, 9U, 0x80000000U, 0xffffffffU}) {
      PutBigEndian(&blob, offset, word);
      ReadExactly(blob, blob.size());
    }
    PutBigEndian(&blob, offset, before);
  }
}

std::string TestName(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) {
    c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Boards, FdtReaderBoardTest,
                         ::testing::ValuesIn(test_support::BoardNames()), TestName);

}  // namespace
}  // namespace dt
