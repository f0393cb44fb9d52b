#include "exporter/confinement.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace exporter {
namespace {

// The C library has no functions for these.
int CreateRuleset(const landlock_ruleset_attr* attributes, std::size_t size, unsigned flags) {
  return static_cast<int>(syscall(SYS_landlock_create_ruleset, attributes, size, flags));
}

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE  // the third version's; Debian 12's headers are older
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

constexpr int kTruncateVersion = 3;
constexpr std::uint64_t kWrite = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                                 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                                 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                                 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                                 LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

std::string RestrictFiles(const std::vector<std::string>& writable) {
  const int version = CreateRuleset(nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return std::string("Landlock: ") + std::strerror(errno);
  const std::uint64_t write =
      kWrite | (version >= kTruncateVersion ? LANDLOCK_ACCESS_FS_TRUNCATE : 0);
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = write | LANDLOCK_ACCESS_FS_EXECUTE;
  const int ruleset = CreateRuleset(&attributes, sizeof attributes, 0);
  if (ruleset < 0) return std::string("Landlock: ") + std::strerror(errno);
  std::string error;
  for (const std::string& directory : writable) {
    landlock_path_beneath_attr rule{};
    rule.allowed_access = write;
    rule.parent_fd = open(directory.c_str(), O_PATH | O_CLOEXEC | O_DIRECTORY);
    if (rule.parent_fd < 0) continue;  // what is not there cannot be written to
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
      error = directory + ": Landlock: " + std::strerror(errno);
    }
    close(rule.parent_fd);
  }
  if (error.empty() && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) {
    error = std::string("Landlock: ") + std::strerror(errno);
  }
  close(ruleset);
  return error;
}

}  // namespace

std::string Confine(const std::vector<std::string>& writable) {
  const rlimit no_core{0, 0};
  if (setrlimit(RLIMIT_CORE, &no_core) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
    return std::string("no core dumps: ") + std::strerror(errno);
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return std::string("no new privileges: ") + std::strerror(errno);
  }
  return RestrictFiles(writable);
}

}  // namespace exporter
