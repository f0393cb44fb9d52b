#include "exporter/read_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "tests/test_support/temporary_directory.h"

namespace exporter {
namespace {

class ReadFileTest : public testing::Test {
 protected:
  // What `name` holds, or in brackets why it cannot be read.
  std::string Read(const std::string& name, std::size_t most_bytes = 10) {
    std::string content;
    const std::string why = ReadFile(folder_ / name, most_bytes, &content);
    EXPECT_EQ(why.empty(), errno == 0) << why;
    return why.empty() ? content : "[" + why + "]";
  }

  test_support::TemporaryDirectory folder_;
};

TEST_F(ReadFileTest, GivesAllBytesAsTheyAre) {
  folder_.Write("file", std::string("a\0\r\n\xff", 5));
  folder_.Write("empty", "");
  folder_.Write("long", std::string(100'000, 'x'));
  std::filesystem::create_symlink("file", folder_ / "link");
  EXPECT_EQ(Read("file"), std::string("a\0\r\n\xff", 5));
  EXPECT_EQ(Read("link"), Read("file"));
  EXPECT_EQ(Read("empty"), "");
  EXPECT_EQ(Read("long", 100'000), std::string(100'000, 'x'));
}

TEST_F(ReadFileTest, ReadsNoMoreThanIsAskedFor) {
  folder_.Write("ten", "0123456789");
  EXPECT_EQ(Read("ten"), "0123456789");
  EXPECT_EQ(Read("ten", 9), "[more than 9 bytes]");
  EXPECT_EQ(errno, EFBIG);
}

TEST_F(ReadFileTest, SaysWhyThereIsNothing) {
  EXPECT_EQ(Read("none"), "[No such file or directory]");
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(Read("."), "[Is a directory]");
  std::filesystem::create_symlink("loop", folder_ / "loop");
  EXPECT_EQ(Read("loop"), "[Too many levels of symbolic links]");
}

TEST_F(ReadFileTest, WaitsForNoPipe) {
  ASSERT_EQ(mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(Read("pipe"), "[a pipe]");
}

}  // namespace
}  // namespace exporter
