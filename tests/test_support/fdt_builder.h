// Writes flattened devicetrees for tests, well-formed ones and others: each token
// is put down as asked, and the header can be changed before it is written.
//
// Format: Devicetree Specification v0.4, chapter 5. Not through libfdt, which the
// code under test uses and which refuses to write most of what is needed here.
#ifndef TESTS_TEST_SUPPORT_FDT_BUILDER_H_
#define TESTS_TEST_SUPPORT_FDT_BUILDER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace test_support {

using Blob = std::vector<std::byte>;

inline constexpr std::uint32_t kFdtMagic = 0xd00dfeed;
inline constexpr std::uint32_t kFdtBeginNode = 1, kFdtEndNode = 2, kFdtProp = 3, kFdtNop = 4,
                               kFdtEnd = 9;

inline void PutBigEndian(Blob* blob, std::size_t offset, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) {
    (*blob)[offset + i] = static_cast<std::byte>(value >> (24 - 8 * i));
  }
}

inline std::uint32_t GetBigEndian(const Blob& blob, std::size_t offset) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    value = value << 8 | std::to_integer<std::uint32_t>(blob[offset + i]);
  }
  return value;
}

// Byte offsets of the header's fields.
struct FdtHeader {
  static constexpr std::size_t kMagic = 0, kTotalSize = 4, kStructOffset = 8, kStringsOffset = 12,
                               kReserveOffset = 16, kVersion = 20, kLastCompatibleVersion = 24,
                               kBootCpu = 28, kStringsSize = 32, kStructSize = 36, kSize = 40;
};

class FdtBuilder {
 public:
  FdtBuilder& Begin(std::string_view name) {
    Token(kFdtBeginNode);
    return Padded(std::string(name) + '\0');
  }
  FdtBuilder& End() { return Token(kFdtEndNode); }
  FdtBuilder& Nop() { return Token(kFdtNop); }
  FdtBuilder& Finish() { return Token(kFdtEnd); }

  // `bytes` as they are: a string needs its NUL. Use Strings() for those.
  FdtBuilder& Property(std::string_view name, std::string_view bytes) {
    return PropertyHeader(static_cast<std::uint32_t>(bytes.size()), NameOffset(name)).Padded(bytes);
  }
  FdtBuilder& Strings(std::string_view name, const std::vector<std::string>& strings) {
    std::string bytes;
    for (const std::string& string : strings) {
      bytes += string + '\0';
    }
    return Property(name, bytes);
  }

  // The parts of which the above are made.
  FdtBuilder& Token(std::uint32_t token) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      structure_ += static_cast<char>(token >> shift);
    }
    return *this;
  }
  FdtBuilder& PropertyHeader(std::uint32_t length, std::uint32_t name_offset) {
    return Token(kFdtProp).Token(length).Token(name_offset);
  }
  FdtBuilder& Padded(std::string_view bytes) {
    structure_ += bytes;
    structure_.resize((structure_.size() + 3) & ~std::size_t{3}, '\0');
    return *this;
  }
  FdtBuilder& Unpadded(std::string_view bytes) {
    structure_ += bytes;
    return *this;
  }
  std::uint32_t NameOffset(std::string_view name) {
    const auto [entry, is_new] =
        names_.try_emplace(std::string(name), static_cast<std::uint32_t>(strings_.size()));
    if (is_new) {
      strings_ += std::string(name) + '\0';
    }
    return entry->second;
  }
  std::uint32_t strings_size() const { return static_cast<std::uint32_t>(strings_.size()); }
  // Takes the last byte, a NUL, off the strings block.
  FdtBuilder& CutLastNameShort() {
    strings_.pop_back();
    return *this;
  }

  // Header (version 17, compatible down to 16), empty reserve map, structure, strings.
  Blob Build() const {
    const std::size_t structure = FdtHeader::kSize + 16;
    const std::size_t strings = structure + structure_.size();
    Blob blob(strings + strings_.size());
    const auto put = [&blob](std::size_t offset, std::size_t value) {
      PutBigEndian(&blob, offset, static_cast<std::uint32_t>(value));
    };
    put(FdtHeader::kMagic, kFdtMagic);
    put(FdtHeader::kTotalSize, blob.size());
    put(FdtHeader::kStructOffset, structure);
    put(FdtHeader::kStringsOffset, strings);
    put(FdtHeader::kReserveOffset, FdtHeader::kSize);
    put(FdtHeader::kVersion, 17);
    put(FdtHeader::kLastCompatibleVersion, 16);
    put(FdtHeader::kStringsSize, strings_.size());
    put(FdtHeader::kStructSize, structure_.size());
    Copy(structure_, structure, &blob);
    Copy(strings_, strings, &blob);
    return blob;
  }

 private:
  static void Copy(std::string_view from, std::size_t offset, Blob* blob) {
    for (std::size_t i = 0; i < from.size(); ++i) {
      (*blob)[offset + i] = static_cast<std::byte>(from[i]);
    }
  }

  std::string structure_;
  std::string strings_;
  std::map<std::string, std::uint32_t> names_;  // to their offset in strings_
};

}  // namespace test_support

#endif  // TESTS_TEST_SUPPORT_FDT_BUILDER_H_
