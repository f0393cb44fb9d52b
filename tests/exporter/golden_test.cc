// The boards of tests/boards: what their devicetree gives, over both readers and as a
// snapshot.
//
// Expected outputs are written from the contract (tests/boards/README.md), never
// from this program.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include "exporter/collect.h"
#include "exporter/options.h"
#include "exporter/projections/dry_run.h"
#include "exporter/projections/labels.h"
#include "exporter/projections/metrics.h"
#include "exporter/snapshot.h"
#include "tests/test_support/boards.h"
#include "tests/test_support/temporary_directory.h"

namespace exporter {
namespace {

enum class Source { kBlob, kDirectory, kSnapshot };
constexpr const char* kSourceNames[] = {"blob", "directory", "snapshot"};

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  EXPECT_TRUE(stream) << path;
  return {std::istreambuf_iterator<char>(stream), {}};
}

// The series that do not differ from run to run, in bytewise order. The model of an
// accelerator is left out: it stands in the catalogue alone, and what is expected here
// is made without the catalogue.
std::string StableSeries(const std::string& metrics) {
  std::vector<std::string> lines;
  std::istringstream stream(metrics);
  for (std::string line; std::getline(stream, line);) {
    const bool varies = line.starts_with('#') ||
                        line.starts_with("devicetree_collector_duration_seconds") ||
                        line.starts_with("devicetree_snapshot_timestamp_seconds") ||
                        line.starts_with("devicetree_exporter_build_info");
    if (varies) continue;
    if (line.starts_with("accelerator_info{")) {
      constexpr std::string_view kModel = ",model=\"";
      if (const std::size_t begin = line.find(kModel); begin != std::string::npos) {
        const std::size_t end = line.find('"', begin + kModel.size());
        line.erase(begin, end + 1 - begin);
      }
    }
    lines.push_back(line);
  }
  std::ranges::sort(lines);
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

class GoldenBoard : public testing::TestWithParam<std::tuple<std::string, Source>> {
 protected:
  void SetUp() override {
    const auto& [board, source] = GetParam();
    folder_ = std::filesystem::path(SOURCE_DIR) / "tests/boards" / board;
    std::vector<std::string> words = {"devicetree-exporter", "--path.sysfs=" + (host_ / "sys").string(),
                                      "--path.procfs=" + (host_ / "proc").string()};
    if (std::filesystem::exists(folder_ / "board.dts")) {
      if (source != Source::kDirectory) {
        words.push_back("--path.devicetree=" + std::string(BOARDS_DIR) + "/" + board + ".dtb");
      } else {
        host_.MakeFolder("sys/firmware/devicetree/base");
        test_support::Unpack(test_support::ReadBoard(board), host_ / "sys/firmware/devicetree/base");
      }
    }
    std::istringstream flags(ReadFile(folder_ / "flags"));
    std::copy(std::istream_iterator<std::string>(flags), {}, std::back_inserter(words));
    std::vector<const char*> argv;
    for (const std::string& word : words) argv.push_back(word.c_str());
    auto parsed = ParseOptions(static_cast<int>(argv.size()), argv.data(), {});
    ASSERT_TRUE(std::holds_alternative<Options>(parsed)) << std::get<Exit>(parsed).text;
    options_ = std::get<Options>(std::move(parsed));
    const Catalogue catalogue = BuiltInCatalogue();
    HostRecord record;
    inventory_ =
        Collect(options_.paths, catalogue, options_.disabled_collectors, nullptr, &record);
    if (source == Source::kSnapshot) {
      EXPECT_THAT(record.unreadable, testing::IsEmpty());
      host_.Write("a.snapshot", ToSnapshot(record, {}));
      options_.paths = {.dev = "", .devicetree = "", .snapshot = host_ / "a.snapshot"};
      inventory_ = Collect(options_.paths, catalogue, options_.disabled_collectors, nullptr);
    }
    labels_ = ToLabels(inventory_, options_.labels);
  }

  std::filesystem::path folder_;
  test_support::TemporaryDirectory host_;
  Options options_;
  Inventory inventory_;
  LabelReport labels_;
};

TEST_P(GoldenBoard, DryRun) {
  EXPECT_EQ(ToDryRun(inventory_, labels_.labels), ReadFile(folder_ / "expected/dry_run.txt"));
}

TEST_P(GoldenBoard, Metrics) {
  EXPECT_EQ(StableSeries(ToInventoryMetrics(inventory_, labels_, {})),
            ReadFile(folder_ / "expected/metrics.prom"));
}

std::vector<std::string> Boards() {
  std::vector<std::string> boards;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(SOURCE_DIR) / "tests/boards")) {
    if (std::filesystem::exists(entry.path() / "expected/metrics.prom")) {
      boards.push_back(entry.path().filename());
    }
  }
  return boards;
}

INSTANTIATE_TEST_SUITE_P(, GoldenBoard,
                         testing::Combine(testing::ValuesIn(Boards()),
                                          testing::Values(Source::kBlob, Source::kDirectory,
                                                          Source::kSnapshot)),
                         [](const auto& param) {
                           std::string name = std::get<0>(param.param);
                           std::ranges::replace(name, '-', '_');
                           return name + "_" +
                                  kSourceNames[static_cast<int>(std::get<1>(param.param))];
                         });

}  // namespace
}  // namespace exporter
