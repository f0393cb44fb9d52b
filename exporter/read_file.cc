#include "exporter/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace exporter {

std::string ReadFile(const std::string& path, std::size_t most_bytes, std::string* content) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return std::strerror(errno);
  int error = 0;
  std::string why;
  struct stat info {};
  if (fstat(fd, &info) == 0 && S_ISFIFO(info.st_mode)) {
    error = ESPIPE;
    why = "a pipe";
  }
  std::array<char, 16384> part;
  for (std::size_t size = 0; error == 0;) {
    const ssize_t count = read(fd, part.data(), part.size());
    if (count == 0) break;
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      error = errno;
      why = std::strerror(error);
      break;
    }
    size += static_cast<std::size_t>(count);
    if (size > most_bytes) {
      error = EFBIG;
      why = "more than " + std::to_string(most_bytes) + " bytes";
    } else {
      content->append(part.data(), static_cast<std::size_t>(count));
    }
  }
  close(fd);
  errno = error;
  return why;
}

}  // namespace exporter
