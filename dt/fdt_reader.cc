#include "dt/fdt_reader.h"

#include <libfdt.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace dt {
namespace {

constexpr std::uint32_t kOldestVersion = 16;
constexpr std::uint32_t kNewestVersion = 17;
constexpr std::size_t kHeaderBytes = sizeof(fdt_header);

Error Malformed(const std::string& message) { return Error{ErrorCode::kMalformed, message}; }

std::string AtByte(std::size_t offset) { return "byte " + std::to_string(offset) + ": "; }

// REQUIRES: blob holds at least kHeaderBytes.
std::optional<Error> CheckHeader(const void* fdt, std::size_t size) {
  if (fdt_magic(fdt) != FDT_MAGIC) {
    return Malformed("byte 0: no devicetree blob; it must begin with d0 0d fe ed");
  }
  const std::uint32_t version = fdt_version(fdt);
  const std::uint32_t compatible = fdt_last_comp_version(fdt);
  if (version < kOldestVersion || compatible > kNewestVersion || compatible > version) {
    return Malformed("byte 20: format version " + std::to_string(version) + ", compatible to " +
                     std::to_string(compatible) + "; versions 16 and 17 are read");
  }
  const std::uint64_t total = fdt_totalsize(fdt);
  if (total < kHeaderBytes || total > size) {
    return Malformed("byte 4: the header says " + std::to_string(total) + " bytes; " +
                     std::to_string(size) + " are there");
  }
  const std::uint64_t structure = fdt_off_dt_struct(fdt);
  const std::uint64_t structure_end =
      version >= 17 ? structure + fdt_size_dt_struct(fdt) : std::max(structure, total);
  if (structure < kHeaderBytes || structure % sizeof(fdt32_t) != 0 || structure_end > total) {
    return Malformed("byte 8: the structure block, bytes " + std::to_string(structure) + " to " +
                     std::to_string(structure_end) + ", is not inside the blob or not aligned");
  }
  const std::uint64_t strings = fdt_off_dt_strings(fdt);
  const std::uint64_t strings_end = strings + fdt_size_dt_strings(fdt);
  if (strings < kHeaderBytes || strings_end > total) {
    return Malformed("byte 12: the strings block, bytes " + std::to_string(strings) + " to " +
                     std::to_string(strings_end) + ", is not inside the blob");
  }
  return std::nullopt;
}

// The bytes of the property at `offset` in the structure block, which libfdt's
// own walk takes to be as long as the blob says, whatever that is.
Result<Property> PropertyAt(const void* fdt, int offset) {
  const std::size_t place = fdt_off_dt_struct(fdt) + static_cast<std::size_t>(offset);
  const auto* property = static_cast<const struct fdt_property*>(
      fdt_offset_ptr(fdt, offset, sizeof(struct fdt_property)));
  if (property == nullptr) return Malformed(AtByte(place) + "the property is cut off");
  const std::uint32_t length = fdt32_to_cpu(property->len);
  const int data_offset = offset + static_cast<int>(sizeof(struct fdt_property));
  if (length > kMaxFdtBytes ||
      (length > 0 && fdt_offset_ptr(fdt, data_offset, length) == nullptr)) {
    return Malformed(AtByte(place) + "a property of " + std::to_string(length) +
                     " bytes reaches beyond the structure block");
  }
  int name_length = 0;
  const std::uint32_t name_offset = fdt32_to_cpu(property->nameoff);
  const char* name = name_offset < fdt_size_dt_strings(fdt)
                         ? fdt_get_string(fdt, static_cast<int>(name_offset), &name_length)
                         : nullptr;
  if (name == nullptr) {
    return Malformed(AtByte(place) + "the property's name is not inside the strings block");
  }
  return Property{std::string_view(name, static_cast<std::size_t>(name_length)),
                  std::string_view(property->data, length)};
}

class Walk {
 public:
  explicit Walk(const void* fdt) : fdt_(fdt) {}

  Result<Tree> Run() {
    for (int offset = 0; !done_;) {
      int next = 0;
      const std::uint32_t tag = fdt_next_tag(fdt_, offset, &next);
      // A tag that is not whole comes as FDT_END with a negative offset; a
      // length that wraps can lead backwards.
      if (next < 0 || (tag == FDT_PROP && next <= offset)) {
        if (tag == FDT_PROP || PeekTag(offset) == FDT_PROP) {
          const Result<Property> property = PropertyAt(fdt_, offset);
          if (!property) return property.error();
        }
        return At(offset, "the structure block is cut off here");
      }
      if (std::optional<Error> error = Take(tag, offset)) return *error;
      offset = next;
    }
    return std::move(builder_).Build();
  }

 private:
  std::uint32_t PeekTag(int offset) const {
    const auto* tag = static_cast<const fdt32_t*>(fdt_offset_ptr(fdt_, offset, sizeof(fdt32_t)));
    return tag == nullptr ? FDT_END : fdt32_to_cpu(*tag);
  }

  Error At(int offset, const std::string& what) const {
    return Malformed(AtByte(fdt_off_dt_struct(fdt_) + static_cast<std::size_t>(offset)) + what);
  }

  std::optional<Error> Take(std::uint32_t tag, int offset) {
    switch (tag) {
      case FDT_NOP: return std::nullopt;
      case FDT_BEGIN_NODE: return BeginNode(offset);
      case FDT_PROP: return TakeProperty(offset);
      case FDT_END_NODE:
        if (builder_.depth() == 0) return At(offset, "a node ends that never began");
        builder_.EndNode();
        properties_allowed_ = false;
        return std::nullopt;
      case FDT_END:
        if (!has_root_) return At(offset, "no root node");
        if (builder_.depth() != 0) {
          return At(offset, "the tree ends inside " + builder_.CurrentPath());
        }
        done_ = true;
        return std::nullopt;
      default: return At(offset, "unknown tag " + std::to_string(tag));
    }
  }

  std::optional<Error> BeginNode(int offset) {
    if (has_root_ && builder_.depth() == 0) return At(offset, "a second root node");
    has_root_ = true;
    properties_allowed_ = true;
    // fdt_next_tag has found the NUL that ends the name.
    const auto* name = static_cast<const char*>(
        fdt_offset_ptr(fdt_, offset + static_cast<int>(sizeof(fdt32_t)), 1));
    if (std::optional<Error> error = builder_.BeginNode(name)) {
      return At(offset, error->message);
    }
    return std::nullopt;
  }

  std::optional<Error> TakeProperty(int offset) {
    if (!properties_allowed_) {
      return At(offset, builder_.depth() == 0
                            ? std::string("a property outside of any node")
                            : builder_.CurrentPath() + ": a property after a child node");
    }
    const Result<Property> property = PropertyAt(fdt_, offset);
    if (!property) return property.error();
    if (!KeepsProperty(builder_.InAliases(), property->name)) return std::nullopt;
    if (std::optional<Error> error = builder_.AddProperty(property->name, property->bytes)) {
      return At(offset, error->message);
    }
    return std::nullopt;
  }

  const void* fdt_;
  TreeBuilder builder_;
  bool has_root_ = false;
  bool properties_allowed_ = false;  // from a node's beginning to its first child
  bool done_ = false;
};

}  // namespace

Result<Tree> ReadFdt(std::span<const std::byte> blob) {
  if (blob.size() < kHeaderBytes) {
    return Malformed("byte 0: " + std::to_string(blob.size()) +
                     " bytes; a devicetree blob has a "
                     "header of " +
                     std::to_string(kHeaderBytes));
  }
  if (blob.size() > kMaxFdtBytes) {
    return Malformed("byte 0: " + std::to_string(blob.size()) + " bytes; at most " +
                     std::to_string(kMaxFdtBytes) + " expected");
  }
  // libfdt loads whole words, which 32-bit Arm allows at aligned addresses only.
  std::unique_ptr<std::uint64_t[]> aligned;
  const void* fdt = blob.data();
  if (reinterpret_cast<std::uintptr_t>(fdt) % sizeof(std::uint64_t) != 0) {
    aligned = std::make_unique<std::uint64_t[]>(blob.size() / sizeof(std::uint64_t) + 1);
    std::memcpy(aligned.get(), fdt, blob.size());
    fdt = aligned.get();
  }
  if (std::optional<Error> error = CheckHeader(fdt, blob.size())) return *error;
  return Walk(fdt).Run();
}

}  // namespace dt
