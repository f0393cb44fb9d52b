#include "exporter/sinks/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace exporter {
namespace {

// The functions below give false and errno if they fail.

bool WriteAll(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t count = write(fd, content.data(), content.size());
    if (count < 0 && errno != EINTR) return false;
    if (count > 0) content.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

bool WriteBeside(int fd, std::string_view content, mode_t mode) {
  const bool written = WriteAll(fd, content) && fchmod(fd, mode) == 0 && fsync(fd) == 0;
  const int error = errno;
  const bool closed = close(fd) == 0;
  if (!written) errno = error;
  return written && closed;
}

bool FlushFolder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  // EINVAL: a file system that has no such thing.
  const bool flushed = fsync(fd) == 0 || errno == EINVAL;
  const int error = errno;
  close(fd);
  errno = error;
  return flushed;
}

}  // namespace

bool WriteAtomically(const std::string& path, std::string_view content, mode_t mode,
                     std::string* error) {
  const auto failed = [&](const char* what) {
    *error = path + ": " + what + ": " + std::strerror(errno);
    return false;
  };
  const std::filesystem::path file(path);
  const std::string folder = file.has_parent_path() ? file.parent_path().string() : ".";
  std::string beside = folder + "/." + file.filename().string() + ".XXXXXX";
  const int fd = mkostemp(beside.data(), O_CLOEXEC);
  if (fd < 0) return failed("creating a file beside it");
  if (!WriteBeside(fd, content, mode)) {
    failed("writing a file beside it");
    unlink(beside.c_str());
    return false;
  }
  if (rename(beside.c_str(), path.c_str()) != 0) {
    failed("renaming onto it");
    unlink(beside.c_str());
    return false;
  }
  return FlushFolder(folder) || failed("flushing its folder");
}

}  // namespace exporter
