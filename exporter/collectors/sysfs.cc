#include "exporter/collectors/sysfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

namespace exporter {
namespace {

dt::Error SystemError(int error, const std::string& path) {
  dt::ErrorCode code = dt::ErrorCode::kIo;
  // kernfs answers ENODEV once the device behind an open file is gone.
  if (error == ENOENT || error == ENODEV) code = dt::ErrorCode::kNotFound;
  if (error == ENOTDIR) code = dt::ErrorCode::kMalformed;
  if (error == EACCES || error == EPERM) code = dt::ErrorCode::kPermissionDenied;
  return dt::Error{code, path + ": " + std::strerror(error)};
}

}  // namespace

dt::Result<SysfsDirectory> SysfsDirectory::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SystemError(errno, path);
  return SysfsDirectory(fd, path);
}

dt::Result<SysfsDirectory> SysfsDirectory::OpenBelow(const std::string& name) const {
  const int fd = openat(fd_, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SystemError(errno, path_ + "/" + name);
  return SysfsDirectory(fd, path_ + "/" + name);
}

bool SysfsDirectory::IsGone(const std::string& name) const {
  const dt::Result<SysfsDirectory> directory = OpenBelow(name);
  return !directory && directory.error().code == dt::ErrorCode::kNotFound;
}

SysfsDirectory::SysfsDirectory(SysfsDirectory&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

SysfsDirectory::~SysfsDirectory() {
  if (fd_ >= 0) close(fd_);
}

dt::Result<std::vector<std::string>> SysfsDirectory::Names() const {
  const int fd = openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SystemError(errno, path_);
  DIR* directory = fdopendir(fd);
  if (directory == nullptr) {
    const int error = errno;
    close(fd);
    return SystemError(error, path_);
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  const int error = errno;
  closedir(directory);
  if (error != 0) return SystemError(error, path_);
  std::ranges::sort(names);
  return names;
}

dt::Result<std::string> SysfsDirectory::ReadText(const std::string& name) const {
  const std::string path = path_ + "/" + name;
  const int fd = openat(fd_, name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return SystemError(errno, path);
  std::array<char, kMaxAttributeBytes + 1> buffer;
  std::size_t size = 0;
  ssize_t count = 0;
  do {
    count = read(fd, buffer.data() + size, buffer.size() - size);
    if (count > 0) size += static_cast<std::size_t>(count);
  } while ((count > 0 && size < buffer.size()) || (count < 0 && errno == EINTR));
  const int error = count < 0 ? errno : 0;
  close(fd);
  if (error != 0) return SystemError(error, path);
  if (size > kMaxAttributeBytes) {
    return dt::Error{dt::ErrorCode::kMalformed,
                     path + ": more than " + std::to_string(kMaxAttributeBytes) + " bytes"};
  }
  if (size > 0 && buffer[size - 1] == '\n') --size;
  return std::string(buffer.data(), size);
}

dt::Result<std::int64_t> SysfsDirectory::ReadNumber(const std::string& name, int base) const {
  const dt::Result<std::string> text = ReadText(name);
  if (!text) return text.error();
  std::string_view digits = *text;
  if (base == 16 && digits.starts_with("0x")) digits.remove_prefix(2);
  std::int64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return dt::Error{dt::ErrorCode::kMalformed, path_ + "/" + name + ": \"" + *text +
                                                    "\"; expected a number of base " +
                                                    std::to_string(base)};
  }
  return value;
}

dt::Result<std::uint32_t> SysfsDirectory::ReadId(const std::string& name, int digits) const {
  const dt::Result<std::int64_t> value = ReadNumber(name, 16);
  if (!value) return value.error();
  if (*value < 0 || *value >= std::int64_t{1} << (4 * digits)) {
    return dt::Error{dt::ErrorCode::kMalformed, path_ + "/" + name + ": expected at most " +
                                                    std::to_string(digits) + " hexadecimal digits"};
  }
  return static_cast<std::uint32_t>(*value);
}

std::optional<std::string> SysfsDirectory::LinkTarget(const std::string& name) const {
  std::array<char, 4096> buffer;
  const ssize_t size = readlinkat(fd_, name.c_str(), buffer.data(), buffer.size());
  if (size <= 0) return std::nullopt;
  return std::string(buffer.data(), static_cast<std::size_t>(size));
}

std::optional<std::string> SysfsDirectory::LinkName(const std::string& name) const {
  const std::optional<std::string> target = LinkTarget(name);
  if (!target) return std::nullopt;
  return target->substr(target->rfind('/') + 1);
}

std::string DeviceDirectory(const std::optional<std::string>& link_target,
                            const std::string& own_place) {
  if (!link_target) return own_place;
  std::string_view target = *link_target;
  while (target.starts_with("../")) target.remove_prefix(3);
  return std::string(target);
}

}  // namespace exporter
