// A text file that expands to a directory tree that looks like a host's sysfs.
//
// One entry a line; folders above it are made as needed; later lines see earlier ones:
//
//   # a comment
//   bus/usb/devices/                    a folder
//   class/drm/version = drm 1.1.0       a file with that text and a newline
//   devices/x/name = gpu\0\c            C escapes \0 \n \\ \xNN; \c at the end: no newline
//   bus/pci/devices/a -> ../../x        a symlink, its target as it stands
//   devices/pci0000:00/0000:00:02.0/
//     vendor = 0x8086                   indented: inside the last folder that is not indented
//
// tests/system/host_tree.py reads the same format.
#ifndef TESTS_TEST_SUPPORT_HOST_TREE_H_
#define TESTS_TEST_SUPPORT_HOST_TREE_H_

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace test_support {

// The bytes that `text`, what stands behind " = ", is for. Throws std::invalid_argument.
inline std::string HostFileContent(std::string_view text) {
  const bool newline = !text.ends_with("\\c");
  if (!newline) text.remove_suffix(2);
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      bytes += text[i];
      continue;
    }
    const auto is_hex = [text](std::size_t at) {
      return at < text.size() && std::isxdigit(static_cast<unsigned char>(text[at])) != 0;
    };
    const char escape = ++i < text.size() ? text[i] : '\0';
    if (escape == '0') {
      bytes += '\0';
    } else if (escape == 'n') {
      bytes += '\n';
    } else if (escape == '\\') {
      bytes += '\\';
    } else if (escape == 'x' && is_hex(i + 1) && is_hex(i + 2)) {
      bytes += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      throw std::invalid_argument("expected one of the escapes \\0 \\n \\\\ \\xNN, and \\c at the end");
    }
  }
  return newline ? bytes + '\n' : bytes;
}

// One entry, in `folder`; returns its path. Throws std::invalid_argument.
inline std::filesystem::path MakeHostEntry(std::string_view entry,
                                           const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  const std::size_t end = entry.find(' ');
  const std::string_view name = entry.substr(0, end);
  const std::string_view rest = end == std::string_view::npos ? "" : entry.substr(end);
  const fs::path path = (folder / name).lexically_normal();
  const auto [root, below] =
      std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  if (root != folder.end() || name.starts_with('/')) {
    throw std::invalid_argument("the path leads outside");
  }
  if (rest.empty() && name.ends_with('/')) {
    fs::create_directories(path);
    return path.parent_path();  // without the slash
  }
  fs::create_directories(path.parent_path());
  if (rest == " =" || rest.starts_with(" = ")) {
    const std::string bytes = HostFileContent(rest.substr(std::min<std::size_t>(3, rest.size())));
    std::ofstream stream(path, std::ios::binary);
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!stream.flush()) throw std::invalid_argument("cannot be written");
  } else if (rest.starts_with(" -> ") && rest.size() > 4) {
    fs::create_symlink(rest.substr(4), path);
  } else {
    throw std::invalid_argument("expected 'path/', 'path = content' or 'path -> target'");
  }
  return path;
}

// Into `directory`, which may exist; what is there already stays. `name` is for
// the message of the std::runtime_error that a line of another form throws.
inline void ExpandHostTreeText(const std::string& text, const std::filesystem::path& directory,
                               const std::string& name = "host.tree") {
  namespace fs = std::filesystem;
  fs::create_directories(directory);
  fs::path folder = directory;
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const std::size_t indent = line.find_first_not_of(' ');
    if (indent == std::string::npos || line[indent] == '#') continue;
    try {
      if (indent == 0) folder = directory;
      const fs::path made = MakeHostEntry(std::string_view(line).substr(indent), folder);
      if (indent == 0 && fs::is_directory(fs::symlink_status(made))) folder = made;
    } catch (const std::logic_error& error) {
      throw std::runtime_error(name + ":" + std::to_string(number) + ": " + error.what() + ": " + line);
    }
  }
}

inline void ExpandHostTree(const std::filesystem::path& text_file,
                           const std::filesystem::path& directory) {
  std::ifstream stream(text_file, std::ios::binary);
  if (!stream) throw std::runtime_error("no " + text_file.string());
  ExpandHostTreeText({std::istreambuf_iterator<char>(stream), {}}, directory, text_file.string());
}

}  // namespace test_support

#endif  // TESTS_TEST_SUPPORT_HOST_TREE_H_
