// The web configuration file at work: read again, with the certificates that it names, when
// one of these files has changed. So certificates rotate without a restart.
#ifndef EXPORTER_WEB_CONFIG_FILE_H_
#define EXPORTER_WEB_CONFIG_FILE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dt/result.h"
#include "exporter/log.h"
#include "exporter/sinks/http_server.h"

namespace exporter {

// Belongs to one thread at a time.
class WebConfigFile {
 public:
  // Reads it and all that it names. The error, one line, says what is wrong and where.
  static dt::Result<std::shared_ptr<WebConfigFile>> Load(const std::string& file);

  // What the file asks for now. Looks at the files (stat(2): nothing is read that has not
  // changed); of a file that is wrong, or empty by now, `log` is told once, and what held before
  // still holds.
  std::shared_ptr<const WebSecurity> Current(const Log& log);

  bool last_reload_successful() const { return last_reload_successful_; }

 private:
  // What changes when a file is written, replaced, or becomes (un)readable.
  using Stamp = std::vector<long long>;
  static Stamp StampOf(const std::string& path);

  explicit WebConfigFile(std::string file) : file_(std::move(file)) {}
  dt::Result<std::shared_ptr<const WebSecurity>> Read();

  const std::string file_;
  std::vector<std::string> paths_;  // the file, and those that it names
  std::vector<Stamp> stamps_;       // of paths_, from before they were read last
  std::shared_ptr<const WebSecurity> security_;
  bool last_reload_successful_ = true;
};

}  // namespace exporter

#endif  // EXPORTER_WEB_CONFIG_FILE_H_
