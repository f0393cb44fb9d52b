#include "exporter/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace exporter {
namespace {

using ::testing::MatchesRegex;

TEST(Log, WritesOneLogfmtLineWhateverTheValuesHold) {
  testing::internal::CaptureStderr();
  Log(LogLevel::kInfo).Write(LogLevel::kWarn, "Two words",
                             {{"plain", "x"}, {"empty", ""}, {"quoted", "a=\"b\"\n\x1b"}});
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              MatchesRegex("time=[0-9-]+T[0-9:]+[.][0-9][0-9][0-9]Z level=WARN msg=\"Two words\" "
                           "plain=x empty=\"\" quoted=\"a=.\"b.\"..x0a..x1b\"\n"));
}

TEST(Log, DropsWhatIsBelowItsLevel) {
  testing::internal::CaptureStderr();
  Log(LogLevel::kWarn).Write(LogLevel::kInfo, "unseen");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace exporter
