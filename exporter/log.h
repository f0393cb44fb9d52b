// The log: one line per event on standard error, in logfmt or JSON.
//
// Only the wiring and the label sink's threads write it; everything else returns
// what went wrong.
#ifndef EXPORTER_LOG_H_
#define EXPORTER_LOG_H_

#include <atomic>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace exporter {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

// "debug", "info", "warn", "error".
std::optional<LogLevel> ParseLogLevel(std::string_view word);

enum class LogFormat { kLogfmt, kJson };

struct LogField {
  std::string_view key;
  std::string_view value;  // any bytes: they are quoted and made printable
};

// Thread-safe.
class Log {
 public:
  explicit Log(LogLevel least, LogFormat format = LogFormat::kLogfmt)
      : least_(least), format_(format) {}

  void Configure(LogLevel least, LogFormat format) {
    least_ = least;
    format_ = format;
  }

  // time=2026-11-23T10:00:00.123Z level=INFO msg="..." key=value
  // {"time":"2026-11-23T10:00:00.123Z","level":"INFO","msg":"...","key":"value"}
  void Write(LogLevel level, std::string_view message,
             std::initializer_list<LogField> fields = {}) const;

 private:
  std::atomic<LogLevel> least_;
  std::atomic<LogFormat> format_;
};

}  // namespace exporter

#endif  // EXPORTER_LOG_H_
