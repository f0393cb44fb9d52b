// How fast the two readers are, against the least that any reader must do.
//
//   dt_bench FILE.dtb [--benchmark_...]
//
// ReadFdt stands beside a bare walk of the same blob with libfdt, ReadLiveTree
// beside a bare walk of the same tree unpacked as directories, which opens only
// compatible and status. The table gives times; the last lines give the ratios,
// measured apart from them on runs of the two side by side.
#include <benchmark/benchmark.h>
#include <dirent.h>
#include <fcntl.h>
#include <libfdt.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dt/fdt_reader.h"
#include "dt/live_reader.h"
#include "tests/bench/side_by_side.h"

namespace {

namespace fs = std::filesystem;

constexpr int kRepetitions = 11;
constexpr double kSecondsPerRepetition = 0.05;

using bench::Ratio;
using bench::Walk;

// What a bare walk saw; no node at all if it failed.
struct Walked {
  std::size_t nodes = 0;
  std::size_t properties = 0;
  std::size_t bytes = 0;
};

// One pass over the structure block with libfdt's own checks, each property
// looked at once. What libfdt leaves unchecked stays unchecked.
Walked WalkWithLibfdt(const std::vector<char>& blob) {
  const void* fdt = blob.data();
  Walked walked;
  if (fdt_check_header(fdt) != 0) return walked;
  int offset = 0;
  int next = 0;
  for (uint32_t tag = fdt_next_tag(fdt, offset, &next); tag != FDT_END;
       offset = next, tag = fdt_next_tag(fdt, offset, &next)) {
    if (next < 0) return Walked{};
    if (tag == FDT_BEGIN_NODE) ++walked.nodes;
    if (tag != FDT_PROP) continue;
    int size = 0;
    if (fdt_get_property_by_offset(fdt, offset, &size) == nullptr) return Walked{};
    ++walked.properties;
    walked.bytes += static_cast<std::size_t>(size);
  }
  return walked;
}

// Closes `directory`.
bool WalkDirectory(int directory, Walked* walked) {
  DIR* stream = fdopendir(directory);
  if (stream == nullptr) {
    close(directory);
    return false;
  }
  ++walked->nodes;
  bool ok = true;
  while (const dirent* entry = readdir(stream)) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (entry->d_type == DT_DIR) {
      const int child =
          openat(dirfd(stream), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      ok = child >= 0 && WalkDirectory(child, walked) && ok;
    } else if (name == "compatible" || name == "status") {
      const int file = openat(dirfd(stream), entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
      char bytes[4096];
      const ssize_t size = file < 0 ? -1 : read(file, bytes, sizeof bytes);
      if (file >= 0) close(file);
      ok = size >= 0 && ok;
      ++walked->properties;
      if (size > 0) walked->bytes += static_cast<std::size_t>(size);
    }
  }
  closedir(stream);
  return ok;
}

Walked WalkDirectories(const fs::path& root) {
  Walked walked;
  const int directory = open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0 || !WalkDirectory(directory, &walked)) return Walked{};
  return walked;
}

void WriteFile(const fs::path& path, const void* bytes, std::size_t size) {
  std::ofstream(path, std::ios::binary)
      .write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
}

// Writes the blob's tree below `root` as sysfs shows it, with all properties and
// the `name` file that each directory has.
bool Unpack(const std::vector<char>& blob, const fs::path& root) {
  const void* fdt = blob.data();
  std::vector<fs::path> open;  // the directories from the root to the current node
  int depth = -1;
  for (int node = fdt_next_node(fdt, -1, &depth); node >= 0 && depth >= 0;
       node = fdt_next_node(fdt, node, &depth)) {
    const std::string name = fdt_get_name(fdt, node, nullptr);
    open.resize(static_cast<std::size_t>(depth));
    open.push_back(open.empty() ? root : open.back() / name);
    fs::create_directories(open.back());
    const std::string base = name.substr(0, name.find('@'));
    WriteFile(open.back() / "name", base.c_str(), base.size() + 1);
    int property;
    fdt_for_each_property_offset(property, fdt, node) {
      const char* key = nullptr;
      int size = 0;
      const void* value = fdt_getprop_by_offset(fdt, property, &key, &size);
      if (value == nullptr || std::strchr(key, '/') != nullptr) return false;
      WriteFile(open.back() / key, value, static_cast<std::size_t>(size));
    }
  }
  return !open.empty();
}

void RegisterWalk(const char* name, const Walk& walk) {
  benchmark::RegisterBenchmark(name,
                               [walk](benchmark::State& state) {
                                 for (auto _ : state) {
                                   if (!walk()) {
                                     state.SkipWithError("could not read its input");
                                     break;
                                   }
                                 }
                               })
      ->Unit(benchmark::kMicrosecond)
      ->MinTime(kSecondsPerRepetition)
      ->Repetitions(kRepetitions)
      ->ReportAggregatesOnly();
}

struct TemporaryDirectory {
  // On tmpfs, so that no disk takes part; as near to sysfs as a file system gets.
  TemporaryDirectory() {
    std::string name = "/dev/shm/dt_bench-XXXXXX";
    if (mkdtemp(name.data()) != nullptr) path = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (!path.empty()) fs::remove_all(path, ignored);
  }
  fs::path path;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> arguments(argv, argv + argc);
  char interleaving[] = "--benchmark_enable_random_interleaving=true";
  arguments.insert(arguments.begin() + 1, interleaving);
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (count != 2 || arguments[1][0] == '-') {
    std::fprintf(stderr, "usage: dt_bench FILE.dtb [--benchmark_...]\n");
    return 2;
  }

  std::ifstream file(arguments[1], std::ios::binary);
  const std::vector<char> blob((std::istreambuf_iterator<char>(file)),
                               std::istreambuf_iterator<char>());
  const auto bytes = std::as_bytes(std::span(blob));
  const auto tree = dt::ReadFdt(bytes);
  if (!tree) {
    std::fprintf(stderr, "%s: %s\n", arguments[1], tree.error().message.c_str());
    return 1;
  }
  const TemporaryDirectory directory;
  if (directory.path.empty() || !Unpack(blob, directory.path / "base")) {
    std::fprintf(stderr, "%s: could not be unpacked below /dev/shm\n", arguments[1]);
    return 1;
  }
  const fs::path base = directory.path / "base";

  const Walk fdt_reader = [bytes] {
    auto read = dt::ReadFdt(bytes);
    benchmark::DoNotOptimize(read);
    return read.has_value();
  };
  const Walk libfdt_walk = [&blob] {
    Walked walked = WalkWithLibfdt(blob);
    benchmark::DoNotOptimize(walked);
    return walked.nodes > 0;
  };
  const Walk live_reader = [&base] {
    auto read = dt::ReadLiveTree(base.string());
    benchmark::DoNotOptimize(read);
    return read.has_value();
  };
  const Walk directory_walk = [&base] {
    Walked walked = WalkDirectories(base);
    benchmark::DoNotOptimize(walked);
    return walked.nodes > 0;
  };
  RegisterWalk("fdt_reader", fdt_reader);
  RegisterWalk("libfdt_walk", libfdt_walk);
  RegisterWalk("live_reader", live_reader);
  RegisterWalk("directory_walk", directory_walk);

  std::printf("%s: %zu nodes, %zu bytes\n", arguments[1], tree->nodes().size(), blob.size());
  std::fflush(stdout);
  benchmark::RunSpecifiedBenchmarks();
  std::printf("ratio fdt_reader/libfdt_walk %.2f (goal <= 3)\n", Ratio(fdt_reader, libfdt_walk));
  std::printf("ratio live_reader/directory_walk %.2f (goal <= 1.5)\n",
              Ratio(live_reader, directory_walk));
  return 0;
}
