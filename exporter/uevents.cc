#include "exporter/uevents.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

namespace exporter {
namespace {

constexpr unsigned kKernelGroup = 1;            // 2 is udev's
constexpr std::size_t kMaxMessageBytes = 8192;  // the kernel's are at most 2048 and a header

// The initial user namespace maps all ids to themselves: "0 0 4294967295".
bool IsInitialUserNamespace(std::string_view uid_map) {
  std::string fields;
  for (const char c : uid_map) {
    const bool blank = c == ' ' || c == '\t' || c == '\n';
    if (!blank) fields += c;
    if (blank && !fields.empty() && fields.back() != ' ') fields += ' ';
  }
  return fields == "0 0 4294967295 ";
}

}  // namespace

bool ConcernsHardware(std::string_view message,
                      const std::set<std::string, std::less<>>& subsystems) {
  bool action = false;
  bool subsystem = false;
  while (!message.empty()) {
    const std::string_view field = message.substr(0, message.find('\0'));
    message.remove_prefix(std::min(message.size(), field.size() + 1));
    if (field.starts_with("ACTION=")) {
      const std::string_view value = field.substr(7);
      action = value == "add" || value == "remove" || value == "bind" || value == "unbind";
    } else if (field.starts_with("SUBSYSTEM=")) {
      subsystem = subsystems.contains(field.substr(10));
    }
  }
  return action && subsystem;
}

dt::Result<UeventSocket> UeventSocket::Open(std::string_view uid_map) {
  if (!IsInitialUserNamespace(uid_map)) {
    return dt::Error{dt::ErrorCode::kNotFound,
                     "this user namespace is not the initial one, and gets no uevents"};
  }
  const int fd =
      socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelGroup;
  if (fd < 0 || bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    if (fd >= 0) close(fd);
    return dt::Error{dt::ErrorCode::kPermissionDenied,
                     std::string("no socket for uevents: ") + std::strerror(error)};
  }
  return UeventSocket(fd);
}

dt::Result<UeventSocket> UeventSocket::Open() {
  std::ifstream stream("/proc/self/uid_map");
  return Open(std::string(std::istreambuf_iterator<char>(stream), {}));
}

UeventSocket::UeventSocket(UeventSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

UeventSocket::~UeventSocket() {
  if (fd_ >= 0) close(fd_);
}

bool UeventSocket::Drain(const std::set<std::string, std::less<>>& subsystems) const {
  bool concerns = false;
  std::array<char, kMaxMessageBytes> buffer;
  for (;;) {
    sockaddr_nl sender{};
    socklen_t sender_size = sizeof sender;
    const ssize_t size = recvfrom(fd_, buffer.data(), buffer.size(), 0,
                                  reinterpret_cast<sockaddr*>(&sender), &sender_size);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == ENOBUFS) {
      concerns = true;
      continue;
    }
    if (size < 0) return concerns;
    // Port 0 is the kernel; another process may not speak for it.
    if (sender.nl_pid != 0) continue;
    concerns |= ConcernsHardware(std::string_view(buffer.data(), static_cast<std::size_t>(size)),
                                 subsystems);
  }
}

}  // namespace exporter
