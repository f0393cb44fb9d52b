// Reading sysfs: directories of small text files and links; or the snapshot that stands
// for it.
//
// Everything below one directory is opened relative to it, so that a device that
// vanishes is seen to vanish as a whole.
#ifndef EXPORTER_COLLECTORS_SYSFS_H_
#define EXPORTER_COLLECTORS_SYSFS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dt/result.h"
#include "exporter/collectors/collector.h"

namespace exporter {

// One attribute fits a page (Documentation/filesystems/sysfs.rst).
inline constexpr std::size_t kMaxAttributeBytes = 4096;

// An open directory. Errors carry the path; an entry that is not there, or that
// vanishes while it is read, is kNotFound; what is no directory is kMalformed.
class SysfsDirectory {
 public:
  // The directory `place`, "bus/pci/devices", of `input`'s sysfs; "" is sysfs itself.
  // `input` must live as long as this.
  static dt::Result<SysfsDirectory> Open(const CollectorInput& input, const std::string& place);
  // A directory in this one; a link to one is followed.
  dt::Result<SysfsDirectory> OpenBelow(const std::string& name) const;

  SysfsDirectory(SysfsDirectory&& other) noexcept;
  SysfsDirectory& operator=(SysfsDirectory&&) = delete;
  ~SysfsDirectory();

  // Whether the directory `name` in this one is not there (any more). Not being
  // able to open it does not say so.
  bool IsGone(const std::string& name) const;

  const std::string& path() const { return path_; }

  // The names in it, in bytewise order.
  dt::Result<std::vector<std::string>> Names() const;

  // A file's text without its final newline; what would have to be waited for is not read.
  dt::Result<std::string> ReadText(const std::string& name) const;
  // A file's number in the given base, with or without 0x; kMalformed if it holds no such.
  dt::Result<std::int64_t> ReadNumber(const std::string& name, int base) const;

  // A file's hexadecimal number of at most `digits` digits; kMalformed if it is none.
  dt::Result<std::uint32_t> ReadId(const std::string& name, int digits) const;

  // What a link points to; nullopt if there is no such link. That it cannot be read is
  // an error, and does not say that it is not there.
  dt::Result<std::optional<std::string>> LinkTarget(const std::string& name) const;
  // The last part of that: "nvidia" of "../../../bus/pci/drivers/nvidia".
  dt::Result<std::optional<std::string>> LinkName(const std::string& name) const;

 private:
  SysfsDirectory(int fd, std::string path, const CollectorInput& input)
      : fd_(fd), path_(std::move(path)), input_(input) {}
  static dt::Result<SysfsDirectory> OpenAt(int folder, const std::string& name, std::string path,
                                           const CollectorInput& input);

  // Where `name` in this one is, below sysfs.
  std::string Place(const std::string& name) const;
  // What of a snapshot that is; 0 or an errno.
  int FindInSnapshot(const std::string& name, const HostEntry** entry) const;
  dt::Result<std::vector<std::string>> ReadNames() const;
  // A file's bytes, or the first kMaxAttributeBytes + 1 of them; 0 or an errno.
  int ReadAll(const std::string& name, std::string* text) const;
  // Tells the recorder of the error.
  dt::Error Failed(int error, const std::string& path) const;

  int fd_;            // -1 in a snapshot
  std::string path_;  // for messages: begins with --path.sysfs or the snapshot's file
  const CollectorInput& input_;
};

// The directory below sysfs that an entry of bus/ or class/ stands for: of the
// target of its link, "../../../devices/pci0000:00/0000:00:02.0", what follows
// the leading "../"; of an entry that is no link, its own place.
std::string DeviceDirectory(const std::optional<std::string>& link_target,
                            const std::string& own_place);

}  // namespace exporter

#endif  // EXPORTER_COLLECTORS_SYSFS_H_
