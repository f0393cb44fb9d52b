// The boards of tests/boards as blobs, and as the directories that Linux would show.
//
// REQUIRES: BOARDS_DIR, the folder with the <board>.dtb that the build made.
#ifndef TESTS_TEST_SUPPORT_BOARDS_H_
#define TESTS_TEST_SUPPORT_BOARDS_H_

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "tests/test_support/fdt_builder.h"

namespace test_support {

inline std::vector<std::string> BoardNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(BOARDS_DIR)) {
    if (entry.path().extension() == ".dtb") {
      names.push_back(entry.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

inline Blob ReadBoard(const std::string& name) {
  std::ifstream stream(std::filesystem::path(BOARDS_DIR) / (name + ".dtb"), std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (text.empty()) {
    throw std::runtime_error("no blob of board " + name);
  }
  Blob blob(text.size());
  std::transform(text.begin(), text.end(), blob.begin(),
                 [](char c) { return static_cast<std::byte>(c); });
  return blob;
}

// Writes the tree of a well-formed blob into `directory`, with the file "name"
// that Linux adds to each node. The test's own walk, not the code under test.
inline void Unpack(const Blob& blob, const std::filesystem::path& directory) {
  const std::string_view bytes(reinterpret_cast<const char*>(blob.data()), blob.size());
  const auto string_at = [bytes](std::size_t offset) {
    return bytes.substr(offset, bytes.find('\0', offset) - offset);
  };
  const auto write = [](const std::filesystem::path& file, std::string_view value) {
    std::ofstream stream(file, std::ios::binary);
    stream.write(value.data(), static_cast<std::streamsize>(value.size()));
    if (!stream.flush()) {
      throw std::runtime_error("writing " + file.string());
    }
  };
  const std::size_t strings = GetBigEndian(blob, FdtHeader::kStringsOffset);
  std::filesystem::path folder = directory;
  bool at_root = true;
  for (std::size_t offset = GetBigEndian(blob, FdtHeader::kStructOffset);;) {
    const std::uint32_t token = GetBigEndian(blob, offset);
    offset += 4;
    if (token == kFdtBeginNode) {
      const std::string_view name = string_at(offset);
      folder = at_root ? directory : folder / name;
      at_root = false;
      std::filesystem::create_directories(folder);
      write(folder / "name", std::string(name.substr(0, name.find('@'))) + '\0');
      offset += (name.size() + 4) & ~std::size_t{3};
    } else if (token == kFdtEndNode) {
      folder = folder.parent_path();
    } else if (token == kFdtProp) {
      const std::size_t length = GetBigEndian(blob, offset);
      const std::size_t name = strings + GetBigEndian(blob, offset + 4);
      write(folder / string_at(name), bytes.substr(offset + 8, length));
      offset += 8 + ((length + 3) & ~std::size_t{3});
    } else if (token == kFdtEnd) {
      return;
    } else if (token != kFdtNop) {
      throw std::runtime_error("not a well-formed blob");
    }
  }
}

}  // namespace test_support

#endif  // TESTS_TEST_SUPPORT_BOARDS_H_
