#include "exporter/yaml_document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace exporter {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;
using Kind = YamlValue::Kind;

// The message that refuses `text`; "taken" if none does.
std::string Refusal(std::string_view text) {
  const dt::Result<YamlValue> document = ParseYaml(text, "f.yaml");
  if (document) return "taken";
  EXPECT_EQ(document.error().code, dt::ErrorCode::kMalformed);
  return document.error().message;
}

std::string Repeated(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

TEST(YamlDocument, KeepsThePlaceOfEverything) {
  const auto document = ParseYaml(
      "# comment\n"
      "a: one\n"
      "list:\n"
      "  - two\n"
      "  - {b: \"three\"}\n"
      "none:\n",
      "f.yaml");
  ASSERT_TRUE(document) << document.error().message;
  ASSERT_EQ(document->kind, Kind::kMapping);
  ASSERT_THAT(document->entries, SizeIs(3));
  const auto& [a, one] = document->entries[0];
  EXPECT_EQ(a.kind, Kind::kScalar);
  EXPECT_EQ(a.scalar, "a");
  EXPECT_EQ(a.line, 2);
  EXPECT_EQ(a.column, 1);
  EXPECT_EQ(one.kind, Kind::kScalar);
  EXPECT_EQ(one.scalar, "one");
  EXPECT_EQ(one.line, 2);
  EXPECT_EQ(one.column, 4);
  const YamlValue& list = document->entries[1].value;
  ASSERT_EQ(list.kind, Kind::kSequence);
  ASSERT_THAT(list.items, SizeIs(2));
  EXPECT_EQ(list.items[0].line, 4);
  EXPECT_EQ(list.items[0].column, 5);
  const YamlValue& mapping = list.items[1];
  ASSERT_EQ(mapping.kind, Kind::kMapping);
  EXPECT_EQ(mapping.line, 5);
  EXPECT_EQ(mapping.column, 5);
  ASSERT_THAT(mapping.entries, SizeIs(1));
  EXPECT_EQ(mapping.entries[0].value.scalar, "three");
  EXPECT_EQ(mapping.entries[0].value.line, 5);
  EXPECT_EQ(mapping.entries[0].value.column, 9);
  EXPECT_EQ(document->entries[2].key.scalar, "none");
  EXPECT_EQ(document->entries[2].value.kind, Kind::kNull);
  EXPECT_EQ(document->entries[2].value.line, 6);
}

TEST(YamlDocument, KeepsMappingsInTheOrderOfTheFile) {
  const auto document = ParseYaml("b: 1\na: 2\nc: 3\n", "f.yaml");
  ASSERT_TRUE(document);
  ASSERT_THAT(document->entries, SizeIs(3));
  EXPECT_EQ(document->entries[0].key.scalar, "b");
  EXPECT_EQ(document->entries[1].key.scalar, "a");
  EXPECT_EQ(document->entries[2].key.scalar, "c");
}

TEST(YamlDocument, LeavesScalarsAsTheyStand) {
  const auto document = ParseYaml(R"(["yes", yes, 007, 'a''b', "a\tb", "", 1.0, "~"])", "f.yaml");
  ASSERT_TRUE(document) << document.error().message;
  std::vector<std::string> scalars;
  for (const YamlValue& item : document->items) {
    EXPECT_EQ(item.kind, Kind::kScalar) << item.scalar;
    scalars.push_back(item.scalar);
  }
  EXPECT_THAT(scalars, testing::ElementsAre("yes", "yes", "007", "a'b", "a\tb", "", "1.0", "~"));
}

TEST(YamlDocument, OfNothingIsNull) {
  for (const char* text : {"", "\n", "# only a comment\n", "---\n", "~\n"}) {
    const auto document = ParseYaml(text, "f.yaml");
    ASSERT_TRUE(document) << text;
    EXPECT_EQ(document->kind, Kind::kNull) << text;
  }
}

TEST(YamlDocument, MayBeginWithAMarkAndEndWithOne) {
  const auto document = ParseYaml("---\na: 1\n...\n", "f.yaml");
  ASSERT_TRUE(document) << document.error().message;
  ASSERT_THAT(document->entries, SizeIs(1));
  EXPECT_EQ(document->entries[0].key.line, 2);
}

TEST(YamlDocument, MayHaveWindowsLineEnds) {
  const auto document = ParseYaml("a: 1\r\nb: 2\r\n", "f.yaml");
  ASSERT_TRUE(document) << document.error().message;
  ASSERT_THAT(document->entries, SizeIs(2));
  EXPECT_EQ(document->entries[0].value.scalar, "1");
  EXPECT_EQ(document->entries[1].key.line, 2);
  EXPECT_EQ(document->entries[1].key.column, 1);
}

TEST(YamlDocument, RefusesAnchors) {
  constexpr const char* kWhy = "an anchor; aliases are not read";
  EXPECT_EQ(Refusal("a: &x 1\n"), std::string("f.yaml:1:4: ") + kWhy);
  EXPECT_EQ(Refusal("b: 1\na: &x [1]\n"), std::string("f.yaml:2:4: ") + kWhy);
  EXPECT_EQ(Refusal("a: &x {b: 1}\n"), std::string("f.yaml:1:4: ") + kWhy);
  EXPECT_THAT(Refusal("a: &x\nb: 1\n"), HasSubstr(kWhy));
}

TEST(YamlDocument, RefusesAliases) {
  EXPECT_THAT(Refusal("a: *x\n"), StartsWith("f.yaml:1:4: "));
  EXPECT_THAT(Refusal("a: 1\n*x : 2\n"), StartsWith("f.yaml:2:1: "));
}

TEST(YamlDocument, RefusesACycleOfAliases) {
  EXPECT_EQ(Refusal("a: &a [*a]\n"), "f.yaml:1:4: an anchor; aliases are not read");
}

TEST(YamlDocument, RefusesAnAliasBomb) {
  EXPECT_EQ(Refusal("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"),
            "f.yaml:1:4: an anchor; aliases are not read");
}

TEST(YamlDocument, RefusesTags) {
  EXPECT_EQ(Refusal("a: !!str 1\n"), "f.yaml:1:4: the tag tag:yaml.org,2002:str; no tags expected");
  EXPECT_EQ(Refusal("b: 1\na: !mine [1]\n"), "f.yaml:2:4: the tag !mine; no tags expected");
  EXPECT_EQ(Refusal("a: !mine {b: 1}\n"), "f.yaml:1:4: the tag !mine; no tags expected");
}

TEST(YamlDocument, RefusesASecondDocument) {
  EXPECT_EQ(Refusal("a: 1\n---\nb: 2\n"), "f.yaml:2:1: a second document; one expected");
  EXPECT_THAT(Refusal("a: 1\n...\n---\n"), HasSubstr("a second document; one expected"));
}

TEST(YamlDocument, RefusesARepeatedKeyAtItsSecondPlace) {
  EXPECT_EQ(Refusal("a: 1\nb: 2\na: 3\n"), "f.yaml:3:1: the key \"a\" stands here a second time");
  EXPECT_EQ(Refusal("x: {a: 1, \"a\": 2}\n"),
            "f.yaml:1:11: the key \"a\" stands here a second time");
}

TEST(YamlDocument, TakesOneKeyInTwoMappings) {
  EXPECT_EQ(Refusal("x: {a: 1}\ny: {a: 1}\na: 1\n"), "taken");
}

TEST(YamlDocument, RefusesKeysThatAreNoText) {
  EXPECT_EQ(Refusal("a: 1\n[b]: 2\n"), "f.yaml:2:1: a key that is no text");
  EXPECT_EQ(Refusal("{b: 1}: 2\n"), "f.yaml:1:1: a key that is no text");
  EXPECT_EQ(Refusal("~: 2\n"), "f.yaml:1:1: a key that is no text");
  EXPECT_THAT(Refusal("? [b]\n: 2\n"), StartsWith("f.yaml:1:3: "));
}

TEST(YamlDocument, IsAtMost32LevelsDeep) {
  EXPECT_EQ(Refusal(Repeated("[", 32) + Repeated("]", 32)), "taken");
  EXPECT_EQ(Refusal(Repeated("[", 33) + Repeated("]", 33)), "f.yaml:1:33: deeper than 32 levels");
  EXPECT_EQ(Refusal(Repeated("{a: ", 33) + Repeated("}", 33)),
            "f.yaml:1:129: deeper than 32 levels");
  EXPECT_EQ(Refusal(Repeated("- ", 33) + "a\n"), "f.yaml:1:65: deeper than 32 levels");
}

TEST(YamlDocument, HasAtMost20000Values) {
  // The list itself is one.
  EXPECT_EQ(Refusal(Repeated("- a\n", 19'999)), "taken");
  EXPECT_EQ(Refusal(Repeated("- a\n", 20'000)), "f.yaml:20000:3: more than 20000 values");
}

TEST(YamlDocument, CountsKeysAsValues) {
  std::string text;
  for (int i = 0; i < 10'000; ++i) text += "k" + std::to_string(i) + ": v\n";
  EXPECT_EQ(Refusal(text), "f.yaml:10000:8: more than 20000 values");
}

TEST(YamlDocument, HasAtMostOneMebibyte) {
  std::string text = "a: 1\n#";
  text.resize(1 << 20, '.');
  EXPECT_EQ(Refusal(text), "taken");
  EXPECT_EQ(Refusal(text + "."), "f.yaml:1:1: 1048577 bytes; at most 1048576 expected");
}

TEST(YamlDocument, HasNoNul) {
  EXPECT_EQ(Refusal(std::string_view("a: 1\nb: x\0y\n", 12)),
            "f.yaml:2:5: a NUL byte; text expected");
}

TEST(YamlDocument, IsUtf8) {
  EXPECT_EQ(Refusal("a: \xc3\xa4\n"), "taken");
  const char* const bad[] = {"\xe4", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80"};
  for (const char* bytes : bad) {
    EXPECT_EQ(Refusal(std::string("a: 1\nb: x") + bytes + "\n"),
              "f.yaml:2:5: a byte that is not UTF-8");
  }
}

TEST(YamlDocument, SaysWhereItIsNoYaml) {
  EXPECT_THAT(Refusal("a: [1, 2\n"), HasSubstr(": no YAML: "));
  EXPECT_THAT(Refusal("a: b: c\n"), StartsWith("f.yaml:1:5: no YAML: "));
  EXPECT_THAT(Refusal("a: 1\n\tb: 2\n"), HasSubstr(": no YAML: "));
  EXPECT_THAT(Refusal("a: \"\\q\"\n"), HasSubstr(": no YAML: "));
  EXPECT_THAT(Refusal("a: 1\n]\n"), StartsWith("f.yaml:2:1: "));
}

// A file that was cut off must not pass as a whole one.
TEST(YamlDocument, RefusesAQuoteThatDoesNotEnd) {
  for (const char* text :
       {"b: \"c", "b: 'c", "b: \"c\n", "b: 'c\n", "b: \"c\nd: e\n", "\"", "'\n"}) {
    // yaml-cpp sees it only where nothing at all follows the text.
    EXPECT_THAT(Refusal(text),
                testing::AnyOf(HasSubstr(": no YAML: "), HasSubstr(": a quote that does not end")))
        << text;
  }
}

TEST(YamlDocument, RefusalsAreOnePrintableLineWithAPlace) {
  const std::string_view texts[] = {"a: \"\\\x01\"\n",  // yaml-cpp quotes the escape as it stands
                                    "\"\x1b[2J\": 1\n\"\x1b[2J\": 2\n",
                                    "%TAG\n",
                                    "%YAML 9.9\n---\na: 1\n",
                                    "a: *\x1b\n",
                                    "@: 1\n",
                                    "\"\\e\": 1\n\"\\e\": 2\n",
                                    "a: !<\x1b> 1\n"};
  for (const std::string_view text : texts) {
    const std::string refusal = Refusal(text);
    EXPECT_THAT(refusal, testing::ContainsRegex("^f\\.yaml:[1-9][0-9]*:[1-9][0-9]*: ")) << text;
    for (const char c : refusal) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << refusal;
  }
}

// Time that grows with the square of the size would pass the time limit of the tests.
TEST(YamlDocument, IsRefusedOrTakenInTimeWhateverItsShape) {
  const char* const units[] = {"[",    "{",  "- ",  "? ",  "a: ", "[{",  "- [", "\"",
                               "'",    "!",  "|",   "[a,", "{a",  "\n ", "# ",  "--- ",
                               "%a\n", "\\", "[\n", "a\n", "*",   "&"};
  for (const char* unit : units) {
    const auto times = static_cast<int>(kMaxYamlBytes / std::string_view(unit).size());
    EXPECT_THAT(Refusal(Repeated(unit, times)), testing::Not(IsEmpty())) << unit;
  }
}

}  // namespace
}  // namespace exporter
