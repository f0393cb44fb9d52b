#include "exporter/collectors/devicetree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dt/fdt_reader.h"
#include "dt/live_reader.h"

namespace exporter {
namespace {

dt::Error SystemError(int error, const std::string& path) {
  return dt::Error{error == ENOENT ? dt::ErrorCode::kNotFound : dt::ErrorCode::kIo,
                   path + ": " + std::strerror(error)};
}

dt::Result<dt::Tree> ReadBlob(const std::string& path, int fd) {
  std::vector<std::byte> bytes;
  std::size_t size = 0;
  for (;;) {
    bytes.resize(size + (256 << 10));
    const ssize_t count = read(fd, bytes.data() + size, bytes.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError(errno, path);
    size += static_cast<std::size_t>(count);
    if (count == 0 || size > dt::kMaxFdtBytes) break;
  }
  dt::Result<dt::Tree> tree = dt::ReadFdt(std::span(bytes).first(size));
  if (tree) return tree;
  return dt::Error{tree.error().code, path + ": " + tree.error().message};
}

bool IsDirectory(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// What --path.devicetree names: a directory, or a file that holds a blob.
dt::Result<dt::Tree> ReadPath(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return SystemError(errno, path);
  if (S_ISDIR(info.st_mode)) return dt::ReadLiveTree(path);
  if (!S_ISREG(info.st_mode)) {
    return dt::Error{dt::ErrorCode::kMalformed, path + ": neither a directory nor a file"};
  }
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError(errno, path);
  dt::Result<dt::Tree> tree = ReadBlob(path, fd);
  close(fd);
  return tree;
}

}  // namespace

std::optional<dt::Error> CollectDevicetree(const CollectorInput& input, Inventory* inventory,
                                           CollectorReport*) {
  const HostPaths& paths = input.paths;
  dt::Result<dt::Tree> tree = paths.devicetree.empty()
                                  ? dt::ReadLiveTree(paths.sysfs + "/firmware/devicetree/base")
                                  : ReadPath(paths.devicetree);
  const auto is_absent = [&] {
    return !tree && tree.error().code == dt::ErrorCode::kNotFound && paths.devicetree.empty();
  };
  if (is_absent()) tree = dt::ReadLiveTree(paths.procfs + "/device-tree");
  if (!tree && !is_absent()) return tree.error();
  inventory->devicetree_known = true;
  inventory->devicetree_is_live = paths.devicetree.empty() || IsDirectory(paths.devicetree);
  inventory->devicetree =
      tree ? std::make_shared<const dt::Tree>(std::move(tree).value()) : nullptr;
  return std::nullopt;
}

}  // namespace exporter
