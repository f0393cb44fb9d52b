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
  return dt::Error{code, path + ": " + std::strerror(error)};
}

// The root, as messages name it.
const std::string& Root(const CollectorInput& input) {
  return input.snapshot == nullptr ? input.paths.sysfs : input.paths.snapshot;
}

}  // namespace

dt::Result<SysfsDirectory> SysfsDirectory::Open(const CollectorInput& input,
                                                const std::string& place) {
  const std::string path = place.empty() ? Root(input) : Root(input) + "/" + place;
  return OpenAt(AT_FDCWD, path, path, input);
}

dt::Result<SysfsDirectory> SysfsDirectory::OpenBelow(const std::string& name) const {
  return OpenAt(fd_, name, path_ + "/" + name, input_);
}

dt::Result<SysfsDirectory> SysfsDirectory::OpenAt(int folder, const std::string& name,
                                                  std::string path, const CollectorInput& input) {
  SysfsDirectory directory(-1, std::move(path), input);
  int error = 0;
  if (input.snapshot != nullptr) {
    const HostEntry* entry = nullptr;
    error = directory.FindInSnapshot("", &entry);
    if (error == 0 && entry->kind != HostEntry::Kind::kFolder) error = ENOTDIR;
  } else {
    directory.fd_ = openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory.fd_ < 0) error = errno;
  }
  if (error != 0) return directory.Failed(error, directory.path_);
  if (input.recorder != nullptr) input.recorder->Saw(directory.Place(""));
  return directory;
}

std::string SysfsDirectory::Place(const std::string& name) const {
  const std::string place = path_.substr(std::min(Root(input_).size() + 1, path_.size()));
  return place.empty() || name.empty() ? place + name : place + "/" + name;
}

int SysfsDirectory::FindInSnapshot(const std::string& name, const HostEntry** entry) const {
  const std::optional<std::string> place = input_.snapshot->Resolve(Place(name));
  if (!place) return ELOOP;
  *entry = input_.snapshot->Find(*place);
  if (*entry != nullptr) return 0;
  for (std::string above = *place; above.find('/') != std::string::npos;) {
    above.resize(above.rfind('/'));
    const HostEntry* const found = input_.snapshot->Find(above);
    if (found != nullptr) return found->kind == HostEntry::Kind::kFolder ? ENOENT : ENOTDIR;
  }
  return ENOENT;
}

dt::Error SysfsDirectory::Failed(int error, const std::string& path) const {
  dt::Error failure =
      error == EFBIG
          ? dt::Error{dt::ErrorCode::kMalformed,
                      path + ": more than " + std::to_string(kMaxAttributeBytes) + " bytes"}
          : SystemError(error, path);
  const bool shows = failure.code == dt::ErrorCode::kNotFound || error == ENOTDIR;
  if (!shows && input_.recorder != nullptr) input_.recorder->Failed(failure.message);
  return failure;
}

bool SysfsDirectory::IsGone(const std::string& name) const {
  const dt::Result<SysfsDirectory> directory = OpenBelow(name);
  return !directory && directory.error().code == dt::ErrorCode::kNotFound;
}

SysfsDirectory::SysfsDirectory(SysfsDirectory&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), input_(other.input_) {}

SysfsDirectory::~SysfsDirectory() {
  if (fd_ >= 0) close(fd_);
}

dt::Result<std::vector<std::string>> SysfsDirectory::Names() const {
  dt::Result<std::vector<std::string>> names = ReadNames();
  if (names && input_.recorder != nullptr) input_.recorder->SawNames(Place(""), *names);
  return names;
}

dt::Result<std::vector<std::string>> SysfsDirectory::ReadNames() const {
  if (input_.snapshot != nullptr) {
    return input_.snapshot->Names(input_.snapshot->Resolve(Place("")).value_or(""));
  }
  const int fd = openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Failed(errno, path_);
  DIR* directory = fdopendir(fd);
  if (directory == nullptr) {
    const int error = errno;
    close(fd);
    return Failed(error, path_);
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
  if (error != 0) return Failed(error, path_);
  std::ranges::sort(names);
  return names;
}

dt::Result<std::string> SysfsDirectory::ReadText(const std::string& name) const {
  std::string text;
  if (const int error = ReadAll(name, &text); error != 0) return Failed(error, path_ + "/" + name);
  if (text.size() > kMaxAttributeBytes) return Failed(EFBIG, path_ + "/" + name);
  if (input_.recorder != nullptr) input_.recorder->SawFile(Place(name), text);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

int SysfsDirectory::ReadAll(const std::string& name, std::string* text) const {
  if (input_.snapshot != nullptr) {
    const HostEntry* entry = nullptr;
    if (const int error = FindInSnapshot(name, &entry); error != 0) return error;
    if (entry->kind != HostEntry::Kind::kFile) return EISDIR;
    *text = entry->content;
    return 0;
  }
  const int fd = openat(fd_, name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno;
  std::array<char, kMaxAttributeBytes + 1> buffer;
  std::size_t size = 0;
  ssize_t count = 0;
  do {
    count = read(fd, buffer.data() + size, buffer.size() - size);
    if (count > 0) size += static_cast<std::size_t>(count);
  } while ((count > 0 && size < buffer.size()) || (count < 0 && errno == EINTR));
  const int error = count < 0 ? errno : 0;
  close(fd);
  text->assign(buffer.data(), size);
  return error;
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

dt::Result<std::optional<std::string>> SysfsDirectory::LinkTarget(const std::string& name) const {
  std::optional<std::string> target;
  if (input_.snapshot != nullptr) {
    target = input_.snapshot->Target(Place(name));
  } else {
    std::array<char, 4096> buffer;
    const ssize_t size = readlinkat(fd_, name.c_str(), buffer.data(), buffer.size());
    if (size >= 0) target.emplace(buffer.data(), static_cast<std::size_t>(size));
    // EINVAL: it is no link.
    const bool none = errno == ENOENT || errno == ENODEV || errno == ENOTDIR || errno == EINVAL;
    if (size < 0 && !none) return Failed(errno, path_ + "/" + name);
  }
  if (target && input_.recorder != nullptr) input_.recorder->Saw(Place(name));
  return target;
}

dt::Result<std::optional<std::string>> SysfsDirectory::LinkName(const std::string& name) const {
  dt::Result<std::optional<std::string>> target = LinkTarget(name);
  if (!target || !*target) return target;
  return std::optional((*target)->substr((*target)->rfind('/') + 1));
}

std::string DeviceDirectory(const std::optional<std::string>& link_target,
                            const std::string& own_place) {
  if (!link_target) return own_place;
  std::string_view target = *link_target;
  while (target.starts_with("../")) target.remove_prefix(3);
  return std::string(target);
}

}  // namespace exporter
