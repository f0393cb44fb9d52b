#include "exporter/host_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace exporter {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

using Kind = HostEntry::Kind;

HostEntry Folder() { return {}; }
HostEntry File(std::string bytes) { return {Kind::kFile, std::move(bytes)}; }
HostEntry Link(std::string target) { return {Kind::kLink, std::move(target)}; }

HostTree Parse(const std::string& text) {
  dt::Result<HostTree> tree = ParseHostTree(text, "a.tree");
  return tree ? std::move(tree).value() : throw std::runtime_error(tree.error().message);
}

// What is wrong with `text`; empty if nothing is.
std::string Wrong(const std::string& text) {
  const dt::Result<HostTree> tree = ParseHostTree(text, "a.tree");
  return tree ? "" : tree.error().message;
}

std::string File(const HostTree& tree, const std::string& place) {
  const HostEntry* const entry = tree.Find(place);
  return entry == nullptr || entry->kind != Kind::kFile ? "no file" : entry->content;
}

TEST(HostTree, IsWhatTheLinesSay) {
  const HostTree tree = Parse(
      "# a comment\n"
      "\n"
      "bus/usb/devices/\n"
      "class/drm/version = drm 1.1.0\n"
      "devices/a/\n"
      "  # another\n"
      "  vendor = 0x8086\n"
      "  driver -> ../../bus/pci\n"
      "  below/power = on\n"
      "bus/pci/devices/0 -> ../../../devices/a\n"
      "  at = the root again\n");
  EXPECT_THAT(
      tree.entries(),
      ElementsAre(Pair("at", File("the root again\n")), Pair("bus", Folder()),
                  Pair("bus/pci", Folder()), Pair("bus/pci/devices", Folder()),
                  Pair("bus/pci/devices/0", Link("../../../devices/a")), Pair("bus/usb", Folder()),
                  Pair("bus/usb/devices", Folder()), Pair("class", Folder()),
                  Pair("class/drm", Folder()), Pair("class/drm/version", File("drm 1.1.0\n")),
                  Pair("devices", Folder()), Pair("devices/a", Folder()),
                  Pair("devices/a/below", Folder()), Pair("devices/a/below/power", File("on\n")),
                  Pair("devices/a/driver", Link("../../bus/pci")),
                  Pair("devices/a/vendor", File("0x8086\n"))));
}

TEST(HostTree, AContentIsWhatItsEscapesStandFor) {
  const std::pair<std::string, std::string> cases[] = {
      {" =", "\n"},
      {" = ", "\n"},
      {" =  two = signs -> and an arrow ", " two = signs -> and an arrow \n"},
      {" = \\c", ""},
      {" = gpu\\0\\c", std::string("gpu\0", 4)},
      {" = a\\nb", "a\nb\n"},
      {" = \\\\c", "\\c\n"},
      {" = \\\\\\c", "\\"},
      {" = \\x00\\xfF\\x20", std::string("\0\xff \n", 4)},
      {" = \xc3\xa9", "\xc3\xa9\n"},
  };
  for (const auto& [text, bytes] : cases) EXPECT_EQ(File(Parse("f" + text), "f"), bytes) << text;
}

TEST(HostTree, APathAndATargetTakeEscapesToo) {
  const HostTree tree = Parse("a\\x20b/\\x23\\\\\\n -> \\xff\\x20\n");
  EXPECT_THAT(tree.entries(), ElementsAre(Pair("a b", Folder()), Pair("a b/#\\\n", Link("\xff "))));
}

TEST(HostTree, TheLastOfTwoFilesOfOnePathCounts) {
  EXPECT_EQ(File(Parse("f = 1\nf = 2\n"), "f"), "2\n");
}

TEST(HostTree, IsWrittenByFolder) {
  const HostTree tree = Parse(
      "devices/b/c/vendor = 1\ndevices/b/empty/\ndevices/b/driver -> ../x\ndevices/b/class = 2\n"
      "top = 3\n");
  EXPECT_EQ(ToText(tree),
            "top = 3\n"
            "devices/b/\n"
            "  class = 2\n"
            "  driver -> ../x\n"
            "devices/b/c/\n"
            "  vendor = 1\n"
            "devices/b/empty/\n");
}

TEST(HostTree, IsWrittenInPrintableAsciiThatGivesItAgain) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  std::string name = all.substr(1);  // no NUL
  name.erase(name.find('/'), 1);
  name.resize(200);
  const std::vector<std::pair<std::string, HostEntry>> entries = {
      {"#a/#b", File("#c")},       {" / ", File(" ")}, {"a =/b ->", File("\n")},
      {"a =/c\\c", File("\\c\n")}, {name, File(all)},  {"d", File(" \n")},
      {"e", Link("# ->/ = /\\c")}, {"f\n", Folder()},  {"g", File("")},
      {"h", File("two\nlines\n")}};
  HostTree tree;
  for (const auto& [place, entry] : entries) EXPECT_EQ(tree.Put(place, entry), std::nullopt);
  const std::string text = ToText(tree);
  for (const char c : text) EXPECT_TRUE((c >= ' ' && c <= '~') || c == '\n') << int{c};
  EXPECT_EQ(text.find(" \n"), std::string::npos) << "editors cut spaces there";
  EXPECT_EQ(Parse(text), tree);
  EXPECT_EQ(ToText(Parse(text)), text);
}

TEST(HostTree, LinesThatAreNoneAreRefusedWithTheirPlace) {
  const std::pair<std::string, std::string> cases[] = {
      {"a b", "\"a b\"; expected PATH/, PATH = CONTENT or PATH -> TARGET"},
      {"a", "\"a\"; expected PATH/, PATH = CONTENT or PATH -> TARGET"},
      {"a/ ", "\"a/ \"; expected PATH/, PATH = CONTENT or PATH -> TARGET"},
      {"a =x", "\"a =x\"; expected PATH/, PATH = CONTENT or PATH -> TARGET"},
      {"a ->", "\"a ->\"; expected PATH/, PATH = CONTENT or PATH -> TARGET"},
      {std::string(100, 'a'),
       "\"" + std::string(80, 'a') + "...\"; expected PATH/, PATH = CONTENT or PATH -> TARGET"},
      {"a = b\r", "the byte \\x0d; expected no control characters, but \\xNN"},
      {"# \x1b[2J", "the byte \\x1b; expected no control characters, but \\xNN"},
      {"\ta = b", "the byte \\x09; expected no control characters, but \\xNN"},
      {std::string("a = \0", 5), "the byte \\x00; expected no control characters, but \\xNN"},
  };
  for (const auto& [line, message] : cases) {
    EXPECT_EQ(Wrong("# 1\n" + line + "\nx/\n"), "a.tree:2: " + message);
  }
}

TEST(HostTree, EscapesThatAreNoneAreRefused) {
  const std::string expected =
      "; expected of escapes \\0 \\n \\\\ \\xNN, \\c at the end of a content, and in a path no \\0 "
      "and no escaped /";
  for (const std::string content :
       {"\\", "\\t", "\\x", "\\x4", "\\xg0", "\\c ", "\\cb", "\\u0041"}) {
    EXPECT_EQ(Wrong("a = " + content), "a.tree:1: \"" + content + "\"" + expected);
  }
  for (const std::string path : {"a\\c", "a\\0b", "a\\x00", "a\\x2fb", "..\\x2f..\\x2fetc", "\\"}) {
    EXPECT_EQ(Wrong(path + " = b"), "a.tree:1: \"" + path + "\"" + expected);
    EXPECT_EQ(Wrong(path + "/"), "a.tree:1: \"" + path + "\"" + expected);
  }
  EXPECT_EQ(Wrong("a -> b\\c"), "a.tree:1: \"b\\c\"" + expected);
}

TEST(HostTree, PathsLeadDownOnly) {
  const std::pair<std::string, std::string> cases[] = {
      {"/etc/passwd", ""}, {"a//b", ""},   {"..", ".."},           {"../a", ".."},
      {"a/../../b", ".."}, {"a/..", ".."}, {"\\x2e\\x2e/a", ".."}, {"./a", "."},
      {"a/./b", "."},      {"a/", ""},
  };
  for (const auto& [path, name] : cases) {
    const std::string shown = path == "\\x2e\\x2e/a" ? "../a" : path;
    EXPECT_EQ(Wrong(path + " = x"), "a.tree:1: \"" + shown + "\": a path with the name \"" + name +
                                        "\"; expected one that leads down from the root of the "
                                        "snapshot");
  }
  EXPECT_EQ(Wrong("/"),
            "a.tree:1: \"\": a path with the name \"\"; expected one that leads down from the root "
            "of the snapshot");
  EXPECT_EQ(Wrong("a/\n  ../../b = x"),
            "a.tree:2: \"a/../../b\": a path with the name \"..\"; expected one that leads down "
            "from the root of the snapshot");
}

TEST(HostTree, LinksStayInside) {
  for (const std::string target :
       {"/etc/passwd", "/", "..", "../..", "../../../x", "b/../../../../x", "b/..", "./b", "b/",
        "../b//c", "\\x2fetc", "a\\0b", "../../.."}) {
    const std::string shown = target == "\\x2fetc" ? "/etc"
                              : target == "a\\0b"  ? "a\\x00b"
                                                   : target;
    EXPECT_EQ(Wrong("a/b/c -> " + target),
              "a.tree:1: \"" + shown +
                  "\" is no target of a link; expected a relative one that stays inside, its .. "
                  "in front");
  }
  EXPECT_EQ(Wrong("a/b/c -> ../../x"), "");
  EXPECT_EQ(Wrong("c -> x"), "");
}

TEST(HostTree, NothingStandsBelowAFileOrALink) {
  EXPECT_EQ(Wrong("a -> b\na/c = x\n"), "a.tree:2: \"a\" is a link; expected a folder");
  EXPECT_EQ(Wrong("a = b\na/c/d/e/\n"), "a.tree:2: \"a\" is a file; expected a folder");
  EXPECT_EQ(Wrong("b/c/d = 1\nb/c -> x\n"),
            "a.tree:2: \"b/c\" is a folder; expected no other entry of that path");
  EXPECT_EQ(Wrong("a -> b\na = c\n"),
            "a.tree:2: \"a\" is a link; expected no other entry of that path");
  EXPECT_EQ(Wrong("a = b\na/\n"),
            "a.tree:2: \"a\" is a file; expected no other entry of that path");
}

TEST(HostTree, HasBounds) {
  EXPECT_EQ(Wrong(std::string(255, 'a') + "/"), "");
  EXPECT_EQ(Wrong(std::string(256, 'a') + "/"),
            "a.tree:1: a name of 256 bytes; at most 255 expected");
  std::string deep = "a";
  for (int i = 1; i < 72; ++i) deep += "/a";
  EXPECT_EQ(Wrong(deep + "/"), "");
  EXPECT_EQ(Wrong(deep + "/a/"), "a.tree:1: a path of 73 names; at most 72 expected");
  std::string wide = std::string(255, 'a');
  for (int i = 1; i < 8; ++i) wide += "/" + std::string(255, 'a');
  EXPECT_EQ(Wrong(wide + "/"), "");
  EXPECT_EQ(Wrong(wide + "/a/"), "a.tree:1: a path of 2049 bytes; at most 2048 expected");
  EXPECT_EQ(Wrong(std::string(kMaxHostTextBytes + 1, '\n')),
            "a.tree: more than 41943040 bytes; expected a snapshot");
  const std::string too_much =
      "more than 100000 entries, or 8388608 bytes of paths and contents; expected less";
  std::string many;
  for (std::size_t i = 0; i <= kMaxHostEntries; ++i) many += std::to_string(i) + "/\n";
  EXPECT_EQ(Wrong(many), "a.tree:100001: " + too_much);
  EXPECT_EQ(Wrong("a = " + std::string(kMaxHostTreeBytes, 'x')), "a.tree:1: " + too_much);
}

// Whatever is put into a tree, its text is not too long to be read.
TEST(HostTree, ThatIsFullCanStillBeRead) {
  const std::string nasty(1000, '\xff');
  HostTree tree;
  EXPECT_EQ(tree.Put(nasty.substr(0, 99) + "/" + nasty.substr(0, 99), File(nasty)), std::nullopt);
  EXPECT_EQ(tree.Put("\xff/\xfe", File(nasty)), std::nullopt);
  EXPECT_EQ(tree.Put("\xff/\xff", File("")), std::nullopt);
  EXPECT_EQ(tree.Put("\xff/l", Link(nasty.substr(0, 200))), std::nullopt);
  std::size_t bytes = 0;
  for (const auto& [place, entry] : tree.entries()) bytes += place.size() + entry.content.size();
  EXPECT_LE(ToText(tree).size(), 4 * bytes + 12 * tree.entries().size());
  EXPECT_LE(4 * kMaxHostTreeBytes + 12 * kMaxHostEntries, kMaxHostTextBytes);
}

TEST(HostTree, ThatRefusesAnEntryIsAsItWas) {
  HostTree tree = Parse("a = b\n");
  const HostTree before = tree;
  EXPECT_NE(tree.Put("a/b/c", File("")), std::nullopt);
  EXPECT_NE(tree.Put("x/y/..", File("")), std::nullopt);
  EXPECT_NE(tree.Put("x/y/z", Link("/")), std::nullopt);
  EXPECT_NE(tree.Put("x/y/z", File(std::string(kMaxHostTreeBytes, 'x'))), std::nullopt);
  EXPECT_EQ(tree, before);
}

TEST(HostTree, NamesAreThoseInTheFolderInBytewiseOrder) {
  const HostTree tree = Parse("a/b/c/d = x\na/b!/\na/b0/e = x\na/bb = x\na! = x\na/B -> b\n");
  EXPECT_THAT(tree.Names(""), ElementsAre("a", "a!"));
  EXPECT_THAT(tree.Names("a"), ElementsAre("B", "b", "b!", "b0", "bb"));
  EXPECT_THAT(tree.Names("a/b"), ElementsAre("c"));
  EXPECT_THAT(tree.Names("none"), ElementsAre());
}

TEST(HostTree, ResolvesLinksAsTheKernelDoes) {
  const HostTree tree = Parse(
      "bus/devices/0 -> ../../devices/a/b\n"
      "devices/a/b/up -> ../c\n"
      "devices/a/c/\n"
      "devices/a/here -> here\n"
      "devices/a/d -> e\n"
      "devices/a/e -> d\n"
      "devices/a/gone -> ../x/y\n");
  EXPECT_EQ(tree.Resolve(""), "");
  EXPECT_EQ(tree.Resolve("bus"), "bus");
  EXPECT_EQ(tree.Resolve("bus/devices/0"), "devices/a/b");
  EXPECT_EQ(tree.Resolve("bus/devices/0/up"), "devices/a/c");
  EXPECT_EQ(tree.Resolve("bus/devices/0/none/"), "devices/a/b/none");
  EXPECT_EQ(tree.Resolve("devices/a/gone"), "devices/x/y");
  EXPECT_EQ(tree.Resolve("devices/a/here"), std::nullopt);
  EXPECT_EQ(tree.Resolve("devices/a/d/x"), std::nullopt);
  EXPECT_EQ(tree.Target("bus/devices/0"), "../../devices/a/b");
  EXPECT_EQ(tree.Target("bus/devices/0/up"), "../c");
  EXPECT_EQ(tree.Target("bus/devices"), std::nullopt);
  EXPECT_EQ(tree.Target("devices/a/d/x"), std::nullopt);
}

TEST(FollowLinks, DoNotLeaveTheTree) {
  const auto links = [](const std::string& place) -> std::optional<std::string> {
    if (place == "out") return "../x";
    if (place == "a/absolute") return "/etc";
    return std::nullopt;
  };
  EXPECT_EQ(FollowLinks("a/../b", links), "b");
  EXPECT_EQ(FollowLinks("./a//./b/", links), "a/b");
  EXPECT_EQ(FollowLinks("a/../../b", links), std::nullopt);
  EXPECT_EQ(FollowLinks("out", links), std::nullopt);
  EXPECT_EQ(FollowLinks("a/absolute", links), std::nullopt);
}

}  // namespace
}  // namespace exporter
