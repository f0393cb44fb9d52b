// The log: one line per event on standard error, in logfmt.
//
// Only main writes it; everything else returns what went wrong.
#ifndef EXPORTER_LOG_H_
#define EXPORTER_LOG_H_

#include <initializer_list>
#include <optional>
#include <string_view>

namespace exporter {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

// "debug", "info", "warn", "error".
std::optional<LogLevel> ParseLogLevel(std::string_view word);

struct LogField {
  std::string_view key;
  std::string_view value;  // any bytes: they are quoted and made printable
};

class Log {
 public:
  explicit Log(LogLevel least) : least_(least) {}

  // time=2026-11-23T10:00:00.123Z level=INFO msg="..." key=value
  void Write(LogLevel level, std::string_view message,
             std::initializer_list<LogField> fields = {}) const;

 private:
  LogLevel least_;
};

}  // namespace exporter

#endif  // EXPORTER_LOG_H_
