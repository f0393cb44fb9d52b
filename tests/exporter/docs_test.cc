// The tables in the documents say what the program has, neither more nor less.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <variant>

#include "exporter/options.h"

namespace exporter {
namespace {

std::string ReadFile(const std::string& name) {
  std::ifstream stream(std::string(SOURCE_DIR) + "/" + name);
  EXPECT_TRUE(stream) << name;
  return {std::istreambuf_iterator<char>(stream), {}};
}

// What the first group of `pattern` matches anywhere in `text`.
std::set<std::string> All(const std::string& text, const std::string& pattern) {
  const std::regex expression(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at) {
    found.insert((*at)[1]);
  }
  return found;
}

// The rows of a table whose first cell begins with a name in backticks.
std::string FirstCells(const std::string& text) {
  std::string cells;
  for (const std::string& cell : All(text, "(?:^|\n)\\| ([^|]*)\\|")) cells += cell + "\n";
  return cells;
}

TEST(Docs, EveryMetricFamilyHasARowAndEveryRowAFamily) {
  const std::string family = "((?:accelerator|devicetree|process)_[a-z_]+)";
  EXPECT_EQ(All(FirstCells(ReadFile("exporter/METRICS.md")), "`" + family + "`"),
            All(ReadFile("exporter/projections/metrics.cc"), "\"" + family + "\""));
}

TEST(Docs, EveryFlagHasARowAndEveryRowAFlag) {
  const char* argv[] = {"devicetree-exporter", "--help"};
  const std::string help = std::get<Exit>(ParseOptions(2, argv, {})).text;
  std::set<std::string> flags = All(help, "(--[a-z.-]+)");
  flags.erase("--");
  // The collectors are in one row, by name.
  for (const char* collector : {"devicetree", "pci", "usb", "device_nodes"}) {
    EXPECT_THAT(help, testing::HasSubstr(std::string("--collector.") + collector));
    EXPECT_THAT(ReadFile("README.md"), testing::HasSubstr(std::string("`") + collector + "`"));
  }
  std::erase_if(
      flags, [](const std::string& flag) { return flag.find("collector.") != std::string::npos; });
  std::set<std::string> rows = All(FirstCells(ReadFile("README.md")), "(--[a-z.-]+)");
  std::erase_if(
      rows, [](const std::string& flag) { return flag.find("collector.") != std::string::npos; });
  EXPECT_EQ(rows, flags);
}

}  // namespace
}  // namespace exporter
