#include "dt/live_reader.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cctype>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "dt/fdt_reader.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/test_support/boards.h"
#include "tests/test_support/temporary_directory.h"

namespace dt {
namespace {

namespace fs = std::filesystem;
using namespace std::string_view_literals;
using test_support::TemporaryDirectory;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Result<Tree> ReadLive(const fs::path& directory) { return ReadLiveTree(directory.string()); }

std::vector<std::string> Paths(const Tree& tree) {
  std::vector<std::string> paths;
  for (const Node& node : tree.nodes()) {
    paths.push_back(tree.Path(node));
  }
  return paths;
}

void ExpectError(const Result<Tree>& tree, ErrorCode code, const std::string& place) {
  ASSERT_FALSE(tree.has_value());
  EXPECT_EQ(tree.error().code, code) << tree.error().message;
  EXPECT_THAT(tree.error().message, HasSubstr(place));
}

// Runs `check` in a child process that is not root, and gives its exit code: 0
// for true, 1 for false, 99 where root could not be given up. File permissions
// do not bind root, and tests may run as root.
int RunUnprivileged(bool (*check)(const fs::path&), const fs::path& directory) {
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 &&
        (setgroups(0, nullptr) != 0 || setgid(65534) != 0 || setuid(65534) != 0)) {
      _exit(99);
    }
    _exit(check(directory) ? 0 : 1);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(LiveReaderTest, DirectoriesAreNodesAndFilesAreProperties) {
  const TemporaryDirectory base;
  base.Write("compatible", "acme,board\0acme,soc\0"sv);
  base.Write("model", "Acme Board\0"sv);
  base.Write("soc/gpu@0/compatible", "acme,gpu\0"sv);
  base.Write("soc/gpu@0/status", "disabled\0"sv);
  const Result<Tree> tree = ReadLive(base.path());
  ASSERT_TRUE(tree.has_value()) << tree.error().message;
  EXPECT_THAT(Paths(*tree), ElementsAre("/", "/soc", "/soc/gpu@0"));
  EXPECT_THAT(tree->Compatible(tree->root()).value(), ElementsAre("acme,board", "acme,soc"));
  EXPECT_EQ(tree->FindProperty(tree->root(), "model")->bytes, "Acme Board\0"sv);
  EXPECT_EQ(tree->Find("/soc/gpu@0")->own_status, Status::kDisabled);
}

TEST(LiveReaderTest, OnlyKeptPropertiesAreInTheTree) {
  const TemporaryDirectory base;
  base.Write("name", "\0"sv);
  base.Write("serial-number", "0123456789\0"sv);
  base.Write("soc/name", "soc\0"sv);
  base.Write("soc/reg", "\0\0\0\1"sv);
  base.Write("soc/label", "kept\0"sv);
  const Tree tree = ReadLive(base.path()).value();
  EXPECT_THAT(tree.Properties(tree.root()), IsEmpty());
  ASSERT_EQ(tree.Properties(*tree.Find("/soc")).size(), 1U);
  EXPECT_EQ(tree.Properties(*tree.Find("/soc"))[0].name, "label");
}

TEST(LiveReaderTest, EveryAliasIsKept) {
  const TemporaryDirectory base;
  base.Write("aliases/name", "aliases\0"sv);
  base.Write("aliases/serial0", "/soc/serial@0\0"sv);
  base.Write("soc/aliases/serial0", "/no/alias\0"sv);
  const Tree tree = ReadLive(base.path()).value();
  const Node& aliases = *tree.Find("/aliases");
  EXPECT_EQ(tree.FindProperty(aliases, "serial0")->AsString().value(), "/soc/serial@0");
  // Linux adds "name" to each directory; a blob has no such alias.
  EXPECT_FALSE(tree.FindProperty(aliases, "name").has_value());
  EXPECT_FALSE(tree.FindProperty(*tree.Find("/soc/aliases"), "serial0").has_value());
}

TEST(LiveReaderTest, ANodeMayBeCalledLikeAKeptProperty) {
  const TemporaryDirectory base;
  base.Write("leds/status/label", "yellow:status\0"sv);
  const Tree tree = ReadLive(base.path()).value();
  EXPECT_THAT(Paths(tree), ElementsAre("/", "/leds", "/leds/status"));
  EXPECT_EQ(tree.Find("/leds")->own_status, Status::kOkay);
}

TEST(LiveReaderTest, AnEmptyRootIsATreeOfOneBareNode) {
  const TemporaryDirectory base;
  const Tree tree = ReadLive(base.path()).value();
  EXPECT_THAT(Paths(tree), ElementsAre("/"));
  EXPECT_THAT(tree.Properties(tree.root()), IsEmpty());
}

TEST(LiveReaderTest, AnEmptyPropertyIsThere) {
  const TemporaryDirectory base;
  base.Write("gpu/compatible", "");
  base.Write("gpu/status", "");
  const Tree tree = ReadLive(base.path()).value();
  EXPECT_EQ(tree.FindProperty(*tree.Find("/gpu"), "compatible")->bytes, "");
  EXPECT_EQ(tree.Find("/gpu")->own_status, Status::kOther);
}

TEST(LiveReaderTest, BytesAreKeptAsTheyAre) {
  const TemporaryDirectory base;
  base.Write("status", "okay\n"sv);
  base.Write("model", "\xff\0\n \0"sv);
  const Tree tree = ReadLive(base.path()).value();
  EXPECT_EQ(tree.root().own_status, Status::kOther);
  EXPECT_EQ(tree.FindProperty(tree.root(), "model")->bytes, "\xff\0\n \0"sv);
}

TEST(LiveReaderTest, APropertyLongerThanAPageIsReadWhole) {
  const TemporaryDirectory base;
  std::string list;
  while (list.size() + 16 < kMaxPropertyBytes) {
    list += "acme,device-xyz";
    list += '\0';
  }
  base.Write("compatible", list);
  const Tree tree = ReadLive(base.path()).value();
  EXPECT_EQ(tree.FindProperty(tree.root(), "compatible")->bytes, list);
}

// --- what is not there, or no tree

TEST(LiveReaderTest, AMissingDirectoryIsNotFound) {
  const TemporaryDirectory base;
  const fs::path missing = base / "missing";
  ExpectError(ReadLive(missing), ErrorCode::kNotFound, missing.string());
}

TEST(LiveReaderTest, AFileIsNoDirectory) {
  const TemporaryDirectory base;
  base.Write("file", "x");
  ExpectError(ReadLive(base / "file"), ErrorCode::kMalformed, (base / "file").string());
}

TEST(LiveReaderTest, TheRootItselfMayBeALink) {
  // /proc/device-tree is one.
  const TemporaryDirectory base;
  base.Write("tree/soc/label", "x\0"sv);
  fs::create_directory_symlink("tree", base / "link");
  EXPECT_TRUE(ReadLive(base / "link").value() == ReadLive(base / "tree").value());
  EXPECT_EQ(ReadLive(base / "link").value().nodes().size(), 2U);
}

// --- what is not followed and not opened

TEST(LiveReaderTest, LinksAreNotFollowed) {
  const TemporaryDirectory base;
  base.Write("elsewhere/secret", "secret\0"sv);
  base.Write("elsewhere/node/label", "x\0"sv);
  base.MakeFolder("tree/soc");
  fs::create_symlink("../elsewhere/secret", base / "tree/model");
  fs::create_directory_symlink("../elsewhere/node", base / "tree/node");
  fs::create_directory_symlink("..", base / "tree/soc/loop");
  fs::create_symlink("nowhere", base / "tree/status");
  const Result<Tree> tree = ReadLive(base / "tree");
  ASSERT_TRUE(tree.has_value()) << tree.error().message;
  EXPECT_THAT(Paths(*tree), ElementsAre("/", "/soc"));
  EXPECT_THAT(tree->Properties(tree->root()), IsEmpty());
}

TEST(LiveReaderTest, AFifoIsNotOpened) {
  const TemporaryDirectory base;
  base.MakeFolder("gpu");
  for (const char* name : {"status", "gpu/compatible"}) {
    ASSERT_EQ(mkfifo((base / name).c_str(), 0644), 0);
  }
  // A reader that opened one would wait here for a writer.
  const Result<Tree> tree = ReadLive(base.path());
  ASSERT_TRUE(tree.has_value()) << tree.error().message;
  EXPECT_THAT(Paths(*tree), ElementsAre("/", "/gpu"));
  EXPECT_THAT(tree->Properties(tree->root()), IsEmpty());
}

TEST(LiveReaderTest, NoFileDescriptorIsLeftOpen) {
  const TemporaryDirectory base;
  base.Write("soc/gpu/compatible", "x\0"sv);
  base.Write("file", "x");
  const auto lowest_free = [] {
    const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(fd);
    return fd;
  };
  const int before = lowest_free();
  EXPECT_TRUE(ReadLive(base.path()).has_value());
  EXPECT_FALSE(ReadLive(base / "file").has_value());
  EXPECT_FALSE(ReadLive(base / "missing").has_value());
  EXPECT_EQ(lowest_free(), before);
}

// --- permissions

TEST(LiveReaderTest, APropertyThatIsNotKeptNeedNotBeReadable) {
  const TemporaryDirectory base;
  base.Write("compatible", "acme,board\0"sv);
  base.Write("security-password", "secret\0"sv);
  fs::permissions(base / "security-password", fs::perms::none);
  EXPECT_EQ(RunUnprivileged(
                [](const fs::path& directory) { return ReadLive(directory).has_value(); },
                base.path()),
            0);
}

TEST(LiveReaderTest, AnUnreadableKeptPropertyIsAnErrorThatNamesIt) {
  const TemporaryDirectory base;
  base.Write("soc/gpu@0/compatible", "acme,gpu\0"sv);
  fs::permissions(base / "soc/gpu@0/compatible", fs::perms::none);
  EXPECT_EQ(RunUnprivileged(
                [](const fs::path& directory) {
                  const Result<Tree> tree = ReadLive(directory);
                  return !tree.has_value() && tree.error().code == ErrorCode::kPermissionDenied &&
                         tree.error().message.find("/soc/gpu@0") != std::string::npos &&
                         tree.error().message.find("compatible") != std::string::npos;
                },
                base.path()),
            0);
}

TEST(LiveReaderTest, AnUnreadableNodeIsAnErrorThatNamesIt) {
  const TemporaryDirectory base;
  base.MakeFolder("soc/gpu@0");
  fs::permissions(base / "soc/gpu@0", fs::perms::none);
  EXPECT_EQ(RunUnprivileged(
                [](const fs::path& directory) {
                  const Result<Tree> tree = ReadLive(directory);
                  return !tree.has_value() && tree.error().code == ErrorCode::kPermissionDenied &&
                         tree.error().message.find("/soc/gpu@0") != std::string::npos;
                },
                base.path()),
            0);
}

TEST(LiveReaderTest, AnUnreadableRootIsAnError) {
  const TemporaryDirectory base;
  base.MakeFolder("tree");
  fs::permissions(base / "tree", fs::perms::none);
  EXPECT_EQ(RunUnprivileged(
                [](const fs::path& directory) {
                  const Result<Tree> tree = ReadLive(directory);
                  return !tree.has_value() && tree.error().code == ErrorCode::kPermissionDenied;
                },
                base / "tree"),
            0);
}

// --- bounds

TEST(LiveReaderTest, DepthIsBounded) {
  const TemporaryDirectory base;
  std::string path = "tree";  // level 1 is the root
  for (std::size_t level = 2; level <= kMaxDepth; ++level) {
    path += "/n";
  }
  base.MakeFolder(path);
  EXPECT_EQ(ReadLive(base / "tree").value().nodes().size(), kMaxDepth);
  base.MakeFolder(path + "/n");
  ExpectError(ReadLive(base / "tree"), ErrorCode::kMalformed, "/n/n");
}

TEST(LiveReaderTest, TheSizeOfAKeptPropertyIsBounded) {
  const TemporaryDirectory base;
  base.Write("gpu/compatible", std::string(kMaxPropertyBytes, 'a'));
  EXPECT_TRUE(ReadLive(base.path()).has_value());
  base.Write("gpu/compatible", std::string(kMaxPropertyBytes + 1, 'a'));
  ExpectError(ReadLive(base.path()), ErrorCode::kMalformed, "/gpu");
}

TEST(LiveReaderTest, APropertyThatIsNotKeptMayHaveAnySize) {
  const TemporaryDirectory base;
  base.Write("firmware-blob", std::string(1 << 20, 'a'));
  EXPECT_TRUE(ReadLive(base.path()).has_value());
}

TEST(LiveReaderTest, TheSizeOfAllThatIsKeptIsBounded) {
  const TemporaryDirectory base;
  const std::string value(kMaxPropertyBytes, 'a');
  for (std::size_t i = 0; i < kMaxTreeBytes / kMaxPropertyBytes + 1; ++i) {
    base.Write("n" + std::to_string(i) + "/model", value);
  }
  ExpectError(ReadLive(base.path()), ErrorCode::kMalformed, "/n");
}

// --- a tree that changes

TEST(LiveReaderTest, WhatVanishesWhileItIsReadIsLeftOut) {
  const TemporaryDirectory base;
  base.Write("stays/compatible", "acme,stays\0"sv);
  std::atomic<bool> stop = false;
  std::thread changer([&base, &stop] {
    while (!stop) {
      for (const char* node : {"comes-and-goes", "stays/below"}) {
        base.Write(std::string(node) + "/compatible", "acme,comes-and-goes\0"sv);
        base.Write(std::string(node) + "/inner/status", "okay\0"sv);
      }
      std::error_code ignored;
      fs::remove_all(base / "comes-and-goes", ignored);
      fs::remove_all(base / "stays/below", ignored);
    }
  });
  for (int i = 0; i < 500; ++i) {
    const Result<Tree> tree = ReadLive(base.path());
    EXPECT_TRUE(tree.has_value()) << tree.error().message;
    if (tree.has_value()) {
      const Node* stays = tree->Find("/stays");
      EXPECT_TRUE(stays != nullptr && tree->Compatible(*stays).has_value());
    }
  }
  stop = true;
  changer.join();
}

// --- the same from both readers

class LiveReaderBoardTest : public ::testing::TestWithParam<std::string> {};

TEST_P(LiveReaderBoardTest, IsTheSameTreeAsFromItsBlob) {
  const test_support::Blob blob = test_support::ReadBoard(GetParam());
  const TemporaryDirectory base;
  test_support::Unpack(blob, base.path());
  const Result<Tree> live = ReadLive(base.path());
  const Result<Tree> flat = ReadFdt(blob);
  ASSERT_TRUE(live.has_value()) << live.error().message;
  ASSERT_TRUE(flat.has_value()) << flat.error().message;
  EXPECT_EQ(Paths(*live), Paths(*flat));
  EXPECT_TRUE(*live == *flat);
}

std::string TestName(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name) {
    c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Boards, LiveReaderBoardTest,
                         ::testing::ValuesIn(test_support::BoardNames()), TestName);

}  // namespace
}  // namespace dt
