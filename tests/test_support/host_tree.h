// A host's sysfs, from text to disk and back: exporter/host_tree.h says what the text is.
#ifndef TESTS_TEST_SUPPORT_HOST_TREE_H_
#define TESTS_TEST_SUPPORT_HOST_TREE_H_

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>

#include "exporter/host_tree.h"
#include "tests/test_support/temporary_directory.h"

namespace test_support {

// Into `directory`, which may exist; what is there already stays.
inline void ExpandHostTree(const exporter::HostTree& tree, const std::filesystem::path& directory) {
  namespace fs = std::filesystem;
  fs::create_directories(directory);
  for (const auto& [place, entry] : tree.entries()) {  // a folder before what is in it
    switch (entry.kind) {
      case exporter::HostEntry::Kind::kFolder: fs::create_directory(directory / place); break;
      case exporter::HostEntry::Kind::kFile: WriteFile(directory / place, entry.content); break;
      case exporter::HostEntry::Kind::kLink:
        fs::create_symlink(entry.content, directory / place);
        break;
    }
  }
}

inline void ExpandHostTreeText(const std::string& text, const std::filesystem::path& directory,
                               const std::string& name = "host.tree") {
  const dt::Result<exporter::HostTree> tree = exporter::ParseHostTree(text, name);
  if (!tree) throw std::runtime_error(tree.error().message);
  ExpandHostTree(*tree, directory);
}

// The files, folders and links in `directory`; what is of another type is left out.
inline exporter::HostTree ReadHostTree(const std::filesystem::path& directory) {
  namespace fs = std::filesystem;
  exporter::HostTree tree;
  for (const fs::directory_entry& found : fs::recursive_directory_iterator(directory)) {
    exporter::HostEntry entry;
    if (found.is_symlink()) {
      entry = {exporter::HostEntry::Kind::kLink, fs::read_symlink(found.path()).string()};
    } else if (found.is_regular_file()) {
      std::ifstream stream(found.path(), std::ios::binary);
      entry = {exporter::HostEntry::Kind::kFile, {std::istreambuf_iterator<char>(stream), {}}};
    } else if (!found.is_directory()) {
      continue;
    }
    const std::string place = found.path().lexically_relative(directory);
    if (const auto wrong = tree.Put(place, std::move(entry))) throw std::runtime_error(*wrong);
  }
  return tree;
}

}  // namespace test_support

#endif  // TESTS_TEST_SUPPORT_HOST_TREE_H_
