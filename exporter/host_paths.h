// Where the host's files are; in a container they are mounted elsewhere.
#ifndef EXPORTER_HOST_PATHS_H_
#define EXPORTER_HOST_PATHS_H_

#include <string>

namespace exporter {

struct HostPaths {
  std::string sysfs = "/sys";    // --path.sysfs
  std::string procfs = "/proc";  // --path.procfs
  std::string dev;               // --path.dev; empty: device nodes are not looked at
  std::string devicetree;        // --path.devicetree: a directory or a blob; empty: the host's own
  std::string snapshot;  // --path.snapshot: a file to read instead of all these; empty: none

  friend bool operator==(const HostPaths&, const HostPaths&) = default;
};

}  // namespace exporter

#endif  // EXPORTER_HOST_PATHS_H_
