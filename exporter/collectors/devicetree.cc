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

// The node of a snapshot that stands at `place`, and all below it.
std::optional<dt::Error> ReadNode(const HostTree& snapshot, const std::string& place,
                                  dt::TreeBuilder* builder) {
  if (auto error = builder->BeginNode(place.substr(place.rfind('/') + 1))) return error;
  const std::vector<std::string> names = snapshot.Names(place);
  for (const std::string& name : names) {
    const HostEntry& entry = *snapshot.Find(std::string(place).append("/").append(name));
    if (entry.kind != HostEntry::Kind::kFile) continue;
    if (!dt::KeepsProperty(builder->InAliases(), name)) continue;
    if (auto error = builder->AddProperty(name, entry.content)) return error;
  }
  for (const std::string& name : names) {
    const std::string child = std::string(place).append("/").append(name);
    if (snapshot.Find(child)->kind != HostEntry::Kind::kFolder) continue;
    if (auto error = ReadNode(snapshot, child, builder)) return error;
  }
  builder->EndNode();
  return std::nullopt;
}

dt::Result<dt::Tree> ReadSnapshotTree(const HostTree& snapshot, const std::string& file) {
  const std::string root(kHostDevicetree);
  const HostEntry* const entry = snapshot.Find(root);
  if (entry == nullptr || entry->kind != HostEntry::Kind::kFolder) {
    return dt::Error{dt::ErrorCode::kNotFound, file + ": no devicetree"};
  }
  dt::TreeBuilder builder;
  if (const auto error = ReadNode(snapshot, root, &builder)) {
    return dt::Error{error->code, file + ": " + error->message};
  }
  return std::move(builder).Build();
}

dt::Result<dt::Tree> ReadTree(const CollectorInput& input) {
  const HostPaths& paths = input.paths;
  if (input.snapshot != nullptr) return ReadSnapshotTree(*input.snapshot, paths.snapshot);
  if (!paths.devicetree.empty()) return ReadPath(paths.devicetree);
  dt::Result<dt::Tree> tree = dt::ReadLiveTree(paths.sysfs + "/firmware/devicetree/base");
  if (tree || tree.error().code != dt::ErrorCode::kNotFound) return tree;
  return dt::ReadLiveTree(paths.procfs + "/device-tree");
}

}  // namespace

std::optional<dt::Error> CollectDevicetree(const CollectorInput& input, Inventory* inventory,
                                           CollectorReport*) {
  const std::string& named = input.paths.devicetree;
  dt::Result<dt::Tree> tree = ReadTree(input);
  if (!tree && (tree.error().code != dt::ErrorCode::kNotFound || !named.empty())) {
    if (input.recorder != nullptr) input.recorder->Failed(tree.error().message);
    return tree.error();
  }
  if (tree && input.recorder != nullptr) input.recorder->SawDevicetree(*tree);
  inventory->devicetree_known = true;
  inventory->devicetree_is_live = named.empty() || IsDirectory(named);
  inventory->devicetree =
      tree ? std::make_shared<const dt::Tree>(std::move(tree).value()) : nullptr;
  return std::nullopt;
}

}  // namespace exporter
