#include "exporter/sinks/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "tests/test_support/temporary_directory.h"

namespace exporter {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::StartsWith;

// Atomic writes of "features" in a folder of their own.
class AtomicFileTest : public ::testing::Test {
 protected:
  // What went wrong; "" if nothing did.
  static std::string Write(const std::string& path, std::string_view content, mode_t mode = 0644) {
    std::string error;
    const bool written = WriteAtomically(path, content, mode, &error);
    EXPECT_EQ(written, error.empty()) << error;
    return error;
  }
  static std::string Read(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      names.push_back(entry.path().filename());
    }
    std::ranges::sort(names);
    return names;
  }

  test_support::TemporaryDirectory folder_;
  std::string path_ = folder_ / "features";
};

TEST_F(AtomicFileTest, IsMadeWithItsContentAndNothingBesideIt) {
  EXPECT_EQ(Write(path_, "a=1\n"), "");
  EXPECT_EQ(Read(path_), "a=1\n");
  EXPECT_THAT(Names(), ElementsAre("features"));
}

TEST_F(AtomicFileTest, HasTheModeWhateverTheUmaskAndTheOldOneSay) {
  const mode_t before = umask(0077);
  for (const mode_t mode : {0644U, 0600U, 0640U}) {
    EXPECT_EQ(Write(path_, "a", mode), "");
    struct stat status;
    ASSERT_EQ(stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, mode);
  }
  umask(before);
}

TEST_F(AtomicFileTest, IsAnotherFileThanTheOneThatIsBeingRead) {
  folder_.Write("features", "old");
  std::ifstream reader(path_);
  EXPECT_EQ(Write(path_, "new"), "");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(reader), {}), "old");
  EXPECT_EQ(Read(path_), "new");
}

TEST_F(AtomicFileTest, MayBeEmptyOrLarge) {
  for (const std::size_t size : {0U, 1U, 10'000'000U}) {
    EXPECT_EQ(Write(path_, std::string(size, 'x')), "");
    EXPECT_EQ(fs::file_size(path_), size);
  }
}

TEST_F(AtomicFileTest, MayBeNamedWithoutItsFolder) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_.path());
  EXPECT_EQ(Write("features", "a"), "");
  fs::current_path(before);
  EXPECT_EQ(Read(path_), "a");
}

TEST_F(AtomicFileTest, TakesThePlaceOfALinkAndNotOfItsTarget) {
  folder_.Write("target", "old");
  fs::create_symlink("target", path_);
  EXPECT_EQ(Write(path_, "new"), "");
  EXPECT_FALSE(fs::is_symlink(path_));
  EXPECT_EQ(Read(folder_ / "target"), "old");
}

TEST_F(AtomicFileTest, AppearsUnderNoNameButItsOwnAndHiddenOnes) {
  const int events = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  ASSERT_GE(inotify_add_watch(events, folder_.path().c_str(), IN_CREATE | IN_MOVED_TO), 0);
  EXPECT_EQ(Write(path_, "a"), "");
  alignas(inotify_event) char buffer[4096];
  const ssize_t size = read(events, buffer, sizeof buffer);
  close(events);
  std::vector<std::string> names;
  for (ssize_t at = 0; at < size;) {
    const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
    names.emplace_back(event->name);
    at += static_cast<ssize_t>(sizeof *event + event->len);
  }
  EXPECT_THAT(names, ElementsAre(StartsWith(".features."), "features"));
}

TEST_F(AtomicFileTest, StaysAsItWasWhereTheDiskIsFull) {
  folder_.Write("features", "old");
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 4096, .rlim_max = before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error = Write(path_, std::string(5000, 'x'));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(error, path_ + ": writing a file beside it: File too large");
  EXPECT_EQ(Read(path_), "old");
  EXPECT_THAT(Names(), ElementsAre("features"));
}

TEST_F(AtomicFileTest, SaysThatItsFolderIsMissing) {
  const std::string path = folder_ / "none/features";
  EXPECT_EQ(Write(path, "a"), path + ": creating a file beside it: No such file or directory");
}

TEST_F(AtomicFileTest, LeavesNothingBesideAFolderOfItsName) {
  folder_.MakeFolder("features");
  EXPECT_EQ(Write(path_, "a"), path_ + ": renaming onto it: Is a directory");
  EXPECT_THAT(Names(), ElementsAre("features"));
}

TEST_F(AtomicFileTest, IsAlwaysWholeWithSeveralWriters) {
  ASSERT_EQ(Write(path_, std::string(9999, 'a')), "");
  std::atomic<bool> done = false;
  std::thread reader([&] {
    while (!done) {
      const std::string content = Read(path_);
      if (content != std::string(9999, content.empty() ? '?' : content[0])) {
        ADD_FAILURE() << content.size() << " bytes";
        return;
      }
    }
  });
  std::vector<std::thread> writers;
  for (const char c : {'a', 'b'}) {
    writers.emplace_back([&, c] {
      for (int i = 0; i < 30; ++i) EXPECT_EQ(Write(path_, std::string(9999, c)), "");
    });
  }
  for (std::thread& writer : writers) writer.join();
  done = true;
  reader.join();
  EXPECT_THAT(Names(), ElementsAre("features"));
}

}  // namespace
}  // namespace exporter
