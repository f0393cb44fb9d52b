// Reads a devicetree from directories: one per node, one file per property, as
// Linux shows its live tree (Documentation/ABI/testing/sysfs-firmware-ofw).
#ifndef DT_LIVE_READER_H_
#define DT_LIVE_READER_H_

#include <string>

#include "dt/result.h"
#include "dt/tree.h"

namespace dt {

inline constexpr int kMaxLiveReads = 5;

// The tree below `directory`, for example /sys/firmware/devicetree/base.
//
// Opens only the properties that a Tree keeps, and never a link, a FIFO or a
// device. A tree of which a node or property vanishes while it is read is read again,
// up to kMaxLiveReads times in all: the kernel takes a property away for a moment to
// change it. What vanishes from the last of these is left out. A root without entries
// is a Tree of one bare node. Fails with
//   kNotFound          the directory is not there
//   kPermissionDenied  a directory or a kept property may not be read
//   kIo                reading one failed: the tree is unknown then, not smaller
//   kMalformed         it is no directory, or passes a bound of tree.h
Result<Tree> ReadLiveTree(const std::string& directory);

}  // namespace dt

#endif  // DT_LIVE_READER_H_
