// Every truncation of real blobs in one process, for test_malformed_blobs.py: more of them than
// programs can be started.
//
//   every_truncation BLOB...
//
// Each blob is read at every length, as it is and with a header that says so. The first must be
// refused; of the second comes the whole tree or an error. An error is one line.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <span>
#include <string>

#include "dt/fdt_reader.h"
#include "tests/test_support/fdt_builder.h"

namespace {

using test_support::Blob;
using Header = test_support::FdtHeader;

Blob ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  Blob blob(text.size());
  std::memcpy(blob.data(), text.data(), text.size());
  return blob;
}

// In memory of exactly that size, so that a reading past its end shows under a sanitizer.
dt::Result<dt::Tree> ReadExactly(const Blob& blob, std::size_t size) {
  const auto exact = std::make_unique<std::byte[]>(size);
  std::memcpy(exact.get(), blob.data(), size);
  return dt::ReadFdt(std::span<const std::byte>(exact.get(), size));
}

// The blob with a header that says that it has `size` bytes, and blocks that end there.
void Declare(Blob* blob, std::size_t size, std::uint32_t structure_size, std::uint32_t strings_size) {
  const auto clip = [&](std::size_t offset_field, std::size_t size_field, std::uint32_t whole) {
    const std::size_t offset = test_support::GetBigEndian(*blob, offset_field);
    const std::size_t left = size > offset ? size - offset : 0;
    test_support::PutBigEndian(blob, size_field,
                               static_cast<std::uint32_t>(std::min<std::size_t>(whole, left)));
  };
  test_support::PutBigEndian(blob, Header::kTotalSize, static_cast<std::uint32_t>(size));
  clip(Header::kStructOffset, Header::kStructSize, structure_size);
  clip(Header::kStringsOffset, Header::kStringsSize, strings_size);
}

// What is wrong with the result of reading a truncation, in words; empty: nothing. `whole` is
// null where a tree is wrong in any case.
std::string Wrong(const dt::Result<dt::Tree>& tree, const dt::Tree* whole) {
  if (!tree) {
    const std::string& message = tree.error().message;
    const bool is_line = message.starts_with("byte ") && message.find('\n') == std::string::npos;
    return is_line ? "" : "an error is no line with its place: " + message;
  }
  if (whole == nullptr) return "it is read";
  return *tree == *whole ? "" : "another tree is read";
}

std::string CheckAll(const std::string& file) {
  const Blob blob = ReadFile(file);
  const dt::Result<dt::Tree> whole = dt::ReadFdt(blob);
  if (!whole) return whole.error().message;
  const std::uint32_t structure = test_support::GetBigEndian(blob, Header::kStructSize);
  const std::uint32_t strings = test_support::GetBigEndian(blob, Header::kStringsSize);
  Blob declared = blob;
  std::size_t trees = 0;
  for (std::size_t size = 0; size < blob.size(); ++size) {
    std::string wrong = Wrong(ReadExactly(blob, size), nullptr);
    if (wrong.empty() && size >= Header::kSize) {
      Declare(&declared, size, structure, strings);
      const dt::Result<dt::Tree> tree = ReadExactly(declared, size);
      trees += tree ? 1 : 0;
      wrong = Wrong(tree, &*whole);
    }
    if (!wrong.empty()) return "at " + std::to_string(size) + " bytes: " + wrong;
  }
  std::cout << file << ": " << blob.size() << " truncations, " << trees << " of them whole trees\n";
  return "";
}

}  // namespace

int main(int argc, char** argv) {
  for (const std::string file : std::span(argv, static_cast<std::size_t>(argc)).subspan(1)) {
    if (const std::string wrong = CheckAll(file); !wrong.empty()) {
      std::cerr << file << ": " << wrong << "\n";
      return 1;
    }
  }
}
