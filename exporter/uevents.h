// The kernel's own word that hardware came, went, or changed its driver.
//
// Netlink, NETLINK_KOBJECT_UEVENT, the kernel's multicast group; no privilege is
// needed. Facts: lib/kobject_uevent.c.
#ifndef EXPORTER_UEVENTS_H_
#define EXPORTER_UEVENTS_H_

#include <set>
#include <string>
#include <string_view>

#include "dt/result.h"

namespace exporter {

// Whether a message of the kernel, "add@/devices/...\0ACTION=add\0SUBSYSTEM=pci\0...",
// says that a device of one of `subsystems` was added, removed, bound or unbound.
bool ConcernsHardware(std::string_view message,
                      const std::set<std::string, std::less<>>& subsystems);

class UeventSocket {
 public:
  // kNotFound where the kernel sends none: it sends them to network namespaces of
  // the initial user namespace only, and `uid_map` (the text of /proc/self/uid_map)
  // tells whether we are in that. Any other code: the socket cannot be had.
  static dt::Result<UeventSocket> Open(std::string_view uid_map);
  static dt::Result<UeventSocket> Open();

  UeventSocket(UeventSocket&& other) noexcept;
  UeventSocket& operator=(UeventSocket&&) = delete;
  ~UeventSocket();

  int fd() const { return fd_; }

  // Takes all messages that wait. True if one ConcernsHardware, or if the kernel
  // says that it dropped some.
  bool Drain(const std::set<std::string, std::less<>>& subsystems) const;

 private:
  explicit UeventSocket(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace exporter

#endif  // EXPORTER_UEVENTS_H_
