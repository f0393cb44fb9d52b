#include "exporter/collectors/sysfs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "tests/test_support/host_tree.h"
#include "tests/test_support/temporary_directory.h"

namespace exporter {
namespace {

using ::testing::ElementsAre;

// The files on disk, or the same as a snapshot that stands for them.
enum class Source { kDisk, kSnapshot };

class SysfsTest : public testing::TestWithParam<Source> {
 protected:
  dt::Result<SysfsDirectory> Open(const std::string& place = "") {
    input_.paths.sysfs = input_.paths.snapshot = directory_.path();
    if (GetParam() == Source::kSnapshot) {
      snapshot_ = test_support::ReadHostTree(directory_.path());
      input_.snapshot = &snapshot_;
    }
    return SysfsDirectory::Open(input_, place);
  }
  std::string Path(const std::string& name) const { return directory_ / name; }

  // What `name` reads as, or the error's message.
  std::string Text(const std::string& name) {
    const auto text = Open().value().ReadText(name);
    return text ? *text : text.error().message;
  }
  std::string Number(const std::string& content, int base) {
    directory_.Write("number", content);
    const auto number = Open().value().ReadNumber("number", base);
    if (number) return std::to_string(*number);
    EXPECT_EQ(number.error().code, dt::ErrorCode::kMalformed) << content;
    return number.error().message;
  }

  test_support::TemporaryDirectory directory_;
  CollectorInput input_;
  HostTree snapshot_;
};

INSTANTIATE_TEST_SUITE_P(, SysfsTest, testing::Values(Source::kDisk, Source::kSnapshot),
                         [](const auto& param) {
                           return param.param == Source::kDisk ? "disk" : "snapshot";
                         });

TEST_P(SysfsTest, ADirectoryThatIsNotThereIsNotFound) {
  const auto missing = Open("none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, dt::ErrorCode::kNotFound);
  EXPECT_EQ(missing.error().message, Path("none") + ": No such file or directory");
}

TEST_P(SysfsTest, AFileIsNoDirectory) {
  directory_.Write("file", "x");
  const auto file = Open().value().OpenBelow("file");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, dt::ErrorCode::kMalformed);
  EXPECT_EQ(file.error().message, Path("file") + ": Not a directory");
}

TEST_P(SysfsTest, AFileOnTheWayIsNoDirectoryEither) {
  directory_.Write("file", "x");
  const auto below = Open().value().OpenBelow("file/devices");
  ASSERT_FALSE(below);
  EXPECT_EQ(below.error().code, dt::ErrorCode::kMalformed);
  EXPECT_EQ(Open().value().ReadText("file/vendor").error().code, dt::ErrorCode::kMalformed);
}

TEST_P(SysfsTest, AChainOfLinksMayBeAsLongAsTheKernelTakesIt) {
  directory_.Write("devices/vendor", "1\n");
  std::filesystem::create_directory_symlink("devices", directory_ / "link1");
  for (int i = 2; i <= 40; ++i) {
    std::filesystem::create_directory_symlink("link" + std::to_string(i - 1),
                                              directory_ / ("link" + std::to_string(i)));
  }
  EXPECT_TRUE(Open().value().OpenBelow("link40"));
  std::filesystem::create_directory_symlink("link40", directory_ / "link41");
  EXPECT_EQ(Open().value().OpenBelow("link41").error().code, dt::ErrorCode::kIo);
}

TEST_P(SysfsTest, ALinkToADirectoryIsFollowed) {
  directory_.Write("devices/a/vendor", "1\n");
  std::filesystem::create_directory_symlink("devices/a", directory_ / "link");
  const auto below = Open().value().OpenBelow("link");
  ASSERT_TRUE(below);
  EXPECT_EQ(below->path(), Path("link"));
  EXPECT_EQ(below->ReadText("vendor").value(), "1");
}

TEST_P(SysfsTest, ALinkThatLeadsNowhereIsNotFound) {
  std::filesystem::create_directory_symlink("devices/gone", directory_ / "link");
  const auto below = Open().value().OpenBelow("link");
  ASSERT_FALSE(below);
  EXPECT_EQ(below.error().code, dt::ErrorCode::kNotFound);
}

TEST_P(SysfsTest, NamesAreInBytewiseOrder) {
  for (const char* name : {"b", "a10", "a2", "B", "a-b", "a.b"}) directory_.Write(name, "");
  EXPECT_THAT(Open().value().Names().value(), ElementsAre("B", "a-b", "a.b", "a10", "a2", "b"));
}

TEST_P(SysfsTest, NamesCanBeReadTwice) {
  directory_.Write("a", "");
  const auto directory = Open();
  EXPECT_THAT(directory->Names().value(), ElementsAre("a"));
  EXPECT_THAT(directory->Names().value(), ElementsAre("a"));
}

TEST_P(SysfsTest, TextIsWithoutItsLastNewlineOnly) {
  directory_.Write("one", "0x10de\n");
  directory_.Write("two", "a\nb\n\n");
  directory_.Write("none", "x");
  directory_.Write("empty", "");
  EXPECT_EQ(Text("one"), "0x10de");
  EXPECT_EQ(Text("two"), "a\nb\n");
  EXPECT_EQ(Text("none"), "x");
  EXPECT_EQ(Text("empty"), "");
}

TEST_P(SysfsTest, AnAttributeIsAtMostAPage) {
  directory_.Write("page", std::string(4096, 'x'));
  directory_.Write("more", std::string(4097, 'x'));
  EXPECT_EQ(Text("page"), std::string(4096, 'x'));
  EXPECT_EQ(Text("more"), Path("more") + ": more than 4096 bytes");
}

TEST_P(SysfsTest, AFileThatIsNotThereIsNotFound) {
  const auto text = Open().value().ReadText("none");
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, dt::ErrorCode::kNotFound);
  EXPECT_EQ(text.error().message, Path("none") + ": No such file or directory");
}

TEST_P(SysfsTest, ADirectoryHasNoText) {
  directory_.MakeFolder("vendor");
  const auto text = Open().value().ReadText("vendor");
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, dt::ErrorCode::kIo);
  EXPECT_EQ(text.error().message, Path("vendor") + ": Is a directory");
}

TEST_P(SysfsTest, APipeIsNotWaitedFor) {
  if (GetParam() == Source::kSnapshot) GTEST_SKIP() << "holds no pipes";
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(Text("pipe"), "");
}

TEST_P(SysfsTest, NumbersAreOfTheBaseThatWasAskedFor) {
  EXPECT_EQ(Number("0x10de\n", 16), "4318");
  EXPECT_EQ(Number("10de\n", 16), "4318");
  EXPECT_EQ(Number("0x030200\n", 16), "197120");
  EXPECT_EQ(Number("089a", 16), "2202");
  EXPECT_EQ(Number("7\n", 10), "7");
  EXPECT_EQ(Number("-1\n", 10), "-1");
}

TEST_P(SysfsTest, WhatIsNoNumberIsMalformed) {
  for (const std::string text :
       {"", "x", "0x", "0xg", "10 de", "10de ", " 10de", "0x0x1", "1.5", "99999999999999999999"}) {
    EXPECT_EQ(Number(text + "\n", 16),
              Path("number") + ": \"" + text + "\"; expected a number of base 16");
  }
  EXPECT_EQ(Number("0x1\n", 10), Path("number") + ": \"0x1\"; expected a number of base 10");
}

TEST_P(SysfsTest, ALinkHasATargetAndAName) {
  directory_.Write("devices/a/0/file", "");
  std::filesystem::create_symlink("../../../bus/pci/drivers/nvidia",
                                  directory_ / "devices/a/0/driver");
  const auto directory = Open("devices/a/0");
  EXPECT_EQ(directory->LinkTarget("driver").value(), "../../../bus/pci/drivers/nvidia");
  EXPECT_EQ(directory->LinkName("driver").value(), "nvidia");
  EXPECT_EQ(directory->LinkTarget("none").value(), std::nullopt);
  EXPECT_EQ(directory->LinkName("none").value(), std::nullopt);
  EXPECT_EQ(directory->LinkTarget("file").value(), std::nullopt);
  EXPECT_EQ(directory->LinkTarget("file/driver").value(), std::nullopt);
}

TEST_P(SysfsTest, ALinkBehindALinkHasATarget) {
  directory_.MakeFolder("devices/a");
  directory_.MakeFolder("bus");
  std::filesystem::create_symlink("../driver", directory_ / "devices/a/driver");
  std::filesystem::create_symlink("../devices/a", directory_ / "bus/0");
  EXPECT_EQ(Open("bus")->LinkTarget("0/driver").value(), "../driver");
}

TEST_P(SysfsTest, ALinkThatCannotBeReadIsAnErrorAndNoAbsence) {
  if (GetParam() == Source::kSnapshot) GTEST_SKIP() << "holds what could be read";
  std::filesystem::create_symlink("b", directory_ / "a");
  std::filesystem::create_symlink("a", directory_ / "b");
  const auto directory = Open();
  const auto target = directory->LinkTarget("a/driver");
  ASSERT_FALSE(target);
  EXPECT_EQ(target.error().code, dt::ErrorCode::kIo);
  EXPECT_EQ(target.error().message, Path("a/driver") + ": Too many levels of symbolic links");
  EXPECT_FALSE(directory->LinkName("a/driver"));
}

TEST_P(SysfsTest, LinksInACircleAreAnErrorAndNoAbsence) {
  std::filesystem::create_symlink("b", directory_ / "a");
  std::filesystem::create_symlink("a", directory_ / "b");
  const auto circle = Open().value().OpenBelow("a");
  ASSERT_FALSE(circle);
  EXPECT_EQ(circle.error().code, dt::ErrorCode::kIo);
  EXPECT_EQ(circle.error().message, Path("a") + ": Too many levels of symbolic links");
}

TEST(DeviceDirectory, IsWhatTheLinkLeadsToBelowSysfs) {
  EXPECT_EQ(DeviceDirectory("../../../devices/pci0000:00/0000:00:02.0", "bus/pci/devices/x"),
            "devices/pci0000:00/0000:00:02.0");
  EXPECT_EQ(DeviceDirectory("../../devices/virtual/misc/x", "class/misc/x"),
            "devices/virtual/misc/x");
  EXPECT_EQ(DeviceDirectory(std::nullopt, "bus/pci/devices/x"), "bus/pci/devices/x");
}

}  // namespace
}  // namespace exporter
