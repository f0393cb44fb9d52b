// Reads a flattened devicetree (a .dtb file, /sys/firmware/fdt) into a Tree.
//
// Format: Devicetree Specification v0.4, chapter 5. The blob is hostile input:
// it is checked in the one walk that reads it, since libfdt's own full check
// accepts lengths and names that it should not and reads past version-3 headers.
#ifndef DT_FDT_READER_H_
#define DT_FDT_READER_H_

#include <cstddef>
#include <span>

#include "dt/result.h"
#include "dt/tree.h"

namespace dt {

inline constexpr std::size_t kMaxFdtBytes = 16 << 20;  // Linux on arm64 takes at most 2 MiB

// The tree in `blob`, whose bytes are copied. Versions 16 and 17 are read (every
// compiler since 2005 writes them). kMalformed names the byte offset.
Result<Tree> ReadFdt(std::span<const std::byte> blob);

}  // namespace dt

#endif  // DT_FDT_READER_H_
