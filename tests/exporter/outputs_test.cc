#include "exporter/outputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/test_support/temporary_directory.h"

namespace exporter {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

class OutputsTest : public testing::Test {
 protected:
  std::string Read(const std::string& name) const {
    std::ifstream stream(folder_ / name);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  // The value of the metric that tells how the file was written; "" without one.
  static std::string Written(const Outputs& outputs, const std::string& file) {
    const std::string begin =
        "\ndevicetree_exporter_file_last_write_successful{file=\"" + file + "\"} ";
    const std::string metrics = outputs.Metrics();
    const std::size_t at = metrics.find(begin);
    return at == std::string::npos ? "" : metrics.substr(at + begin.size(), 1);
  }

  test_support::TemporaryDirectory folder_;
  const Log log_{LogLevel::kError};
  const Outputs::Clock::time_point start_ = Outputs::Clock::now();
  const OutputSnapshot snapshot_{{{{"example.org/a", "1"}}}, "a 1\n"};
};

TEST_F(OutputsTest, AFileThatCannotBeWrittenIsTriedAgainEachMinute) {
  const std::string missing = folder_ / "missing";
  Outputs outputs({{}, missing + "/features", missing}, log_);
  // A file where NFD's folder should be: it cannot be made.
  folder_.Write("missing", "");
  outputs.Publish(snapshot_, start_);
  EXPECT_EQ(Written(outputs, "nfd_feature_file"), "0");
  EXPECT_EQ(Written(outputs, "textfile"), "0");
  EXPECT_EQ(outputs.next_due(), start_ + 1min);
  std::filesystem::remove(missing);
  folder_.MakeFolder("missing");
  outputs.Tick(start_ + 59s);
  EXPECT_EQ(Read("missing/devicetree-exporter.prom"), "");
  outputs.Tick(start_ + 1min);
  EXPECT_EQ(Read("missing/devicetree-exporter.prom"), "a 1\n");
  EXPECT_THAT(Read("missing/features"), HasSubstr("\nexample.org/a=1\n"));
  EXPECT_EQ(Written(outputs, "nfd_feature_file"), "1");
  EXPECT_EQ(Written(outputs, "textfile"), "1");
}

TEST_F(OutputsTest, TheFeatureFileIsRenewedBeforeItExpiresAndWhenTheClockWasSet) {
  Outputs outputs({{}, folder_ / "features", ""}, log_);
  outputs.Publish(snapshot_, start_);
  EXPECT_EQ(outputs.next_due(), start_ + 20min);
  std::filesystem::remove(folder_ / "features");
  outputs.Tick(start_ + 1min);
  EXPECT_EQ(Read("features"), "");
  outputs.Renew(start_ + 2min);
  outputs.Tick(start_ + 2min);
  EXPECT_THAT(Read("features"), HasSubstr("\nexample.org/a=1\n"));
  EXPECT_EQ(outputs.next_due(), start_ + 22min);
}

TEST_F(OutputsTest, WhatIsNotAskedForHasNoMetric) {
  Outputs outputs({{}, "", folder_.path()}, log_);
  EXPECT_EQ(outputs.Metrics(), "");
  outputs.Publish(snapshot_, start_);
  EXPECT_EQ(Written(outputs, "textfile"), "1");
  EXPECT_THAT(outputs.Metrics(), Not(HasSubstr("nfd_feature_file")));
}

}  // namespace
}  // namespace exporter
