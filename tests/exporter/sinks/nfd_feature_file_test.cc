#include "exporter/sinks/nfd_feature_file.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/test_support/temporary_directory.h"

namespace exporter {
namespace {

using std::chrono::system_clock;

const LabelSet kLabels = {{"beta.devicetree.org/nvidia-jetson-nano", "1"},
                          {"beta.devicetree.org/accelerator.gpu.count", "2"}};

std::string Read(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST(NfdFeatures, AreOneLabelALineInTheOrderOfTheLabels) {
  EXPECT_EQ(ToNfdFeatures(kLabels, std::nullopt),
            "# Written by devicetree-exporter. A change here will be overwritten.\n"
            "beta.devicetree.org/nvidia-jetson-nano=1\n"
            "beta.devicetree.org/accelerator.gpu.count=2\n");
}

TEST(NfdFeatures, ExpireAtATimeThatStandsAboveThem) {
  // date -u -d @1690629753 --rfc-3339=seconds; the fraction goes.
  const system_clock::time_point expiry{std::chrono::milliseconds(1'690'629'753'999)};
  EXPECT_EQ(ToNfdFeatures(kLabels, expiry),
            "# Written by devicetree-exporter. A change here will be overwritten.\n"
            "# +expiry-time=2023-07-29T11:22:33Z\n"
            "beta.devicetree.org/nvidia-jetson-nano=1\n"
            "beta.devicetree.org/accelerator.gpu.count=2\n");
}

TEST(NfdFeatures, OfNoLabelsAreComments) {
  EXPECT_EQ(ToNfdFeatures({}, std::nullopt),
            "# Written by devicetree-exporter. A change here will be overwritten.\n");
}

TEST(NfdFeatures, AreReadBackUntilTheyExpire) {
  const system_clock::time_point expiry{std::chrono::seconds(1'690'629'753)};
  const std::string text = ToNfdFeatures(kLabels, expiry);
  EXPECT_EQ(ParseNfdFeatures(text, expiry - std::chrono::seconds(1)), kLabels);
  EXPECT_EQ(ParseNfdFeatures(text, expiry), LabelSet());
  EXPECT_EQ(ParseNfdFeatures(ToNfdFeatures(kLabels, std::nullopt), expiry), kLabels);
}

TEST(NfdFeatures, OfOthersAreReadAsFarAsTheyAreLabels) {
  const system_clock::time_point now{std::chrono::seconds(1'690'629'753)};
  const LabelSet one = {{"a/b", "1"}};
  for (const char* text : {"a/b=1", "a/b=1\n", "\n\na/b=1\n\n", "# c=2\na/b=1\n#", "c\na/b=1\nc\n",
                           "# +expiry-time=2023-07-29T11:22:32Z\nc=2\n"
                           "# +expiry-time=2023-07-29T11:22:34Z\na/b=1\n",
                           "a/b=1\n# +expiry-time=tomorrow\nc=2\n"}) {
    EXPECT_EQ(ParseNfdFeatures(text, now), one) << text;
  }
  EXPECT_EQ(ParseNfdFeatures("a/b=c=d", now), (LabelSet{{"a/b", "c=d"}}));
  EXPECT_EQ(ParseNfdFeatures("", now), LabelSet());
}

TEST(NfdFeatureFile, IsWrittenIntoAFolderThatIsMade) {
  const test_support::TemporaryDirectory folder;
  const std::string path = folder / "node-feature-discovery/features.d/devicetree-features";
  std::string error;
  EXPECT_TRUE(WriteNfdFeatures(path, "a/b=1\n", &error)) << error;
  EXPECT_EQ(Read(path), "a/b=1\n");
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(path).permissions(),
            perms::owner_read | perms::owner_write | perms::group_read | perms::others_read);
}

TEST(NfdFeatureFile, IsNotReplacedByOneThatNfdWouldIgnore) {
  const test_support::TemporaryDirectory folder;
  const std::string path = folder / "features";
  std::string error;
  const std::string largest(kMaxNfdFeatureBytes, '#');
  EXPECT_TRUE(WriteNfdFeatures(path, largest, &error)) << error;
  EXPECT_FALSE(WriteNfdFeatures(path, largest + "#", &error));
  EXPECT_EQ(error, path + ": 65537 bytes; NFD reads at most 65536");
  EXPECT_EQ(Read(path), largest);
}

TEST(NfdFeatureFile, SaysWhyItsFolderCannotBeMade) {
  const test_support::TemporaryDirectory folder;
  folder.Write("file", "");
  std::string error;
  EXPECT_FALSE(WriteNfdFeatures(folder / "file/features", "", &error));
  EXPECT_EQ(error, (folder / "file").string() + ": Not a directory");
}

}  // namespace
}  // namespace exporter
