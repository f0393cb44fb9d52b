#include "dt/live_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dt {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

// What open and read say of an entry of sysfs that was removed meanwhile.
bool HasVanished(int error) { return error == ENOENT || error == ENODEV; }

Error SystemError(int error, const std::string& path) {
  ErrorCode code = ErrorCode::kIo;
  if (HasVanished(error)) code = ErrorCode::kNotFound;
  if (error == EACCES || error == EPERM) code = ErrorCode::kPermissionDenied;
  if (error == ENOTDIR) code = ErrorCode::kMalformed;
  return Error{code, path + ": " + std::strerror(error)};
}

enum class EntryType { kFile, kDirectory, kOther };

// nullopt and errno if that cannot be read.
std::optional<EntryType> TypeOf(int directory, const dirent& entry) {
  unsigned char type = entry.d_type;
  if (type == DT_UNKNOWN) {
    struct stat info {};
    if (fstatat(directory, entry.d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
    type = static_cast<unsigned char>(IFTODT(info.st_mode));
  }
  if (type == DT_REG) return EntryType::kFile;
  return type == DT_DIR ? EntryType::kDirectory : EntryType::kOther;
}

class Walk {
 public:
  explicit Walk(const std::string& root) : root_(root) {}

  Result<Tree> Run() {
    const int root = open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) return SystemError(errno, root_);
    if (std::optional<Error> error = ReadNode(root, "")) return *error;
    return std::move(builder_).Build();
  }

  // Whether something that a directory held was not there when it was read.
  bool has_vanished() const { return has_vanished_; }

 private:
  // Reads the node whose directory is `fd`, which it closes, and all below it.
  // A node that vanishes meanwhile is left out, unless it is the root.
  std::optional<Error> ReadNode(int fd, const std::string& name) {
    Directory directory(fdopendir(fd));
    if (directory == nullptr) {
      const int error = errno;
      close(fd);
      return SystemError(error, Where(name));
    }
    if (std::optional<Error> error = builder_.BeginNode(name)) return Placed(*error);
    std::vector<std::string> children;
    for (;;) {
      errno = 0;
      const dirent* entry = readdir(directory.get());
      if (entry == nullptr) break;
      const std::string_view entry_name = entry->d_name;
      if (entry_name == "." || entry_name == "..") continue;
      const bool kept = KeepsProperty(builder_.InAliases(), entry_name);
      if (!kept && entry->d_type == DT_REG) continue;
      const std::optional<EntryType> type = TypeOf(fd, *entry);
      if (!type && Vanishes(errno)) continue;
      if (!type) return Failed(errno, entry->d_name);
      if (type == EntryType::kDirectory) children.emplace_back(entry_name);
      if (type == EntryType::kFile && kept) {
        if (std::optional<Error> error = ReadProperty(fd, entry->d_name)) return error;
      }
    }
    if (errno != 0) {
      if (builder_.depth() == 1 || !Vanishes(errno)) return SystemError(errno, Where(""));
      builder_.DropNode();
      return std::nullopt;
    }
    for (const std::string& child : children) {
      const int child_fd =
          openat(fd, child.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (child_fd < 0 && Vanishes(errno)) continue;
      if (child_fd < 0) return SystemError(errno, Where(child));
      if (std::optional<Error> error = ReadNode(child_fd, child)) return error;
    }
    builder_.EndNode();
    return std::nullopt;
  }

  std::optional<Error> ReadProperty(int directory, const char* name) {
    const int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return Vanishes(errno) ? std::nullopt : Failed(errno, name);
    std::size_t size = 0;
    int error = 0;
    while (size < buffer_.size()) {
      const ssize_t count = read(fd, buffer_.data() + size, buffer_.size() - size);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) error = errno;
      if (count <= 0) break;
      size += static_cast<std::size_t>(count);
    }
    close(fd);
    if (error != 0) return Vanishes(error) ? std::nullopt : Failed(error, name);
    if (std::optional<Error> refused =
            builder_.AddProperty(name, std::string_view(buffer_.data(), size))) {
      return Placed(*refused);
    }
    return std::nullopt;
  }

  // Whether that error says that what was to be read is gone, of which note is taken.
  bool Vanishes(int error) {
    has_vanished_ = has_vanished_ || HasVanished(error);
    return HasVanished(error);
  }
  std::optional<Error> Failed(int error, const std::string& entry) const {
    return SystemError(error, Where(entry));
  }
  // The path of `entry` in the directory of the node begun last.
  std::string Where(const std::string& entry) const {
    const std::string node = builder_.depth() <= 1 ? "" : builder_.CurrentPath();
    return root_ + node + (entry.empty() ? "" : "/" + entry);
  }
  Error Placed(const Error& error) const { return Error{error.code, root_ + ": " + error.message}; }

  const std::string& root_;
  TreeBuilder builder_;
  bool has_vanished_ = false;
  // One more than a property may have, so that a longer one shows.
  std::array<char, kMaxPropertyBytes + 1> buffer_;
};

}  // namespace

Result<Tree> ReadLiveTree(const std::string& directory) {
  for (int reads = 1;; ++reads) {
    const auto walk = std::make_unique<Walk>(directory);
    Result<Tree> tree = walk->Run();
    if (!walk->has_vanished() || reads == kMaxLiveReads) return tree;
  }
}

}  // namespace dt
